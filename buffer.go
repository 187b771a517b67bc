package gojinn

import (
	"io"
	"slices"
	"sync"

	"github.com/gojinn/gojinn/engine"
)

const (
	firstBuffer = 4 << 10   // what a buffer begins with, in bytes
	maxSmall    = 256 << 10 // a larger one is kept for those that need as much
	maxPooled   = 8 << 20   // a larger one is left to the garbage collector
)

// buffers holds byte slices for reuse. The garbage collector empties it.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, firstBuffer); return &b }}

// largeBuffers holds those over maxSmall. No buffer begins with one: what it
// holds is reserved.
var largeBuffers sync.Pool

// buffer collects bytes in memory that is reserved in the budget all functions
// share, for as long as it is held. Not safe for concurrent use.
type buffer struct {
	bytes    []byte
	budget   *engine.Budget
	reserved int64
	err      error // why it could not grow
	pooled   *[]byte
}

// newBuffer returns an empty buffer. Free it.
func newBuffer(budget *engine.Budget) *buffer {
	p := buffers.Get().(*[]byte)
	return &buffer{bytes: (*p)[:0], budget: budget, pooled: p}
}

// free gives the memory back; what b.bytes showed must not be used any more.
// Calling it again does nothing.
func (b *buffer) free() {
	if b.pooled == nil {
		return
	}
	b.budget.Release(b.reserved)
	b.reserved = 0
	*b.pooled = b.bytes[:0]
	switch {
	case cap(b.bytes) <= maxSmall:
		buffers.Put(b.pooled)
	case cap(b.bytes) <= maxPooled:
		largeBuffers.Put(b.pooled)
	}
	b.bytes, b.pooled = nil, nil
}

// reserve makes sure that n more bytes fit. The error is [engine.ErrOverloaded].
func (b *buffer) reserve(n int) error {
	if b.err != nil {
		return b.err
	}
	size := int64(cap(b.bytes))
	if need := len(b.bytes) + n; need > cap(b.bytes) {
		size = int64(max(need, 2*cap(b.bytes)))
	}
	if size > b.reserved {
		if b.err = b.budget.Reserve(size - b.reserved); b.err != nil {
			return b.err
		}
		b.reserved = size
	}
	if int64(cap(b.bytes)) < size {
		b.grow(int(size))
	}
	return nil
}

// grow makes the capacity at least size. A large buffer comes from those that
// are kept, if the one at hand is large enough, and not four times too large.
func (b *buffer) grow(size int) {
	if size > maxSmall {
		if large, ok := largeBuffers.Get().(*[]byte); ok {
			more := int64(cap(*large) - size)
			if more >= 0 && more <= 3*int64(size) && b.budget.Reserve(more) == nil {
				b.reserved += more
				b.bytes = append((*large)[:0], b.bytes...)
				return
			}
		}
	}
	b.bytes = slices.Grow(b.bytes, size-len(b.bytes))
}

// Write appends p. It is where a guest's output arrives.
func (b *buffer) Write(p []byte) (int, error) {
	if err := b.reserve(len(p)); err != nil {
		return 0, err
	}
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

// readAll appends all that r yields. What is not there yet is not reserved:
// a client that promises much and sends little holds little.
func (b *buffer) readAll(r io.Reader) error {
	for {
		if err := b.reserve(1); err != nil {
			return err
		}
		n, err := r.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// append runs f, which appends to what it is given, and reserves what that took.
func (b *buffer) append(f func(dst []byte) []byte) error {
	b.bytes = f(b.bytes)
	return b.reserve(0)
}
