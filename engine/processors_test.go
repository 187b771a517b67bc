package engine

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// allGivenBack checks that nobody has a processor or waits for one.
func allGivenBack(t testing.TB, p *processors) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	taken := 0
	for i := range p.seats {
		if p.seats[i].claim.Load() != nil {
			taken++
		}
	}
	if free := p.free.Load(); free != int64(len(p.seats)) || taken != 0 || len(p.lines) != 0 || p.spare != 0 || p.called != 0 {
		t.Errorf("of %d processors %d are free, %d taken and %d to spare; %d functions wait, %d claims have been called",
			len(p.seats), free, taken, p.spare, len(p.lines), p.called)
	}
}

func newClaim(p *processors, l *line) *claim { return &claim{processors: p, line: l} }

// joined starts a goroutine that takes a processor, tells its name and gives it back, and waits
// until it stands in line.
func joined(t *testing.T, c *claim, all *sync.WaitGroup, tell func()) {
	t.Helper()
	p := c.processors
	before := p.free.Load()
	all.Go(func() {
		if !c.take(t.Context(), t.Context(), time.Time{}) {
			t.Error("it got no processor")
			return
		}
		tell()
		c.give()
	})
	waitFor(t, func() bool { return p.free.Load() == before-1 })
}

// TestProcessorsGoToWhoUsedLeast: between functions the least use counts, within one
// who came first.
func TestProcessorsGoToWhoUsedLeast(t *testing.T) {
	t.Parallel()
	p := newProcessors(1)
	first := newClaim(p, new(line))
	if !first.take(t.Context(), t.Context(), time.Time{}) {
		t.Fatal("there is no processor")
	}
	var got []string
	var all sync.WaitGroup
	lines := map[string]*line{"a": {used: 5 * time.Hour}, "b": {used: 3 * time.Hour}, "c": {used: 4 * time.Hour}}
	for _, name := range []string{"a1", "a2", "b1", "a3", "c1", "c2"} {
		joined(t, newClaim(p, lines[name[:1]]), &all, func() { got = append(got, name) })
	}
	first.give()
	all.Wait()
	if want := []string{"b1", "c1", "c2", "a1", "a2", "a3"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	allGivenBack(t, p)
}

// TestNobodySavesUpTime: who has been idle is not served for all the time that others
// have used meanwhile.
func TestNobodySavesUpTime(t *testing.T) {
	t.Parallel()
	p := newProcessors(1)
	holder, busy, idle := newClaim(p, new(line)), &line{used: time.Hour}, new(line)
	holder.take(t.Context(), t.Context(), time.Time{})
	var all sync.WaitGroup
	joined(t, newClaim(p, busy), &all, func() {
		// It is served now, and another of its function will be.
		joined(t, newClaim(p, busy), &all, func() {})
		joined(t, newClaim(p, idle), &all, func() {})
	})
	holder.give()
	all.Wait()
	if idle.used < time.Hour {
		t.Errorf("got %s used by who was idle, want no less than the other's hour", idle.used)
	}
	allGivenBack(t, p)
}

// TestSharesAreEqual: a function with one guest gets about as much as one with many.
func TestSharesAreEqual(t *testing.T) {
	t.Parallel()
	p := newProcessors(1)
	ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
	defer cancel()
	var used [2]atomic.Int64
	var all sync.WaitGroup
	for i, guests := range []int{1, 64} {
		l := new(line)
		for range guests {
			all.Go(func() {
				c := newClaim(p, l)
				defer c.give()
				for ok := c.take(ctx, t.Context(), time.Time{}); ok; ok = c.rotate(ctx, t.Context(), time.Time{}) {
					start := time.Now()
					for time.Since(start) < 50*time.Microsecond {
					}
					used[i].Add(1)
					if ctx.Err() != nil {
						return
					}
				}
			})
		}
	}
	all.Wait()
	if one, many := used[0].Load(), used[1].Load(); one < many/4 || many < one/4 {
		t.Errorf("one guest got %d pieces of time, 64 of another function %d", one, many)
	}
	allGivenBack(t, p)
}

// TestDebtsAreBounded: who has used far more than the others, which may have been the
// system's fault, is served after a while, however many others wait.
func TestDebtsAreBounded(t *testing.T) {
	t.Parallel()
	p := newProcessors(1)
	ctx, stop := context.WithCancel(t.Context())
	busy := new(line)
	var others, all sync.WaitGroup
	for range 4 {
		others.Go(func() {
			c := newClaim(p, busy)
			defer c.give()
			for ok := c.take(ctx, ctx, time.Time{}); ok && ctx.Err() == nil; ok = c.rotate(ctx, ctx, time.Time{}) {
				time.Sleep(100 * time.Microsecond)
			}
		})
	}
	waitFor(t, func() bool { return p.free.Load() == -3 })
	served := make(chan struct{})
	all.Go(func() {
		c := newClaim(p, &line{used: 24 * time.Hour})
		if c.take(t.Context(), t.Context(), time.Time{}) {
			close(served)
		}
		c.give()
	})
	select {
	case <-served:
	case <-time.After(20 * time.Second):
		t.Error("it was not served")
	}
	stop()
	others.Wait()
	all.Wait()
	allGivenBack(t, p)
}

// TestWaitingForAProcessorEnds with the caller, the function or the deadline, and
// costs those behind nothing.
func TestWaitingForAProcessorEnds(t *testing.T) {
	t.Parallel()
	p := newProcessors(1)
	holder, l := newClaim(p, new(line)), new(line)
	holder.take(t.Context(), t.Context(), time.Time{})
	ended, end := context.WithCancel(t.Context())
	var all sync.WaitGroup
	expired := make(chan struct{})
	for name, wait := range map[string]func(*claim) bool{
		"caller":   func(c *claim) bool { return c.take(ended, t.Context(), time.Time{}) },
		"function": func(c *claim) bool { return c.take(t.Context(), ended, time.Time{}) },
		"deadline": func(c *claim) bool {
			defer close(expired)
			return c.take(t.Context(), t.Context(), time.Now().Add(20*time.Millisecond))
		},
	} {
		all.Go(func() {
			if wait(newClaim(p, l)) {
				t.Errorf("%s: it got a processor that somebody has", name)
			}
		})
	}
	<-expired
	waitFor(t, func() bool { return p.free.Load() == -2 })
	var last sync.WaitGroup
	joined(t, newClaim(p, l), &last, func() {})
	end()
	all.Wait()
	holder.give()
	last.Wait()
	allGivenBack(t, p)
}

// TestLentProcessors are taken from who doesn't come back.
func TestLentProcessors(t *testing.T) {
	t.Parallel()
	p := newProcessors(1)
	lender, other := newClaim(p, new(line)), newClaim(p, new(line))
	take := func(c *claim) {
		t.Helper()
		if !c.take(t.Context(), t.Context(), time.Time{}) {
			t.Fatal("it got no processor")
		}
	}
	take(lender)
	lender.lend()
	if !lender.back() {
		t.Error("a processor was taken away that nobody waited for")
	}
	lender.lend()
	take(other)
	if lender.back() {
		t.Error("two have the same processor")
	}
	other.give()
	take(lender)
	lender.lend()
	lender.give()
	lender.give()
	allGivenBack(t, p)
}

// TestProcessorsHammer has many guests of some functions do everything there is, at once.
func TestProcessorsHammer(t *testing.T) {
	t.Parallel()
	const processors = 3
	p := newProcessors(processors)
	rounds := 3000
	if raceDetector || testing.Short() {
		rounds = 600
	}
	var computing, most atomic.Int64
	compute := func() {
		n := computing.Add(1)
		if n > most.Load() {
			most.Store(n)
		}
		for range rand.N(2000) {
		}
		computing.Add(-1)
	}
	var all sync.WaitGroup
	for range 4 {
		l := new(line)
		for range 8 {
			all.Go(func() {
				c := newClaim(p, l)
				for range rounds {
					ctx, cancel := context.WithTimeout(t.Context(), rand.N(time.Millisecond))
					deadline := time.Time{}
					if rand.N(2) == 0 {
						deadline = time.Now().Add(rand.N(time.Millisecond))
					}
					ok := c.take(ctx, t.Context(), deadline)
					for ok && rand.N(4) > 0 {
						compute()
						switch rand.N(3) {
						case 0:
							c.lend()
							if rand.N(100) == 0 {
								time.Sleep(rand.N(3 * time.Millisecond))
							}
							ok = c.take(ctx, t.Context(), deadline)
						case 1:
							ok = c.rotate(ctx, t.Context(), deadline)
						}
					}
					if rand.N(2) == 0 {
						c.lend()
					}
					c.give()
					cancel()
				}
			})
		}
	}
	all.Wait()
	if most.Load() > processors {
		t.Errorf("%d guests computed at once on %d processors", most.Load(), processors)
	}
	allGivenBack(t, p)
	waitFor(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.watching
	})
}

// engineOf returns an engine with that many processors.
func engineOf(t testing.TB, n int) *Engine {
	e := newTestEngine(t, Config{})
	e.processors = newProcessors(n)
	return e
}

// computer reads a byte, counts up to turns in memory and writes the byte.
func computer(turns int32, before ...any) []byte {
	g := newGuest(1)
	loop := code(0x03, 0x40, c32(32), c32(32), 0x28, 2, 0, c32(1), 0x6a, 0x36, 2, 0, c32(32), 0x28, 2, 0, c32(turns), 0x47, 0x0d, 0, 0x0b)
	g.Main(code(code(before...), g.io(g.read, 0, 1), loop, g.io(g.write, 1, 1))...)
	return g.Bytes()
}

// callsWithin counts the calls that one caller gets done in a while.
func callsWithin(t *testing.T, f *Function, d time.Duration) (n int) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
		var out strings.Builder
		if _, err := f.Run(t.Context(), strings.NewReader("?"), &out, io.Discard); err != nil || out.String() != "?" {
			t.Fatalf("got %q, %v", out.String(), err)
		}
	}
	return n
}

// TestFunctionsShareProcessors: beside one that takes all it can get, a function with one
// call at a time gets its share. bench/fairness has figures.
func TestFunctionsShareProcessors(t *testing.T) {
	const while, minShare = 200 * time.Millisecond, 0.2
	for name, greedy := range map[string][]byte{
		"calls that never end":             spinner(),
		"calls that compute":               computer(1_000_000),
		"calls with a start-up of its own": computer(1, 0x03, 0x40, c32(40), c32(40), 0x28, 2, 0, c32(1), 0x6a, 0x36, 2, 0, c32(40), 0x28, 2, 0, c32(1_000_000), 0x47, 0x0d, 0, 0x0b),
	} {
		t.Run(name, func(t *testing.T) {
			e := engineOf(t, 1)
			options := Options{Concurrency: Concurrency{Calls: 32, Queue: 100}, Idle: time.Minute, Snapshot: SnapshotOff}
			f, g := newFunction(t, e, computer(100_000), options), newFunction(t, e, greedy, options)
			var share float64
			for range tries {
				alone := callsWithin(t, f, while)
				ctx, stop := context.WithCancel(t.Context())
				var all sync.WaitGroup
				var progress atomic.Int64
				for range 64 {
					all.Go(func() {
						for ctx.Err() == nil {
							receipt, _ := g.Run(ctx, strings.NewReader("?"), io.Discard, io.Discard)
							progress.Add(receipt.Fuel)
						}
					})
				}
				waitFor(t, func() bool { return g.Running() == 32 && e.processors.free.Load() < 0 }) // one computes, another waits
				beside := callsWithin(t, f, while)
				stop()
				all.Wait()
				if progress.Load() == 0 {
					t.Fatal("the greedy function got nothing at all")
				}
				if share = float64(beside) / float64(alone); share >= minShare {
					return
				}
			}
			t.Errorf("it got %.2f of the calls done that it does alone, want %.2f", share, minShare)
		})
	}
}

// TestCallsEndWhileTheyWaitForAProcessor, and their sandboxes have taken no harm.
func TestCallsEndWhileTheyWaitForAProcessor(t *testing.T) {
	t.Parallel()
	e := engineOf(t, 1)
	run := func(f *Function, ctx context.Context) error {
		_, err := f.Run(ctx, strings.NewReader("?"), io.Discard, io.Discard)
		return err
	}
	for _, snapshot := range []Snapshot{SnapshotOff, SnapshotOn} {
		f := newFunction(t, e, computer(1), Options{Idle: time.Minute, Snapshot: snapshot, Limits: Limits{Timeout: 30 * time.Millisecond}})
		patient := newFunction(t, e, computer(1), Options{Idle: time.Minute, Snapshot: snapshot})
		for _, f := range []*Function{f, patient} {
			if err := run(f, t.Context()); err != nil && !errors.Is(err, ErrTimeout) {
				t.Fatal(err)
			}
			waitFor(t, func() bool { _, _, parked := f.Sandboxes(); return parked == 1 })
		}

		hog := newClaim(e.processors, new(line))
		hog.take(t.Context(), t.Context(), time.Time{})
		if err := run(f, t.Context()); !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		canceled := async(func() error { return run(patient, ctx) })
		waitFor(t, func() bool { return e.processors.free.Load() < 0 })
		cancel()
		if err := <-canceled; !errors.Is(err, ErrCanceled) || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want ErrCanceled", err)
		}
		hog.give()
		for _, f := range []*Function{f, patient} {
			waitFor(t, func() bool { _, _, parked := f.Sandboxes(); return parked == 1 })
			if receipt, err := f.Run(t.Context(), strings.NewReader("?"), io.Discard, io.Discard); receipt.Start != StartReset && !errors.Is(err, ErrTimeout) {
				t.Errorf("got a sandbox started by %q, %v, want it as it was parked", receipt.Start, err)
			}
		}

		hog.take(t.Context(), t.Context(), time.Time{})
		closed := async(func() error { return run(patient, t.Context()) })
		waitFor(t, func() bool { return e.processors.free.Load() < 0 })
		patient.Close()
		if err := <-closed; !errors.Is(err, ErrCanceled) {
			t.Errorf("closed: got %v, want ErrCanceled", err)
		}
		hog.give()
	}
}

// TestWaitingGuestsHoldNoProcessor: those that sleep, wait for input, or for a host that
// takes long, while another function answers.
func TestWaitingGuestsHoldNoProcessor(t *testing.T) {
	t.Parallel()
	never, w := io.Pipe()
	defer w.Close()
	r, stuck := io.Pipe()
	defer r.Close()
	for name, test := range map[string]struct {
		guest []byte
		in    func() io.Reader
		out   io.Writer
	}{
		"sleeping": {sleeper(), func() io.Reader { return nil }, io.Discard},
		"reading":  {cat(), func() io.Reader { return never }, io.Discard},
		"writing":  {cat(), func() io.Reader { return strings.NewReader("?") }, stuck},
	} {
		t.Run(name, func(t *testing.T) {
			e := engineOf(t, 1)
			f, g := newFunction(t, e, computer(1), Options{Idle: time.Minute}), newFunction(t, e, test.guest, Options{})
			ctx, stop := context.WithCancel(t.Context())
			var all sync.WaitGroup
			for range 4 {
				all.Go(func() { g.Run(ctx, test.in(), test.out, io.Discard) })
			}
			waitFor(t, func() bool { return g.Running() == 4 && e.processors.free.Load() >= 0 })
			callsWithin(t, f, 10*time.Millisecond)
			stop()
			if test.out == stuck {
				r.Close() // who writes to the caller is as patient as the caller
			}
			all.Wait()
		})
	}
}
