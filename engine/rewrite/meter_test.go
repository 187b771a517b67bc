package rewrite_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// TestInterrupted: whatever keeps a module busy, it is stopped when its fuel is used up.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		make  func(b *builder)
		stack bool // what is used up is the call stack
	}{
		{name: "empty loop", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, nil, 0x03, 0x40, 0x0c, 0, 0x0b))
		}},
		{name: "nops", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, nil, cat([]byte{0x03, 0x40}, rep(100, 0x01), []byte{0x0c, 0, 0x0b})...))
		}},
		{name: "loop that is left by nobody", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, nil, 0x03, 0x40, 0x41, 1, 0x0d, 0, 0x0b))
		}},
		{name: "loop with a value", make: func(b *builder) {
			typ := b.typ([]byte{i32}, []byte{i32})
			b.export("run", 0, b.function(nil, nil, nil, 0x41, 0, 0x03, byte(typ), 0x41, 1, 0x6a, 0x0c, 0, 0x0b, 0x1a))
		}},
		{name: "nested loops", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, nil, 0x03, 0x40, 0x03, 0x40, 0x0c, 1, 0x0b, 0x0b))
		}},
		{name: "branch table", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, nil, 0x03, 0x40, 0x02, 0x40, 0x41, 1, 0x0e, 1, 0, 1, 0x0b, 0x0b))
		}},
		{name: "dispatch loop", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, []byte{i32},
				0x03, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0e, 1, 0, 1, 0x0b,
				0x01, 0x0b,
				0x41, 1, 0x21, 0, 0x0c, 0, 0x0b))
		}},
		{name: "dispatch to itself", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, []byte{i32},
				0x03, 0x40, 0x02, 0x40, 0x20, 0, 0x0e, 1, 0, 1, 0x0b, 0x41, 0, 0x21, 0, 0x0c, 0, 0x0b))
		}},
		{name: "dispatch backwards and forwards", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, []byte{i32},
				0x03, 0x40, 0x02, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0e, 2, 0, 1, 2, 0x0b,
				0x41, 2, 0x21, 0, 0x0c, 2, 0x0b, // to the third part
				0x0b,
				0x41, 0, 0x21, 0, 0x0c, 0, 0x0b)) // to the first one
		}},
		{name: "recursion, doubled", make: func(b *builder) { // fib(60)
			b.export("run", 0, b.function(nil, nil, nil, 0x41, 60, 0x10, 1, 0x1a))
			b.function([]byte{i32}, []byte{i32}, nil,
				0x20, 0, 0x41, 2, 0x48, 0x04, 0x7f, 0x20, 0, 0x05,
				0x20, 0, 0x41, 1, 0x6b, 0x10, 1, 0x20, 0, 0x41, 2, 0x6b, 0x10, 1, 0x6a, 0x0b)
		}},
		{name: "recursion by table, doubled", make: func(b *builder) {
			b.table(funcref, 1, 0)
			f := b.function([]byte{i32}, nil, nil,
				0x20, 0, 0x04, 0x40,
				0x20, 0, 0x41, 1, 0x6b, 0x41, 0, 0x11, 0, 0,
				0x20, 0, 0x41, 1, 0x6b, 0x41, 0, 0x11, 0, 0, 0x0b)
			b.elem(0, f)
			b.export("run", 0, b.function(nil, nil, nil, 0x41, 60, 0x10, byte(f)))
		}},
		{name: "no recursion at all, doubled", make: func(b *builder) {
			b.export("run", 0, 60)
			b.function(nil, nil, nil)
			for i := range 60 {
				b.function(nil, nil, nil, 0x10, byte(i), 0x10, byte(i))
			}
		}},
		{name: "wide, doubled", make: func(b *builder) {
			b.export("run", 0, 8)
			b.function(nil, nil, nil, rep(200, 0x41, 0, 0x1a)...)
			for i := range 8 {
				b.function(nil, nil, nil, rep(100, 0x10, byte(i))...)
			}
		}},
		{name: "work on the way back", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, nil, cat([]byte{0x10, 0}, rep(20_000, 0x41, 0, 0x1a))...))
		}, stack: true},
		{name: "deep recursion", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, nil, 0x10, 0))
		}, stack: true},
		{name: "deep recursion by turns", make: func(b *builder) {
			b.export("run", 0, b.function(nil, nil, nil, 0x10, 1))
			b.function(nil, nil, nil, 0x10, 2)
			b.function(nil, nil, nil, 0x10, 0)
		}, stack: true},
		{name: "deep recursion by table", make: func(b *builder) {
			b.table(funcref, 1, 0)
			f := b.function(nil, nil, nil, 0x41, 0, 0x11, 0, 0)
			b.elem(0, f)
			b.export("run", 0, f)
		}, stack: true},
		{name: "memory.fill", make: func(b *builder) {
			b.memory(160, 0)
			b.export("run", 0, b.function(nil, nil, nil, rep(100, 0x41, 0, 0x41, 1, 0x41, 0x80, 0x80, 0x80, 0x05, 0xfc, 11, 0)...))
		}},
		{name: "memory.grow", make: func(b *builder) {
			b.memory(1, 0)
			b.export("run", 0, b.function(nil, nil, nil, rep(3000, 0x41, 1, 0x40, 0, 0x1a)...))
		}},
		{name: "start function", make: func(b *builder) {
			f := b.function(nil, nil, nil, 0x03, 0x40, 0x0c, 0, 0x0b)
			b.export("run", 0, f)
			b.start = uleb(f)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder()
			test.make(b)
			out, _, err := rewrite.Module(b.bytes())
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, true)
			w.skipStart = true
			if err := w.load("", out); err != nil {
				t.Fatal(err)
			}
			w.fuel = 1 << 22
			want := errFuel
			if test.stack {
				want, w.fuel = errStack, 1<<40
			}
			began := time.Now()
			if _, err := w.call(w.modules[""], "run"); !errors.Is(err, want) {
				t.Errorf("ended with %v, want %v", err, want)
			}
			if d := time.Since(began); d > 30*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// TestFuel pins what some functions pay: the numbers in the documentation.
func TestFuel(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		code []byte
		want int64
	}{
		{"nothing", nil, 0},
		{"straight", []byte{0x41, 1, 0x41, 2, 0x6a, 0x1a}, 4},
		{"the dearer branch", []byte{0x20, 0, 0x04, 0x40, 0x41, 1, 0x1a, 0x05, 0x01, 0x41, 1, 0x41, 2, 0x6a, 0x1a, 0x0b}, 2 + 4},
		{"the dearer way out", []byte{0x02, 0x40, 0x20, 0, 0x0d, 0, 0x41, 1, 0x1a, 0x20, 0, 0x04, 0x40, 0x0f, 0x0b, 0x0b, 0x41, 1, 0x1a}, 2 + 2 + 2 + 2},
		{"the dearest case", []byte{
			0x02, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0e, 1, 0, 1, 0x0b, // block, block, switch on local 0: 2
			0x41, 1, 0x1a, 0x0c, 1, 0x0b, // case 0: 3, break
			0x41, 1, 0x41, 2, 0x6a, 0x1a, 0x0b, // case 1: 4
			0x41, 1, 0x1a}, 2 + 4 + 2},
		{"nothing that no way leads to", []byte{0x02, 0x40, 0x0c, 0, 0x41, 1, 0x1a, 0x03, 0x40, 0x41, 1, 0x1a, 0x0b, 0x0b}, 1},
		{"ten turns of the dearest case in a loop", []byte{
			0x03, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 0, 0x0d, 0, 0x0f, 0x0b, // loop, block, block; ends at 0: 3
			0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0e, 1, 1, 1, 0x0b, // back, whatever local 0 is: 5
			0x41, 1, 0x1a, 0x0c, 0, 0x0b}, 11 * (2 + 5)},
		{"a way out of a loop, by four turns", []byte{
			0x02, 0x40, 0x03, 0x40, 0x20, 0, 0x45, 0x0d, 1, 0x20, 0, 0x41, 1, 0x6b, 0x21, 0, // block, loop: 3 to the way out, 4
			0x41, 0, 0x1a, 0x0c, 0, 0x0b, 0x0b, // 3, back
			0x41, 1, 0x1a}, 12*10 + 2},
		{"a loop without a branch back is a block", []byte{0x03, 0x40, 0x41, 1, 0x1a, 0x0b}, 2},
		{"ten turns of a large loop", cat([]byte{0x03, 0x40}, rep(20, 0x41, 0, 0x1a), []byte{0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b}), 10 * 45},
		{"ten turns of a small loop, by four", []byte{0x03, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, 0x0b}, 12 * 5},
		{"a small leaf", []byte{0x10, 1}, 1 + 2},
		{"a large leaf", []byte{0x10, 2}, 1 + 80},
		{"dispatch: a jump back pays for the way", []byte{
			0x03, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 1, 0x0e, 1, 0, 1, 0x0b, // loop, switch on local 1
			0x20, 0, 0x41, 1, 0x6b, 0x21, 0, 0x0b, // part 0: 4
			0x20, 0, 0x04, 0x40, 0x41, 0, 0x21, 1, 0x0c, 1, 0x0b, // part 1: 5, back to part 0 while local 0 is not 0
			0x0b}, 2 + 4 + 5 + 9*(2+4+5)},
		{"dispatch: a jump that sets another local pays for all", []byte{
			0x03, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 1, 0x0e, 1, 0, 1, 0x0b,
			0x20, 0, 0x41, 1, 0x6b, 0x21, 0, 0x0b,
			0x20, 0, 0x04, 0x40, 0x41, 0, 0x21, 2, 0x0c, 1, 0x0b,
			0x0b}, 12 * 11},
		{"dispatch: so does one that sets no constant", []byte{
			0x03, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 1, 0x0e, 1, 0, 1, 0x0b,
			0x20, 0, 0x41, 1, 0x6b, 0x21, 0, 0x0b,
			0x20, 0, 0x04, 0x40, 0x20, 1, 0x21, 1, 0x0c, 1, 0x0b,
			0x0b}, 12 * 11},
		{"dispatch: and one out of another loop", []byte{
			0x03, 0x40, 0x02, 0x40, 0x02, 0x40, 0x20, 1, 0x0e, 1, 0, 1, 0x0b,
			0x20, 0, 0x41, 1, 0x6b, 0x21, 0, 0x0b,
			0x03, 0x40, 0x20, 0, 0x04, 0x40, 0x41, 0, 0x21, 1, 0x0c, 2, 0x0b, 0x0b,
			0x0b}, 10 * 11},
		{"short copy", []byte{0x41, 0, 0x41, 8, 0x41, 16, 0xfc, 10, 0, 0}, 4 + 2},
		{"long fill", []byte{0x41, 0, 0x41, 8, 0x41, 0x80, 0x80, 0xc0, 0x01, 0xfc, 11, 0}, 4 + 3<<20>>3},
		{"a small leaf by table", []byte{0x41, 0, 0x11, 1, 0}, 2 + 2},
		{"table.grow", []byte{0xd0, funcref, 0x41, 50, 0xfc, 15, 0, 0x1a}, 2 + 16 + 1 + 50},
		{"table.fill", []byte{0x41, 0, 0xd0, funcref, 0x41, 3, 0xfc, 17, 0}, 4 + 3},
		{"growth", []byte{0x41, 2, 0x40, 0, 0x1a}, 2 + 16 + 2<<16>>3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder()
			b.memory(64, 0)
			b.table(funcref, 3, 0)
			f := b.function([]byte{i32}, nil, []byte{i32, i32}, test.code...)
			b.elem(0, b.function(nil, nil, nil, 0x41, 0, 0x1a))
			b.function(nil, nil, nil, rep(40, 0x41, 0, 0x1a)...)
			// The caller pays for itself, and for the function if that is small.
			b.export("run", 0, b.function([]byte{i32}, nil, nil, 0x20, 0, 0x10, byte(f)))
			const caller = 2
			w, m := rewritten(t, b)
			granted := w.fuel
			if _, err := w.call(m, "run", 10); err != nil {
				t.Fatal(err)
			}
			got := granted - w.fuel - int64(m.ExportedGlobal(rewrite.FuelExport).Get()) - caller
			if got != test.want {
				t.Errorf("paid %d, want %d", got, test.want)
			}
		})
	}
}

// rewritten loads what rewriting makes of a module.
func rewritten(t testing.TB, b *builder) (*world, api.Module) {
	t.Helper()
	out := checkAcceptance(t, b.bytes())
	if out == nil {
		_, _, err := rewrite.Module(b.bytes())
		t.Fatal("refused: ", err)
	}
	w := newWorld(t, true)
	if err := w.load("", out); err != nil {
		t.Fatal(err)
	}
	return w, w.modules[""]
}

// TestLongMemory: instructions that work in pieces behave as if they didn't, at all edges.
func TestLongMemory(t *testing.T) {
	t.Parallel()
	const memory = 36 << 16 // more than two pieces
	const piece = 1 << 20
	b := newBuilder()
	b.memory(36, 36)
	b.export("memory", 2, 0)
	long := bytes.Repeat([]byte("0123456789abcdef-"), (piece+piece/2)/17)
	b.passive(string(long))
	b.counted()
	three := []byte{i32, i32, i32}
	args := []byte{0x20, 0, 0x20, 1, 0x20, 2}
	b.export("fill", 0, b.function(three, nil, nil, cat(args, []byte{0xfc, 11, 0})...))
	b.export("copy", 0, b.function(three, nil, nil, cat(args, []byte{0xfc, 10, 0, 0})...))
	b.export("init", 0, b.function(three, nil, nil, cat(args, []byte{0xfc, 8, 0, 0})...))
	b.export("drop", 0, b.function(nil, nil, nil, 0xfc, 9, 0))
	w, m := rewritten(t, b)
	model := make([]byte, memory)
	pattern := make([]byte, memory)
	for i := range pattern {
		pattern[i] = byte(i*7 + i>>8)
	}
	reset := func() {
		copy(model, pattern)
		m.Memory().Write(0, model)
	}
	edges := []uint64{0, 1, piece, piece + 1, 2*piece + 5, memory, memory + 1, 1<<32 - 1}
	for _, op := range []string{"fill", "copy", "init"} {
		for _, d := range []uint64{0, 3, piece, memory, 1<<32 - piece} {
			for _, s := range []uint64{0, 5, piece, 1<<32 - 2} {
				for _, n := range edges {
					reset()
					ok := d+n <= memory
					switch op {
					case "fill":
						if ok {
							copy(model[d:d+n], bytes.Repeat([]byte{byte(s)}, int(n)))
						}
					case "copy":
						if ok = ok && s+n <= memory; ok {
							copy(model[d:d+n], model[s:s+n])
						}
					case "init":
						if ok = ok && s+n <= uint64(len(long)); ok {
							copy(model[d:d+n], long[s:s+n])
						}
					}
					_, err := w.call(m, op, d, s, n)
					if (err == nil) != ok || err != nil && err.Error() != "out of bounds memory access" {
						t.Fatalf("%s(%d, %d, %d): %v, in bounds: %t", op, d, s, n, err, ok)
					}
					if got, _ := m.Memory().Read(0, memory); !bytes.Equal(got, model) {
						t.Fatalf("%s(%d, %d, %d): wrong memory", op, d, s, n)
					}
				}
			}
		}
	}
	if _, err := w.call(m, "drop"); err != nil {
		t.Fatal(err)
	}
	for n, ok := range map[uint64]bool{0: true, 1: false, 2 * piece: false} {
		if _, err := w.call(m, "init", 0, 0, n); (err == nil) != ok {
			t.Errorf("initialising %d bytes of a dropped segment: %v", n, err)
		}
	}
}

// TestTableGrowth: all tables together stay within bounds.
func TestTableGrowth(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	b.table(funcref, 10, 0)
	b.table(externref, 20, 0)
	b.table(funcref, 0, 5)
	for i, typ := range []byte{funcref, externref, funcref} {
		b.export(fmt.Sprint("grow", i), 0, b.function([]byte{i32}, []byte{i32}, nil, 0xd0, typ, 0x20, 0, 0xfc, 15, byte(i)))
		b.export(fmt.Sprint("size", i), 0, b.function(nil, []byte{i32}, nil, 0xfc, 16, byte(i)))
	}
	w, m := rewritten(t, b)
	const left = rewrite.MaxTableElements - 30
	const no = 1<<32 - 1
	for _, step := range []struct {
		call string
		arg  uint64
		want uint64
	}{
		{"grow0", left + 1, no}, {"grow0", no, no}, {"grow0", 0, 10}, {"grow0", 1000, 10}, {"grow1", left - 1000 + 1, no},
		{"grow2", 6, no}, {"grow2", 5, 0}, {"grow1", left - 1005, 20}, {"grow0", 1, no}, {"grow0", 0, 1010}, {"grow1", 1, no},
	} {
		got, err := w.call(m, step.call, step.arg)
		if err != nil || got[0] != step.want {
			t.Errorf("%s(%d): got %d, %v, want %d", step.call, step.arg, got, err, step.want)
		}
	}
	if got, err := w.call(m, "size0"); err != nil || got[0] != 1010 {
		t.Errorf("got %d, %v", got, err)
	}
}

// TestDroppedSegment: an active segment has been dropped by the time code runs. (wazero alone forgets to.)
func TestDroppedSegment(t *testing.T) {
	t.Parallel()
	b := newBuilder()
	b.memory(1, 0)
	b.active(0, "active")
	b.passive("passive")
	b.counted()
	for i, name := range []string{"active", "passive"} {
		b.export(name, 0, b.function([]byte{i32}, nil, nil, 0x41, 10, 0x41, 0, 0x20, 0, 0xfc, 8, byte(i), 0))
		b.export("drop "+name, 0, b.function(nil, nil, nil, 0xfc, 9, byte(i)))
	}
	w, m := rewritten(t, b)
	for _, step := range []struct {
		call string
		args []uint64
		ok   bool
	}{
		{"active", []uint64{0}, true}, {"active", []uint64{1}, false}, {"drop active", nil, true},
		{"passive", []uint64{7}, true}, {"passive", []uint64{8}, false}, {"drop passive", nil, true}, {"passive", []uint64{1}, false},
	} {
		if _, err := w.call(m, step.call, step.args...); (err == nil) != step.ok {
			t.Errorf("%s(%d): %v", step.call, step.args, err)
		}
	}
}

// TestChecks: between two checks a module does little, whatever its shape. A check that sees fuel below zero calls tick,
// so with fuel for nothing every check is a tick, and the host sees how much was paid since the last one.
func TestChecks(t *testing.T) {
	t.Parallel()
	straight := func(n int) []byte { return rep(n, 0x41, 0, 0x1a) }
	tests := []struct {
		name string
		make func(b *builder) uint32
		most int64
	}{
		{"leaves by table", func(b *builder) uint32 {
			b.table(funcref, 1, 0)
			leaf := b.function(nil, nil, nil, straight(2000)...)
			b.elem(0, leaf)
			return b.function(nil, nil, nil, rep(2000, 0x41, 0, 0x11, 0, 0)...)
		}, 20_000},
		{"leaves", func(b *builder) uint32 {
			b.function(nil, nil, nil, straight(2000)...)
			return b.function(nil, nil, nil, rep(2000, 0x10, 0)...)
		}, 20_000},
		{"trees of leaves", func(b *builder) uint32 {
			b.function(nil, nil, nil, straight(50)...)
			for i := range 6 {
				b.function(nil, nil, nil, rep(10, 0x10, byte(i))...)
			}
			return b.function(nil, nil, nil, rep(20, 0x10, 6)...)
		}, 1 << 20},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder()
			b.export("run", 0, test.make(b))
			w, m := rewritten(t, b)
			w.chunk, w.empty = 0, true
			if _, err := w.call(m, "run"); err != nil {
				t.Fatal(err)
			}
			if w.most > test.most {
				t.Errorf("paid %d between two checks", w.most)
			}
		})
	}
}

// TestWayOut: a deep recursion has paid for everything that is done when it returns, and checked it on the way down.
// The host gets its turn on the way out all the same.
func TestWayOut(t *testing.T) {
	t.Parallel()
	straight := func(n int) []byte { return rep(n, 0x41, 0, 0x1a) }
	const depth = 5000
	deeper := func(f byte) []byte { // f(n-1), if n isn't 0
		return []byte{0x20, 0, 0x04, 0x40, 0x20, 0, 0x41, 1, 0x6b, 0x10, f, 0x0b}
	}
	tests := []struct {
		name string
		work int // instructions on the way out, of each call
		make func(b *builder) uint32
	}{
		{"behind the call", 4000, func(b *builder) uint32 {
			return b.function([]byte{i32}, nil, nil, cat(deeper(0), straight(2000))...)
		}},
		{"behind the call, in a loop", 4000, func(b *builder) uint32 {
			return b.function([]byte{i32}, nil, nil, cat([]byte{0x03, 0x40}, deeper(0), straight(2000), []byte{0x41, 0, 0x0d, 0, 0x0b})...)
		}},
		{"behind the call, in nested loops", 4000, func(b *builder) uint32 {
			return b.function([]byte{i32}, nil, nil, cat([]byte{0x03, 0x40, 0x03, 0x40}, deeper(0), straight(1000), []byte{0x41, 0, 0x0d, 0, 0x0b},
				straight(1000), []byte{0x41, 0, 0x0d, 0, 0x0b})...)
		}},
		{"in functions behind the call", 4000, func(b *builder) uint32 {
			b.function(nil, nil, nil, straight(100)...)
			return b.function([]byte{i32}, nil, nil, cat(deeper(1), rep(20, 0x10, 0))...)
		}},
		{"little, but deep", 200, func(b *builder) uint32 {
			return b.function([]byte{i32}, nil, nil, cat(deeper(0), straight(100))...)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder()
			f := test.make(b)
			b.export("run", 0, f)
			w, m := rewritten(t, b)
			w.chunk = w.fuel / 2 // so that all ticks but the first are those on the way out
			if _, err := w.call(m, "run", depth); err != nil {
				t.Fatal(err)
			}
			total := depth * test.work
			if unseen := total - w.paced*rewrite.PaceSlice; unseen > rewrite.UnseenWork {
				t.Errorf("of %d instructions on the way out, %d without a turn of the host", total, unseen)
			}
		})
	}
}
