package rewrite_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// TestBehaviour runs modules that are made at random.
func TestBehaviour(t *testing.T) {
	t.Parallel()
	original, rewritten := newWorld(t, false), newWorld(t, true)
	traps, executed := 0, uint64(0)
	for seed := range uint64(400) {
		trap, count := sameBehaviour(t, original, rewritten, generate(seed), seed%2 == 0)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		if trap {
			traps++
		}
		executed += count
	}
	if traps < 20 || traps > 380 || executed < 100_000 {
		t.Errorf("the generator is off: %d of 400 trap, %d instructions", traps, executed)
	}
}

// FuzzBehaviour takes its modules from the seeds that the fuzzer makes up.
func FuzzBehaviour(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) {
		sameBehaviour(t, newWorld(t, false), newWorld(t, true), generate(seed), seed%2 == 0)
	})
}

// sameBehaviour compares what a module does before and after rewriting: results, traps, memory and globals. It also
// holds the fuel against the instructions that the module says it has executed.
func sameBehaviour(t testing.TB, original, rewritten *world, wasm []byte, detach bool) (trapped bool, count uint64) {
	t.Helper()
	out, report, err := rewrite.ModuleWith(wasm, rewrite.Options{Meter: true, Detach: detach})
	if err != nil {
		t.Fatal(err)
	}
	if err := original.load("", wasm); err != nil {
		t.Fatalf("the generator made a bad module: %v", err)
	}
	if (report.Image != nil) != detach {
		t.Errorf("detach %t: %d runs", detach, len(report.Image))
	}
	if err := rewritten.loadWith("", out, report.Image); err != nil {
		t.Fatalf("rewriting made a bad module: %v", err)
	}
	before, after := original.modules[""], rewritten.modules[""]
	defer before.Close(original.ctx)
	defer after.Close(rewritten.ctx)
	_, want := original.call(before, "run")
	granted := rewritten.fuel
	_, got := rewritten.call(after, "run")
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("ended with %v, want %v", got, want)
	}
	if got, want := state(after), state(before); !bytes.Equal(got, want) {
		t.Error("memory or globals differ")
	}
	spent := granted - rewritten.fuel - int64(after.ExportedGlobal(rewrite.FuelExport).Get())
	count = before.ExportedGlobal("count").Get()
	if spent < int64(count) {
		t.Errorf("paid %d for at least %d instructions", spent, count)
	}
	if left := after.ExportedGlobal(rewrite.StackExport).Get(); want == nil && left != rewrite.StackBudget {
		t.Errorf("%d bytes of stack are missing", rewrite.StackBudget-left)
	}
	return want != nil, count
}

// state is everything in an instance that can be seen from outside.
func state(m api.Module) []byte {
	var b bytes.Buffer
	memory, _ := m.Memory().Read(0, m.Memory().Size())
	b.Write(memory)
	for _, name := range []string{"count", "g1", "g2", "g3", "g4"} {
		fmt.Fprintln(&b, name, m.ExportedGlobal(name).Get())
	}
	return b.Bytes()
}
