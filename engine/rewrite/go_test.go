package rewrite_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// goProgram compiles testdata/json.
var goProgram = func() func(testing.TB) []byte {
	build := sync.OnceValues(func() ([]byte, error) {
		dir, err := os.MkdirTemp("", "rewrite")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		out := filepath.Join(dir, "json.wasm")
		cmd := exec.Command("go", "build", "-trimpath", "-o", out, "./testdata/json")
		cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, err
		}
		return os.ReadFile(out)
	})
	return func(t testing.TB) []byte {
		t.Helper()
		wasm, err := build()
		if err != nil {
			t.Fatalf("compiling testdata/json: %v", err)
		}
		return wasm
	}
}()

// run runs a WASI program and returns what it printed.
func (w *world) run(t testing.TB, program wazero.CompiledModule, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	config := wazero.NewModuleConfig().WithName("").WithArgs(append([]string{"json"}, args...)...).WithStdout(&out).WithStderr(&out)
	m, err := w.runtime.InstantiateModule(w.ctx, program, config)
	if err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	m.Close(w.ctx)
	return out.String()
}

// enter is run for a module whose data has been detached; the program is entered as the engine enters it.
func (w *world) enter(t testing.TB, program wazero.CompiledModule, report *rewrite.Report, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	config := wazero.NewModuleConfig().WithName("").WithArgs(append([]string{"json"}, args...)...).WithStdout(&out).WithStderr(&out)
	m, err := w.runtime.InstantiateModule(w.ctx, program, config.WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(w.ctx)
	if n := report.MergedSegments; n > 0 || len(report.Image) == 0 {
		t.Fatalf("%d segments have stayed, %d runs", n, len(report.Image))
	}
	for _, run := range report.Image {
		if !m.Memory().Write(run.Offset, run.Bytes) {
			t.Fatalf("%d bytes at %d do not fit into the memory", len(run.Bytes), run.Offset)
		}
	}
	_, err = m.ExportedFunction(rewrite.EnterExport).Call(w.ctx)
	if end := new(sys.ExitError); !errors.As(err, &end) || end.ExitCode() != 0 {
		t.Fatalf("ended with %v\n%s", err, &out)
	}
	return out.String()
}

// program loads a WASI program without starting it.
func (w *world) program(t testing.TB, wasm []byte) wazero.CompiledModule {
	t.Helper()
	wasi_snapshot_preview1.MustInstantiate(w.ctx, w.runtime)
	compiled, err := w.runtime.CompileModule(w.ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// TestGoProgram: a Go program, which panics and recovers at its end, prints the same before and after.
func TestGoProgram(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("compiling takes seconds")
	}
	wasm := goProgram(t)
	out, report, err := rewrite.Module(wasm)
	if err != nil {
		t.Fatal(err)
	}
	if report.DataSegments < 10_000 || report.MergedSegments > 50 {
		t.Errorf("%d data segments became %d", report.DataSegments, report.MergedSegments)
	}
	before, after := newWorld(t, false), newWorld(t, true)
	want, got := before.run(t, before.program(t, wasm), "3"), after.run(t, after.program(t, out), "3")
	if got != want || len(want) < 16 {
		t.Errorf("got %q, want %q", got, want)
	}
	if report.Unrestorable != "" {
		t.Errorf("can't be restored: it %s", report.Unrestorable)
	}
	detached, report, err := rewrite.ModuleWith(wasm, rewrite.Options{Meter: true, Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	apart := newWorld(t, true)
	if got := apart.enter(t, apart.program(t, detached), report, "3"); got != want {
		t.Errorf("detached and entered: got %q, want %q", got, want)
	}
}

// BenchmarkModule is the time and memory that rewriting takes.
func BenchmarkModule(b *testing.B) {
	wasm := goProgram(b)
	b.SetBytes(int64(len(wasm)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := rewrite.Module(wasm); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMetering compares modules with and without metering.
func BenchmarkMetering(b *testing.B) {
	loops := newBuilder()
	loops.memory(2, 0)
	loops.export("loop", 0, loops.function(nil, nil, []byte{i32},
		0x03, 0x40, 0x20, 0, 0x41, 1, 0x6a, 0x22, 0, 0x41, 0xc0, 0x84, 0x3d, 0x49, 0x0d, 0, 0x0b)) // a million turns
	loops.export("sum", 0, loops.function(nil, nil, []byte{i32, i32},
		0x03, 0x40, 0x20, 0, 0x20, 1, 0x28, 2, 0, 0x6a, 0x21, 0,
		0x20, 1, 0x20, 0, 0x36, 2, 0x80, 0x80, 0x04,
		0x20, 1, 0x41, 4, 0x6a, 0x22, 1, 0x41, 0xe0, 0xd4, 0x03, 0x49, 0x0d, 0, 0x0b))
	fib := uint32(3)
	loops.export("fib", 0, loops.function(nil, nil, nil, 0x41, 20, 0x10, byte(fib), 0x1a))
	loops.function([]byte{i32}, []byte{i32}, nil,
		0x20, 0, 0x41, 2, 0x48, 0x04, 0x7f, 0x20, 0, 0x05,
		0x20, 0, 0x41, 1, 0x6b, 0x10, byte(fib), 0x20, 0, 0x41, 2, 0x6b, 0x10, byte(fib), 0x6a, 0x0b)
	for _, meter := range []bool{false, true} {
		name := map[bool]string{false: "/unmetered", true: "/metered"}[meter]
		make := func(b *testing.B, wasm []byte) (*world, wazero.CompiledModule) {
			out, _, err := rewrite.ModuleWith(wasm, rewrite.Options{Meter: meter})
			if err != nil {
				b.Fatal(err)
			}
			w := newWorld(b, true)
			w.fuel, w.chunk = 1<<60, 1<<18
			return w, w.program(b, out)
		}
		for _, f := range []string{"loop", "sum", "fib"} {
			b.Run(f+name, func(b *testing.B) {
				w, program := make(b, loops.bytes())
				m, err := w.runtime.InstantiateModule(w.ctx, program, wazero.NewModuleConfig().WithName(""))
				if err != nil {
					b.Fatal(err)
				}
				function := m.ExportedFunction(f)
				for b.Loop() {
					if _, err := function.Call(context.Background()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		b.Run("go-json"+name, func(b *testing.B) {
			w, program := make(b, goProgram(b))
			for b.Loop() {
				w.run(b, program, "10")
			}
		})
	}
}
