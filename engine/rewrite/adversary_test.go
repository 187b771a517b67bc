package rewrite_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// adversary makes random modules that count their own instructions exactly, in global 0, and trap when a bound is reached.
// It is biased to the shapes that metering treats specially: dispatch loops and jumps that look much like theirs.
type adversary struct {
	r      *rand.Rand
	b      *builder
	out    []byte
	labels []advLabel
	funcs  int // functions that the module will have
	types  []uint32
	locals int // i32 locals, the first is the parameter
	budget int
}

type advLabel struct {
	loop  bool
	arity int
	disp  bool // dispatch loop
	local byte
	cases int
}

const advIncCost = 8

// inc counts n instructions that follow and its own.
func (g *adversary) inc(n int) {
	g.out = cat(g.out, []byte{0x23, 0, 0x42}, sleb(int64(n+advIncCost)), []byte{0x7c, 0x24, 0, 0x23, 0, 0x23, 1, 0x56, 0x04, 0x40, 0x00, 0x0b})
}
func (g *adversary) e(b ...byte)      { g.out = append(g.out, b...) }
func (g *adversary) n(n int) int      { return g.r.IntN(n) }
func (g *adversary) local() byte      { return byte(g.n(g.locals)) }
func (g *adversary) oneIn(n int) bool { return g.r.IntN(n) == 0 }

// expr returns code that leaves an i32, often a small one, and the number of its instructions.
func (g *adversary) expr() ([]byte, int) {
	switch g.n(5) {
	case 0:
		return []byte{0x41, byte(g.n(6))}, 1
	case 1:
		return []byte{0x20, g.local()}, 1
	case 2:
		return []byte{0x20, g.local(), 0x41, byte(1 + g.n(3)), 0x71}, 3
	case 3:
		return []byte{0x20, g.local(), 0x20, g.local(), 0x6a}, 3
	}
	return []byte{0x41, 8, 0x28, 2, byte(4 * g.n(4))}, 2
}

// mix advances a pseudo-random state in a local, so that conditions vary.
func (g *adversary) mix() {
	g.inc(8)
	x := g.local()
	g.e(0x20, x, 0x41, 0x93, 0x0d, 0x6c, 0x41, byte(g.n(60)), 0x6a, 0x20, g.local(), 0x73, 0x21, x)
	// 20 41 6c 41 6a 20 73 21
}

func (g *adversary) pick(arity int) (int, bool) {
	for range 6 {
		d := g.n(len(g.labels))
		if g.n(3) > 0 {
			d = g.n(min(len(g.labels), 4))
		}
		if g.labels[len(g.labels)-1-d].arity == arity {
			return d, true
		}
	}
	return 0, false
}

func (g *adversary) block(op byte, arity, params int, f func()) {
	// type: params i32 → arity i32
	t := []byte{0x40}
	switch {
	case params == 1 && arity == 0:
		t = uleb(g.types[0])
	case params == 1 && arity == 1:
		t = uleb(g.types[1])
	case arity == 1:
		t = []byte{i32}
	}
	g.e(op)
	g.e(t...)
	l := advLabel{arity: arity}
	if op == 0x03 {
		l = advLabel{loop: true, arity: params}
	}
	g.labels = append(g.labels, l)
	f()
	g.labels = g.labels[:len(g.labels)-1]
	g.e(0x0b)
}

// values returns code that leaves arity values, and the number of its instructions.
func (g *adversary) values(arity int) ([]byte, int) {
	if arity == 0 {
		return nil, 0
	}
	return g.expr()
}

func (g *adversary) stmts(depth, n int) {
	for range n {
		g.stmt(depth)
	}
}

func (g *adversary) stmt(depth int) {
	g.budget--
	k := g.n(22)
	if g.budget < 0 || depth > 7 {
		k = g.n(9)
	}
	switch k {
	case 0, 1:
		g.mix()
	case 2: // store
		v, c := g.expr()
		g.inc(c + 2)
		g.e(0x41, byte(8*g.n(2)))
		g.e(v...)
		g.e(0x36, 2, byte(4*g.n(4)))
	case 3: // br_if
		a := g.n(2)
		d, ok := g.pick(a)
		if !ok {
			return
		}
		v, c := g.values(a)
		w, e := g.expr()
		g.inc(c + e + 1 + a)
		g.e(v...)
		g.e(w...)
		g.e(0x0d, byte(d))
		if a > 0 {
			g.e(0x1a)
		}
	case 4: // br in an if
		g.cond(func() { g.br() })
	case 5: // jump of a dispatch loop, in an if
		g.cond(func() { g.jump() })
	case 6:
		if g.oneIn(4) {
			g.jump()
		}
	case 7: // call
		g.call()
	case 8: // small fills
		switch g.n(4) {
		case 0:
			g.inc(4 + 16)
			g.e(0x41, 0xc0, 0x00, 0x41, 3, 0x41, 0x80, 0x01, 0xfc, 11, 0) // 128 bytes
		case 1:
			g.inc(4)
			g.e(0x41, 0xc0, 0x00, 0x41, 3, 0x20, g.local(), 0xfc, 11, 0)
		case 2:
			g.inc(4)
			g.e(0x41, 0xc0, 0x00, 0x41, 0x30, 0x41, 0x7, 0xfc, 10, 0, 0)
		}
	case 9: // if else
		v, c := g.expr()
		g.inc(c + 1)
		g.e(v...)
		a := g.n(2)
		g.block(0x04, a, 0, func() {
			g.stmts(depth+1, g.n(4))
			w, c := g.values(a)
			if a > 0 {
				g.inc(c)
			}
			g.e(w...)
			if a > 0 || g.oneIn(2) {
				g.e(0x05)
				g.stmts(depth+1, g.n(4))
				w, c := g.values(a)
				if a > 0 {
					g.inc(c)
				}
				g.e(w...)
			}
		})
		if a > 0 {
			g.inc(1)
			g.e(0x21, g.local())
		}
	case 10, 11: // block
		a := g.n(2)
		g.block(0x02, a, 0, func() {
			g.stmts(depth+1, g.n(5))
			if a > 0 {
				w, c := g.values(a)
				g.inc(c)
				g.e(w...)
			}
		})
		if a > 0 {
			g.inc(1)
			g.e(0x21, g.local())
		}
	case 12, 13, 14: // loop
		p := 0
		if g.oneIn(3) {
			p = 1
			v, c := g.expr()
			g.inc(c)
			g.e(v...)
		}
		a := g.n(2)
		g.block(0x03, a, p, func() {
			if p > 0 {
				g.inc(1)
				g.e(0x21, g.local())
			}
			g.stmts(depth+1, g.n(4))
			if p == 0 && g.oneIn(2) { // conditional turn
				v, c := g.expr()
				g.inc(c + 1)
				g.e(v...)
				g.e(0x0d, 0)
			}
			if a > 0 {
				w, c := g.values(a)
				g.inc(c)
				g.e(w...)
			}
		})
		if a > 0 {
			g.inc(1)
			g.e(0x21, g.local())
		}
	case 15, 16, 17, 18:
		g.dispatch(depth)
	case 19: // br_table
		g.cond(func() {
			a := g.n(2)
			var t []byte
			n := g.n(5)
			for range n + 1 {
				d, ok := g.pick(a)
				if !ok {
					return
				}
				t = append(t, byte(d))
			}
			v, c := g.values(a)
			w, e := g.expr()
			g.inc(c + e + 1)
			g.e(v...)
			g.e(w...)
			g.e(0x0e, byte(n))
			g.e(t...)
		})
	case 20: // return
		g.cond(func() {
			v, c := g.expr()
			g.inc(c + 1)
			g.e(v...)
			g.e(0x0f)
		})
	case 21:
		g.call()
	}
}

func (g *adversary) cond(f func()) {
	v, c := g.expr()
	g.inc(c + 1)
	g.e(v...)
	g.e(0x04, 0x40)
	g.labels = append(g.labels, advLabel{})
	f()
	g.labels = g.labels[:len(g.labels)-1]
	g.e(0x0b)
}

func (g *adversary) br() {
	a := g.n(2)
	d, ok := g.pick(a)
	if !ok {
		return
	}
	v, c := g.values(a)
	g.inc(c + 1)
	g.e(v...)
	g.e(0x0c, byte(d))
}

// jump writes a jump of one of the dispatch loops around, or something like one.
func (g *adversary) jump() {
	var at []int
	for i, l := range g.labels {
		if l.disp {
			at = append(at, i)
		}
	}
	if len(at) == 0 {
		return
	}
	i := at[len(at)-1]
	if g.oneIn(8) {
		i = at[g.n(len(at))]
	}
	l := g.labels[i]
	d := byte(len(g.labels) - 1 - i)
	k := byte(g.n(l.cases + 2))
	if g.oneIn(12) {
		k = 0x7f // -1
	}
	v, c := g.values(l.arity)
	variant := g.n(14)
	if variant < 2 {
		g.inc(c + 3)
	} else {
		g.inc(c + 3 + 2) // with the switch that follows
	}
	g.e(v...)
	x := l.local
	switch variant {
	case 0:
		g.e(0x41, k, 0x22, x, 0x0d, d) // tee, br_if
		g.e(rep(l.arity, 0x1a)...)
	case 1:
		g.e(0x41, k, 0x21, x, 0x41, 1, 0x0d, d)
		g.e(rep(l.arity, 0x1a)...)
	case 2:
		g.e(0x41, k, 0x21, g.local(), 0x0c, d)
	case 3:
		g.e(0x41, k, 0x21, x, 0x01, 0x0c, d)
	case 4:
		g.e(0x20, g.local(), 0x21, x, 0x0c, d)
	case 5:
		g.e(0x41, k|0x80, 0x00, 0x21, x, 0x0c, d|0x80, 0) // padded
	default: // the real one
		g.e(0x41, k, 0x21, x, 0x0c, d)
	}
}

func (g *adversary) dispatch(depth int) {
	x := g.local()
	p := 0
	if g.oneIn(6) {
		p = 1
		v, c := g.expr()
		g.inc(c)
		g.e(v...)
	}
	m := 1 + g.n(5)
	if g.oneIn(2) {
		g.inc(2)
		g.e(0x41, byte(g.n(m+1)), 0x21, x)
	}
	// The switch has to follow the loop directly, so it is counted here and by the jumps.
	g.inc(2)
	g.e(0x03)
	if p > 0 {
		g.e(uleb(g.types[0])...)
	} else {
		g.e(0x40)
	}
	g.labels = append(g.labels, advLabel{loop: true, arity: p, disp: true, local: x, cases: m})
	// A parameter lies below the blocks until the end of the loop.
	for range m {
		g.e(0x02, 0x40)
		g.labels = append(g.labels, advLabel{})
	}
	g.e(0x20, x)
	if g.oneIn(10) {
		g.e(0x01)
	}
	n := g.n(m + 3)
	g.e(0x0e, byte(n))
	for range n + 1 {
		d := g.n(m)
		if g.oneIn(10) {
			if e, ok := g.pick(0); ok && !g.labels[len(g.labels)-1-e].loop {
				d = e
			}
		}
		g.e(byte(d))
	}
	for range m {
		g.labels = g.labels[:len(g.labels)-1]
		g.e(0x0b)
		g.stmts(depth+1, g.n(4))
		if g.oneIn(2) {
			g.jump()
		}
	}
	if p > 0 {
		g.e(0x1a)
	}
	g.labels = g.labels[:len(g.labels)-1]
	g.e(0x0b)
}

func (g *adversary) call() {
	v, c := g.expr()
	if g.oneIn(3) {
		w, e := g.expr()
		g.inc(c + e + 2 + 1)
		g.e(v...)
		g.e(w...)
		g.e(0x41, 3, 0x71)
		g.e(0x11)
		g.e(uleb(g.types[1])...)
		g.e(0)
	} else {
		g.inc(c + 1)
		g.e(v...)
		g.e(0x10, byte(g.n(g.funcs)))
	}
	g.e(0x21, g.local())
}

func advGenerate(seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := newBuilder()
	g := &adversary{r: r, b: b}
	g.types = []uint32{b.typ([]byte{i32}, nil), b.typ([]byte{i32}, []byte{i32})}
	g.funcs = 1 + r.IntN(6)
	b.memory(1, 1)
	b.export("memory", 2, 0)
	b.export("count", 3, b.global(i64, true, 0x42, 0))
	b.export("limit", 3, b.global(i64, true, 0x42, 0))
	b.table(funcref, 4, 4)
	idx := make([]uint32, 4)
	for i := range idx {
		idx[i] = uint32(r.IntN(g.funcs))
	}
	b.elem(0, idx...)
	for i := range g.funcs {
		g.locals = 2 + r.IntN(5)
		g.budget = 5 + r.IntN(40)
		g.out = nil
		g.labels = []advLabel{{arity: 1}}
		if i > 0 && r.IntN(3) == 0 { // small leaf
			g.budget = 2
		}
		g.stmts(0, 1+g.n(6))
		v, c := g.expr()
		g.inc(c)
		g.e(v...)
		decl := rep(g.locals-1, i32)
		b.function([]byte{i32}, []byte{i32}, decl, g.out...)
	}
	b.export("f", 0, 0)
	return b.bytes()
}

// advOutcome is how a module ended.
type advOutcome struct {
	err    string // its first line
	result uint64
	count  int64
	memory string

	// Of a rewritten module:
	charged, stack int64
	ticks          int
}

// advDuo runs originals in one runtime and rewritten modules in another.
type advDuo struct {
	runtimes [2]wazero.Runtime
	ctx      context.Context

	slice   int64 // of fuel, at every tick; negative: every check is a tick
	granted int64
	ticks   int
	stopAt  int // end the call at this tick, if not 0
}

var errAdvStop = errors.New("stopped")

func newAdvDuo(t testing.TB) *advDuo {
	d := &advDuo{ctx: context.Background()}
	for i := range d.runtimes {
		r := wazero.NewRuntimeWithConfig(d.ctx, wazero.NewRuntimeConfigCompiler().WithDebugInfoEnabled(false))
		d.runtimes[i] = r
		t.Cleanup(func() {
			if err := r.Close(d.ctx); err != nil {
				t.Error(err)
			}
		})
	}
	host := d.runtimes[1].NewHostModuleBuilder(rewrite.HostModule)
	host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(d.tick), nil, nil).Export(rewrite.TickImport)
	host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {
		panic(errStack)
	}), nil, nil).Export(rewrite.StackImport)
	host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(context.Context, api.Module, []uint64) {
		panic(errExit)
	}), nil, nil).Export(rewrite.ExitImport)
	if _, err := host.Instantiate(d.ctx); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *advDuo) tick(_ context.Context, m api.Module, _ []uint64) {
	d.ticks++
	if d.stopAt > 0 && d.ticks >= d.stopAt {
		panic(errAdvStop)
	}
	g := m.ExportedGlobal(rewrite.FuelExport).(api.MutableGlobal)
	used := d.granted - int64(g.Get())
	g.Set(uint64(d.slice))
	d.granted = used + d.slice
}

// run calls a module, in the second runtime if it is rewritten, until it has counted limit instructions.
func (d *advDuo) run(t testing.TB, rewritten bool, wasm []byte, arg uint64, limit int64) (o advOutcome) {
	t.Helper()
	r := d.runtimes[0]
	if rewritten {
		r = d.runtimes[1]
	}
	c, err := r.CompileModule(d.ctx, wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(d.ctx)
	m, err := r.InstantiateModule(d.ctx, c, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close(d.ctx)
	m.ExportedGlobal("limit").(api.MutableGlobal).Set(uint64(limit))
	d.granted, d.ticks = 0, 0
	results, err := m.ExportedFunction("f").Call(d.ctx, arg)
	if err != nil {
		o.err, _, _ = strings.Cut(err.Error(), "\n")
	} else {
		o.result = results[0]
	}
	o.count = int64(m.ExportedGlobal("count").Get())
	mem, _ := m.Memory().Read(0, 4096)
	o.memory = string(mem)
	if rewritten {
		o.charged = d.granted - int64(m.ExportedGlobal(rewrite.FuelExport).Get())
		o.stack = int64(m.ExportedGlobal(rewrite.StackExport).Get())
		o.ticks = d.ticks
	}
	return o
}

// TestAdversary: a rewritten module does what the original does, pays for at least every instruction that it executes,
// gives back all of the stack budget if it returns, and can be ended at any tick.
func TestAdversary(t *testing.T) {
	t.Parallel()
	// Those in front find faults in the recognition of jumps that few others do.
	seeds := []uint64{306, 353, 631, 955, 1385, 1427}
	for seed := range uint64(100) {
		seeds = append(seeds, seed)
	}
	d := newAdvDuo(t)
	for _, seed := range seeds {
		d.try(t, seed)
	}
}

func (d *advDuo) try(t *testing.T, seed uint64) {
	const (
		limit = 20_000
		// A small leaf that the host calls itself is free, and the counting has its end in the middle of a statement.
		slack = 48
	)
	wasm, arg := advGenerate(seed), seed%17
	out, _, err := rewrite.Module(wasm)
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	d.slice, d.stopAt = 1000, 0
	if seed%2 == 0 {
		d.slice = -1
	}
	want, got := d.run(t, false, wasm, arg, limit), d.run(t, true, out, arg, limit)
	if got.err != want.err || got.result != want.result || got.count != want.count || got.memory != want.memory {
		t.Errorf("seed %d: got %q, %d after %d instructions, want %q, %d after %d", seed,
			got.err, got.result, got.count, want.err, want.result, want.count)
	}
	if got.charged < got.count-slack {
		t.Errorf("seed %d: paid %d for %d instructions", seed, got.charged, got.count)
	}
	if got.err == "" && got.stack != rewrite.StackBudget {
		t.Errorf("seed %d: %d are left of the stack budget", seed, got.stack)
	}
	if got.ticks < 3 {
		return
	}
	d.stopAt = 3
	if got := d.run(t, true, out, arg, limit); !strings.Contains(got.err, errAdvStop.Error()) {
		t.Errorf("seed %d: not ended at a tick, but with %q", seed, got.err)
	}
}
