package rewrite_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/gojinn/gojinn/engine/rewrite"
)

const (
	preview1 = "wasi_snapshot_preview1"
	answer   = 42 // of reading
)

var four = []byte{i32, i32, i32, i32}

// reader answers imports: ParkErrno as often as it is told, then answer.
type reader struct {
	parks int
	calls [][]uint64 // their arguments
}

func (r *reader) answer(_ context.Context, _ api.Module, stack []uint64) {
	args := make([]uint64, len(stack))
	for i := range args {
		args[i] = uint64(uint32(stack[i])) // the upper half of a 32-bit value is anything
	}
	r.calls = append(r.calls, args)
	stack[0] = answer
	if r.parks--; r.parks >= 0 {
		stack[0] = rewrite.ParkErrno
	}
}

// offer makes functions of the given types importable from a module.
func (r *reader) offer(t *testing.T, w *world, module string, result byte, functions map[string][]byte) {
	t.Helper()
	b := w.runtime.NewHostModuleBuilder(module)
	for name, params := range functions {
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(r.answer), params, []api.ValueType{result}).Export(name)
	}
	if _, err := b.Instantiate(w.ctx); err != nil {
		t.Fatal(err)
	}
}

// reads makes a module that calls its import 0 with 1, 2, 3 and 4 in some way, as "run", and returns the result.
func reads(module, name string, way func(b *builder, f byte)) []byte {
	b := newBuilder()
	b.importFunc("spectest", "print", nil, nil) // so that indices differ
	way(b, byte(b.importFunc(module, name, four, []byte{i32})))
	return b.bytes()
}

var oneToFour = []byte{0x41, 1, 0x41, 2, 0x41, 3, 0x41, 4}

// ways to call function f.
var ways = map[string]func(b *builder, f byte){
	"call": func(b *builder, f byte) {
		b.export("run", 0, b.function(nil, []byte{i32}, nil, cat(oneToFour, []byte{0x10, f})...))
	},
	"export": func(b *builder, f byte) {
		b.export("run", 0, uint32(f))
	},
	"element": func(b *builder, f byte) {
		b.table(funcref, 3, 0)
		b.elem(1, uint32(f))
		b.export("run", 0, b.function(nil, []byte{i32}, nil, cat(oneToFour, []byte{0x41, 1, 0x11, 1, 0})...))
	},
	"element expression": func(b *builder, f byte) {
		b.table(funcref, 3, 0)
		b.rawElem([]byte{4, 0x41, 1, 0x0b, 1, 0xd2, f, 0x0b})
		b.export("run", 0, b.function(nil, []byte{i32}, nil, cat(oneToFour, []byte{0x41, 1, 0x11, 1, 0})...))
	},
	"passive element": func(b *builder, f byte) {
		b.table(funcref, 3, 0)
		b.rawElem([]byte{1, 0, 1, f})
		b.export("run", 0, b.function(nil, []byte{i32}, nil, cat([]byte{0x41, 2, 0x41, 0, 0x41, 1, 0xfc, 12, 0, 0},
			oneToFour, []byte{0x41, 2, 0x11, 1, 0})...))
	},
	"reference": func(b *builder, f byte) {
		b.table(funcref, 3, 0)
		b.rawElem([]byte{3, 0, 1, f}) // declared
		b.export("run", 0, b.function(nil, []byte{i32}, nil, cat([]byte{0x41, 0, 0xd2, f, 0x26, 0},
			oneToFour, []byte{0x41, 0, 0x11, 1, 0})...))
	},
	"global": func(b *builder, f byte) {
		b.table(funcref, 3, 0)
		g := b.global(funcref, false, 0xd2, f)
		b.export("run", 0, b.function(nil, []byte{i32}, nil, cat([]byte{0x41, 0, 0x23, byte(g), 0x26, 0},
			oneToFour, []byte{0x41, 0, 0x11, 1, 0})...))
	},
	"second import of the name": func(b *builder, f byte) {
		g := b.importFunc(preview1, "fd_read", four, []byte{i32})
		if g != uint32(f)+1 {
			panic("not the second one")
		}
		b.export("run", 0, b.function(nil, []byte{i32}, nil, cat(oneToFour, []byte{0x10, byte(g)})...))
	},
}

// TestParkEverywhere: however a module calls a function that reads, it gets to see the answer that is none last.
func TestParkEverywhere(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"fd_read", "poll_oneoff"} {
		for way, make := range ways {
			for _, meter := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s by %s, meter %t", name, way, meter), func(t *testing.T) {
					t.Parallel()
					out, _, err := rewrite.ModuleWith(reads(preview1, name, make), rewrite.Options{Meter: meter})
					if err != nil {
						t.Fatal(err)
					}
					const parks = 700 // as often as the engine restores a stack
					r, w := &reader{parks: parks}, newWorld(t, true)
					r.offer(t, w, preview1, i32, map[string][]byte{"fd_read": four, "poll_oneoff": four})
					if err := w.load("", out); err != nil {
						t.Fatal(err)
					}
					var args []uint64
					if way == "export" {
						args = []uint64{1, 2, 3, 4}
					}
					got, err := w.call(w.modules[""], "run", args...)
					if err != nil || len(got) != 1 || got[0] != answer {
						t.Errorf("got %v, %v", got, err)
					}
					if len(r.calls) != parks+1 {
						t.Errorf("called %d times, want %d", len(r.calls), parks+1)
					}
					for _, args := range r.calls {
						if !slices.Equal(args, []uint64{1, 2, 3, 4}) {
							t.Fatalf("called with %v", args)
						}
					}
				})
			}
		}
	}
}

// TestParkNowhereElse: other imports are none of our business.
func TestParkNowhereElse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		module, name string
		params       []byte
		result       byte
	}{
		{preview1, "fd_write", four, i32},
		{preview1, "fd_pread", four, i32},
		{preview1, "fd_read", four[:3], i32},
		{preview1, "fd_read", four, i64},
		{preview1, "poll_oneoff", []byte{i32, i32, i64, i32}, i32},
		{"wasi_unstable", "fd_read", four, i32},
		{"env", "poll_oneoff", four, i32},
	} {
		t.Run(fmt.Sprintf("%s.%s of %x to %x", test.module, test.name, test.params, test.result), func(t *testing.T) {
			t.Parallel()
			b := newBuilder()
			f := b.importFunc(test.module, test.name, test.params, []byte{test.result})
			b.export("run", 0, f)
			out := checkAcceptance(t, b.bytes())
			r, w := &reader{parks: 5}, newWorld(t, true)
			r.offer(t, w, test.module, test.result, map[string][]byte{test.name: test.params})
			if err := w.load("", out); err != nil {
				t.Fatal(err)
			}
			got, err := w.call(w.modules[""], "run", []uint64{1, 2, 3, 4}[:len(test.params)]...)
			if err != nil || got[0] != rewrite.ParkErrno || len(r.calls) != 1 {
				t.Errorf("got %v, %v after %d calls", got, err, len(r.calls))
			}
		})
	}
}

// TestParkNames: an import keeps its name, and what stands for it has one.
func TestParkNames(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	f := b.importFunc(preview1, "fd_read", four, []byte{i32})
	g := b.function(nil, nil, nil)
	b.export("read", 0, f)
	b.custom = customSection("name", cat([]byte{1}, vec(cat([]byte{2}, uleb(f), str("imported_read"), uleb(g), str("own")))))
	out := checkAcceptance(t, b.bytes())
	compiled, err := interpreter().CompileModule(context.Background(), out)
	if err != nil {
		t.Fatal(err)
	}
	defer compiled.Close(context.Background())
	if got := compiled.ImportedFunctions()[0].Name(); got != "imported_read" {
		t.Errorf("the import is named %q", got)
	}
	if got := compiled.ExportedFunctions()["read"].Name(); got != "fd_read" {
		t.Errorf("what stands for it is named %q", got)
	}
}

// follow makes a function that appends a digit to global 0.
func follow(b *builder, digit byte, more ...byte) uint32 {
	return b.function(nil, nil, nil, cat([]byte{0x23, 0, 0x41, 10, 0x6c, 0x41, digit, 0x6a, 0x24, 0}, more)...)
}

func TestEnter(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		make    func(b *builder)
		returns bool // the exit
		steps   uint64
		want    string
		exits   int
	}{
		{name: "main", make: func(b *builder) { b.export("_start", 0, follow(b, 2)) },
			steps: 2, want: errExit.Error(), exits: 1},
		{name: "start section and main", make: func(b *builder) {
			b.start = uleb(follow(b, 1))
			b.export("_start", 0, follow(b, 2))
		}, steps: 12, want: errExit.Error(), exits: 1},
		{name: "main is the start section, too", make: func(b *builder) {
			f := follow(b, 3)
			b.start = uleb(f)
			b.export("_start", 0, f)
		}, steps: 33, want: errExit.Error(), exits: 1},
		{name: "main is imported", make: func(b *builder) {
			f := b.importFunc("spectest", "print", nil, nil)
			b.start = uleb(f)
			b.export("_start", 0, f)
		}, want: errExit.Error(), exits: 1},
		{name: "the exit returns", make: func(b *builder) { b.export("_start", 0, follow(b, 2)) },
			returns: true, steps: 2, want: "", exits: 1},
		{name: "main traps", make: func(b *builder) { b.export("_start", 0, follow(b, 2, 0x00)) },
			steps: 2, want: "unreachable"},
		{name: "the start section traps", make: func(b *builder) {
			b.start = uleb(follow(b, 1, 0x00))
			b.export("_start", 0, follow(b, 2))
		}, steps: 1, want: "unreachable"},
		{name: "no main", make: func(b *builder) { b.export("main", 0, follow(b, 2)) }, want: "no such function"},
		{name: "main has a parameter", make: func(b *builder) { b.export("_start", 0, b.function([]byte{i32}, nil, nil)) },
			want: "no such function"},
		{name: "main has a result", make: func(b *builder) { b.export("_start", 0, b.function(nil, []byte{i32}, nil, 0x41, 0)) },
			want: "no such function"},
		{name: "main is a global", make: func(b *builder) { b.export("_start", 3, 0) }, want: "no such function"},
	}
	for _, test := range tests {
		for _, meter := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, meter %t", test.name, meter), func(t *testing.T) {
				t.Parallel()
				b := newBuilder()
				b.export("steps", 3, b.global(i32, true, 0x41, 0))
				test.make(b)
				checkAcceptance(t, b.bytes())
				out, _, err := rewrite.ModuleWith(b.bytes(), rewrite.Options{Meter: meter})
				if err != nil {
					t.Fatal(err)
				}
				w := newWorld(t, true)
				w.skipStart, w.exitReturns = true, test.returns
				if err := w.load("", out); err != nil {
					t.Fatal(err)
				}
				_, err = w.call(w.modules[""], rewrite.EnterExport)
				if ended := fmt.Sprint(err); ended != cmp.Or(test.want, "<nil>") {
					t.Errorf("ended with %s, want %q", ended, test.want)
				}
				if got := w.modules[""].ExportedGlobal("steps").Get(); got != test.steps || w.exits != test.exits {
					t.Errorf("steps %d and %d exits, want %d and %d", got, w.exits, test.steps, test.exits)
				}
			})
		}
	}
}

// TestState: every mutable global can be read and written from outside.
func TestState(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	b.table(funcref, 5, 0)
	f := b.function(nil, nil, nil)
	for _, g := range []struct {
		typ  byte
		init []byte
	}{
		{i32, []byte{0x41, 7}}, {i64, []byte{0x42, 8}}, {f32, []byte{0x43, 0, 0, 0x80, 0x3f}}, {f64, []byte{0x44, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f}},
	} {
		b.global(g.typ, false, g.init...)
		index := b.global(g.typ, true, g.init...)
		b.export(fmt.Sprintf("own %d", index), 0, b.function(nil, []byte{g.typ}, nil, 0x23, byte(index)))
		b.export(fmt.Sprintf("set %d", index), 0, b.function([]byte{g.typ}, nil, nil, 0x20, 0, 0x24, byte(index)))
	}
	b.global(funcref, false, 0xd2, byte(f))
	b.export("_start", 0, f)
	_, report, err := rewrite.Module(b.bytes())
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"gojinn:global:1", "gojinn:global:3", "gojinn:global:5", "gojinn:global:7",
		rewrite.FuelExport, rewrite.StackExport, rewrite.ElementsExport, rewrite.PaceExport}
	if !slices.Equal(report.State, want) || report.Unrestorable != "" {
		t.Fatalf("got %q, %q, want %q", report.State, report.Unrestorable, want)
	}
	w, m := rewritten(t, b)
	initial := []uint64{7, 8, 0x3f800000, 0x3ff0000000000000, 0, rewrite.StackBudget, rewrite.MaxTableElements - 5, rewrite.PaceSlice}
	for i, name := range report.State {
		g, ok := m.ExportedGlobal(name).(api.MutableGlobal)
		if !ok || g.Get() != initial[i] {
			t.Fatalf("%s: %v, want %d", name, g, initial[i])
		}
		index, own := strings.CutPrefix(name, rewrite.GlobalPrefix)
		if !own {
			continue
		}
		if _, err := w.call(m, "set "+index, 1); err != nil || g.Get() != 1 {
			t.Errorf("%s: got %d, %v, after the module has set it to 1", name, g.Get(), err)
		}
		g.Set(initial[i])
		if got, err := w.call(m, "own "+index); err != nil || got[0] != initial[i] {
			t.Errorf("%s: the module sees %v, %v, set was %d", name, got, err, initial[i])
		}
	}
}

// TestManyGlobals: thousands of globals are no reason to refuse a module, but to make new sandboxes.
func TestManyGlobals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name               string
		constant, mutables int
		state              int
	}{
		{"as many as can be restored", 0, rewrite.MaxState, rewrite.MaxState + 4},
		{"one more", 0, rewrite.MaxState + 1, 0},
		{"thousands", 0, 10_000, 0},
		{"thousands of constants", 10_000, 3, 7},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder()
			for range test.constant {
				b.global(i32, false, 0x41, 5)
			}
			for range test.mutables {
				b.global(i32, true, 0x41, 5)
			}
			b.export("_start", 0, b.function(nil, nil, nil))
			_, report, err := rewrite.Module(b.bytes())
			if err != nil {
				t.Fatal(err)
			}
			if len(report.State) != test.state || (report.State == nil) != (report.Unrestorable == "has more than 1024 mutable globals") {
				t.Errorf("got %d names, %q", len(report.State), report.Unrestorable)
			}
			_, m := rewritten(t, b)
			last := m.ExportedGlobal(fmt.Sprint(rewrite.GlobalPrefix, test.constant+test.mutables-1))
			if (last != nil) != (report.State != nil) || last != nil && last.Get() != 5 {
				t.Errorf("the last global is %v", last)
			}
		})
	}
}

func TestUnrestorable(t *testing.T) {
	t.Parallel()
	code := func(code ...byte) func(b *builder) {
		return func(b *builder) { b.function(nil, nil, nil, code...) }
	}
	tests := []struct {
		name string
		make func(b *builder) // beside _start, a table of functions, a memory, two element segments, two data segments
		want string
	}{
		{"nothing", func(b *builder) {}, ""},
		{"reads tables", code(0x41, 0, 0x25, 0, 0x1a, 0xfc, 16, 0, 0x1a), ""},
		{"initialises memory", code(0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 8, 1, 0), ""},
		{"drops what has gone", code(0xfc, 9, 0), ""},
		{"table.set", code(0x41, 0, 0xd0, funcref, 0x26, 0), "changes its tables"},
		{"table.init", code(0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 12, 1, 0), "changes its tables"},
		{"table.copy", code(0x41, 0, 0x41, 0, 0x41, 0, 0xfc, 14, 0, 0), "changes its tables"},
		{"table.grow", code(0xd0, funcref, 0x41, 0, 0xfc, 15, 0, 0x1a), "changes its tables"},
		{"table.fill", code(0x41, 0, 0xd0, funcref, 0x41, 0, 0xfc, 17, 0), "changes its tables"},
		{"elem.drop", code(0xfc, 13, 1), "drops element segments"},
		{"data.drop", code(0xfc, 9, 1), "drops data segments"},
		{"data.drop of a segment that is known later", func(b *builder) {
			b.active(65_536, "beyond")
			b.counted()
			b.function(nil, nil, nil, 0xfc, 9, 0)
		}, "drops data segments"},
		{"vector", func(b *builder) { b.global(v128, true, cat([]byte{0xfd, 12}, make([]byte, 16))...) }, "has mutable globals of type v128"},
		{"reference", func(b *builder) { b.global(externref, true, 0xd0, externref) }, "has mutable globals of type externref"},
		{"function reference", func(b *builder) { b.global(funcref, true, 0xd0, funcref) }, "has mutable globals of type funcref"},
		{"constant vector", func(b *builder) { b.global(v128, false, cat([]byte{0xfd, 12}, make([]byte, 16))...) }, ""},
		{"imported global", func(b *builder) { b.importGlobal("spectest", "global_i32", i32, false) }, "imports globals"},
		{"imported table", func(b *builder) { b.importTable("spectest", "table", funcref, 10) }, "imports a table"},
		{"imported memory", func(b *builder) {
			b.memories = nil
			b.imports = append(b.imports, cat(str("spectest"), str("memory"), []byte{2, 0, 1}))
		}, "imports a memory"},
		{"no main function", func(b *builder) { b.exports = nil }, `exports no main function "_start"`},
	}
	for _, test := range tests {
		for _, detach := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, detach %t", test.name, detach), func(t *testing.T) {
				t.Parallel()
				b := newBuilder()
				b.export("_start", 0, b.function(nil, nil, nil))
				b.table(funcref, 3, 0)
				b.memory(1, 0)
				b.elem(0, 0)
				b.rawElem([]byte{1, 0, 1, 0})
				b.active(0, "active")
				b.passive("passive")
				b.counted()
				test.make(b)
				checkAcceptance(t, b.bytes())
				_, report, err := rewrite.ModuleWith(b.bytes(), rewrite.Options{Meter: true, Detach: detach})
				if err != nil {
					t.Fatal(err)
				}
				if report.Unrestorable != test.want || (report.State == nil) != (test.want != "") {
					t.Errorf("got %q and %d globals, want %q", report.Unrestorable, len(report.State), test.want)
				}
			})
		}
	}
}

// TestGuestsRestorable: what toolchains make can be restored.
func TestGuestsRestorable(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"../testdata/guests/*/*.wasm", "../../examples/*/*.wasm",
		filepath.Join(wazeroDir(t), "imports", "wasi_snapshot_preview1", "testdata", "*", "wasi.wasm")} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) < 3 {
			t.Fatalf("%s: %d files, %v", pattern, len(found), err)
		}
		files = append(files, found...)
	}
	for _, file := range files {
		wasm, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, report, err := rewrite.ModuleWith(wasm, rewrite.Options{Meter: true, Detach: true})
		if err != nil || report.Unrestorable != "" || len(report.Image) == 0 || report.MergedSegments > 0 {
			t.Errorf("%s: %v, %+v", file, err, report)
		}
	}
}

// TestParkedStack: a stack that was kept while the module waited for input can be brought back many times, each time
// before the module has seen an answer.
func TestParkedStack(t *testing.T) {
	t.Parallel()
	const rounds = 100
	b := newBuilder()
	f := b.importFunc(preview1, "fd_read", four, []byte{i32})
	sum := b.global(i32, true, 0x41, 0)
	inner := b.function([]byte{i32}, []byte{i32}, nil, cat([]byte{0x20, 0}, oneToFour, []byte{0x10, byte(f), 0x6a})...)
	b.table(funcref, 1, 0)
	b.elem(0, inner)
	b.export("_start", 0, b.function(nil, nil, nil, 0x41, 5, 0x41, 0, 0x11, 1, 0, 0x24, byte(sum))) // sum = 5 + fd_read()
	out, report, err := rewrite.Module(b.bytes())
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, true)
	var (
		m       api.Module
		parked  experimental.Snapshot
		globals = map[string]uint64{} // as they were then
		answers []uint64
		reads   int
	)
	state := func(name string) api.MutableGlobal { return m.ExportedGlobal(name).(api.MutableGlobal) }
	host := w.runtime.NewHostModuleBuilder(preview1)
	host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
		parked = experimental.GetSnapshotter(ctx).Snapshot()
		for _, name := range report.State {
			globals[name] = state(name).Get()
		}
		reads++
		stack[0] = uint64(reads)
	}), four, []byte{i32}).Export("fd_read")
	if _, err := host.Instantiate(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.ctx = experimental.WithSnapshotter(w.ctx)
	if err := w.load("", out); err != nil {
		t.Fatal(err)
	}
	m = w.modules[""]
	w.atExit = func() {
		answers = append(answers, state(rewrite.GlobalPrefix+"0").Get())
		if left := state(rewrite.StackExport).Get(); left != rewrite.StackBudget {
			t.Errorf("%d bytes of stack are left", left)
		}
		if len(answers) < rounds {
			for _, name := range report.State {
				state(name).Set(globals[name])
			}
			parked.Restore([]uint64{rewrite.ParkErrno})
		}
	}
	if _, err := w.call(m, rewrite.EnterExport); err != errExit {
		t.Fatalf("ended with %v", err)
	}
	if len(answers) != rounds || reads != rounds {
		t.Errorf("%d rounds and %d reads", len(answers), reads)
	}
	for i, got := range answers {
		if want := uint64(5 + i + 1); got != want {
			t.Fatalf("round %d: got %d, want %d", i, got, want)
		}
	}
}
