package engine

import (
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

func slowTally() []byte {
	guest := newTally(3)
	guest.slow = true
	return guest.bytes()
}

func parkedOf(f *Function) int {
	_, _, parked := f.Sandboxes()
	return parked
}

// TestIdle: sandboxes that no call needs any more are freed, but for those that
// are to be kept warm.
func TestIdle(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	for warm := range 3 {
		f := newFunction(t, e, slowTally(), Options{Idle: 300 * time.Millisecond, Warm: warm})
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if _, err := f.Run(t.Context(), strings.NewReader("...."), io.Discard, io.Discard); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		waitFor(t, func() bool { return parkedOf(f) >= min(warm, 1) })
		waitFor(t, func() bool { return parkedOf(f) <= warm })
		time.Sleep(400 * time.Millisecond)
		if warm > 0 && parkedOf(f) == 0 {
			t.Errorf("warm %d: all were freed", warm)
		}
	}
	f := newFunction(t, e, slowTally(), Options{Idle: 0})
	if _, _, receipt, err := runIdle(t, f, "...."); err != nil || receipt.Start != StartFresh || parkedOf(f) != 0 {
		t.Errorf("without idle time: got %+v, %v, %d parked", receipt, err, parkedOf(f))
	}
}

// TestWarm: Start has sandboxes ready before the first call, which takes one.
func TestWarm(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	for _, idle := range []time.Duration{0, time.Minute} {
		f := newFunction(t, e, slowTally(), Options{Idle: idle, Warm: 3})
		if parkedOf(f) != 0 {
			t.Error("a guest was started before it was asked for")
		}
		f.Start()
		waitFor(t, func() bool { return parkedOf(f) == 3 })
		if kind, _ := f.StartKind(); kind != StartSnapshot {
			t.Errorf("got %q", kind)
		}
		var out strings.Builder
		receipt, err := f.Run(t.Context(), strings.NewReader("...."), &out, io.Discard)
		if err != nil || out.String() != tallied || receipt.Start != StartFresh {
			t.Errorf("got %q, %+v, %v", out.String(), receipt, err)
		}
		waitFor(t, func() bool { return parkedOf(f) == 3 })
		if _, _, receipt, _ := runIdle(t, f, "...."); receipt.Start != StartSnapshot {
			t.Errorf("the second call was started by %s", receipt.Start)
		}
	}
}

// TestReclaim: sandboxes that wait for a call make room for a call, those that
// wait longest first; when none is left the call is refused.
func TestReclaim(t *testing.T) {
	t.Parallel()
	const pages = 10
	guest := newTally(pages)
	guest.slow = true
	wasm := guest.bytes()
	e := newTestEngine(t, Config{Memory: 4 * pages * pageSize})
	var functions []*Function
	for range 3 {
		f := newFunction(t, e, wasm, Options{Idle: time.Hour})
		if _, _, _, err := runIdle(t, f, "...."); err != nil {
			t.Fatal(err)
		}
		functions = append(functions, f)
		time.Sleep(2 * time.Millisecond)
	}
	other := newTally(pages + 1)
	big := newFunction(t, e, other.bytes(), Options{Idle: time.Hour})
	if _, _, _, err := runIdle(t, big, "...."); err != nil {
		t.Fatalf("with sandboxes to free: got %v", err)
	}
	if parkedOf(functions[0]) != 0 || parkedOf(functions[2]) != 1 {
		t.Errorf("got %d and %d parked, want the one that waits longest to be freed", parkedOf(functions[0]), parkedOf(functions[2]))
	}
	large := newTally(4 * pages)
	huge := newFunction(t, e, large.bytes(), Options{Idle: time.Hour})
	if _, _, _, err := runIdle(t, huge, "...."); !errors.Is(err, ErrOverloaded) {
		t.Errorf("beyond the ceiling: got %v, want ErrOverloaded", err)
	}
	for _, f := range append(functions, big) {
		if _, _, _, err := runIdle(t, f, "...."); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
}

// TestManyCallers: sandboxes are handed over, never shared, and there are no more
// of them than calls may run at once.
func TestManyCallers(t *testing.T) {
	t.Parallel()
	e := verifiedEngine(t, Config{})
	for _, kind := range []Snapshot{SnapshotOn, SnapshotOff} {
		f := newFunction(t, e, slowTally(), Options{Idle: time.Hour, Snapshot: kind, Concurrency: Concurrency{Calls: 4, Queue: 1000}})
		var all sync.WaitGroup
		for i := range 16 {
			all.Go(func() {
				for j := range 50 {
					in := []string{"....", "....", "t", "x", "g", "c"}[(i+j)%6]
					var out strings.Builder
					_, err := f.Run(t.Context(), strings.NewReader(in), &out, io.Discard)
					if answered := in != "t" && in != "x"; answered != (err == nil) || answered && out.String() != tallied {
						t.Errorf("%q: got %q, %v", in, out.String(), err)
					}
					if running, restoring, parked := f.Sandboxes(); running > 4 || restoring > 4 || parked > 4 {
						t.Errorf("got %d running, %d restoring, %d parked", running, restoring, parked)
					}
				}
			})
		}
		all.Wait()
		waitFor(t, func() bool { running, restoring, _ := f.Sandboxes(); return running+restoring == 0 })
	}
}

// TestCloseWhileRenewing: closing a function ends what its sandboxes do.
func TestCloseWhileRenewing(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	spin := newTally(3)
	spin.before = []any{forever()}
	for _, wasm := range [][]byte{slowTally(), spin.bytes()} {
		for i := range 20 {
			p, err := e.Compile(t.Context(), wasm)
			if err != nil {
				t.Fatal(err)
			}
			f, err := p.Function(Options{Idle: time.Hour, Warm: 2, Limits: Limits{Timeout: time.Minute}})
			if err != nil {
				t.Fatal(err)
			}
			f.Start()
			go f.Run(t.Context(), strings.NewReader("...."), io.Discard, io.Discard)
			time.Sleep(time.Duration(i) * 200 * time.Microsecond)
			start := time.Now()
			f.Close()
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("closing took %v", took)
			}
			if running, restoring, parked := f.Sandboxes(); running+restoring+parked != 0 {
				t.Errorf("got %d running, %d restoring, %d parked", running, restoring, parked)
			}
			p.Close()
		}
	}
	nothingReserved(t, e)
}
