package rewrite_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// world is a runtime with the modules that a test has loaded. Two of them stand side by side in most tests: one for
// originals, one for what rewriting made of them.
type world struct {
	runtime   wazero.Runtime
	ctx       context.Context
	rewritten bool
	modules   map[string]api.Module // by name; "" is the latest
	named     map[string]api.Module // as other modules import them

	fuel      int64 // to be granted; ends the call when it is used up
	chunk     int64 // granted at a time
	skipStart bool  // leave the start function alone
	empty     bool  // grant nothing, so that every check calls tick
	most      int64 // that was paid between two ticks then
	paced     int   // ticks on the way out of functions

	exits       int    // calls of the exit import
	exitReturns bool   // as it must not
	atExit      func() // before it ends the call, if not nil
}

var (
	errFuel  = errors.New("out of fuel")
	errStack = errors.New("stack overflow")
	errImage = errors.New("the image does not fit into the memory")
	errExit  = errors.New("main has returned")
)

func newWorld(t testing.TB, rewritten bool) *world {
	w := &world{
		rewritten: rewritten,
		modules:   map[string]api.Module{},
		named:     map[string]api.Module{},
		chunk:     1 << 16,
		fuel:      1 << 40,
	}
	w.ctx = experimental.WithImportResolver(context.Background(), func(name string) api.Module {
		if m, ok := w.named[name]; ok {
			return m
		}
		return nil
	})
	w.runtime = wazero.NewRuntimeWithConfig(w.ctx, wazero.NewRuntimeConfigCompiler().WithDebugInfoEnabled(false))
	t.Cleanup(func() {
		if err := w.runtime.Close(w.ctx); err != nil {
			t.Error(err)
		}
	})
	host := w.runtime.NewHostModuleBuilder(rewrite.HostModule)
	host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(w.tick), nil, nil).Export(rewrite.TickImport)
	host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {
		panic(errStack)
	}), nil, nil).Export(rewrite.StackImport)
	host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {
		if w.atExit != nil {
			w.atExit()
		}
		if w.exits++; !w.exitReturns {
			panic(errExit)
		}
	}), nil, nil).Export(rewrite.ExitImport)
	if _, err := host.Instantiate(w.ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.load("", spectest); err != nil {
		t.Fatal(err)
	}
	w.register("", "spectest")
	return w
}

// compile says whether wazero accepts a module. Its interpreter validates like its compiler, and is much quicker.
func compile(wasm []byte, native bool) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	ctx := context.Background()
	r := interpreter()
	if native {
		r = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler().WithDebugInfoEnabled(false))
		defer r.Close(ctx)
	}
	m, err := r.CompileModule(ctx, wasm)
	if err == nil {
		err = m.Close(ctx)
	}
	return err
}

var interpreter = sync.OnceValue(func() wazero.Runtime {
	return wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigInterpreter().WithDebugInfoEnabled(false))
})

// tick refills the fuel of the module that calls.
func (w *world) tick(_ context.Context, m api.Module, _ []uint64) {
	g := m.ExportedGlobal(rewrite.FuelExport).(api.MutableGlobal)
	left := int64(g.Get())
	if left >= 0 { // on the way out of functions, whose work has been paid for
		w.paced++
		return
	}
	if w.empty {
		w.most = max(w.most, -left)
		g.Set(0)
		return
	}
	if w.fuel -= w.chunk; w.fuel < 0 {
		panic(errFuel)
	}
	g.Set(uint64(left + w.chunk))
}

// load compiles and instantiates, runs the start function, and makes the module the latest one.
func (w *world) load(name string, wasm []byte) (err error) {
	return w.loadWith(name, wasm, nil)
}

// loadWith is load for a module whose data has been detached.
func (w *world) loadWith(name string, wasm []byte, image []rewrite.Run) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	w.forget(name)
	compiled, err := w.runtime.CompileModule(w.ctx, wasm)
	if err != nil {
		return err
	}
	m, err := w.runtime.InstantiateModule(w.ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return err
	}
	for _, run := range image {
		if !m.Memory().Write(run.Offset, run.Bytes) {
			return errImage
		}
	}
	if start := m.ExportedFunction(rewrite.StartExport); start != nil && !w.skipStart {
		if _, err := start.Call(w.ctx); err != nil {
			return err
		}
	}
	w.modules[""] = m
	if name != "" {
		w.modules[name] = m
	}
	return nil
}

func (w *world) forget(name string) {
	delete(w.modules, "")
	if name != "" {
		delete(w.modules, name)
	}
}

func (w *world) register(name, as string) {
	if m := w.modules[name]; m != nil {
		w.named[as] = m
	}
}

// call calls an export. What ended it, if not its return, is the first line of wazero's error.
func (w *world) call(m api.Module, name string, args ...uint64) (results []uint64, trap error) {
	f := m.ExportedFunction(name)
	if f == nil {
		return nil, errors.New("no such function")
	}
	for _, mods := range []map[string]api.Module{w.modules, w.named} {
		for _, m := range mods {
			if stack, ok := m.ExportedGlobal(rewrite.StackExport).(api.MutableGlobal); ok {
				stack.Set(rewrite.StackBudget)
			}
		}
	}
	results, err := f.Call(w.ctx, args...)
	if err != nil {
		for _, known := range []error{errFuel, errStack, errExit} {
			if errors.Is(err, known) {
				return nil, known
			}
		}
		line, _, _ := strings.Cut(err.Error(), "\n")
		if known, ok := traps[line]; ok {
			return nil, known
		}
		return nil, err
	}
	return results, nil
}

// traps are the errors of wazero, so that those of two worlds can be compared.
var traps = func() map[string]error {
	m := map[string]error{}
	for _, s := range []string{
		"unreachable", "out of bounds memory access", "invalid table access", "integer divide by zero",
		"integer overflow", "invalid conversion to integer", "indirect call type mismatch", "stack overflow",
	} {
		m["wasm error: "+s] = errors.New(s)
	}
	return m
}()

// spectest is the module that the scripts of the specification import from.
var spectest = func() []byte {
	b := newBuilder()
	for _, f := range []struct {
		name   string
		params []byte
	}{
		{"print", nil}, {"print_i32", []byte{i32}}, {"print_i64", []byte{i64}}, {"print_f32", []byte{f32}},
		{"print_f64", []byte{f64}}, {"print_i32_f32", []byte{i32, f32}}, {"print_f64_f64", []byte{f64, f64}},
	} {
		b.export(f.name, 0, b.function(f.params, nil, nil))
	}
	b.export("global_i32", 3, b.global(i32, false, 0x41, 0x9a, 0x05))
	b.export("global_i64", 3, b.global(i64, false, 0x42, 0x9a, 0x05))
	b.export("global_f32", 3, b.global(f32, false, 0x43, 0x00, 0x80, 0x26, 0x44))
	b.export("global_f64", 3, b.global(f64, false, 0x44, 0, 0, 0, 0, 0, 0xd0, 0x84, 0x40))
	b.export("table", 1, b.table(funcref, 10, 20))
	b.memory(1, 2)
	b.export("memory", 2, 0)
	return b.bytes()
}()
