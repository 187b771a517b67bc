package audit

import (
	"cmp"
	"slices"
	"strings"
	"sync"

	"github.com/gojinn/gojinn/engine"
)

// Record is what a function was refused, each thing once. Safe for concurrent use.
type Record struct {
	// New, if set, is called with what is refused for the first time, and Full when something is
	// not recorded since there is too much already, once. Both may be called from several
	// goroutines at a time.
	New  func(engine.Refusal)
	Full func()

	mu   sync.Mutex
	seen map[engine.Refusal]struct{}
	full bool
}

const (
	// MaxRefusals is how many things a Record keeps.
	MaxRefusals = 1000
	// maxText is how much is kept of what a guest asked for, in bytes, and maxHow of how.
	maxText = 512
	maxHow  = 64
)

// Add records a refusal. Guests choose what it says, so what is too long is cut.
func (r *Record) Add(refusal engine.Refusal) {
	kept := engine.Refusal{Kind: cut(refusal.Kind, maxHow), What: cut(refusal.What, maxText), How: cut(refusal.How, maxHow)}
	news, full := r.add(kept)
	if news && r.New != nil {
		r.New(kept)
	}
	if full && r.Full != nil {
		r.Full()
	}
}

func (r *Record) add(kept engine.Refusal) (news, full bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.seen[kept]; known {
		return false, false
	}
	if len(r.seen) == MaxRefusals {
		full, r.full = !r.full, true
		return false, full
	}
	if r.seen == nil {
		r.seen = make(map[engine.Refusal]struct{})
	}
	// They may be parts of longer texts.
	kept.Kind, kept.What, kept.How = strings.Clone(kept.Kind), strings.Clone(kept.What), strings.Clone(kept.How)
	r.seen[kept] = struct{}{}
	return true, false
}

func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}

// Refusals returns what has been recorded, sorted, and whether there was more.
func (r *Record) Refusals() (all []engine.Refusal, more bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for refusal := range r.seen {
		all = append(all, refusal)
	}
	slices.SortFunc(all, func(a, b engine.Refusal) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.What, b.What), cmp.Compare(a.How, b.How))
	})
	return all, r.full
}
