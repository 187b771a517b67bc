package memory

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
)

// Undo is a way of finding the pages that a guest changed. All lead to the same
// contents.
type Undo int

const (
	// UndoCopy compares all of the memory. It works everywhere.
	UndoCopy Undo = iota
	// UndoPagemap asks the kernel which pages are the memory's own, rather than
	// the image's, and compares those. It needs /proc.
	UndoPagemap
	// UndoUserfault protects the pages that are the memory's own and asks the
	// kernel which were written to since. It needs Linux 6.7 and userfaultfd,
	// which containers usually forbid.
	UndoUserfault
)

func (u Undo) String() string {
	switch u {
	case UndoCopy:
		return "copy"
	case UndoPagemap:
		return "pagemap"
	case UndoUserfault:
		return "userfaultfd"
	}
	return fmt.Sprintf("Undo(%d)", int(u))
}

// probed are the ways that work here, best first, and why others don't. It is
// found out once: what a process may do doesn't change while it runs.
var probed = sync.OnceValues(func() (works []Undo, why string) {
	for u := UndoUserfault; u > UndoCopy; u-- {
		if err := probe(u); err == nil {
			works = append(works, u)
		} else if len(works) == 0 {
			if why != "" {
				why += "; "
			}
			why += u.String() + ": " + err.Error()
		}
	}
	return append(works, UndoCopy), why
})

// BestUndo is the fastest way that works here, and why a faster one does not,
// or "". The first call tries them all on a small memory.
func BestUndo() (Undo, string) {
	works, why := probed()
	return works[0], why
}

// Undoes are the ways that work here, best first.
func Undoes() []Undo {
	works, _ := probed()
	return append([]Undo(nil), works...)
}

// probe undoes changes to a small memory and looks whether they are gone.
func probe(u Undo) (err error) {
	if err := prepare(u); err != nil {
		return err
	}
	const size = 4 * wasmPage
	image, err := NewImage(2*wasmPage, []Run{{0, bytes.Repeat([]byte{1}, wasmPage)}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	l, err := ReserveUndo(2*size, image, u)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Free()) }()
	if _, err := l.Grow(size); err != nil {
		return err
	}
	// A page of the image that was read, one that was changed, one of zeros that
	// was read, one that was changed.
	b := l.Bytes()
	if b[0] != 1 || b[size-1] != 0 {
		return errors.New("a new memory holds something else than its image")
	}
	b[wasmPage-1], b[2*wasmPage] = 2, 3
	if err := l.Keep(); err != nil {
		return err
	}
	want := bytes.Clone(b)
	for range 2 {
		for at := 0; at < size; at += wasmPage / 2 {
			b[at]++
		}
		grown, err := l.Grow(2 * size)
		if err != nil {
			return err
		}
		grown[2*size-1] = 4
		if err := l.Restore(); err != nil {
			return err
		}
		if !bytes.Equal(l.Bytes(), want) || grown[2*size-1] != 0 {
			return errors.New("changes were not undone")
		}
	}
	if l.undo != u {
		return errors.New("works only in part")
	}
	return nil
}
