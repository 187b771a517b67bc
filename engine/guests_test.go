package engine_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// guestEngine and guestPrograms are shared by the tests below, since compiling
// takes longer than all they do; they live as long as the test process.
var (
	guestEngine = sync.OnceValues(func() (*engine.Engine, error) {
		return engine.New(engine.Config{Verify: func(difference string) { panic(difference) }})
	})
	guestPrograms sync.Map // name → func() (*engine.Program, error)
)

// compileGuest returns a program from testdata/guests: what is checked in, or
// for Go what the source compiles to.
func compileGuest(t *testing.T, name string) *engine.Program {
	t.Helper()
	dir := filepath.Join("testdata", "guests", name)
	var module []byte
	if strings.HasSuffix(name, "-go") {
		module = toolchaintest.Build(t, dir)
	} else {
		var err error
		if module, err = os.ReadFile(filepath.Join(dir, name+".wasm")); err != nil {
			t.Fatal(err)
		}
	}
	once, _ := guestPrograms.LoadOrStore(name, sync.OnceValues(func() (*engine.Program, error) {
		e, err := guestEngine()
		if err != nil {
			return nil, err
		}
		return e.Compile(context.Background(), module)
	}))
	program, err := once.(func() (*engine.Program, error))()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func fixed(values ...string) []engine.Value {
	var out []engine.Value
	for _, v := range values {
		out = append(out, engine.Value{Fixed: v})
	}
	return out
}

// wasiGrants are the files and variables that the wasicheck guests expect; see
// testdata/guests/README.md.
func wasiGrants(t *testing.T) (grants engine.Grants, data string) {
	t.Helper()
	for _, pair := range [][2]string{{"GREETING", "hello world"}, {"EMPTY", ""}, {"EQUALS", "a=b=c"}, {"UNICODE", "ü€"}} {
		if err := grants.Env(pair[0], engine.Value{Fixed: pair[1]}); err != nil {
			t.Fatal(err)
		}
	}
	data = t.TempDir()
	ro := t.TempDir()
	if err := os.Mkdir(filepath.Join(ro, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"hello.txt": "hello\n", "sub/a": "", "sub/b": "", "sub/c": ""} {
		if err := os.WriteFile(filepath.Join(ro, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for path, dir := range map[string]*vfs.HostDir{"/data": {Path: data, Writable: true}, "/ro": {Path: ro}} {
		if err := grants.Mount(path, dir); err != nil {
			t.Fatal(err)
		}
	}
	return grants, data
}

// Programs in several languages find WASI preview 1 as they expect it.
func TestWASICheck(t *testing.T) {
	t.Parallel()
	functions, err := toolchain.Find("testdata/guests")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range functions {
		if !strings.HasPrefix(f.Name, "wasicheck-") {
			continue
		}
		t.Run(strings.TrimPrefix(f.Name, "wasicheck-"), func(t *testing.T) {
			t.Parallel()
			program := compileGuest(t, f.Name)
			list, _, err := runGuest(t, program, engine.Grants{}, "", "list")
			if err != nil || len(list) < 5 {
				t.Fatalf("list: got %q, %v", list, err)
			}
			for _, check := range strings.Fields(list) {
				t.Run(check, func(t *testing.T) {
					args := []string{check}
					if check == "args" {
						args = append(args, "a b", "", "ü€", "--x=y", "\"'\\", "last")
					}
					grants, _ := wasiGrants(t)
					out, log, err := runGuest(t, program, grants, "hello stdin\n", args...)
					if err != nil || out+log != "ok\n" {
						t.Errorf("got %v\n%s%s", err, out, log)
					}
					runKept(t, program, args)
				})
			}
		})
	}
}

// runKept runs a check in one sandbox again and again: it finds everything as
// it was.
func runKept(t *testing.T, program *engine.Program, args []string) {
	t.Helper()
	for _, snapshot := range []engine.Snapshot{engine.SnapshotOn, engine.SnapshotOff} {
		grants, data := wasiGrants(t)
		function, err := program.Function(engine.Options{
			Args:     fixed(append([]string{"guest"}, args...)...),
			Grants:   grants,
			Limits:   engine.Limits{Timeout: time.Minute, Memory: 128 << 20, Output: 1 << 20, Log: 1 << 20, Files: 64},
			Idle:     time.Minute,
			Snapshot: snapshot,
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 4 {
			var out, log bytes.Buffer
			receipt, err := function.Run(context.Background(), strings.NewReader("hello stdin\n"), &out, &log)
			if err != nil || out.String()+log.String() != "ok\n" {
				t.Errorf("call %d, started by %s: got %v\n%s%s", i, receipt.Start, err, &out, &log)
			}
			entries, err := os.ReadDir(data)
			if err != nil {
				t.Error(err)
			}
			for _, entry := range entries {
				if err := os.RemoveAll(filepath.Join(data, entry.Name())); err != nil {
					t.Error(err)
				}
			}
			awaitParked(t, function)
		}
		function.Close()
	}
}

// awaitParked waits until no sandbox of the function is at work.
func awaitParked(t *testing.T, function *engine.Function) {
	t.Helper()
	for range 60_000 {
		if running, restoring, _ := function.Sandboxes(); running+restoring == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("a sandbox is still being renewed")
}

// runGuest runs a program once.
func runGuest(t *testing.T, program *engine.Program, grants engine.Grants, stdin string, args ...string) (out, log string, err error) {
	t.Helper()
	function, err := program.Function(engine.Options{
		Args:   fixed(append([]string{"guest"}, args...)...),
		Grants: grants,
		Limits: engine.Limits{Timeout: time.Minute, Memory: 128 << 20, Output: 1 << 20, Log: 1 << 20, Files: 64},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer function.Close()
	var stdout, stderr bytes.Buffer
	_, err = function.Run(context.Background(), strings.NewReader(stdin), &stdout, &stderr)
	return stdout.String(), stderr.String(), err
}

// hostileGuests are the ways in which the hostile guests misbehave, and how the
// engine must end the call. Ways that only write something are tests of whoever
// reads it.
var hostileGuests = []struct {
	guest string
	ways  string
	want  func(error) bool
}{
	{"hostile-c", "loop empty-loop fib60 fill table stderr-flood stderr-lines read-forever answer-then-loop sleep-hour sleep-ages " +
		"sleep-short poll-stdin poll-many yield clocks random-flood arguments files-forever large-write", is(engine.ErrTimeout)},
	{"hostile-rust", "loop fib60 stderr-flood sleep-hour read-forever", is(engine.ErrTimeout)},
	{"hostile-zig", "loop fib60 stderr-flood sleep-hour", is(engine.ErrTimeout)},
	{"hostile-go", "loop fib60 stderr-flood sleep-hour tick read-forever garbage-collector goroutines", is(engine.ErrTimeout)},
	{"hostile-c", "recursion recursion-indirect", is(engine.ErrStack)},
	{"hostile-c", "unreachable abort divide overflow out-of-bounds null-call wild-call wrong-call convert recursion-frames answer-then-trap", isTrap},
	{"hostile-rust", "panic index unwrap abort recursion", isTrap},
	{"hostile-zig", "panic trap recursion", isTrap},
	{"hostile-c", "exit3 exit-twice answer-then-exit3", isExit(3)},
	{"hostile-c", "exit-large", isExit(1<<32 - 1)},
	{"hostile-rust", "exit3", isExit(3)},
	{"hostile-zig", "exit3", isExit(3)},
	{"hostile-go", "exit3", isExit(3)},
	{"hostile-go", "panic nil deadlock lock", isExit(2)},
	{"hostile-c", "memory-abort", is(engine.ErrMemory)},
	{"hostile-rust", "memory", is(engine.ErrMemory)},
	{"hostile-zig", "memory", is(engine.ErrMemory)},
	{"hostile-go", "memory", is(engine.ErrMemory)},
	{"hostile-c", "stdout-flood stdout-drip", is(engine.ErrOutput)},
	{"hostile-rust", "stdout-flood", is(engine.ErrOutput)},
	{"hostile-zig", "stdout-flood", is(engine.ErrOutput)},
	{"hostile-go", "stdout-flood", is(engine.ErrOutput)},
	{"hostile-c", "exit0 memory memory-large stderr-answer stderr-binary never-read read-some close-stdin close-stdout close-all silent blank garbage " +
		"two half echo files passwd", is(nil)},
	{"hostile-rust", "thread passwd silent", is(nil)},
	{"hostile-zig", "silent", is(nil)},
	{"hostile-go", "passwd silent", is(nil)},
}

func is(want error) func(error) bool { return func(err error) bool { return errors.Is(err, want) } }

func isTrap(err error) bool {
	_, ok := errors.AsType[*engine.TrapError](err)
	return ok
}

func isExit(code uint32) func(error) bool {
	return func(err error) bool {
		exit, ok := errors.AsType[*engine.ExitError](err)
		return ok && exit.Code == code
	}
}

// Whatever programs from real compilers do, the call ends as it should and the
// collector is never held up.
func TestHostilePrograms(t *testing.T) {
	for _, group := range hostileGuests {
		t.Run(group.guest, func(t *testing.T) {
			program := compileGuest(t, group.guest)
			endless := group.want(engine.ErrTimeout)
			limits := engine.Limits{Timeout: time.Minute, Memory: 96 << 20, Output: 64 << 10, Log: 4 << 10, Files: 64}
			if endless {
				limits.Timeout = 200 * time.Millisecond
			}
			for _, way := range strings.Fields(group.ways) {
				t.Run(way, func(t *testing.T) {
					function, err := program.Function(engine.Options{
						Args: fixed("hostile", way), Limits: limits, Idle: time.Minute, Snapshot: engine.SnapshotOn})
					if err != nil {
						t.Fatal(err)
					}
					defer function.Close()
					collected := make(chan time.Duration, 1)
					time.AfterFunc(limits.Timeout/4, func() {
						start := time.Now()
						runtime.GC()
						collected <- time.Since(start)
					})
					var out, log bytes.Buffer
					start := time.Now()
					_, err = function.Run(context.Background(), strings.NewReader("x"), &out, &log)
					if !group.want(err) {
						t.Errorf("got %v, stderr %.200q", err, log.String())
					}
					if out.Len() > int(limits.Output) || log.Len() > int(limits.Log) {
						t.Errorf("got %d bytes of stdout, %d of stderr, want no more than the limits", out.Len(), log.Len())
					}
					if endless {
						if took := time.Since(start); took > limits.Timeout+5*time.Second {
							t.Errorf("the call took %v, want it to end at its deadline", took)
						}
						if took := <-collected; took > 5*time.Second {
							t.Errorf("the collector took %v", took)
						}
					}
					// Once more in a sandbox that has been taken back.
					awaitParked(t, function)
					receipt, err := function.Run(context.Background(), strings.NewReader("x"), io.Discard, io.Discard)
					if !group.want(err) {
						t.Errorf("again, started by %s: got %v", receipt.Start, err)
					}
				})
			}
		})
	}
}
