package tmp

import (
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

// space counts what a tree takes, against its own limit and, in larger pieces, against what
// all functions share.
type space struct {
	limit    int64
	used     int64
	reserved int64 // of the budget; at least used
	budget   *engine.Budget
}

// chunk is how much is reserved at once: the budget is shared by all processors.
const chunk = 16 << 10

// take is ENOSPC if there are no n bytes left, be it here or for everybody: a program knows what a
// full disk is, and what it does about it doesn't differ.
func (s *space) take(n int64) error {
	if n > s.limit-s.used {
		return vfs.ENOSPC
	}
	if short := s.used + n - s.reserved; short > 0 {
		more := min((short+chunk-1)/chunk*chunk, s.limit-s.reserved)
		if err := s.budget.Reserve(more); err != nil {
			if more = short; s.budget.Reserve(more) != nil {
				return vfs.ENOSPC
			}
		}
		s.reserved += more
	}
	s.used += n
	return nil
}

// give gives back n bytes. Some stay reserved for the next to come.
func (s *space) give(n int64) {
	s.used -= n
	if spare := s.reserved - s.used; spare >= 4*chunk {
		s.budget.Release(spare - chunk)
		s.reserved = s.used + chunk
	}
}

// close gives back everything.
func (s *space) close() {
	s.budget.Release(s.reserved)
	*s = space{budget: s.budget}
}
