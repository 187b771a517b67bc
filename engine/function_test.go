package engine

import (
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// sleeper sleeps for an hour, spinner loops; both are ready to be ended.
func sleeper() []byte { return hostileGuest("sleeps an hour") }
func spinner() []byte { return hostileGuest("endless loop") }

func hostileGuest(name string) []byte {
	for _, g := range hostileGuests {
		if g.name == name {
			return g.make()
		}
	}
	panic("no guest " + name)
}

// cat is a program that copies its input to its output until the end.
func cat() []byte {
	g := newGuest(3)
	g.Main(code(0x02, 0x40, 0x03, 0x40, // block, loop
		g.io(g.read, 0, 65536),
		c32(16), 0x28, 2, 0, 0x45, 0x0d, 1, // nothing read: leave the block
		c32(4), c32(16), 0x28, 2, 0, 0x36, 2, 0, // as long a vector
		c32(1), c32(0), c32(1), c32(16), call(g.write), 0x1a,
		0x0c, 0, 0x0b, 0x0b)...)
	return g.Bytes()
}

func TestEcho(t *testing.T) {
	t.Parallel()
	f := newFunction(t, newTestEngine(t, Config{}), cat(), Options{})
	for _, n := range []int{0, 1, 65535, 65536, 65537, 3 << 20} {
		want := strings.Repeat("x", n)
		var out strings.Builder
		receipt, err := f.Run(t.Context(), strings.NewReader(want), &out, io.Discard)
		if err != nil || out.String() != want {
			t.Errorf("%d bytes: got %d bytes, %v", n, out.Len(), err)
		}
		if receipt.Memory != 3*pageSize || receipt.Fuel <= 0 || receipt.Duration <= 0 || receipt.Start != StartFresh {
			t.Errorf("%d bytes: got receipt %+v", n, receipt)
		}
	}
}

// TestFuelIsDeterministic: the same call costs the same, and exactly as much
// fuel as it costs is enough.
func TestFuelIsDeterministic(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	run := func(fuel int64) (int64, error) {
		f := newFunction(t, e, cat(), Options{Limits: Limits{Fuel: fuel}})
		receipt, err := f.Run(t.Context(), strings.NewReader(strings.Repeat("x", 100_000)), io.Discard, io.Discard)
		return receipt.Fuel, err
	}
	cost, err := run(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		fuel int64
		want error
	}{{cost, nil}, {10 * cost, nil}, {cost - 1, ErrFuel}, {cost / 2, ErrFuel}, {1, ErrFuel}} {
		used, err := run(test.fuel)
		if !errors.Is(err, test.want) {
			t.Errorf("with %d of %d: got %v, want %v", test.fuel, cost, err, test.want)
		}
		if err == nil && used != cost {
			t.Errorf("with %d: got %d used, want %d", test.fuel, used, cost)
		}
	}
}

func TestCallsEndWithTheirCaller(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	for name, make := range map[string]func() []byte{"sleeping": sleeper, "spinning": spinner} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFunction(t, e, make(), Options{})
			ctx, cancel := context.WithCancel(t.Context())
			ended := async(func() error {
				_, err := f.Run(ctx, strings.NewReader(""), io.Discard, io.Discard)
				return err
			})
			waitFor(t, func() bool { return f.Running() == 1 && f.Memory() > 0 })
			cancel()
			if err := <-ended; !errors.Is(err, ErrCanceled) || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want ErrCanceled", err)
			}
			waitFor(t, func() bool { return f.Running() == 0 && f.Memory() == 0 })
		})
	}
}

// TestCloseEndsCalls: running, sleeping and queued calls end, and Close returns
// only then.
func TestCloseEndsCalls(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	for name, make := range map[string]func() []byte{"sleeping": sleeper, "spinning": spinner} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFunction(t, e, make(), Options{Concurrency: Concurrency{Calls: 2, Queue: 3}})
			var ended []<-chan error
			for range 5 {
				ended = append(ended, async(func() error {
					_, err := f.Run(t.Context(), strings.NewReader(""), io.Discard, io.Discard)
					return err
				}))
			}
			waitFor(t, func() bool { return f.Running() == 2 && f.pool.waiting.Load() == 3 })
			f.Close()
			if f.Running() != 0 || f.Memory() != 0 {
				t.Errorf("after Close: %d running, %d bytes", f.Running(), f.Memory())
			}
			for _, e := range ended {
				if err := <-e; !errors.Is(err, ErrCanceled) {
					t.Errorf("got %v, want ErrCanceled", err)
				}
			}
			if _, err := f.Run(t.Context(), strings.NewReader(""), io.Discard, io.Discard); !errors.Is(err, ErrCanceled) {
				t.Errorf("a call after Close: got %v, want ErrCanceled", err)
			}
		})
	}
}

// async runs f and hands its result over.
func async(f func() error) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- f() }()
	return ended
}

// broken is a host that fails while it serves a guest.
type broken struct{}

func (broken) Read([]byte) (int, error)  { panic("a fault of the host") }
func (broken) Write([]byte) (int, error) { return 0, []error{}[len(os.Args)] }

func TestHostFaultEndsOneCall(t *testing.T) {
	t.Parallel()
	f := newFunction(t, newTestEngine(t, Config{}), cat(), Options{Limits: Limits{Timeout: 10 * time.Second}})
	var out strings.Builder
	// The guest takes an input that can't be read for one that has ended.
	if _, err := f.Run(t.Context(), broken{}, &out, io.Discard); errors.Is(err, ErrTimeout) || out.Len() > 0 {
		t.Errorf("a broken input: got %q, %v", out.String(), err)
	}
	_, err := f.Run(t.Context(), strings.NewReader("x"), broken{}, io.Discard)
	if host := new(HostError); !errors.As(err, &host) {
		t.Errorf("a broken output: got %v, want a HostError", err)
	}
	if _, err := f.Run(t.Context(), strings.NewReader("still here"), &out, io.Discard); err != nil || out.String() != "still here" {
		t.Errorf("after it: got %q, %v", out.String(), err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// TestOutputThatCannotBeWritten: a guest that ignores the error of a write
// doesn't run on.
func TestOutputThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	gone := errors.New("the client has gone")
	f := newFunction(t, newTestEngine(t, Config{}), hostileGuest("flood of output"), Options{})
	if _, err := f.Run(t.Context(), strings.NewReader(""), failingWriter{gone}, io.Discard); !errors.Is(err, gone) || !errors.Is(err, ErrCanceled) {
		t.Errorf("got %v, want %v", err, gone)
	}
}

func TestOutputUpToItsLimit(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	for _, test := range []struct {
		n    int
		want error
	}{{1000, nil}, {1001, ErrOutput}} {
		f := newFunction(t, e, cat(), Options{Limits: Limits{Output: 1000}})
		var out strings.Builder
		_, err := f.Run(t.Context(), strings.NewReader(strings.Repeat("x", test.n)), &out, io.Discard)
		if !errors.Is(err, test.want) || (err == nil && out.Len() != test.n) {
			t.Errorf("%d of 1000 bytes: got %v and %d bytes", test.n, err, out.Len())
		}
	}
}

func TestLogIsCutNotRefused(t *testing.T) {
	t.Parallel()
	g := newGuest(1)
	g.Data(1024, "0123456789")
	g.Main(code(g.io(g.write, 2, 10), g.io(g.write, 2, 10), g.io(g.write, 1, 10))...)
	f := newFunction(t, newTestEngine(t, Config{}), g.Bytes(), Options{Limits: Limits{Log: 15}})
	var out, log strings.Builder
	if _, err := f.Run(t.Context(), strings.NewReader(""), &out, &log); err != nil {
		t.Fatal(err)
	}
	if log.String() != "012345678901234" || out.String() != "0123456789" {
		t.Errorf("got log %q, output %q", log.String(), out.String())
	}
}

// TestNothingIsLeft runs calls with every kind of ending from many goroutines
// and counts what they leave behind.
func TestNothingIsLeft(t *testing.T) {
	e := newTestEngine(t, Config{})
	var functions []*Function
	for _, name := range []string{"unreachable", "exit 3", "memory bomb that gives up", "flood of output", "endless loop"} {
		functions = append(functions, newFunction(t, e, hostileGuest(name), Options{
			Limits: Limits{Memory: 4 << 20, Output: 1 << 20, Timeout: 20 * time.Millisecond, Log: 10}}))
	}
	functions = append(functions, newFunction(t, e, cat(), Options{}))
	round := func(n int) {
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				for j := range n {
					f := functions[(i+j)%len(functions)]
					_, _ = f.Run(t.Context(), strings.NewReader("input"), io.Discard, io.Discard)
				}
			})
		}
		all.Wait()
	}
	round(10)
	before := runtime.NumGoroutine()
	round(60)
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before })
	nothingReserved(t, e)
}
