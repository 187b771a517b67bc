// Package memory holds the linear memory of sandboxes off the Go heap: guest
// memory neither feeds the garbage collector nor moves when it grows, and
// freed memory goes back to the operating system at once. What a memory starts
// with is an [Image] that all memories of a program share, and what a guest did
// to its memory can be undone ([Linear.Restore]) in the time it takes to find
// the pages that changed and to copy them back; [Undo] says how they are found.
package memory

import (
	"errors"
	"fmt"
	"os"
)

const (
	// MaxSize is the largest linear memory there is: 65,536 pages of 64 KiB.
	MaxSize = 1 << 32

	// wasmPage is what the size of a linear memory is a multiple of. It is also
	// the largest page an operating system that Go runs on has, so that sizes
	// are whole pages of both.
	wasmPage = 1 << 16
)

// ErrNoMemory says that the operating system gave no (more) memory.
var ErrNoMemory = errors.New("the operating system refused memory")

// pageSize is the operating system's, in bytes.
var pageSize = uint64(os.Getpagesize())

// Linear is one linear memory: a range of addresses reserved once, of which a
// growing part, from the start, is accessible, and holds the image and zeros
// until written to. Not safe for concurrent use; any number of them can be used
// at once.
type Linear struct {
	reserved  []byte // the whole range; nil after Free
	size      uint64 // bytes the guest has
	committed uint64 // bytes accessible: the most size has been, but for what was shed
	image     *Image // nil if all is zero
	undo      Undo
	tracked   bool // the kernel was asked to tell of writes to this range
	protected bool // all pages but new, changed and watched ones are protected

	kept     kept
	keeping  bool
	overlays []overlay // stretches of kept pages that are mapped; ascending

	// idle counts, for each page up to committed that is watched (see revert),
	// from 1, the restores since there was something to undo in it.
	idle   []uint8
	copied int
}

// Reserve reserves max bytes of addresses, none accessible yet, for a memory
// that starts with image; nil is all zero. Of an image larger than max the rest
// is never seen. Free must be called. max is rounded up to whole pages of the
// operating system. What the guest does is undone in the best way there is
// here, [BestUndo].
func Reserve(max uint64, image *Image) (*Linear, error) {
	best, _ := BestUndo()
	return ReserveUndo(max, image, best)
}

// ReserveUndo is [Reserve] with a given way of undoing, for tests and
// benchmarks. If that way fails for this memory, now or later, the memory falls
// back to the next, which does the same more slowly.
func ReserveUndo(max uint64, image *Image, undo Undo) (*Linear, error) {
	if max > MaxSize {
		return nil, fmt.Errorf("reserving %d bytes: a linear memory has at most %d", max, uint64(MaxSize))
	}
	l := &Linear{image: image, undo: undo}
	if max == 0 {
		return l, nil
	}
	reserved, err := reserve((max+pageSize-1)/pageSize*pageSize, image)
	if err != nil {
		return nil, fmt.Errorf("reserving %d bytes: %w: %w", max, ErrNoMemory, err)
	}
	l.reserved = reserved
	return l, nil
}

// Grow makes the first size bytes accessible and returns them; bytes that were
// accessible before keep their contents and address, the others hold the image
// and zeros. A size below the present one changes nothing but the length
// returned. A size that is not a multiple of 64 KiB or is above the reservation
// is an error.
func (l *Linear) Grow(size uint64) ([]byte, error) {
	if size%wasmPage != 0 {
		return nil, fmt.Errorf("growing to %d bytes: not whole pages of 64 KiB", size)
	}
	if size > uint64(len(l.reserved)) {
		return nil, fmt.Errorf("growing to %d bytes: %d are reserved", size, len(l.reserved))
	}
	if size > l.committed {
		if err := commit(l.reserved, l.committed, size); err != nil {
			return nil, fmt.Errorf("growing to %d bytes: %w: %w", size, ErrNoMemory, err)
		}
		l.image.copyTo(l.reserved, l.committed, size)
		l.idle = append(l.idle, make([]uint8, (size-l.committed)/pageSize)...)
		l.committed = size
	}
	l.size = max(l.size, size)
	return l.reserved[:size:size], nil
}

// Bytes is the accessible memory, [Linear.Size] long; nil if there is none.
func (l *Linear) Bytes() []byte {
	if l.size == 0 {
		return nil
	}
	return l.reserved[:l.size:l.size]
}

// Size is the number of accessible bytes.
func (l *Linear) Size() uint64 { return l.size }

// Undo is the way in which changes are found now: what the memory was reserved
// with, or what it had to fall back to.
func (l *Linear) Undo() Undo { return l.undo }

// Free gives everything back. No slice of the memory may be used after it.
// Calling it again does nothing.
func (l *Linear) Free() error {
	err := l.kept.free()
	reserved := l.reserved
	*l = Linear{undo: l.undo}
	if reserved == nil {
		return err
	}
	return errors.Join(err, release(reserved))
}
