package rewrite_test

import "math/rand/v2"

// generator makes small valid modules at random. Everything in them ends: loops and functions give up when the module's
// own gas is used up. Every statement adds the number of its instructions to a global when it is done, so that what the
// module counts is at most what it executes.
type generator struct {
	r     *rand.Rand
	b     *builder
	funcs []signature

	gas, count uint32   // globals
	vars       []global // others
	passive    []byte   // data segments: wazero forgets that active ones are dropped, we don't

	// Of the function being made:
	code    []byte
	n       int // instructions of the current statement
	locals  []byte
	results []byte
	labels  []label
	depth   int
	self    int
}

type signature struct {
	params, results []byte
}

type global struct {
	index uint32
	typ   byte
}

// label is a block that can be left, or a loop that can be repeated: forward only where the generator wants the end.
type label struct {
	loop  bool
	types []byte
}

const generatedPages = 2

func generate(seed uint64) []byte {
	g := &generator{r: rand.New(rand.NewPCG(seed, 1)), b: newBuilder()}
	b := g.b
	b.memory(generatedPages, generatedPages+3)
	g.count = b.global(i64, true, 0x42, 0)
	g.gas = b.global(i32, true, cat([]byte{0x41}, sleb(int64(200+g.r.IntN(2000))))...)
	b.export("count", 3, g.count)
	for _, typ := range []byte{i32, i64, f64, i32} {
		init := map[byte][]byte{i32: {0x41, 7}, i64: {0x42, 9}, f64: {0x44, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f}}[typ]
		g.vars = append(g.vars, global{b.global(typ, true, init...), typ})
		b.export("g"+string(rune('0'+len(g.vars))), 3, g.vars[len(g.vars)-1].index)
	}
	b.export("memory", 2, 0)
	for i := range 1 + g.r.IntN(5) {
		b.active(int32(g.r.IntN(400)), randomString(g.r, g.r.IntN(40)))
		if i%2 == 1 {
			g.passive = append(g.passive, byte(b.passive(randomString(g.r, g.r.IntN(60)))))
		}
	}
	g.passive = append(g.passive, byte(b.passive("passive")))
	b.counted()
	n := 2 + g.r.IntN(6)
	for range n {
		g.funcs = append(g.funcs, signature{params: g.types(3), results: g.types(2)})
	}
	b.table(funcref, uint32(n)+2, 40)
	indices := make([]uint32, n)
	for i := range indices {
		g.function(i)
		indices[i] = uint32(i)
	}
	b.elem(1, indices...)
	// Without parameters and results, so that anyone can call it.
	entry := cat(g.constant(i32), []byte{0x1a})
	for i := range g.funcs {
		for _, p := range g.funcs[i].params {
			entry = append(entry, g.constant(p)...)
		}
		entry = cat(entry, []byte{0x10}, uleb(uint32(i)), rep(len(g.funcs[i].results), 0x1a))
	}
	b.export("run", 0, b.function(nil, nil, nil, entry...))
	return b.bytes()
}

func randomString(r *rand.Rand, n int) string {
	s := make([]byte, n)
	for i := range s {
		s[i] = byte(r.Uint32())
	}
	return string(s)
}

func (g *generator) types(most int) []byte {
	var out []byte
	for range g.r.IntN(most + 1) {
		out = append(out, g.typ())
	}
	return out
}

func (g *generator) typ() byte { return []byte{i32, i32, i64, f64}[g.r.IntN(4)] }

func (g *generator) function(i int) {
	sig := &g.funcs[i]
	g.self, g.code, g.depth = i, nil, 0
	own := g.types(4)
	own = append(own, i32, i32) // for loops and dispatch
	g.locals = append(append([]byte(nil), sig.params...), own...)
	g.results = sig.results
	g.labels = []label{{types: sig.results}}
	g.spend(func() { // give up without gas
		for _, t := range sig.results {
			g.raw(g.constant(t)...)
		}
		g.op(0x0f)
	})
	g.statements(2 + g.r.IntN(6))
	for _, t := range sig.results {
		g.expr(t, 2)
	}
	g.b.function(sig.params, sig.results, own, g.code...)
}

func (g *generator) raw(code ...byte) { g.code = append(g.code, code...) }

// op emits an instruction, which counts.
func (g *generator) op(code ...byte) {
	g.n++
	g.raw(code...)
}

func (g *generator) index(op byte, i uint32) { g.op(cat([]byte{op}, uleb(i))...) }

// spend takes from the gas, and does something else when there is none.
func (g *generator) spend(without func()) {
	g.index(0x23, g.gas)
	g.op(0x41, 1)
	g.op(0x6b)
	g.index(0x24, g.gas)
	g.index(0x23, g.gas)
	g.op(0x41, 0)
	g.op(0x48) // lt_s
	g.op(0x04, 0x40)
	g.labels = append(g.labels, label{})
	without()
	g.labels = g.labels[:len(g.labels)-1]
	g.op(0x0b)
}

// counted emits what adds the instructions of a statement to the count.
func (g *generator) counted() {
	n := g.n
	g.raw(cat([]byte{0x23}, uleb(g.count), []byte{0x42}, sleb(int64(n)), []byte{0x7c, 0x24}, uleb(g.count))...)
	g.n = 0
}

func (g *generator) statements(n int) {
	for range n {
		g.n = 0
		if g.depth++; g.depth < 5 {
			g.statement()
		}
		g.depth--
	}
}

func (g *generator) statement() {
	switch g.r.IntN(20) {
	case 0, 1, 2:
		if i := g.r.IntN(len(g.locals)); i < len(g.locals)-2 {
			g.expr(g.locals[i], 3)
			g.index(0x21, uint32(i))
			g.counted()
		}
	case 3, 4:
		v := g.vars[g.r.IntN(len(g.vars))]
		g.expr(v.typ, 3)
		g.index(0x24, v.index)
		g.counted()
	case 5, 6:
		g.address()
		t := g.typ()
		g.expr(t, 2)
		g.op(map[byte]byte{i32: 0x36, i64: 0x37, f64: 0x39}[t], 0, byte(g.r.IntN(16)))
		g.counted()
	case 7, 8:
		g.expr(i32, 2)
		g.block(0x04, nil, func() {
			g.statements(1 + g.r.IntN(3))
			if g.r.IntN(2) == 0 {
				g.raw(0x05)
				g.statements(1 + g.r.IntN(3))
			}
		})
	case 9, 10:
		g.block(0x02, nil, func() { g.statements(1 + g.r.IntN(4)) })
	case 11, 12, 13:
		g.loop()
	case 14:
		g.branch()
	case 15:
		g.call()
		g.counted()
	case 16:
		g.bulk()
		g.counted()
	case 17:
		g.dispatch()
	case 18:
		g.typedLoop()
	case 19:
		g.branchTable()
	}
}

func (g *generator) block(op byte, types []byte, content func()) {
	bt := byte(0x40)
	if len(types) == 1 {
		bt = types[0]
	}
	g.raw(op, bt)
	g.labels = append(g.labels, label{loop: op == 0x03, types: types})
	content()
	g.labels = g.labels[:len(g.labels)-1]
	g.raw(0x0b)
}

// loop repeats while a condition holds and there is gas. Small ones have a body that is worth unrolling.
func (g *generator) loop() {
	g.block(0x03, nil, func() {
		if g.r.IntN(2) == 0 {
			g.statements(1 + g.r.IntN(3))
		} else if i := g.r.IntN(len(g.locals) - 1); i < len(g.locals)-2 && g.locals[i] == i32 {
			g.n = 0
			g.op(0x20, byte(i))
			g.op(0x41, 3)
			g.op(0x6a)
			g.op(0x21, byte(i))
			g.counted()
			if g.r.IntN(2) == 0 { // leave, perhaps far
				g.expr(i32, 1)
				g.leave()
			}
		}
		g.n = 0
		g.index(0x23, g.gas)
		g.op(0x41, 1)
		g.op(0x6b)
		g.index(0x24, g.gas)
		g.index(0x23, g.gas)
		g.op(0x41, 0)
		g.op(0x4a) // gt_s
		g.expr(i32, 1)
		g.op(0x41, byte(g.r.IntN(8)))
		g.op(0x4b) // gt_u
		g.op(0x71)
		g.counted()
		g.op(0x0d, 0)
	})
}

// typedLoop hands a value from turn to turn.
func (g *generator) typedLoop() {
	t := g.b.typ([]byte{i32}, []byte{i32})
	g.op(0x41, byte(g.r.IntN(6)))
	g.raw(cat([]byte{0x03}, sleb(int64(t)))...)
	g.labels = append(g.labels, label{loop: true, types: []byte{i32}})
	local := byte(len(g.locals) - 1)
	g.op(0x41, 1)
	g.op(0x6b)
	g.op(0x22, local)
	g.op(0x20, local)
	g.op(0x41, 0)
	g.op(0x4a)
	g.op(0x0d, 0)
	g.labels = g.labels[:len(g.labels)-1]
	g.raw(0x0b)
	g.op(0x1a)
	g.counted()
}

// leave branches out on the condition on the stack if there is a label without results that is no loop.
func (g *generator) leave() {
	for range 4 {
		i := g.r.IntN(len(g.labels))
		if l := g.labels[len(g.labels)-1-i]; !l.loop && len(l.types) == 0 {
			g.op(0x0d, byte(i))
			return
		}
	}
	g.op(0x1a)
}

func (g *generator) branch() {
	switch g.r.IntN(4) {
	case 0:
		g.expr(i32, 2)
		g.leave()
		g.counted()
	case 1:
		g.expr(i32, 1)
		g.block(0x04, nil, func() {
			for _, t := range g.results {
				g.expr(t, 1)
			}
			g.op(0x0f)
		})
	case 2: // to the function's label
		g.expr(i32, 1)
		g.block(0x04, nil, func() {
			for _, t := range g.results {
				g.expr(t, 1)
			}
			g.op(0x0c, byte(len(g.labels)-1))
			g.statements(1)
		})
	case 3:
		if g.r.IntN(8) == 0 {
			g.expr(i32, 1)
			g.block(0x04, nil, func() { g.op(0x00) })
		}
	}
}

func (g *generator) branchTable() {
	n := 1 + g.r.IntN(4)
	for range n {
		g.raw(0x02, 0x40)
		g.labels = append(g.labels, label{})
	}
	g.expr(i32, 2)
	table := []byte{0x0e, byte(n + 1)}
	for range n + 2 {
		table = append(table, byte(g.r.IntN(n)))
	}
	g.op(table...)
	for range n {
		g.labels = g.labels[:len(g.labels)-1]
		g.raw(0x0b)
		g.statements(1)
	}
}

// dispatch is how Go's compiler writes a function: a loop around a switch on a local.
func (g *generator) dispatch() {
	n := 2 + g.r.IntN(5)
	pc := byte(len(g.locals) - 2)
	g.op(0x41, byte(g.r.IntN(n)))
	g.op(0x21, pc)
	g.raw(0x02, 0x40, 0x03, 0x40)
	g.labels = append(g.labels, label{}, label{loop: true})
	for range n {
		g.raw(0x02, 0x40)
		g.labels = append(g.labels, label{loop: true}) // not for others
	}
	g.op(0x20, pc)
	table := []byte{0x0e, byte(n)}
	for i := range n {
		table = append(table, byte(i))
	}
	g.op(append(table, byte(n-1))...)
	for k := range n {
		g.labels = g.labels[:len(g.labels)-1]
		g.raw(0x0b)
		g.n = 0
		g.statements(1 + g.r.IntN(2))
		g.n = 0
		open := byte(n - 1 - k) // blocks that are left
		switch g.r.IntN(4) {
		case 0: // on to the next one
		case 1:
			g.expr(i32, 1)
			g.raw(0x04, 0x40)
			g.goTo(pc, g.r.IntN(n+1), open+1)
			g.raw(0x0b)
		default:
			g.goTo(pc, g.r.IntN(n), open)
		}
	}
	g.labels = g.labels[:len(g.labels)-2]
	g.raw(0x0b, 0x0b)
}

func (g *generator) goTo(pc byte, k int, label byte) {
	g.n = 0
	g.spend(func() { g.op(0x0c, label+2) })
	g.counted()
	g.op(0x41, byte(k))
	g.op(0x21, pc)
	g.op(0x0c, label)
}

func (g *generator) call() {
	i := g.r.IntN(len(g.funcs))
	sig := g.funcs[i]
	for _, p := range sig.params {
		g.expr(p, 1)
	}
	if g.r.IntN(2) == 0 {
		g.index(0x10, uint32(i))
	} else {
		g.expr(i32, 0)
		g.op(0x41, 7)
		g.op(0x71)
		g.op(cat([]byte{0x11}, uleb(g.b.typ(sig.params, sig.results)), []byte{0})...)
	}
	for range sig.results {
		g.op(0x1a)
	}
}

func (g *generator) bulk() {
	switch g.r.IntN(9) {
	case 0:
		g.address()
		g.expr(i32, 1)
		g.length()
		g.op(0xfc, 11, 0)
	case 1:
		g.address()
		g.address()
		g.length()
		g.op(0xfc, 10, 0, 0)
	case 2:
		g.address()
		g.op(0x41, byte(g.r.IntN(8)))
		g.op(0x41, byte(g.r.IntN(8)))
		g.op(0xfc, 8, g.passive[g.r.IntN(len(g.passive))], 0)
	case 3:
		if g.r.IntN(4) == 0 {
			g.op(0xfc, 9, g.passive[g.r.IntN(len(g.passive))])
		}
	case 4:
		g.op(0x41, byte(g.r.IntN(3)))
		g.op(0x40, 0)
		g.op(0x1a)
	case 5:
		g.op(0xd0, funcref)
		g.op(0x41, byte(g.r.IntN(4)))
		g.op(0xfc, 15, 0)
		g.op(0x1a)
	case 6:
		for range 3 {
			g.op(0x41, byte(g.r.IntN(6)))
		}
		g.op(0xfc, 14, 0, 0)
	case 7:
		g.op(0x41, byte(g.r.IntN(12)))
		g.op(0xd0, funcref)
		g.op(0x41, byte(g.r.IntN(3)))
		g.op(0xfc, 17, 0)
	case 8:
		g.op(0x3f, 0)
		g.op(0x1a)
	}
}

func (g *generator) length() {
	if g.r.IntN(2) == 0 {
		g.op(cat([]byte{0x41}, sleb(int64(g.r.IntN(9000))))...)
		return
	}
	g.expr(i32, 1)
	g.op(0x41, 0xff, 0x3f)
	g.op(0x71)
}

// address is in bounds, mostly.
func (g *generator) address() {
	g.expr(i32, 1)
	if g.r.IntN(30) > 0 {
		g.op(0x41, 0xff, 0xff, 0x06) // 0x1bfff
		g.op(0x71)
	}
}

func (g *generator) constant(t byte) []byte {
	switch t {
	case i32:
		return cat([]byte{0x41}, sleb(int64(int32(g.r.Uint32())>>g.r.IntN(32))))
	case i64:
		return cat([]byte{0x42}, sleb(int64(g.r.Uint64())>>g.r.IntN(64)))
	}
	return cat([]byte{0x44, 0, 0, 0, 0, 0}, []byte{byte(g.r.Uint32()), byte(g.r.Uint32()), 0x40})
}

// expr leaves a value of a type.
func (g *generator) expr(t byte, depth int) {
	if depth == 0 || g.r.IntN(3) == 0 {
		for range 3 {
			if i := g.r.IntN(len(g.locals)); g.locals[i] == t {
				g.op(0x20, byte(i))
				return
			}
			if v := g.vars[g.r.IntN(len(g.vars))]; v.typ == t {
				g.index(0x23, v.index)
				return
			}
		}
		g.op(g.constant(t)...)
		return
	}
	binary := map[byte][]byte{
		i32: {0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x76, 0x48, 0x4d, 0x6e},
		i64: {0x7c, 0x7d, 0x7e, 0x83, 0x84, 0x85, 0x86, 0x88},
		f64: {0xa0, 0xa1, 0xa2},
	}[t]
	switch g.r.IntN(5) {
	case 0, 1:
		g.expr(t, depth-1)
		g.expr(t, depth-1)
		g.op(binary[g.r.IntN(len(binary))])
	case 2: // from another type
		switch t {
		case i32:
			g.expr(i64, depth-1)
			g.op(0xa7)
		case i64:
			g.expr(i32, depth-1)
			g.op(0xac)
		default:
			g.expr(i32, depth-1)
			g.op(0xb7)
		}
	case 3:
		g.address()
		g.op(map[byte]byte{i32: 0x28, i64: 0x29, f64: 0x2b}[t], 0, byte(g.r.IntN(16)))
	case 4:
		g.expr(t, depth-1)
		g.expr(t, depth-1)
		g.expr(i32, depth-1)
		g.op(0x1b) // select
	}
}
