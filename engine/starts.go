package engine

import (
	"errors"
	"sync"
	"time"
)

// starts is what a function has learned of how its program starts. Safe for
// concurrent use.
type starts struct {
	tell func(kind, why string) // nil: nobody wants to know

	mu        sync.Mutex
	kind, why string        // of its sandboxes, as last settled; empty: not yet
	told      string        // the kind that was told last
	tellings  int           // how often one was
	quiet     time.Time     // until then, none is
	onlyLate  bool          // it must not be started ahead of its calls
	retry     time.Time     // not before this
	backoff   time.Duration // since the last failure
	called    bool          // that was one with a call
	noRoom    time.Time     // until then, nothing is kept of a start-up
}

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 30 * time.Second
	// maxTellings is how many changes are told at once. A program that starts in
	// another way every time would fill a log otherwise: after these, one is told
	// in maxBackoff.
	maxTellings = 4
)

// late tells whether the program is to be started only with a call: because it
// has to be, or because it has failed ahead of one just now.
func (s *starts) late() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.onlyLate || time.Now().Before(s.retry)
}

// isOnlyLate tells whether the program must not be started ahead of its calls.
func (s *starts) isOnlyLate() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.onlyLate
}

// settled notes what sandboxes go back to after a call, and why.
func (s *starts) settled(kind, why string) {
	s.mu.Lock()
	s.kind, s.why = kind, why
	tell := s.told != kind && !time.Now().Before(s.quiet)
	if tell {
		s.told = kind
		if s.tellings++; s.tellings >= maxTellings {
			s.quiet = time.Now().Add(maxBackoff)
		}
	}
	s.mu.Unlock()
	if tell && s.tell != nil {
		s.tell(kind, why)
	}
}

// is returns what was last settled.
func (s *starts) is() (kind, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kind, s.why
}

// succeeded notes a start that came to its first read.
func (s *starts) succeeded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backoff, s.retry = 0, time.Time{}
}

// cramped notes that there was no room to keep what a start-up had made.
func (s *starts) cramped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noRoom = time.Now().Add(maxBackoff)
}

func (s *starts) isCramped() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Before(s.noRoom)
}

// unread notes a call that ended before it read, as a start ahead of a call would: it
// is not tried for a while.
func (s *starts) unread() {
	s.mu.Lock()
	s.retry = time.Now().Add(maxBackoff)
	s.mu.Unlock()
	s.settled(StartLate, "it ended without reading its standard input")
}

// failedCalled notes a call whose program ended with an error before it read. Its start-up may be better
// the next time: what it reads may be put right.
func (s *starts) failedCalled(err error) {
	s.failed(err)
	s.mu.Lock()
	s.called = true
	s.mu.Unlock()
}

// readAgain notes a call whose program has read. If others failed before they did, it can be
// started ahead again.
func (s *starts) readAgain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.called {
		s.called, s.backoff, s.retry = false, 0, time.Time{}
	}
}

// failed notes a start ahead of a call that did not come to its first read. What the
// program can't help is no reason not to try again.
func (s *starts) failed(err error) {
	if errors.Is(err, ErrCanceled) || errors.Is(err, ErrOverloaded) {
		return
	}
	var effect *effectError
	s.mu.Lock()
	if errors.As(err, &effect) {
		s.onlyLate = true
	} else {
		s.called = false
		s.backoff = min(max(2*s.backoff, minBackoff), maxBackoff)
		s.retry = time.Now().Add(s.backoff)
	}
	s.mu.Unlock()
	s.settled(StartLate, "its start-up can't run ahead of a call: "+err.Error())
}
