package engine

import (
	"context"
	"sync"
	"time"
)

// lifetime is the context of what one call does: it ends when the caller has
// gone, at the deadline, when the function is closed, or with the call. The
// timer that this takes is made when somebody first waits, which few calls do.
type lifetime struct {
	startup  *startup        // of the process that the call runs in; nil: nobody asks
	parent   context.Context // the caller's
	deadline time.Time       // zero: none
	closing  context.Context // the function's, which may be closed under its calls; nil: never
	budget   *Budget         // see [BudgetOf]
	watch    func(Refusal)   // see [Refused]; nil: nobody does

	mu     sync.Mutex
	waited context.Context // what ends at all that; nil: nobody has waited
	cancel context.CancelFunc
	over   bool
}

// end ends the call's life, and whatever still waits.
func (l *lifetime) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.over = true
	if l.cancel != nil {
		l.cancel()
	}
}

// wait returns the context to wait with.
func (l *lifetime) wait() context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waited == nil {
		l.start()
	}
	return l.waited
}

func (l *lifetime) start() {
	var cancel context.CancelFunc
	if l.deadline.IsZero() {
		l.waited, cancel = context.WithCancel(l.parent)
	} else {
		l.waited, cancel = context.WithDeadline(l.parent, l.deadline)
	}
	l.cancel = cancel
	if l.closing != nil {
		stop := context.AfterFunc(l.closing, cancel)
		l.cancel = func() { stop(); cancel() }
	}
	if l.over {
		l.cancel()
	}
}

// Deadline implements [context.Context].
func (l *lifetime) Deadline() (time.Time, bool) { return l.wait().Deadline() }

// Done implements [context.Context].
func (l *lifetime) Done() <-chan struct{} { return l.wait().Done() }

// Err implements [context.Context].
func (l *lifetime) Err() error { return l.wait().Err() }

// Value implements [context.Context]. Contexts made from this one find the one
// to wait with.
func (l *lifetime) Value(key any) any {
	switch key.(type) {
	case budgetKey:
		return l.budget
	case watchKey:
		return l.watch
	}
	return l.wait().Value(key)
}
