package engine

import (
	"runtime"
	"testing"
	"time"
)

// The sandboxes in these tests are none: they must not stay parked until a pool frees them.

// TestPatience: who would have to wait long for a new sandbox waits longer for one that is being renewed.
func TestPatience(t *testing.T) {
	t.Parallel()
	for startup, want := range map[time.Duration]time.Duration{
		0:                      minPatience,
		time.Millisecond:       minPatience,
		300 * time.Millisecond: 300 * time.Millisecond,
		time.Hour:              maxPatience,
	} {
		p := newPool(Options{})
		p.restoring = 1
		p.took(startup)
		if got := time.Duration(p.patience.Load()); got != want {
			t.Errorf("start-up of %s: got %s, want %s", startup, got, want)
		}
	}
	p := newPool(Options{Idle: time.Hour})
	p.restoring = 1
	p.took(time.Minute)
	s := new(Sandbox)
	renewed := time.AfterFunc(100*time.Millisecond, func() { p.renewed(s) })
	defer renewed.Stop()
	if got := p.take(t.Context(), true); got != s {
		t.Error("a call did not wait for a sandbox that is being renewed")
	}
}

// TestPatienceWithUse: where a start-up is expensive, calls also wait for sandboxes that serve others, if they
// are enough to keep all processors busy.
func TestPatienceWithUse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		startup time.Duration
		inUse   int
		shares  bool
		waits   bool
	}{
		{"expensive, all busy", time.Minute, runtime.GOMAXPROCS(0), true, true},
		{"expensive, more than all busy", time.Minute, runtime.GOMAXPROCS(0) + 3, true, true},
		{"expensive, one processor free", time.Minute, runtime.GOMAXPROCS(0) - 1, true, false},
		{"expensive for each", time.Minute, runtime.GOMAXPROCS(0), false, false},
		{"cheap, all busy", time.Millisecond, runtime.GOMAXPROCS(0), true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPool(Options{Idle: time.Hour})
			p.took(test.startup)
			for range test.inUse + 1 { // and the one that asks
				if _, err := p.acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			s := new(Sandbox)
			time.AfterFunc(100*time.Millisecond, func() {
				if p.renewing() {
					p.renewed(s)
				}
			})
			want := s
			if !test.waits {
				want = nil
			}
			if got := p.take(t.Context(), test.shares); got != want {
				t.Errorf("got %p, want %p", got, want)
			}
		})
	}
}

// TestPatienceToLearn: as long as nobody knows what a start-up takes, calls wait to learn it; they don't wait on if
// it is little.
func TestPatienceToLearn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		learn func(p *pool)
	}{
		{"start-up", func(p *pool) { p.took(time.Millisecond) }},
		{"a longer start-up", func(p *pool) { p.took(20 * time.Millisecond) }},
		{"the end of the function", func(p *pool) { p.end() }},
		{"a call that reads nothing", func(p *pool) { p.ran(time.Millisecond) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPool(Options{Idle: time.Hour})
			for range runtime.GOMAXPROCS(0) + 1 {
				if _, err := p.acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			got := make(chan *Sandbox)
			go func() { got <- p.take(t.Context(), true) }()
			waitFor(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.awaiting) == 1 })
			start := time.Now()
			test.learn(p)
			if s := <-got; s != nil {
				t.Errorf("got a sandbox")
			}
			if waited := time.Since(start); waited > maxPatience/2 {
				t.Errorf("waited for another %s", waited)
			}
		})
	}
}

// TestPatienceWithProgress: a call does not lose patience while those before it get sandboxes.
func TestPatienceWithProgress(t *testing.T) {
	t.Parallel()
	p := newPool(Options{Idle: time.Hour})
	p.took(200 * time.Millisecond)
	const calls = 8
	for range runtime.GOMAXPROCS(0) + calls {
		if _, err := p.acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	got := make(chan *Sandbox, calls)
	for range calls {
		go func() { got <- p.take(t.Context(), true) }()
	}
	waitFor(t, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.awaiting) == calls })
	for i := range calls { // the last one waits for four times its patience
		time.Sleep(100 * time.Millisecond)
		if p.renewing() {
			p.renewed(new(Sandbox))
		}
		if s := <-got; s == nil {
			t.Fatalf("after %d others, a call lost patience", i)
		}
	}
	if p.take(t.Context(), true) != nil {
		t.Error("a call got a sandbox that there isn't")
	}
}
