package engine

import (
	"fmt"

	"github.com/tetratelabs/wazero/experimental"

	"github.com/gojinn/gojinn/engine/memory"
)

// linearMemory is a sandbox's linear memory as wazero wants it: an allocator
// that is used once, and what it allocated. It keeps the function's limit and
// the shared ceiling.
type linearMemory struct {
	budget  *Budget
	limit   uint64 // bytes
	sandbox *Sandbox

	mapped  *memory.Linear
	refused bool // the guest asked for more than its limit in this call
}

// Allocate implements [experimental.MemoryAllocator]. Addresses are reserved up
// to the function's limit, or the module's own maximum if that is lower.
func (l *linearMemory) Allocate(_, max uint64) experimental.LinearMemory {
	mapped, err := memory.Reserve(min(max, l.limit), nil)
	if err != nil {
		l.sandbox.finish(fmt.Errorf("%w: %w", ErrOverloaded, err))
	}
	l.mapped = mapped
	return l
}

// Reallocate implements [experimental.LinearMemory]. Beyond the function's own
// limit it answers nil, which the guest sees as memory.grow returning -1. If
// the shared ceiling or the operating system refuses, the call ends: it is not
// this guest's fault, and it could only misread it as its own.
func (l *linearMemory) Reallocate(size uint64) []byte {
	if size > l.limit {
		l.refused = true
		return nil
	}
	before := l.mapped.Size()
	more := int64(size) - int64(before)
	if err := l.budget.Reserve(more); err != nil {
		l.sandbox.finish(err)
	}
	bytes, err := l.mapped.Grow(size)
	if err != nil {
		l.budget.Release(more)
		l.sandbox.finish(fmt.Errorf("%w: %w", ErrOverloaded, err))
	}
	l.sandbox.function.memory.Add(more)
	return bytes
}

// Size is the number of bytes the guest has.
func (l *linearMemory) Size() uint64 {
	if l.mapped == nil {
		return 0
	}
	return l.mapped.Size()
}

// Free implements [experimental.LinearMemory]. Calling it again does nothing.
func (l *linearMemory) Free() {
	if l.mapped == nil {
		return
	}
	size := int64(l.mapped.Size())
	l.budget.Release(size)
	l.sandbox.function.memory.Add(-size)
	_ = l.mapped.Free() // an address range that was mapped can be unmapped
	l.mapped = nil
}
