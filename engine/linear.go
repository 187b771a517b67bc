package engine

import (
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero/experimental"

	"github.com/gojinn/gojinn/engine/memory"
)

// linearMemory is a sandbox's linear memory as wazero wants it: an allocator
// that is used once, and what it allocated. It keeps the function's limit and
// the shared ceiling, and takes the memory back to an earlier state.
type linearMemory struct {
	budget  *Budget
	limit   uint64 // bytes
	sandbox *Sandbox

	mapped   *memory.Linear
	reserved int64 // of the budget, and counted as the function's
	refused  bool  // the guest asked for more than its limit in this call
	adopting bool  // wazero is to take the memory at the size it has
}

// Allocate implements [experimental.MemoryAllocator]. Addresses are reserved up
// to the function's limit, or the module's own maximum if that is lower.
func (l *linearMemory) Allocate(_, max uint64) experimental.LinearMemory {
	mapped, err := memory.ReserveUndo(min(max, l.limit), l.sandbox.code.image, undo)
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
	if l.adopting {
		return l.mapped.Bytes()
	}
	if size > l.limit {
		l.refused = true
		return nil
	}
	if err := l.charge(int64(size) + l.mapped.Kept()); err != nil {
		l.sandbox.finish(err)
	}
	bytes, err := l.mapped.Grow(size)
	if err != nil {
		_ = l.charge(int64(l.mapped.Size()) + l.mapped.Kept()) // less than before is never refused
		l.sandbox.finish(fmt.Errorf("%w: %w", ErrOverloaded, err))
	}
	return bytes
}

// charge sets how much of the budget the memory has.
func (l *linearMemory) charge(bytes int64) error {
	more := bytes - l.reserved
	if more > 0 {
		if err := l.budget.Reserve(more); err != nil {
			return err
		}
	} else {
		l.budget.Release(-more)
	}
	l.reserved = bytes
	l.sandbox.function.memory.Add(more)
	return nil
}

// keep makes the present contents what restore goes back to. The error is
// [ErrOverloaded]. With errCramped, memory is as it was and needs a reset; after any
// other it can't be used.
func (l *linearMemory) keep() error {
	if err := l.mapped.Keep(); err != nil {
		return fmt.Errorf("%w: %w", ErrOverloaded, err)
	}
	if err := l.charge(int64(l.mapped.Size()) + l.mapped.Kept()); err != nil {
		return fmt.Errorf("%w: %w", errCramped, err)
	}
	return nil
}

var errCramped = errors.New("no room to keep what a start-up has made")

// restore takes the memory back to when it was kept.
func (l *linearMemory) restore() error {
	if err := l.mapped.Restore(); err != nil {
		return err
	}
	return l.adopt()
}

// reset takes the memory back to when the module was instantiated.
func (l *linearMemory) reset() error {
	least := uint64(l.sandbox.code.report.Memory.Min) * pageSize
	if err := l.mapped.Reset(least); err != nil {
		return err
	}
	return l.adopt()
}

// adopt makes wazero take the memory at the size it has now. Its memories only
// grow, but it takes what the allocator gives it for the grown one. It can't be
// asked where the memory is as large as it may ever be.
func (l *linearMemory) adopt() error {
	_ = l.charge(int64(l.mapped.Size()) + l.mapped.Kept()) // less than before is never refused
	guest := l.sandbox.module.Memory()
	if uint64(guest.Size()) == l.mapped.Size() {
		return nil
	}
	l.adopting = true
	defer func() { l.adopting = false }()
	if _, ok := guest.Grow(1); !ok || uint64(guest.Size()) != l.mapped.Size() {
		return errNotAdopted
	}
	return nil
}

var errNotAdopted = errors.New("the memory is as large as it may ever be")

// bytes are all the bytes that the guest has.
func (l *linearMemory) bytes() []byte { return l.mapped.Bytes() }

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
	_ = l.mapped.Free() // an address range that was mapped can be unmapped
	l.mapped = nil
	_ = l.charge(0)
}

// undo is how memories are taken back.
var undo, undoReason = memory.BestUndo()
