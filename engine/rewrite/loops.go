package rewrite

// What loops cost. A loop pays at its beginning, on every turn, for the dearest way through it; loops in it pay for
// themselves. Two kinds don't:
//
// A loop that nothing branches back to is a block; what it costs counts for what is around it.
//
// A Go function is one loop around a switch on a local variable, and every jump that has no structure sets the
// variable to a constant and goes back to the switch. Were each of them to pay for the whole loop, Go programs would
// pay thirty times for what they execute. In such a dispatch loop the constant says where a jump goes, and so how much
// it makes the function execute again: the ways from there to the jump, of which none costs more than the difference
// between the dearest ways to both. The jump pays for that, if it goes back at all, and one pass over the loop counts
// for what is around it, like a block's. Jumps that go on are ways like others.

// loop is a loop of a function, or the function itself.
type loop struct {
	parent uint32
	cost   uint64 // of the dearest way through it, or a part of it, as far as it has been scanned
	turns  bool   // something branches back here that does not pay for it
	before way    // to here, in the loop around it
	exits  uint32 // the first of its own in scanner.exits

	nesting uint32 // how many loops it is in, itself included

	// To unroll it:
	outer           bool   // contains other loops
	unroll          bool   //
	start, end      uint32 // of its content
	depth           uint32 // of blocks that are open in it
	edits, branches uint32 // the first of its own

	// Of a dispatch loop:
	local       uint32 // the variable
	from, count uint32 // its targets, in dispatch.targets; count 0: not a dispatch loop
	head        uint64 // cost of the switch
}

// branch is a br, br_if or br_table.
type branch struct {
	start, end uint32
	depth      uint32 // of blocks that are open around it
}

// jump goes back in a dispatch loop.
type jump struct {
	loop uint32
	cost uint64
}

// frame is an open block.
type frame struct {
	kind   byte   // opcode
	loop   uint32 // the innermost loop that the content of the block is in
	target uint32 // if not 0, one more than the index in dispatch.ends
	width  uint32 // values that a branch to it hands on
	exit   uint32 // if not 0, one more than the index of its last one in scanner.exits
	before way    // to its beginning
	met    way    // of the branches to its end
}

// dispatch recognises dispatch loops and the jumps in them. Instructions follow each other directly if one starts where
// the other ended.
type dispatch struct {
	targets []target  // per label of the switch
	ends    []partEnd // of the blocks that are targets in their loop

	beginEnd, getEnd   int // loop, block …, local.get
	getLocal           uint32
	constEnd, setEnd   int // i32.const, local.set
	value, setConstant int32
	setLocal           uint32
}

// target is where a label of the switch leads to.
type target struct {
	frame uint32 // while that is open
	end   uint32 // one more than the index in dispatch.ends, 0 for outside of the loop
}

// partEnd is the end of a block at which a part of a dispatch loop begins.
type partEnd struct {
	cost   uint64 // of the dearest way there
	closed bool   // the scan has come by
}

func (d *dispatch) reset() {
	*d = dispatch{targets: d.targets[:0], ends: d.ends[:0], beginEnd: -1, getEnd: -1, constEnd: -1, setEnd: -1}
}

func (d *dispatch) block(kind byte, start, end int) {
	if kind == opLoop || kind == opBlock && start == d.beginEnd {
		d.beginEnd = end
	}
}

func (d *dispatch) get(start, end int, local uint32) {
	if start == d.beginEnd {
		d.getEnd, d.getLocal = end, local
	}
}

func (d *dispatch) constant(end int, v int32) { d.constEnd, d.value = end, v }

func (d *dispatch) set(start, end int, local uint32) {
	if start == d.constEnd {
		d.setEnd, d.setLocal, d.setConstant = end, local, d.value
	}
}

// short says whether the last operand of an instruction that starts there is a constant so small that its work can be
// paid for like that of other instructions.
func (d *dispatch) short(start int) bool {
	return start == d.constEnd && uint32(d.value) <= shortBytes
}

// begins notes that a branch table makes the innermost loop a dispatch loop, if it does.
func (d *dispatch) begins(start int, inner uint32, l *loop, head uint64) bool {
	if start != d.getEnd || inner == 0 {
		return false
	}
	l.local, l.from, l.head = d.getLocal, uint32(len(d.targets)), head
	return true
}

// target notes the next label of a dispatch loop's table.
func (s *scanner) target(f int, inner uint32) {
	d, l, to := &s.dispatch, &s.b.loops[inner], &s.frames[f]
	t := target{frame: uint32(f)}
	if to.loop == inner && to.kind == opBlock {
		if to.target == 0 {
			d.ends = append(d.ends, partEnd{})
			to.target = uint32(len(d.ends))
		}
		t.end = to.target
	}
	d.targets = append(d.targets, t)
	l.count++
}

// jump says whether a branch to a loop, which starts there, is one that pays for itself.
func (s *scanner) jump(start int, to, inner uint32) bool {
	d, l := &s.dispatch, &s.b.loops[to]
	if to != inner || l.count == 0 || start != d.setEnd || d.setLocal != l.local {
		return false
	}
	t := d.targets[l.from+min(uint32(d.setConstant), l.count-1)]
	if t.end == 0 || !d.ends[t.end-1].closed { // out of the loop, or on
		s.branch(int(t.frame), inner, l.head)
		return true
	}
	s.reach(inner)
	there, here := d.ends[t.end-1].cost, s.way.cost+l.head
	s.b.edits = append(s.b.edits, edit{uint32(start), uint32(start), editJump, uint32(len(s.b.jumps))})
	s.b.jumps = append(s.b.jumps, jump{to, max(here, there+1) - there})
	return true
}

// endLoop completes a loop whose content ends there, and returns the loop around it.
func (s *scanner) endLoop(i uint32, end int) uint32 {
	b, l := &s.b, &s.b.loops[i]
	l.end = uint32(end)
	s.leaveLoop(i)
	// Nothing in it may have to be rewritten but labels, and no values are handed from turn to turn.
	l.unroll = l.turns && !l.outer && l.cost <= unrollCost && l.end-l.start <= unrollBytes &&
		int(l.edits) == len(b.edits) && s.noParams(int(b.edits[l.edits-1].start)+1)
	return l.parent
}

// noParams says whether the block type at p has no parameters.
func (s *scanner) noParams(p int) bool {
	t, _ := sleb33(s.b.code, p)
	return t < 0 || len(s.m.types[t].params) == 0
}

// Unrolling. The fuel is in memory, and lowering it takes about five cycles from one turn of a loop to the next, which
// is more than a small loop takes itself. So such a loop becomes a row of copies, with one payment for all of them at
// the beginning:
//
//	block                          ; the branch at the end of a copy, and branches out of the loop
//	  loop
//	    pay for all
//	    block … br 2 end           ; a branch to the loop goes to the end of the copy, and so to the next one
//	    block … br 2 end
//	    …                          ; of the last copy, to the loop
//	  end
//	end
const (
	unrollCopies = 4
	unrollCost   = 20  // of a loop that is unrolled, at most
	unrollBytes  = 64  // of its content
	unrollLoops  = 200 // of its function: with more, copies would cost too much to compile
	// maxUnrolled is how much all unrolled loops of a module together may add.
	maxUnrolled = 1 << 20
)

// unrolled writes a loop that begins with the given bytes as a row of copies and returns the position behind its end.
func (w *writer) unrolled(out *asm, b *body, l *loop, head []byte) uint32 {
	typ := head[1:]
	*out = append(append(append(append(*out, opBlock), typ...), opLoop), typ...)
	w.pay(out, unrollCopies*max(l.cost, 1))
	w.check(out)
	for range unrollCopies - 1 {
		out.op(opBlock, blockVoid)
		l.copyTo(out, b, 2)
		out.with(opBr, 2)
		out.op(opEnd)
	}
	l.copyTo(out, b, 1)
	out.op(opEnd, opEnd)
	return l.end + 1
}

// copyTo writes a loop's content, in which branches out of the loop have so many more blocks to leave.
func (l *loop) copyTo(out *asm, b *body, more uint32) {
	at := l.start
	for _, br := range b.branches[l.branches:] {
		if br.start >= l.end {
			break
		}
		inside := br.depth - l.depth
		labels, p := uint32(0), int(br.start)+1
		*out = append(*out, b.code[at:p]...)
		if b.code[br.start] == opBrTable {
			labels, p = uleb(b.code, p)
			*out = appendUleb(*out, labels)
		}
		for range labels + 1 {
			var x uint32
			if x, p = uleb(b.code, p); x > inside {
				x += more
			}
			*out = appendUleb(*out, x)
		}
		at = br.end
	}
	*out = append(*out, b.code[at:l.end]...)
}
