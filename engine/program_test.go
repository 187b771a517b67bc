package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/rewrite"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// answer is a program that writes text and ends.
func answer(text string) []byte {
	g := newGuest(1)
	g.Data(1024, text)
	g.Main(g.io(g.write, 1, int32(len(text)))...)
	return g.Bytes()
}

func TestCompileOnce(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	wasm := answer("once")
	const users = 20
	programs := make([]*Program, users)
	var all sync.WaitGroup
	for i := range users {
		all.Go(func() {
			p, err := e.Compile(t.Context(), wasm)
			if err != nil {
				t.Error(err)
			}
			programs[i] = p
		})
	}
	all.Wait()
	for _, p := range programs {
		if p != programs[0] {
			t.Fatal("one module became several programs")
		}
	}
	// It stays until its last user has gone.
	for i, p := range programs {
		if got := len(e.programs); got != 1 {
			t.Errorf("before close %d: got %d programs, want 1", i, got)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := len(e.programs); got != 0 {
		t.Errorf("got %d programs at the end, want none", got)
	}
	again, err := e.Compile(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	if again == programs[0] {
		t.Error("a closed program came back")
	}
	again.Close()
}

// TestCompileHammer loads, uses and closes a few programs from many goroutines.
func TestCompileHammer(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{CacheDir: filepath.Join(t.TempDir(), "cache"), Compilers: 2})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 25 {
				want := fmt.Sprintf("answer %d", (i+j)%3)
				ctx, cancel := context.WithCancel(t.Context())
				if j%5 == 0 {
					cancel() // it may or may not get the program
				}
				p, err := e.Compile(ctx, answer(want))
				cancel()
				if err != nil {
					if !errors.Is(err, ErrLoad) || !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					continue
				}
				f, err := p.Function(Options{})
				if err != nil {
					t.Error(err)
					continue
				}
				var out strings.Builder
				if _, err := f.Run(t.Context(), strings.NewReader(""), &out, io.Discard); err != nil || out.String() != want {
					t.Errorf("got %q, %v, want %q", out.String(), err, want)
				}
				if err := errors.Join(f.Close(), p.Close()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	waitFor(t, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.programs) == 0 })
}

// TestOneModuleLoadedAtOnce: a program that is closed while it is being loaded may be opened again, and is
// then loaded twice at the same time. Each loading gives whole code.
func TestOneModuleLoadedAtOnce(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{CacheDir: filepath.Join(t.TempDir(), "cache")})
	wasm := answer("whole")
	p, err := e.Compile(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	key := p.key
	p.Close()
	e.loaders = make(chan struct{}, 8)
	for range 20 {
		var all sync.WaitGroup
		for range cap(e.loaders) {
			all.Go(func() {
				c, err := e.fetch(key)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.free()
				if err := guarded("instantiating", func() error { return instantiate(c) }); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}

// instantiate makes an instance of the code whose entry can be called.
func instantiate(c *executable) error {
	m, err := c.runtime.InstantiateModule(context.Background(), c.compiled, instanceConfig)
	if err != nil {
		return err
	}
	m.ExportedFunction(rewrite.EnterExport)
	return m.Close(context.Background())
}

func TestCompileWaitsNoLongerThanItsContext(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Compilers: 1})
	busy := e.compilers.enqueue(true) // the only compiler is
	busy.wait()
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := e.Compile(ctx, answer("late")); !errors.Is(err, ErrLoad) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrLoad for the deadline", err)
	}
	e.compilers.done(busy)
	p, err := e.Compile(t.Context(), answer("late"))
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}

func TestDamagedCacheIsRebuilt(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	compile := func() {
		t.Helper()
		e, err := New(Config{CacheDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		f := newFunction(t, e, answer("cached"), Options{})
		var out strings.Builder
		if _, err := f.Run(t.Context(), strings.NewReader(""), &out, io.Discard); err != nil || out.String() != "cached" {
			t.Errorf("got %q, %v", out.String(), err)
		}
	}
	entries := func() []string {
		t.Helper()
		found, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	compile()
	first := entries()
	if len(first) != 1 {
		t.Fatalf("got %d entries in the cache, want 1", len(first))
	}
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { return bytes.Repeat([]byte{'x'}, len(b)) },
		func(b []byte) []byte { b[len(b)/2] ^= 0xff; return b },
	} {
		whole, err := os.ReadFile(first[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(first[0], damage(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		compile()
		if now, err := os.ReadFile(first[0]); err != nil || !bytes.Equal(now, whole) {
			t.Errorf("the damaged entry was not replaced: %v", err)
		}
	}
}

func TestModulesThatCannotRun(t *testing.T) {
	t.Parallel()
	wasi := func(name string, params, results []byte) func() []byte {
		return func() []byte {
			m := wasmtest.New(1)
			m.Import(preview1Module, name, params, results)
			m.Main()
			return m.Bytes()
		}
	}
	from := func(module, name string) func() []byte {
		return func() []byte {
			m := wasmtest.New(1)
			m.Import(module, name, nil, nil)
			m.Main()
			return m.Bytes()
		}
	}
	tests := []struct {
		name string
		make func() []byte
		want string
	}{
		{"empty", func() []byte { return nil }, "empty"},
		{"text", func() []byte { return []byte("#!/bin/sh\necho hello") }, "not a WebAssembly module"},
		{"truncated", func() []byte { b := answer("x"); return b[:len(b)-3] }, "byte"},
		{"a component", func() []byte { return []byte{0, 'a', 's', 'm', 13, 0, 1, 0} }, "component"},
		{"unknown function of preview 1", wasi("fd_fly", nil, nil), `"fd_fly" from "wasi_snapshot_preview1", which WASI preview 1 doesn't have`},
		{"wrong signature", wasi("fd_write", params(1), i32), "(i32) -> (i32); it is (i32, i32, i32, i32) -> (i32)"},
		{"preview 0", from("wasi_unstable", "fd_write"), "WASI of 2019"},
		{"preview 2", from("wasi:cli/run@0.2.0", "run"), "preview 2"},
		{"Go for browsers", from("gojs", "runtime.wasmExit"), "GOOS=wasip1"},
		{"another host's function", from("env", "emscripten_notify"), `only functions of "wasi_snapshot_preview1"`},
		{"our private functions", from("gojinn", "tick"), "gojinn"},
		{"no _start", func() []byte { return wasmtest.New(1).Bytes() }, `no function "_start"`},
		{"a reactor", func() []byte {
			m := wasmtest.New(1)
			m.Export("_initialize", 0, m.Func(nil, nil))
			return m.Bytes()
		}, "reactor"},
		{"_start with a parameter", func() []byte {
			m := wasmtest.New(1)
			m.Export("_start", 0, m.Func(i32, nil))
			return m.Bytes()
		}, "without parameters"},
		{"_start is a memory", func() []byte {
			m := wasmtest.New(1)
			m.Export("_start", 2, 0)
			return m.Bytes()
		}, `"_start" is a memory`},
		{"no memory", func() []byte {
			m := &wasmtest.Module{}
			m.Main()
			return m.Bytes()
		}, "no memory"},
		{"memory not exported", func() []byte {
			b := answer("x")
			return bytes.Replace(b, []byte("\x06memory"), []byte("\x06memorx"), 1)
		}, "no memory under the name"},
		{"ill-typed code", func() []byte {
			m := wasmtest.New(1)
			m.Main(0x6a) // i32.add of nothing
			return m.Bytes()
		}, "i32.add"},
	}
	e := newTestEngine(t, Config{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, err := e.Compile(t.Context(), test.make())
			if err == nil {
				p.Close()
				t.Fatal("it was accepted")
			}
			var module *ModuleError
			if !errors.As(err, &module) || !errors.Is(err, ErrLoad) {
				t.Errorf("got %T, want a ModuleError", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %q, want it to say %q", err, test.want)
			}
		})
	}
}

func TestManyUnknownImportsMakeAShortError(t *testing.T) {
	t.Parallel()
	m := wasmtest.New(1)
	for i := range 1000 {
		m.Import(strings.Repeat("m", 1000), fmt.Sprint(strings.Repeat("n", 1000), i), nil, nil)
	}
	m.Main()
	_, err := newTestEngine(t, Config{}).Compile(t.Context(), m.Bytes())
	if err == nil || len(err.Error()) > 2000 {
		t.Errorf("got %d bytes: %.300v", len(fmt.Sprint(err)), err)
	}
}

func TestMemoryAboveItsCeiling(t *testing.T) {
	t.Parallel()
	g := newGuest(100)
	g.Main()
	p, err := newTestEngine(t, Config{}).Compile(t.Context(), g.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var module *ModuleError
	if _, err := p.Function(Options{Limits: Limits{Memory: 99 * pageSize}}); !errors.As(err, &module) {
		t.Errorf("got %v, want a ModuleError", err)
	}
	if _, err := p.Function(Options{Limits: Limits{Memory: 100 * pageSize}}); err != nil {
		t.Errorf("at its ceiling: got %v", err)
	}
}

// TestSharedCeiling: what one call holds another can't have, and it is the
// host that is overloaded, not the guest that failed.
func TestSharedCeiling(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Memory: 10 * pageSize})
	grow := newGuest(4)
	grow.Main(code(c32(6), 0x40, 0, 0x1a, c32(1), 0x40, 0, 0x1a)...)
	f := newFunction(t, e, grow.Bytes(), Options{})
	_, err := f.Run(t.Context(), strings.NewReader(""), io.Discard, io.Discard)
	if !errors.Is(err, ErrOverloaded) || errors.Is(err, ErrMemory) {
		t.Errorf("growing above the shared ceiling: got %v, want ErrOverloaded", err)
	}
	big := newGuest(11)
	big.Main()
	f = newFunction(t, e, big.Bytes(), Options{})
	if _, err := f.Run(t.Context(), strings.NewReader(""), io.Discard, io.Discard); !errors.Is(err, ErrOverloaded) {
		t.Errorf("starting above the shared ceiling: got %v, want ErrOverloaded", err)
	}
	nothingReserved(t, e)
}
