package memory

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
)

const (
	// unwatched, of a page in Linear.idle: as far as we know it is as it should
	// be, and if a guest writes to it the kernel will tell.
	unwatched = 0
	// coolAfter is the number of restores in a row that have to find a page
	// unchanged before it is no longer watched. Until then it can be written to
	// without a page fault, and is compared at each restore.
	coolAfter = 64
	// maxOwn is how many bytes beyond what was kept a memory may hold, at most,
	// to spare the next request the page faults. What is above goes back.
	maxOwn = 4 << 20
	// maxSpare is how many bytes beyond its size a memory may have accessible
	// without anything done about it. Looking through them takes time at every
	// restore, even when nobody has written there for long.
	maxSpare = 16 << 20
)

var zeros [wasmPage]byte

func zeroPage() []byte { return zeros[:pageSize] }

// kept is what a memory goes back to: its size, and the pages in which it
// differs from the image.
type kept struct {
	size  uint64
	pages []uint32 // their numbers, ascending
	bytes []byte   // their contents, in the same order; may be longer; off the heap
	file  bool     // bytes are a file's and can't be written to
}

// at is the number of kept pages before page.
func (k *kept) at(page uint64) int {
	low, high := 0, len(k.pages)
	for low < high {
		middle := (low + high) / 2
		if uint64(k.pages[middle]) < page {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (k *kept) page(n int) []byte { return k.bytes[uint64(n)*pageSize:][:pageSize] }

// resize makes room for the contents of all pages.
func (k *kept) resize() error {
	need := uint64(len(k.pages)) * pageSize
	if have := uint64(len(k.bytes)); !k.file && need <= have && have <= 2*need {
		return nil
	}
	if err := k.release(); err != nil || need == 0 {
		return err
	}
	var err error
	k.bytes, err = allocate(need)
	return err
}

func (k *kept) release() error {
	if k.bytes == nil {
		return nil
	}
	b := k.bytes
	k.bytes, k.file = nil, false
	return release(b)
}

func (k *kept) free() error {
	k.pages = nil
	return k.release()
}

// pageRange is pages [from, to).
type pageRange struct{ from, to uint64 }

// search is what looking for changed pages takes, kept from one to the next: a
// restore allocates nothing.
type search struct {
	ranges [512]pageRange
	back   pageRange // pages to give back
	own    uint64    // pages that the memory may keep without being asked to
	kernel kernelSearch
}

// searches holds those that are not in use; the collector empties it.
var searches = sync.Pool{New: func() any { return new(search) }}

// Keep makes the present contents and size what Restore goes back to. What the
// guest may have written beyond its size is cleared. Calling it again replaces
// what was kept. After an error the memory must be freed.
func (l *Linear) Keep() error {
	s := searches.Get().(*search)
	defer searches.Put(s)
	s.own = 0
	if l.undo == UndoUserfault && !l.tracked {
		if err := l.track(); err != nil {
			l.undo = UndoPagemap
		}
		l.tracked = true
	}
	l.keeping = false
	if err := l.lift(true); err != nil {
		return fmt.Errorf("keeping: %w: %w", ErrNoMemory, err)
	}
	l.kept.size, l.kept.pages = l.size, l.kept.pages[:0]
	if err := l.each(s, true, l.compare); err != nil {
		return err
	}
	if err := l.store(); err != nil {
		return fmt.Errorf("keeping %d pages: %w: %w", len(l.kept.pages), ErrNoMemory, err)
	}
	l.protect(s)
	l.keeping, l.copied = true, 0
	return nil
}

// store keeps the contents of the pages that have to be.
func (l *Linear) store() error {
	if laid, err := l.lay(); laid || err != nil {
		return err
	}
	if err := l.kept.resize(); err != nil {
		return err
	}
	for n, p := range l.kept.pages {
		copy(l.kept.page(n), l.page(uint64(p)))
	}
	return nil
}

// Restore makes contents and size exactly what they were at Keep, without which
// it is an error. After an error the memory must be freed.
func (l *Linear) Restore() error {
	if !l.keeping {
		return errors.New("restoring a memory of which nothing was kept")
	}
	l.shed(l.kept.size)
	if err := l.revertAll(false); err != nil {
		return err
	}
	l.size = l.kept.size
	return nil
}

// Reset makes the contents what they are after Reserve and Grow(size), and
// forgets what was kept. After an error the memory must be freed.
func (l *Linear) Reset(size uint64) error {
	if size%wasmPage != 0 || size > uint64(len(l.reserved)) {
		return fmt.Errorf("resetting to %d bytes: not whole pages of 64 KiB up to the %d reserved", size, len(l.reserved))
	}
	// Pages that were kept may be protected, as they should be then but not now.
	all := len(l.kept.pages) > 0
	l.keeping = false
	if err := l.lift(false); err != nil {
		return fmt.Errorf("resetting: %w: %w", ErrNoMemory, err)
	}
	l.kept.pages = l.kept.pages[:0]
	l.shed(size)
	if err := l.revertAll(all); err != nil {
		return err
	}
	l.size = 0
	_, err := l.Grow(size)
	return err
}

// Kept is the number of bytes that Keep holds: of the pages that differ from
// the image.
func (l *Linear) Kept() int64 { return int64(len(l.kept.pages)) * int64(pageSize) }

// Copied is the number of pages that the last Restore, or Reset, copied or
// cleared.
func (l *Linear) Copied() int { return l.copied }

// page is page number p.
func (l *Linear) page(p uint64) []byte { return l.reserved[p*pageSize:][:pageSize] }

// each calls visit for all pages that may have changed: since they were last
// found to be as they should, or, with all, since the memory was reserved. If
// the kernel stops answering, it goes on in the next way that there is.
func (l *Linear) each(s *search, all bool, visit func(*search, pageRange)) error {
	s.back = pageRange{}
	end := l.committed / pageSize
	for at := uint64(0); at < end; {
		ranges, next, err := l.changed(s, pageRange{at, end}, all)
		if err != nil {
			if l.undo == UndoCopy {
				return fmt.Errorf("looking for changed pages: %w", err)
			}
			l.undo--
			continue
		}
		for _, r := range ranges {
			visit(s, r)
		}
		at = next
	}
	l.giveBack(s)
	return nil
}

// changed is some of the pages of within that may have changed, and where to go
// on.
func (l *Linear) changed(s *search, within pageRange, all bool) (ranges []pageRange, next uint64, err error) {
	if l.undo == UndoCopy {
		s.ranges[0] = within
		return s.ranges[:1], within.to, nil
	}
	return l.ask(s, within, all)
}

// compare finds out which pages have to be kept, and returns others to what the
// image says.
func (l *Linear) compare(s *search, r pageRange) {
	for p := r.from; p < r.to; p++ {
		want, _ := l.image.page(p * pageSize)
		if want == nil {
			want = zeroPage()
		}
		if p*pageSize < l.size && !bytes.Equal(l.page(p), want) {
			l.kept.pages = append(l.kept.pages, uint32(p))
			l.idle[p] = unwatched
			continue
		}
		l.revertToImage(s, p)
	}
}

// shed makes what lies beyond size as if it had never been accessible, if that is
// much more than a memory of that size should have.
func (l *Linear) shed(size uint64) {
	if l.committed <= size+maxSpare {
		return
	}
	from := size + maxOwn
	if giveBack(l.reserved[from:l.committed]) != nil {
		return // it will be looked through
	}
	l.committed = from
	l.idle = l.idle[:from/pageSize]
}

func (l *Linear) revertAll(all bool) error {
	s := searches.Get().(*search)
	defer searches.Put(s)
	s.own = maxOwn / pageSize
	l.copied = 0
	return l.each(s, all, l.revertRange)
}

func (l *Linear) revertRange(s *search, r pageRange) {
	n := l.kept.at(r.from)
	for p := r.from; p < r.to; p++ {
		if n < len(l.kept.pages) && uint64(l.kept.pages[n]) == p {
			l.revert(s, p, l.kept.page(n), !l.overlaid(p))
			n++
		} else {
			l.revertToImage(s, p)
		}
	}
}

func (l *Linear) revertToImage(s *search, p uint64) {
	want, copied := l.image.page(p * pageSize)
	if want == nil {
		want = zeroPage()
	}
	l.revert(s, p, want, copied)
}

// revert makes page p what it should be. If it is fixed, giving it back would
// make it something else.
//
// Pages in which there was something to undo are left as they are, the memory's
// own and writable, because most guests write to the same pages in each
// request: no page fault then, a comparison here. When they have been idle for
// long they are given back, or protected again.
func (l *Linear) revert(s *search, p uint64, want []byte, fixed bool) {
	have := l.page(p)
	changed := !bytes.Equal(have, want)
	switch {
	case changed:
		l.copied++
		l.idle[p] = 1
	case l.idle[p] != unwatched:
		l.idle[p]++
	case l.undo == UndoCopy:
		return // nobody says that it was ever written to
	default:
		l.idle[p] = 1
	}
	if !fixed {
		if s.own == 0 || l.idle[p] > coolAfter {
			l.idle[p] = unwatched
			l.giveBackLater(s, p)
			return
		}
		s.own--
	}
	if changed {
		copy(have, want)
	}
	if l.idle[p] > coolAfter {
		l.idle[p] = unwatched
		l.protectPage(p)
	}
}

// giveBackLater adds page p to those to give back, in as few calls as possible.
func (l *Linear) giveBackLater(s *search, p uint64) {
	if s.back.to != p {
		l.giveBack(s)
		s.back = pageRange{p, p}
	}
	s.back.to++
}

// giveBack makes pages that are not kept what the image says, and the system's.
func (l *Linear) giveBack(s *search) {
	r := s.back
	s.back = pageRange{}
	if r.from == r.to || giveBack(l.reserved[r.from*pageSize:r.to*pageSize]) == nil {
		return
	}
	// Locked memory can't be given back.
	for p := r.from; p < r.to; p++ {
		want, _ := l.image.page(p * pageSize)
		if n := l.kept.at(p); n < len(l.kept.pages) && uint64(l.kept.pages[n]) == p {
			want = l.kept.page(n)
		} else if want == nil {
			want = zeroPage()
		}
		copy(l.page(p), want)
	}
}
