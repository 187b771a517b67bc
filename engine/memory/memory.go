// Package memory holds the linear memory of sandboxes off the Go heap: guest
// memory neither feeds the garbage collector nor moves when it grows, and
// freed memory goes back to the operating system at once.
package memory

import (
	"errors"
	"fmt"
)

// MaxSize is the largest linear memory there is: 65,536 pages of 64 KiB.
const MaxSize = 1 << 32

// ErrNoMemory says that the operating system gave no (more) memory.
var ErrNoMemory = errors.New("the operating system refused memory")

// Linear is one linear memory: a range of addresses reserved once, of which a
// growing part, from the start, is accessible and zero until written to. Not
// safe for concurrent use.
type Linear struct {
	reserved []byte // the whole range; nil after Free
	size     uint64 // accessible bytes
}

// Reserve reserves max bytes of addresses, none accessible yet. Free must be
// called. max is rounded up to whole pages of the operating system.
func Reserve(max uint64) (*Linear, error) {
	if max > MaxSize {
		return nil, fmt.Errorf("reserving %d bytes: a linear memory has at most %d", max, uint64(MaxSize))
	}
	if max == 0 {
		return &Linear{}, nil
	}
	reserved, err := reserve(max)
	if err != nil {
		return nil, fmt.Errorf("reserving %d bytes: %w: %w", max, ErrNoMemory, err)
	}
	return &Linear{reserved: reserved}, nil
}

// Grow makes the first size bytes accessible and returns them; bytes that were
// accessible before keep their contents and address. A size below the present
// one changes nothing but the length returned. A size above the reservation is
// an error.
func (l *Linear) Grow(size uint64) ([]byte, error) {
	if size > uint64(len(l.reserved)) {
		return nil, fmt.Errorf("growing to %d bytes: %d are reserved", size, len(l.reserved))
	}
	if size > l.size {
		if err := commit(l.reserved, l.size, size); err != nil {
			return nil, fmt.Errorf("growing to %d bytes: %w: %w", size, ErrNoMemory, err)
		}
		l.size = size
	}
	return l.reserved[:size:size], nil
}

// Size is the number of accessible bytes.
func (l *Linear) Size() uint64 { return l.size }

// Free gives everything back. No slice that Grow returned may be used after
// it. Calling it again does nothing.
func (l *Linear) Free() error {
	if l.reserved == nil {
		return nil
	}
	reserved := l.reserved
	l.reserved, l.size = nil, 0
	return release(reserved)
}
