package engine

import (
	"fmt"
	"sync/atomic"
)

// Budget is a ceiling in bytes that many calls share: linear memory, and the
// request and response bodies held for them. It counts what was granted, not
// what the operating system has made resident, so that a promise once given
// can be kept. Safe for concurrent use. The zero value has no ceiling.
type Budget struct {
	limit   int64 // 0: none
	used    atomic.Int64
	reclaim func(n int64) bool // frees n bytes that are kept for later, if there are as many; true if it freed any. nil: nothing is kept
}

// NewBudget returns a budget of limit bytes; 0 means no ceiling.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Reserve takes n bytes or, when fewer are left, none of them and returns an
// error that is [ErrOverloaded].
func (b *Budget) Reserve(n int64) error {
	for {
		used := b.used.Load()
		if more := n - (b.limit - used); b.limit > 0 && more > 0 {
			if b.reclaim != nil && b.reclaim(more) {
				continue
			}
			return fmt.Errorf("%w: %d of %d bytes shared by all functions are in use, %d more were needed",
				ErrOverloaded, used, b.limit, n)
		}
		if b.used.CompareAndSwap(used, used+n) {
			return nil
		}
	}
}

// Take takes n bytes whatever the ceiling: what is in use already.
func (b *Budget) Take(n int64) { b.used.Add(n) }

// Release gives back n bytes that Reserve had granted.
func (b *Budget) Release(n int64) { b.used.Add(-n) }

// Used is the number of bytes granted at this moment.
func (b *Budget) Used() int64 { return b.used.Load() }

// Limit is the ceiling in bytes, 0 for none.
func (b *Budget) Limit() int64 { return b.limit }
