package engine

import (
	"testing"
	"time"
)

// TestPatience: who would have to wait long for a new sandbox waits longer for one that is being renewed.
func TestPatience(t *testing.T) {
	t.Parallel()
	for startup, want := range map[time.Duration]time.Duration{
		0:                      minPatience,
		time.Millisecond:       minPatience,
		300 * time.Millisecond: 150 * time.Millisecond,
		time.Hour:              maxPatience,
	} {
		p := newPool(Options{})
		p.restoring = 1
		p.took(startup)
		if got := time.Duration(p.patience.Load()); got != want {
			t.Errorf("start-up of %s: got %s, want %s", startup, got, want)
		}
	}
	p := newPool(Options{Idle: time.Minute})
	p.restoring = 1
	p.took(time.Minute)
	s := new(Sandbox)
	renewed := time.AfterFunc(100*time.Millisecond, func() { p.renewed(s) })
	defer renewed.Stop()
	if got := p.take(t.Context()); got != s {
		t.Error("a call did not wait for a sandbox that is being renewed")
	}
}
