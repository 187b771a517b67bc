package engine

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/wasmtest"
)

var (
	i32    = []byte{wasmtest.I32}
	params = func(n int) []byte { return bytes.Repeat(i32, n) }
	code   = wasmtest.Code
	c32    = wasmtest.I32Const
	call   = wasmtest.Call
)

// wasiImports adds the functions of preview 1 that the guests below use.
type guest struct {
	*wasmtest.Module
	read, write, exit, poll uint32
}

func newGuest(pages uint32) guest {
	m := wasmtest.New(pages)
	return guest{
		Module: m,
		read:   m.Import(preview1Module, "fd_read", params(4), i32),
		write:  m.Import(preview1Module, "fd_write", params(4), i32),
		exit:   m.Import(preview1Module, "proc_exit", params(1), nil),
		poll:   m.Import(preview1Module, "poll_oneoff", params(4), i32),
	}
}

// forever repeats body.
func forever(body ...any) []byte { return code(0x03, 0x40, code(body...), 0x0c, 0, 0x0b) }

// store writes v to memory at the address at.
func store(at, v int32) []byte { return code(c32(at), c32(v), 0x36, 2, 0) }

// io calls fd_read or fd_write on one buffer of n bytes at 1024, whose vector is at 0.
func (g guest) io(f uint32, fd, n int32) []byte {
	return code(store(0, 1024), store(4, n), c32(fd), c32(0), c32(1), c32(16), call(f), 0x1a)
}

// hostileGuests are programs that try to outstay or overload their call.
var hostileGuests = []struct {
	name   string
	limits Limits
	make   func() []byte
	want   error
}{
	{"endless loop", Limits{}, func() []byte {
		g := newGuest(1)
		g.Main(forever()...)
		return g.Bytes()
	}, ErrTimeout},
	{"endless loop with little fuel", Limits{Fuel: 1_000_000}, func() []byte {
		g := newGuest(1)
		g.Main(forever()...)
		return g.Bytes()
	}, ErrFuel},
	{"exponential recursion without a loop", Limits{}, func() []byte {
		g := newGuest(1)
		// fib(n) = n < 2 ? n : fib(n-1) + fib(n-2)
		fib := uint32(4)
		g.Func(i32, i32, code(0x20, 0, c32(2), 0x48, 0x04, 0x7f, 0x20, 0, 0x05,
			0x20, 0, c32(1), 0x6b, call(fib), 0x20, 0, c32(2), 0x6b, call(fib), 0x6a, 0x0b)...)
		g.Main(code(c32(60), call(fib), 0x1a)...)
		return g.Bytes()
	}, ErrTimeout},
	{"deep recursion", Limits{}, func() []byte {
		g := newGuest(1)
		f := uint32(4)
		g.Func(i32, i32, code(0x20, 0, c32(1), 0x6a, call(f), c32(1), 0x6a)...)
		g.Main(code(c32(0), call(f), 0x1a)...)
		return g.Bytes()
	}, ErrStack},
	{"deep recursion with large frames", Limits{}, func() []byte {
		g := newGuest(1)
		f := uint32(4)
		locals := bytes.Repeat([]byte{wasmtest.I64}, 2000)
		g.FuncLocals(nil, nil, locals, code(call(f), 0x20, 0x85, 2, 0x21, 0x86, 2)...)
		g.Main(call(f)...)
		return g.Bytes()
	}, ErrStack},
	{"recursion through a table", Limits{}, func() []byte {
		g := newGuest(1)
		f := uint32(4)
		g.Table(1)
		g.Elem(f)
		typ := byte(2) // of the types made so far: 4×i32→i32, i32→(), ()→()
		g.Func(nil, nil, code(c32(0), 0x11, int(typ), 0)...)
		g.Main(call(f)...)
		return g.Bytes()
	}, ErrStack},
	{"unreachable", Limits{}, func() []byte {
		g := newGuest(1)
		g.Main(0x00)
		return g.Bytes()
	}, &TrapError{Message: "unreachable"}},
	{"exit 3", Limits{}, func() []byte {
		g := newGuest(1)
		g.Main(code(c32(3), call(g.exit))...)
		return g.Bytes()
	}, &ExitError{Code: 3}},
	{"exit with a code the runtime uses for a deadline", Limits{}, func() []byte {
		g := newGuest(1)
		g.Main(code(c32(-0x10000001), call(g.exit))...)
		return g.Bytes()
	}, &ExitError{Code: 0xefffffff}},
	{"memory bomb that ignores refusal", Limits{Memory: 4 << 20}, func() []byte {
		g := newGuest(1)
		g.Main(forever(c32(1), 0x40, 0, 0x1a)...)
		return g.Bytes()
	}, ErrTimeout},
	{"memory bomb that gives up", Limits{Memory: 4 << 20}, func() []byte {
		g := newGuest(1)
		g.Main(forever(c32(1), 0x40, 0, c32(-1), 0x46, 0x04, 0x40, 0x00, 0x0b)...)
		return g.Bytes()
	}, ErrMemory},
	{"a large memory.fill over and over", Limits{}, func() []byte {
		g := newGuest(1600)
		g.Main(forever(c32(0), c32(1), c32(1600*65536), 0xfc, 11, 0)...)
		return g.Bytes()
	}, ErrTimeout},
	{"a large overlapping memory.copy over and over", Limits{}, func() []byte {
		g := newGuest(1600)
		g.Main(forever(c32(1), c32(0), c32(1600*65536-1), 0xfc, 10, 0, 0)...)
		return g.Bytes()
	}, ErrTimeout},
	{"a jump table that loops", Limits{}, func() []byte {
		g := newGuest(1)
		g.Main(code(0x03, 0x40, c32(7), 0x0e, 1, 0, 0, 0x0b)...)
		return g.Bytes()
	}, ErrTimeout},
	{"table growth", Limits{}, func() []byte {
		g := newGuest(1)
		g.Table(1)
		g.Main(forever(0xd0, 0x70, c32(1000), 0xfc, 15, 0, 0x1a)...)
		return g.Bytes()
	}, ErrTimeout},
	{"flood of output", Limits{Output: 1 << 20}, func() []byte {
		g := newGuest(2)
		g.Main(forever(g.io(g.write, 1, 60_000))...)
		return g.Bytes()
	}, ErrOutput},
	{"flood of log", Limits{Log: 1000}, func() []byte {
		g := newGuest(2)
		g.Main(forever(g.io(g.write, 2, 60_000))...)
		return g.Bytes()
	}, ErrTimeout},
	{"reads its input for ever", Limits{}, func() []byte {
		g := newGuest(2)
		g.Main(forever(g.io(g.read, 0, 60_000))...)
		return g.Bytes()
	}, ErrTimeout},
	{"sleeps an hour", Limits{}, func() []byte {
		g := newGuest(1)
		// One subscription at 64: clock (tag 0), monotonic, 3.6e12 ns.
		g.Main(code(store(64+16, 1), c32(64+24), wasmtest.I64Const(3_600_000_000_000), 0x37, 3, 0,
			c32(64), c32(256), c32(1), c32(0), call(g.poll), 0x1a)...)
		return g.Bytes()
	}, ErrTimeout},
	{"loops before its main function", Limits{}, func() []byte {
		g := newGuest(1)
		g.Start(g.Func(nil, nil, forever()...))
		g.Main()
		return g.Bytes()
	}, ErrTimeout},
}

// A collection beside a guest that can't be interrupted takes as long as the
// guest. On a busy machine a single one may be slow for other reasons.
const (
	longestCollection = 500 * time.Millisecond
	tries             = 4
)

// TestHostileGuests runs each against a deadline, and collects garbage while
// it runs: without metering that waits until the guest has ended.
func TestHostileGuests(t *testing.T) {
	e := newTestEngine(t, Config{})
	for _, test := range hostileGuests {
		t.Run(test.name, func(t *testing.T) {
			limits := test.limits
			limits.Timeout = time.Minute
			if test.want == ErrTimeout {
				limits.Timeout = 300 * time.Millisecond
			}
			if limits.Memory == 0 {
				limits.Memory = 128 << 20
			}
			f := newFunction(t, e, test.make(), Options{Limits: limits})

			start := time.Now()
			for try := 1; ; try++ {
				ended := make(chan error, 1)
				go func() {
					_, err := f.Run(t.Context(), strings.NewReader("some input"), io.Discard, io.Discard)
					ended <- err
				}()
				longest := collectGarbage(ended, func(err error) {
					if !sameEnd(err, test.want) {
						t.Errorf("got %v, want %v", err, test.want)
					}
				})
				if longest <= longestCollection {
					break
				}
				if try == tries {
					t.Errorf("a garbage collection took %v beside it, and no less before", longest)
					break
				}
			}
			if took := time.Since(start); test.want == ErrTimeout && took > tries*5*time.Second {
				t.Errorf("the calls took %v, their deadline was %v", took, limits.Timeout)
			}
			nothingReserved(t, e)
		})
	}
}

// TestHostileGuestsOnOneProcessor is the same where a guest that doesn't hand
// control back stops everything.
func TestHostileGuestsOnOneProcessor(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	e := newTestEngine(t, Config{})
	for _, test := range hostileGuests {
		f := newFunction(t, e, test.make(), Options{Limits: Limits{
			Timeout: 100 * time.Millisecond, Memory: 128 << 20, Fuel: test.limits.Fuel, Output: test.limits.Output}})
		for try := 1; ; try++ {
			ended := make(chan error, 1)
			go func() {
				_, err := f.Run(t.Context(), strings.NewReader(""), io.Discard, io.Discard)
				ended <- err
			}()
			longest := collectGarbage(ended, func(error) {})
			if longest <= longestCollection {
				break
			}
			if try == tries {
				t.Errorf("%s: a garbage collection took %v beside it, and no less before", test.name, longest)
				break
			}
		}
	}
}

// collectGarbage collects until the call has ended and returns the longest it took.
func collectGarbage(ended <-chan error, check func(error)) (longest time.Duration) {
	for {
		select {
		case err := <-ended:
			check(err)
			return longest
		case <-time.After(10 * time.Millisecond):
			start := time.Now()
			runtime.GC()
			longest = max(longest, time.Since(start))
		}
	}
}

// sameEnd tells whether a call ended as wanted.
func sameEnd(got, want error) bool {
	var trap, wantTrap *TrapError
	var exit, wantExit *ExitError
	switch {
	case errors.As(want, &wantTrap):
		return errors.As(got, &trap) && trap.Message == wantTrap.Message
	case errors.As(want, &wantExit):
		return errors.As(got, &exit) && exit.Code == wantExit.Code && !errors.Is(got, ErrTimeout)
	}
	return errors.Is(got, want)
}

// newEngine returns an engine for the length of a test.
func newTestEngine(t testing.TB, config Config) *Engine {
	t.Helper()
	e, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Errorf("closing the engine: %v", err)
		}
		allGivenBack(t, e.processors)
	})
	return e
}

// newFunction compiles a module and makes a function of it for the length of a test.
func newFunction(t testing.TB, e *Engine, wasm []byte, options Options) *Function {
	t.Helper()
	p, err := e.Compile(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	f, err := p.Function(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(f.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	return f
}

// nothingReserved waits until calls have given back all that they had, which
// they do after they have answered. Their programs' code remains.
func nothingReserved(t testing.TB, e *Engine) {
	t.Helper()
	waitFor(t, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		used := e.budget.Used()
		for _, p := range e.programs {
			used -= p.weight()
		}
		return used == 0
	})
}

// weight is how much of the budget a program's code has.
func (p *Program) weight() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.code == nil {
		return 0
	}
	return p.code.weight
}
