package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// says is code that writes text to a descriptor.
func (t *tally) says(fd int32, text string) []byte {
	var put []byte
	for i := range text {
		put = append(put, code(c32(int32(1024+i)), c32(int32(text[i])), 0x3a, 0, 0)...)
	}
	return code(put, t.io(t.write, fd, int32(len(text))))
}

// TestAbandonedStartIsSilent: what a start ahead of a call wrote to standard
// error before it was abandoned is not said again, or at all, in a call, which
// starts the program itself.
func TestAbandonedStartIsSilent(t *testing.T) {
	t.Parallel()
	guest := newTally(3)
	guest.before = []any{guest.says(2, "once."), guest.says(1, "")}
	f := newFunction(t, verifiedEngine(t, Config{}), guest.bytes(), Options{Warm: 1, Limits: Limits{Log: 100}})
	f.Start()
	waitFor(t, func() bool { return f.pool.parked() == 1 })
	for i := range 4 {
		if _, log, receipt, err := runIdle(t, f, "...."); err != nil || log != "once." {
			t.Errorf("call %d, started %s: got log %q, %v", i, receipt.Start, log, err)
		}
	}
}

// clockGuest writes what a clock shows after it has read.
func clockGuest(clock int32) []byte {
	g := newTally(3)
	g.Export("_start", 0, g.FuncLocals(nil, nil, []byte{wasmtest.I32}, code(
		g.io(g.read, 0, 4),
		c32(clock), 0x42, 0, c32(atCount), call(g.clock), 0x1a,
		store(0, atCount), store(4, 8), c32(1), c32(0), c32(1), c32(16), call(g.write), 0x1a)...))
	return g.Bytes()
}

func newTestSandbox(t *testing.T, f *Function) *Sandbox {
	t.Helper()
	s, err := newSandbox(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	return s
}

// TestCPUTimeIsTheCalls: the time that passed before a call, which a sandbox spent
// parked or on other calls, is no CPU time of its program.
func TestCPUTimeIsTheCalls(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{StartSnapshot, StartReset, StartLate} {
		snapshot := map[string]Snapshot{StartSnapshot: SnapshotOn}[kind]
		f := newFunction(t, newTestEngine(t, Config{}), clockGuest(clockProcessCPU), Options{Idle: time.Hour, Snapshot: snapshot})
		s := newTestSandbox(t, f)
		if !s.prepare() {
			t.Fatal("it did not park")
		}
		if kind == StartLate {
			f.start.unread()
		}
		for range 3 {
			var out bytes.Buffer
			_, err := s.run(t.Context(), strings.NewReader("x"), &out, io.Discard)
			if err != nil || out.Len() != 8 {
				t.Fatalf("%s: got %q, %v", kind, &out, err)
			}
			if cpu := time.Duration(le.Uint64(out.Bytes())); cpu <= 0 || cpu > 30*time.Minute {
				t.Errorf("%s: got %s of CPU time", s.kind, cpu)
			}
			// An hour passes.
			s.origin, s.parked = s.origin.Add(-time.Hour), s.parked.Add(-time.Hour)
			if s.kept != nil {
				s.kept.process.parked = s.kept.process.parked.Add(-time.Hour)
			}
			if !s.renew() || s.kind != kind {
				t.Fatalf("renewed by %s, want %s", s.kind, kind)
			}
			if kind == StartReset { // and another
				s.origin, s.parked = s.origin.Add(-time.Hour), s.parked.Add(-time.Hour)
			}
		}
	}
}

type panicking struct{ value any }

func (p panicking) Write([]byte) (int, error) { panic(p.value) }

type leaving struct{}

func (leaving) Write([]byte) (int, error) { runtime.Goexit(); return 0, nil }

// closePanics is a file whose closing fails the host.
type closePanics struct{ stdio }

func (closePanics) Close(context.Context) error { panic("a fault of the host") }

// TestHostFaults: a fault of what the host gave a call ends that call, as such,
// and its sandbox is not used again. Nothing is held up by it.
func TestHostFaults(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	fault := errors.New("a fault of the host")
	for name, test := range map[string]struct {
		out, log io.Writer
		in       string
		options  func(o *Options)
	}{
		"output, a runtime error":   {out: broken{}},
		"output, an error":          {out: panicking{fault}},
		"output, text":              {out: panicking{"wasm error: unreachable"}},
		"log before the first read": {log: panicking{fault}},
		"an argument": {options: func(o *Options) {
			o.Args = []Value{{Resolve: func(ctx context.Context) string {
				if ctx.Value(faulty{}) != nil {
					panic(fault)
				}
				return ""
			}}}
		}},
		"closing a file": {in: "o", options: func(o *Options) {
			err := o.Grants.Mount("/dev/faulty", &vfs.Device{New: func(ctx context.Context, _ vfs.OpenFlags) (vfs.File, error) {
				if ctx.Value(faulty{}) != nil {
					return closePanics{}, nil
				}
				return stdio{}, nil
			}})
			if err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			guest := newTally(3)
			guest.before = []any{guest.says(2, "starting")}
			wasm := guest.bytes()
			if name == "closing a file" {
				g := newTally(3)
				g.Export("_start", 0, g.FuncLocals(nil, nil, nil, code(g.io(g.read, 0, 4), g.openFile("dev/faulty", rightFDRead), g.says(1, "end"))...))
				wasm = g.Bytes()
			}
			options := Options{Idle: time.Hour, Concurrency: Concurrency{Calls: 1, Queue: 1, Wait: 10 * time.Second}, Limits: Limits{Log: 100, Files: 4}}
			if test.options != nil {
				test.options(&options)
			}
			f := newFunction(t, e, wasm, options)
			for i := range 3 {
				if _, _, _, err := runIdle(t, f, "...."); err != nil {
					t.Fatal(err)
				}
				if n := f.pool.parked(); n != 1 {
					t.Fatalf("%d sandboxes are parked", n)
				}
				out, log := test.out, test.log
				if out == nil {
					out = io.Discard
				}
				if log == nil {
					log = io.Discard
				}
				var host *HostError
				_, err := f.Run(context.WithValue(t.Context(), faulty{}, true), strings.NewReader("...."), out, log)
				if !errors.As(err, &host) {
					t.Errorf("call %d: got %v, want a HostError", i, err)
				}
				waitFor(t, func() bool { running, restoring, _ := f.Sandboxes(); return running+restoring == 0 })
				if n := f.pool.parked(); n != 0 {
					t.Errorf("call %d: %d sandboxes are parked after a fault", i, n)
				}
			}
		})
	}
}

type faulty struct{}

// TestCallerThatLeaves: a caller's goroutine that ends while its call runs, as
// (*testing.T).FailNow does, takes nothing with it.
func TestCallerThatLeaves(t *testing.T) {
	t.Parallel()
	guest := newTally(3)
	f := newFunction(t, newTestEngine(t, Config{}), guest.bytes(), Options{Idle: time.Hour,
		Concurrency: Concurrency{Calls: 1, Queue: 1, Wait: 10 * time.Second}})
	for range 3 {
		left := make(chan struct{})
		go func() {
			defer close(left)
			_, _ = f.Run(context.Background(), strings.NewReader("...."), leaving{}, io.Discard)
			t.Error("it came back")
		}()
		<-left
		waitFor(t, func() bool { running, restoring, parked := f.Sandboxes(); return running+restoring+parked == 0 })
		if out, _, _, err := runIdle(t, f, "...."); err != nil || out != tallied {
			t.Errorf("got %q, %v", out, err)
		}
	}
}

// TestCanceledGoesBack: a client that leaves does not cost a start of the program.
func TestCanceledGoesBack(t *testing.T) {
	t.Parallel()
	guest := newTally(3)
	guest.slow = true
	f := newFunction(t, verifiedEngine(t, Config{}), guest.bytes(), Options{Idle: time.Hour, Snapshot: SnapshotOn})
	for i := range 5 {
		out, _, receipt, err := runIdle(t, f, "....")
		if err != nil || out != tallied || i > 1 && receipt.Start != StartSnapshot {
			t.Errorf("call %d: got %q, %s, %v", i, out, receipt.Start, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		if _, err := f.Run(ctx, strings.NewReader("l"), io.Discard, io.Discard); !errors.Is(err, ErrCanceled) {
			t.Errorf("call %d: got %v, want ErrCanceled", i, err)
		}
		waitFor(t, func() bool { running, restoring, _ := f.Sandboxes(); return running+restoring == 0 })
	}
}

// TestKeptIsCounted: what a sandbox keeps to go back to is in the budget, and
// where there is no room for it the function does without.
func TestKeptIsCounted(t *testing.T) {
	t.Parallel()
	guest := newTally(16)
	guest.slow = true
	guest.before = []any{c32(65536), c32(7), c32(12 * 65536), 0xfc, 11, 0}
	wasm := guest.bytes()
	for _, room := range []int64{64 << 20, 20 * pageSize} {
		e := verifiedEngine(t, Config{Memory: room})
		f := newFunction(t, e, wasm, Options{Idle: time.Hour, Snapshot: SnapshotOn})
		for i := range 6 {
			out, _, receipt, err := runIdle(t, f, "....")
			if err != nil || out != tallied {
				t.Fatalf("call %d: got %q, %v", i, out, err)
			}
			if i > 2 && room == 20*pageSize && receipt.Start != StartReset {
				t.Errorf("call %d: started by %s", i, receipt.Start)
			}
			f.pool.mu.Lock()
			var held int64
			for _, s := range f.pool.ready {
				held += int64(s.memory.Size()) + s.memory.mapped.Kept()
			}
			f.pool.mu.Unlock()
			if counted := e.budget.Used() - f.program.weight(); counted != held || f.Memory() != held {
				t.Errorf("room for %d, call %d: %d bytes are held, %d and %d counted", room, i, held, counted, f.Memory())
			}
		}
		if kind, why := f.StartKind(); room == 20*pageSize && (kind != StartReset || !strings.Contains(why, "too much")) {
			t.Errorf("got %s, %s", kind, why)
		}
	}
}

// TestCloseWaitsForEvictions: when Close returns, no sandbox is being freed.
func TestCloseWaitsForEvictions(t *testing.T) {
	t.Parallel()
	for name, free := range map[string]func(p *pool){
		"evict":  func(p *pool) { p.evict() },
		"expire": func(p *pool) { p.expire() },
	} {
		f := newFunction(t, newTestEngine(t, Config{}), newTally(3).bytes(), Options{Idle: time.Nanosecond})
		f.pool.idle = time.Hour // until it is told to
		s, err := newSandbox(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		gate := make(chan struct{})
		s.guest.end()
		s.guest = newCoroutine(func() { s.guest.pause(); <-gate })
		s.guest.resume()
		if !f.pool.put(s) {
			t.Fatal("it was not parked")
		}
		f.pool.mu.Lock()
		f.pool.idle = 0
		f.pool.mu.Unlock()
		go free(f.pool)
		waitFor(t, func() bool { return f.pool.parked() == 0 })
		time.AfterFunc(20*time.Millisecond, func() { close(gate) })
		f.Close()
		if f.Memory() != 0 {
			t.Errorf("%s: closed, with a sandbox that has %d bytes", name, f.Memory())
		}
	}
}

// TestImpossibleWishesEvictNobody: who asks for more than there will ever be,
// or than freeing all idle sandboxes brings, takes none from others.
func TestImpossibleWishesEvictNobody(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Memory: 8 << 20})
	f := newFunction(t, e, newTally(16).bytes(), Options{Idle: time.Hour})
	if _, _, _, err := runIdle(t, f, "...."); err != nil {
		t.Fatal(err)
	}
	if err := e.budget.Reserve(6 << 20); err != nil {
		t.Fatal(err)
	}
	for _, n := range []int64{9 << 20, 4 << 20} {
		if err := e.budget.Reserve(n); !errors.Is(err, ErrOverloaded) {
			t.Errorf("reserving %d bytes: got %v", n, err)
		}
		if f.pool.parked() != 1 {
			t.Fatalf("%d bytes that were refused took the sandbox of another function", n)
		}
	}
	if err := e.budget.Reserve(3 << 19); err != nil { // needs some of the sandbox's
		t.Error(err)
	}
	if f.pool.parked() != 0 {
		t.Error("it was not freed")
	}
	e.budget.Release(6<<20 + 3<<19)
}

// slowReader gives what it has when it is told to.
type slowReader struct {
	ready <-chan struct{}
	io.Reader
}

func (r slowReader) Read(p []byte) (int, error) { <-r.ready; return r.Reader.Read(p) }

// TestNonblockingInput: a program that asks again and again, without waiting,
// sees its input come.
func TestNonblockingInput(t *testing.T) {
	t.Parallel()
	g := newTally(3)
	again := int32(vfs.EAGAIN)
	g.Export("_start", 0, g.FuncLocals(nil, nil, nil, code(
		c32(0), c32(4), call(g.seek), 0x1a, // non-blocking
		store(0, 1024), store(4, 4),
		0x03, 0x40, c32(0), c32(0), c32(1), c32(16), call(g.read), c32(again), 0x46, 0x0d, 0, 0x0b,
		g.io(g.write, 1, 4))...))
	f := newFunction(t, newTestEngine(t, Config{}), g.Bytes(), Options{Idle: time.Hour, Limits: Limits{Timeout: 5 * time.Second}})
	for range 3 {
		ready := make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(ready) })
		var out bytes.Buffer
		_, err := f.Run(t.Context(), slowReader{ready, strings.NewReader("come")}, &out, io.Discard)
		if err != nil || out.String() != "come" {
			t.Errorf("got %q, %v", &out, err)
		}
	}
}

// TestNothingOfTheCallerIsKept: a parked sandbox doesn't hold on to the request
// it served.
func TestNothingOfTheCallerIsKept(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{StartSnapshot, StartReset, StartLate} {
		f := newFunction(t, newTestEngine(t, Config{}), newTally(3).bytes(), Options{Idle: time.Hour,
			Snapshot: map[string]Snapshot{StartSnapshot: SnapshotOn}[kind]})
		if kind == StartLate {
			f.start.unread()
		}
		type request struct{ _ [1 << 16]byte }
		gone := make(chan struct{})
		func() {
			r := new(request)
			runtime.AddCleanup(r, func(c chan struct{}) { close(c) }, gone)
			_, err := f.Run(context.WithValue(t.Context(), faulty{}, r), strings.NewReader("...."), io.Discard, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
		}()
		waitFor(t, func() bool { return f.pool.parked() == 1 })
		waitFor(t, func() bool {
			runtime.GC()
			select {
			case <-gone:
				return true
			default:
				return false
			}
		})
	}
}

// TestRootMount: the reason names what was used.
func TestRootMount(t *testing.T) {
	t.Parallel()
	guest := newTally(3)
	guest.before = []any{guest.openFile("x", rightFDWrite)}
	options := Options{Idle: time.Hour, Limits: Limits{Files: 1}}
	mountTemp(t, &options, "/", true, "x")
	f := newFunction(t, newTestEngine(t, Config{}), guest.bytes(), options)
	runIdle(t, f, "....")
	if kind, why := f.StartKind(); kind != StartLate || !strings.Contains(why, `"/"`) {
		t.Errorf("got %s, %s", kind, why)
	}
}

// TestFilesIntoKeptMemory: what the kernel itself writes into a guest's memory,
// reading a file, arrives there and is undone like what the guest writes.
func TestFilesIntoKeptMemory(t *testing.T) {
	t.Parallel()
	const size = 3 * pageSize
	dir := t.TempDir()
	text := bytes.Repeat([]byte("contents"), size/8)
	if err := os.WriteFile(filepath.Join(dir, "x"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	guest := newTally(8)
	fd := code(c32(atFile), 0x28, 2, 0)
	loop := code(c32(100_000), 0x21, 0, 0x03, 0x40, 0x20, 0, c32(1), 0x6b, 0x22, 0, 0x0d, 0, 0x0b)
	guest.Export("_start", 0, guest.FuncLocals(nil, nil, i32, code(loop,
		c32(2*65536), c32(7), c32(3*65536), 0xfc, 11, 0, // three pages that are kept
		guest.io(guest.read, 0, 4),
		guest.openFile("data/x", rightFDRead),
		store(0, 2*65536), store(4, size), fd, c32(0), c32(1), c32(16), call(guest.read), 0x1a,
		c32(1), c32(0), c32(1), c32(16), call(guest.write), 0x1a)...))
	options := Options{Idle: time.Hour, Limits: Limits{Files: 1}}
	if err := options.Grants.Mount("/data", &vfs.HostDir{Path: dir}); err != nil {
		t.Fatal(err)
	}
	f := newFunction(t, verifiedEngine(t, Config{}), guest.Bytes(), options)
	for i := range 100 {
		out, _, receipt, err := runIdle(t, f, "....")
		if err != nil || out != string(text) {
			t.Fatalf("call %d by %s: got %d bytes, %v", i, receipt.Start, len(out), err)
		}
		if i > 1 && receipt.Start != StartSnapshot {
			t.Fatalf("call %d: started by %s", i, receipt.Start)
		}
	}
}

// TestSettledIsNotALogger: a program that traps in every call, and is another one
// each time it starts, isn't reported each time.
func TestSettledIsNotALogger(t *testing.T) {
	t.Parallel()
	var told []string
	s := starts{tell: func(kind, _ string) { told = append(told, kind) }}
	for range 1000 {
		s.settled(StartSnapshot, "")
		s.settled(StartReset, "")
	}
	if len(told) != maxTellings || told[0] != StartSnapshot || told[1] != StartReset {
		t.Errorf("told %d times", len(told))
	}
	s.quiet = time.Now()
	s.settled(StartLate, "")
	s.settled(StartReset, "")
	if len(told) != maxTellings+1 || told[maxTellings] != StartLate {
		t.Errorf("told %q", told)
	}
	if kind, _ := s.is(); kind != StartReset {
		t.Errorf("it is %q", kind)
	}
}
