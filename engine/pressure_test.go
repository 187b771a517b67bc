package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestLifeUnderPressure lets many callers use a few functions of every kind at
// once under a ceiling that is too low for them, with calls that are given up,
// functions that are closed and made again, and memory that is grown at the expense
// of others. Whatever happens, an answer is right, and nothing is left in the end.
func TestLifeUnderPressure(t *testing.T) {
	e := verifiedEngine(t, Config{Memory: 6 << 20})
	kinds := []func() []byte{
		func() []byte { g := newTally(3); g.slow = true; return g.bytes() },
		func() []byte { return newTally(3).bytes() },
		func() []byte {
			g := newTally(5)
			g.slow, g.before = true, []any{c32(65536), c32(7), c32(3 * 65536), 0xfc, 11, 0}
			return g.bytes()
		},
		func() []byte {
			g := newTally(3)
			g.slow, g.before = true, []any{g.says(1, "")}
			return g.bytes()
		},
		func() []byte { // every other start traps
			g := newTally(3)
			g.before = []any{c32(64), c32(1), call(g.random), 0x1a, c32(64), 0x2d, 0, 0, c32(1), 0x71, 0x04, 0x40, 0x00, 0x0b}
			return g.bytes()
		},
		func() []byte { // every other start spins
			g := newTally(3)
			g.before = []any{c32(64), c32(1), call(g.random), 0x1a, c32(64), 0x2d, 0, 0, c32(1), 0x71, 0x04, 0x40, forever(), 0x0b}
			return g.bytes()
		},
	}
	const callers = 8 // of each
	calls := 80
	if raceDetector || testing.Short() {
		calls = 20
	}
	before := runtime.NumGoroutine()
	var all sync.WaitGroup
	for n, make := range kinds {
		p, err := e.Compile(t.Context(), make())
		if err != nil {
			t.Fatal(err)
		}
		options := Options{Idle: time.Duration(1+n) * 3 * time.Millisecond, Warm: n % 2, Snapshot: Snapshot(n % 3),
			Concurrency: Concurrency{Calls: 3, Queue: callers}, Limits: Limits{Timeout: 50 * time.Millisecond, Memory: 2 << 20, Files: 4, Log: 10}}
		var mu sync.RWMutex
		var f *Function
		open := func() {
			if f, err = p.Function(options); err != nil {
				t.Error(err)
			}
			f.Start()
		}
		open()
		var users sync.WaitGroup
		for range callers {
			users.Go(func() {
				for done := 0; done < calls; {
					in := []string{"....", "....", "t", "x", "g", "z", "d", "o", "c", "r"}[rand.N(10)]
					ctx, cancel := context.WithCancel(t.Context())
					if rand.N(8) == 0 {
						time.AfterFunc(rand.N(time.Millisecond), cancel)
					}
					var from io.Reader = strings.NewReader(in)
					if rand.N(4) == 0 {
						from = io.MultiReader(from) // without a length
					}
					mu.RLock()
					f := f
					mu.RUnlock()
					var out bytes.Buffer
					_, err := f.Run(ctx, from, &out, io.Discard)
					cancel()
					if errors.Is(err, errClosed) {
						time.Sleep(100 * time.Microsecond)
						continue
					}
					done++
					if err == nil && in != "z" && in != "r" && out.String() != tallied {
						t.Errorf("kind %d, %q: got %q", n, in, &out)
					}
				}
			})
		}
		all.Go(func() {
			stop := after(users.Wait)
			for {
				select {
				case <-stop:
					f.Close()
					p.Close()
					return
				case <-time.After(20 * time.Millisecond):
				}
				old := f
				if rand.N(2) == 0 {
					old.Close()
					if old.Memory() != 0 {
						t.Errorf("kind %d: %d bytes are left of a closed function", n, old.Memory())
					}
				}
				mu.Lock()
				open()
				mu.Unlock()
				old.Close()
			}
		})
	}
	all.Wait()
	waitFor(t, func() bool { return e.budget.Used() == 0 })
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before })
}

func after(wait func()) <-chan struct{} {
	done := make(chan struct{})
	go func() { wait(); close(done) }()
	return done
}
