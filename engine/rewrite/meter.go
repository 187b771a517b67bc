package rewrite

// Metering. A function pays on entry for the dearest way through it, a loop pays on every turn for the dearest way
// through that, and neither for the loops it contains: so what is paid is an upper bound of what is executed, and the
// same in every run.
//
// The sequences below leave the operand stack as they find it and touch no local, so they fit anywhere.

// writer makes the new module.
type writer struct {
	m       *module
	options Options

	tick, overflow     uint32 // functions
	exit               uint32
	fuel, stack, elems uint32 // globals: fuel, call stack left, table elements left
	pace               uint32 // global: work that may still be done on the way out of functions without a check

	types     map[string]uint32 // types by their binary form
	newTypes  []byte            // those that the module did not have
	typeCount int

	addedFrom uint32 // index of the first function of ours
	added     []addedFunc
	bulkOps   map[bulkOp]uint32
	parking   map[uint32]uint32 // the functions that stand for imports of the module
	program   uint32            // the function that enters the program, 0 if there is none

	facts    []fact // per function that the module defines
	mostFree uint8  // the most that a call of an unknown function has to pay for it
	both     uint32 // the function that checks stack and fuel, 0 before it is needed
	paced    uint32 // the function that calls the host on the way out, 0 before it is needed

	data          dataPlan
	bodies        []byte // the code section without its count
	unrolledBytes int
	compile       float64 // estimated nanoseconds

	changesTables, dropsElems, dropsData bool

	state        []export // the module's mutable globals
	unrestorable string

	tmp []byte
}

// addedFunc is a function of ours, behind those of the module.
type addedFunc struct {
	name string
	typ  uint32
	body []byte // with locals and end, without its size
}

// The number of functions that we import, and of globals that we define.
const (
	ownImports = 3
	ownGlobals = 4
)

func newWriter(m *module, o Options) *writer {
	w := &writer{
		m:         m,
		options:   o,
		tick:      uint32(m.importedFuncs),
		overflow:  uint32(m.importedFuncs) + 1,
		exit:      uint32(m.importedFuncs) + 2,
		fuel:      uint32(len(m.globalType)),
		stack:     uint32(len(m.globalType)) + 1,
		elems:     uint32(len(m.globalType)) + 2,
		pace:      uint32(len(m.globalType)) + 3,
		addedFrom: uint32(len(m.funcs)) + ownImports,
		types:     make(map[string]uint32, len(m.types)),
		typeCount: len(m.types),
		bulkOps:   map[bulkOp]uint32{},
		parking:   map[uint32]uint32{},
		data:      planData(m, o.Detach),
	}
	for i := len(m.types) - 1; i >= 0; i-- {
		w.types[string(appendType(nil, m.types[i].params, m.types[i].results))] = uint32(i)
	}
	w.park()
	w.enterProgram()
	return w
}

// funcIndex is what the module means by a function: the function at its new index, or the one that stands for it.
func (w *writer) funcIndex(f uint32) uint32 {
	if wrapper, ok := w.parking[f]; ok {
		return wrapper
	}
	return w.moved(f)
}

// moved is the new index of a function of the module: our imports stand behind its imports.
func (w *writer) moved(f uint32) uint32 {
	if int(f) < w.m.importedFuncs {
		return f
	}
	return f + ownImports
}

func appendType(dst, params, results []byte) []byte {
	return appendBytes(appendBytes(append(dst, 0x60), params), results)
}

// typeOf returns the index of a function type, which it adds if the module has none like it.
func (w *writer) typeOf(params, results []byte) uint32 {
	form := appendType(nil, params, results)
	i, ok := w.types[string(form)]
	if !ok {
		i = uint32(w.typeCount)
		w.typeCount++
		w.types[string(form)] = i
		w.newTypes = append(w.newTypes, form...)
	}
	return i
}

// add appends a function of ours and returns its index.
func (w *writer) add(name string, typ uint32, body []byte) uint32 {
	w.added = append(w.added, addedFunc{name, typ, body})
	return w.addedFrom + uint32(len(w.added)) - 1
}

const (
	// maxFree is the most that a function may cost to have its callers pay for it.
	maxFree = 32
	// What a function does after a call has been paid for, and checked, before it: when a deep recursion returns, all of
	// that is done and nothing is checked. So an anchor takes of the stack budget a byte for every workPerByte units that
	// it may do between its first check and its end, which bounds what is done on the way out while no more than shallow
	// of the budget is taken. On the way out of anything deeper it pays once more, in another currency, and looks whether
	// it is the host's turn. One that may do more than stackedWork would take too much: it does so at any depth.
	workPerByte = 8
	shallow     = 256 << 10
	stackedWork = 16 << 10
	// paceSlice is how much may be done on the way out of functions before the host is called.
	paceSlice = 1 << 20
)

// code checks all functions, to learn about callees, and then rewrites them.
func (w *writer) code() *Error {
	s := &scanner{w: w, m: w.m}
	n := len(w.m.code)
	w.facts = make([]fact, n) // nothing is known in the first pass
	facts := make([]fact, n)
	s.calls.from = make([]int, 1, n+1)
	mutable := 0
	var memory compileMemory
	for _, g := range w.m.globalType {
		if g.mutable {
			mutable++
		}
	}
	w.compile = float64(n) * float64(len(w.m.exports)+min(mutable, MaxState)) // wazero looks for every function among the exports
	for i := range w.m.code {
		if e := s.scan(i); e != nil {
			return e
		}
		w.compile += s.b.compile.nanoseconds(s.b.nlocals, len(w.m.globalType), mutable)
		if w.compile > float64(MaxCompileTime) {
			s.fail(OverLimit, 0, "the module would take too long to compile: its functions are too large, or have too many blocks")
			return s.err
		}
		if reason := memory.add(&s.b.compile, s.b.nlocals); reason != "" {
			s.fail(OverLimit, 0, reason)
			return s.err
		}
		s.calls.from = append(s.calls.from, len(s.calls.callees))
		facts[i] = s.b.fact()
		w.mostFree = max(w.mostFree, facts[i].free)
	}
	findAnchors(facts, &s.calls)
	w.facts = facts
	w.bodies = make([]byte, 0, w.m.codeBytes()+w.m.codeBytes()/4)
	for i := range w.m.code {
		if e := s.scan(i); e != nil {
			return e
		}
		w.function(&s.b, &facts[i], w.m.types[w.m.funcs[w.m.importedFuncs+i]].results)
	}
	return nil
}

// prepaid is the most that may be done at any point of a function before its end, or a check, without callees that are
// known: what has been paid for and not yet executed, and what callees by table may do.
func (b *body) prepaid() uint64 {
	var sum, jump uint64
	for i, l := range b.loops {
		switch {
		case l.unroll:
			sum += unrollCopies * l.cost
		case l.turns || i == 0:
			sum += l.cost
		}
	}
	for _, j := range b.jumps {
		jump = max(jump, j.cost)
	}
	if b.indirect <= maxIndirect { // which then don't check first
		sum += uint64(b.indirect) * anchorWork
	}
	return sum + jump
}

func (b *body) fact() fact {
	f := fact{cost: b.loops[0].cost, work: b.prepaid(), frame: uint32(64 + 8*b.nlocals), leaf: b.leaf, anchor: b.indirect > 0, loops: len(b.jumps) > 0}
	for _, l := range b.loops {
		f.loops = f.loops || l.turns
	}
	if f.leaf && !f.loops && f.cost <= maxFree {
		f.free = uint8(f.cost)
	}
	return f
}

// function writes a function that has been scanned. An anchor is wrapped in a block whose label takes the place of the
// function's own, so that every way out of it meets the end of the block, where the stack budget is given back.
func (w *writer) function(b *body, f *fact, results []byte) {
	out := asm(append(w.tmp[:0], b.locals...))
	weight := int64(f.stack)
	if f.work <= stackedWork {
		weight += int64(f.work / workPerByte)
	}
	wrap := w.options.Meter && f.anchor
	if cost := b.loops[0].cost; w.options.Meter && f.free == 0 && cost > 0 {
		w.pay(&out, cost)
	}
	if wrap {
		w.enter(&out, weight)
		out.op(opBlock)
		out = w.appendBlockType(out, results)
	}
	at := uint32(0)
	for _, e := range b.edits {
		out = append(out, b.code[at:e.start]...)
		at = e.end
		switch e.kind {
		case editCall:
			out.with(opCall, e.arg)
		case editRefFunc:
			out.with(opRefFunc, e.arg)
		case editReturn:
			out.with(opBr, e.arg)
		case editLoop:
			l, head := &b.loops[e.arg], b.code[e.start:e.end]
			switch {
			case !w.options.Meter || !l.turns:
				out = append(out, head...)
			case l.unroll && len(b.loops) <= unrollLoops && w.unrolledBytes < maxUnrolled:
				w.unrolledBytes += int(l.end-l.start) * (unrollCopies - 1)
				at = w.unrolled(&out, b, l, head)
			default:
				out = append(out, head...)
				w.pay(&out, max(l.cost, 1))
				w.check(&out)
			}
		case editJump:
			if j := b.jumps[e.arg]; w.options.Meter && !b.loops[j.loop].turns {
				w.pay(&out, j.cost)
				w.check(&out)
			}
		case editDataDrop:
			out.misc(miscDataDrop, e.arg)
		case editIndirect:
			if w.options.Meter && b.indirect > maxIndirect {
				w.check(&out)
			}
		case editMemoryInit:
			out.misc(miscMemoryInit, e.arg, 0)
		}
	}
	out = append(out, b.code[at:]...)
	if wrap {
		w.leave(&out, weight)
		w.payPace(&out, f.work)
		out.op(opEnd)
	}
	w.bodies = appendBytes(w.bodies, out)
	w.tmp = out
}

// pay lowers the fuel.
func (w *writer) pay(a *asm, cost uint64) {
	a.with(opGlobalGet, w.fuel)
	a.i64(int64(cost))
	a.op(opI64Sub)
	a.with(opGlobalSet, w.fuel)
}

// check calls the host when the fuel is used up. The usual case is the first arm of the if, even though there is
// nothing to do: wazero's register allocator lets what follows go on from the registers of the arm it sees first, and
// would otherwise have the usual case reload what only a call loses.
func (w *writer) check(a *asm) {
	a.with(opGlobalGet, w.fuel)
	w.orCall(a)
}

func (w *writer) orCall(a *asm) {
	a.i64(0)
	a.op(opI64GeS, opIf, blockVoid, opElse)
	a.with(opCall, w.tick)
	a.op(opEnd)
}

// enter takes a frame from the stack budget and calls the host when that, or the fuel, is used up.
func (w *writer) enter(a *asm, weight int64) {
	a.with(opGlobalGet, w.stack)
	a.i64(weight)
	a.op(opI64Sub)
	a.with(opGlobalSet, w.stack)
	a.with(opGlobalGet, w.stack)
	a.with(opGlobalGet, w.fuel)
	a.op(opI64Or)
	a.i64(0)
	a.op(opI64GeS, opIf, blockVoid, opElse)
	a.with(opCall, w.checkBoth())
	a.op(opEnd)
}

// leave gives it back.
func (w *writer) leave(a *asm, weight int64) {
	a.with(opGlobalGet, w.stack)
	a.i64(weight)
	a.op(opI64Add)
	a.with(opGlobalSet, w.stack)
}

// payPace pays for the way out, where that has to be: see shallow.
func (w *writer) payPace(a *asm, work uint64) {
	pay := func() {
		a.i64(int64(min(work, paceSlice)))
		a.with(opCall, w.keepPace())
	}
	if work > stackedWork {
		pay()
		return
	}
	a.with(opGlobalGet, w.stack)
	a.i64(StackBudget - shallow)
	a.op(opI64GeS, opIf, blockVoid, opElse)
	pay()
	a.op(opEnd)
}

// keepPace returns a function that lowers what may still be done on the way out of functions, and gives the host its
// turn when that is used up.
func (w *writer) keepPace() uint32 {
	if w.paced == 0 {
		a := asm{0}
		a.with(opGlobalGet, w.pace)
		a.get(0)
		a.op(opI64Sub)
		a.with(opGlobalSet, w.pace)
		a.with(opGlobalGet, w.pace)
		a.i64(0)
		a.op(opI64GeS, opIf, blockVoid, opElse)
		a.i64(paceSlice)
		a.with(opGlobalSet, w.pace)
		a.with(opCall, w.tick)
		a.op(opEnd, opEnd)
		w.paced = w.add("gojinn.pace", w.typeOf([]byte{typeI64}, nil), a)
	}
	return w.paced
}

// checkBoth returns a function that finds out what is used up.
func (w *writer) checkBoth() uint32 {
	if w.both == 0 {
		a := asm{0}
		a.with(opGlobalGet, w.stack)
		a.i64(0)
		a.op(opI64LtS, opIf, blockVoid)
		a.with(opCall, w.overflow)
		a.op(opUnreachable, opEnd)
		w.check(&a)
		a.op(opEnd)
		w.both = w.add("gojinn.check", w.typeOf(nil, nil), a)
	}
	return w.both
}

func (w *writer) appendBlockType(dst, results []byte) []byte {
	switch len(results) {
	case 0:
		return append(dst, blockVoid)
	case 1:
		return append(dst, results[0])
	}
	return appendSleb(dst, int64(w.typeOf(nil, results)))
}
