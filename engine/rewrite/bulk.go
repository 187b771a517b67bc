package rewrite

import "fmt"

// Bulk instructions do any amount of work in one go. Each is replaced by a call of a function of ours, one per
// instruction and indices used, which pays for the length and, where that may be large, works in pieces with a check
// before each. A call that is out of bounds must trap before anything is written, so whatever is not clearly in bounds
// is left to the instruction itself.

type bulkOp struct {
	op   uint32 // after prefix 0xfc, or memory.grow
	x, y uint32 // its indices
}

const (
	// pieceBytes is the most that one memory instruction handles between two checks, about 50 µs of work.
	pieceBytes = 1 << 20
	// shortBytes is the most that one of constant length handles where it stands, paid for with what is around it.
	shortBytes = 4 << 10
	// bytesPerFuel, as a shift: one unit pays for 8 bytes.
	bytesPerFuel = 3
	// fuelPerPage, as a shift, pays for clearing a page of memory.
	fuelPerPage = 16 - bytesPerFuel
)

var bulkNames = map[uint32]string{
	opMemoryGrow:   "memory.grow",
	miscMemoryInit: "memory.init",
	miscMemoryCopy: "memory.copy",
	miscMemoryFill: "memory.fill",
	miscTableInit:  "table.init",
	miscTableCopy:  "table.copy",
	miscTableGrow:  "table.grow",
	miscTableFill:  "table.fill",
}

// bulk returns the function that stands for an instruction.
func (w *writer) bulk(o bulkOp) uint32 {
	if f, ok := w.bulkOps[o]; ok {
		return f
	}
	three := []byte{typeI32, typeI32, typeI32}
	name := "gojinn." + bulkNames[o.op]
	var f uint32
	switch o.op {
	case opMemoryGrow:
		f = w.add(name, w.typeOf(three[:1], three[:1]), w.memoryGrow())
	case miscMemoryInit:
		f = w.add(fmt.Sprintf("%s.%d", name, o.x), w.typeOf(three, nil), w.memoryInit(o.x))
	case miscMemoryCopy:
		f = w.add(name, w.typeOf(three, nil), w.memoryCopy())
	case miscMemoryFill:
		f = w.add(name, w.typeOf(three, nil), w.memoryFill())
	case miscTableInit:
		f = w.add(fmt.Sprintf("%s.%d.%d", name, o.x, o.y), w.typeOf(three, nil), w.tableOp(o, o.y))
	case miscTableCopy:
		f = w.add(fmt.Sprintf("%s.%d.%d", name, o.x, o.y), w.typeOf(three, nil), w.tableOp(o, o.x))
	case miscTableFill:
		f = w.add(fmt.Sprintf("%s.%d", name, o.x), w.typeOf([]byte{typeI32, w.m.tables[o.x].typ, typeI32}, nil), w.tableOp(o, o.x))
	case miscTableGrow:
		f = w.add(fmt.Sprintf("%s.%d", name, o.x), w.typeOf([]byte{w.m.tables[o.x].typ, typeI32}, three[:1]), w.tableGrow(o.x))
	}
	w.bulkOps[o] = f
	return f
}

// Locals of the functions for three operands: destination, source or value, length.
const (
	dst = iota
	src
	length
)

// payLength pays for local length, shifted right or, if negative, left, without a check.
func (w *writer) payLength(a *asm, length uint32, shift int) {
	a.with(opGlobalGet, w.fuel)
	a.get(length)
	a.op(opI64ExtendU)
	switch {
	case shift > 0:
		a.i64(int64(shift))
		a.op(opI64ShrU)
	case shift < 0:
		a.i64(int64(-shift))
		a.op(opI64Shl)
	}
	a.op(opI64Sub)
	a.with(opGlobalSet, w.fuel)
}

// beyondMemory leaves whether the length bytes at a local reach beyond the memory.
func beyondMemory(a *asm, at uint32) {
	a.get(at)
	a.op(opI64ExtendU)
	a.get(length)
	a.op(opI64ExtendU, opI64Add)
	a.op(opMemorySize, 0, opI64ExtendU)
	a.i64(16)
	a.op(opI64Shl, opI64GtU)
}

// memoryOp writes a function around an instruction: long wraps what is to be done when more than a piece is asked for,
// after which at most a piece is left.
func (w *writer) memoryOp(instruction func(a *asm), long func(a *asm)) []byte {
	a := asm{0} // no locals
	a.get(length)
	a.i32(pieceBytes)
	a.op(opI32GtU, opIf, blockVoid)
	long(&a)
	a.op(opEnd)
	w.check(&a)
	w.payLength(&a, length, bytesPerFuel)
	a.get(dst, src, length)
	instruction(&a)
	a.op(opEnd)
	return a
}

// orTrap makes the instruction itself trap if the condition on the stack holds.
func orTrap(a *asm, instruction func(a *asm)) {
	a.op(opIf, blockVoid)
	a.get(dst, src, length)
	instruction(a)
	a.op(opReturn, opEnd)
}

// ascend works through pieces from the lower end. source says that src moves along.
func (w *writer) ascend(a *asm, source bool, instruction func(a *asm)) {
	a.op(opLoop, blockVoid)
	w.pay(a, pieceBytes>>bytesPerFuel)
	w.check(a)
	a.get(dst, src)
	a.i32(pieceBytes)
	instruction(a)
	advance(a, dst, opI32Add)
	if source {
		advance(a, src, opI32Add)
	}
	advance(a, length, opI32Sub)
	again(a)
}

func advance(a *asm, local uint32, op byte) {
	a.get(local)
	a.i32(pieceBytes)
	a.op(op)
	a.set(local)
}

// again ends a loop that goes on while more than a piece is left.
func again(a *asm) {
	a.get(length)
	a.i32(pieceBytes)
	a.op(opI32GtU)
	a.with(opBrIf, 0)
	a.op(opEnd)
}

func (w *writer) memoryFill() []byte {
	fill := func(a *asm) { a.misc(miscMemoryFill, 0) }
	return w.memoryOp(fill, func(a *asm) {
		beyondMemory(a, dst)
		orTrap(a, fill)
		w.ascend(a, false, fill)
	})
}

func (w *writer) memoryCopy() []byte {
	move := func(a *asm) { a.misc(miscMemoryCopy, 0, 0) }
	return w.memoryOp(move, func(a *asm) {
		beyondMemory(a, dst)
		beyondMemory(a, src)
		a.op(opI32Or)
		orTrap(a, move)
		a.get(dst, src)
		a.op(opI32LeU, opIf, blockVoid)
		w.ascend(a, true, move)
		a.op(opElse) // the destination is above: from the upper end down
		a.op(opLoop, blockVoid)
		w.pay(a, pieceBytes>>bytesPerFuel)
		w.check(a)
		advance(a, length, opI32Sub)
		for _, l := range []uint32{dst, src} {
			a.get(l, length)
			a.op(opI32Add)
		}
		a.i32(pieceBytes)
		move(a)
		again(a)
		a.op(opEnd)
	})
}

// memoryInit finds out whether a segment is long enough with an initialisation of no bytes at the end, which traps if
// it isn't: the segment may have been dropped.
func (w *writer) memoryInit(segment uint32) []byte {
	initialise := func(a *asm) { a.misc(miscMemoryInit, segment, 0) }
	return w.memoryOp(initialise, func(a *asm) {
		beyondMemory(a, dst)
		a.get(src)
		a.op(opI64ExtendU)
		a.get(length)
		a.op(opI64ExtendU, opI64Add)
		a.i64(1<<32 - 1)
		a.op(opI64GtU, opI32Or)
		orTrap(a, initialise)
		a.get(dst, src, length)
		a.op(opI32Add)
		a.i32(0)
		initialise(a)
		w.ascend(a, true, initialise)
	})
}

// memoryGrow pays for what it got.
func (w *writer) memoryGrow() []byte {
	a := asm{1, 1, typeI32} // one local
	const pages, old = 0, 1
	a.get(pages)
	a.op(opMemoryGrow, 0)
	a.with(opLocalTee, old)
	a.i32(-1)
	a.op(opI32Ne, opIf, blockVoid)
	w.payLength(&a, pages, -fuelPerPage)
	w.check(&a)
	a.op(opEnd)
	a.get(old)
	a.op(opEnd)
	return a
}

// tableOp pays one unit per element: tables are bounded, so there is no need for pieces. More elements than the table
// has are left to the instruction, which traps.
func (w *writer) tableOp(o bulkOp, table uint32) []byte {
	a := asm{0}
	a.get(length)
	a.misc(miscTableSize, table)
	a.op(opI32LeU, opIf, blockVoid)
	w.payLength(&a, length, 0)
	w.check(&a)
	a.op(opEnd)
	a.get(dst, src, length)
	if o.op == miscTableFill {
		a.misc(o.op, o.x)
	} else {
		a.misc(o.op, o.x, o.y)
	}
	a.op(opEnd)
	return a
}

// tableGrow takes what it got from the elements that all tables may still grow by.
func (w *writer) tableGrow(table uint32) []byte {
	a := asm{1, 1, typeI32}
	const value, more, old = 0, 1, 2
	a.get(more)
	a.with(opGlobalGet, w.elems)
	a.op(opI32GtU, opIf, blockVoid)
	a.i32(-1)
	a.op(opReturn, opEnd)
	w.payLength(&a, more, 0)
	w.check(&a)
	a.get(value, more)
	a.misc(miscTableGrow, table)
	a.with(opLocalTee, old)
	a.i32(-1)
	a.op(opI32Ne, opIf, blockVoid)
	a.with(opGlobalGet, w.elems)
	a.get(more)
	a.op(opI32Sub)
	a.with(opGlobalSet, w.elems)
	a.op(opEnd)
	a.get(old)
	a.op(opEnd)
	return a
}
