package rewrite

// edit is a place in a function's code where the rewritten one differs: bytes start to end of the body give way to
// what the kind says.
type edit struct {
	start, end uint32
	kind       editKind
	arg        uint32
}

type editKind uint8

const (
	editCall       editKind = iota // call arg, an index of the rewritten module
	editRefFunc                    // ref.func arg
	editLoop                       // loop arg and its type: pay for it
	editJump                       // before a branch: pay for jump arg
	editReturn                     // branch to label arg
	editDataDrop                   // data.drop arg
	editMemoryInit                 // memory.init arg
	editIndirect                   // before a call by table: check if there are many
)

// body is a function as scan found it. One is used for all functions, one after the other.
type body struct {
	locals  []byte // the declarations as in the binary
	code    []byte // the instructions, with the last end
	nlocals int    // parameters included
	edits   []edit

	loops    []loop // the first one is the function itself
	jumps    []jump
	branches []branch

	compile compileCost

	leaf     bool // calls nothing but imports
	indirect int  // how many calls by table there are
}

// scanner walks functions.
type scanner struct {
	w *writer
	m *module
	b body

	frames   []frame
	way      way
	exits    []exit // of the loops that are open, the innermost one's last
	dispatch dispatch
	calls    callGraph // filled in the first pass

	base int // of the body in the binary, for errors
	err  *Error
}

func (s *scanner) fail(kind Kind, at int, reason string) {
	s.err = &Error{Offset: s.base + at, Section: "code", Reason: reason, Kind: kind}
}

// scan decodes function number i of those defined in the module and notes what to change. It checks every index and
// every bound; types are wazero's business.
func (s *scanner) scan(i int) *Error {
	at := s.m.code[i]
	s.base, s.err = at.start, nil
	b := &s.b
	params := len(s.m.types[s.m.funcs[s.m.importedFuncs+i]].params)
	raw := s.m.wasm[at.start:at.end]
	split := s.locals(raw, params)
	if s.err != nil {
		return s.err
	}
	b.locals, b.code = raw[:split], raw[split:]
	s.base += split
	if len(b.code) == 0 || b.code[len(b.code)-1] != opEnd {
		s.fail(Malformed, len(b.code), "a function does not end with end")
		return s.err
	}
	b.edits = b.edits[:0]
	b.loops = append(b.loops[:0], loop{})
	b.jumps, b.branches, b.compile = b.jumps[:0], b.branches[:0], compileCost{}
	b.leaf, b.indirect = true, 0
	results := len(s.m.types[s.m.funcs[s.m.importedFuncs+i]].results)
	s.frames = append(s.frames[:0], frame{kind: opBlock, width: uint32(results)})
	s.way, s.exits = way{}, s.exits[:0]
	s.dispatch.reset()
	s.instructions()
	return s.err
}

// locals checks the declarations of a body and returns where its instructions begin.
func (s *scanner) locals(raw []byte, params int) int {
	groups, p := uleb(raw, 0)
	if p < 0 || int64(groups)*2 > int64(len(raw)-p) {
		s.fail(Malformed, 0, "the locals do not fit into their function")
		return 0
	}
	total := uint64(0)
	for range groups {
		n, next := uleb(raw, p)
		if next < 0 || next >= len(raw) {
			s.fail(Malformed, p, "the locals do not fit into their function")
			return 0
		}
		if kind, reason := checkValueType(raw[next]); reason != "" {
			s.fail(kind, next, reason)
			return 0
		}
		total += uint64(n)
		p = next + 1
	}
	switch {
	case total > 1<<32-1:
		s.fail(Malformed, p, "more than 2^32 locals")
		return 0
	case total+uint64(params) > MaxLocals:
		s.fail(OverLimit, p, limitReason("parameters and locals in one function", int(total)+params, MaxLocals))
		return 0
	}
	s.b.nlocals = int(total) + params
	return p
}

const (
	reasonCut   = "an instruction ends too early"
	reasonIndex = " is out of range"
)

// instructions walks the code. It has no recursion: nesting lives in s.frames.
func (s *scanner) instructions() {
	var (
		b     = &s.b
		m     = s.m
		code  = b.code
		inner = uint32(0) // the innermost loop
		p     int
	)
	note := func(start, end int, kind editKind, arg uint32) {
		b.edits = append(b.edits, edit{uint32(start), uint32(end), kind, arg})
	}
	for p < len(code) {
		start := p
		if len(s.frames) == 0 {
			s.fail(Malformed, start, "code after the end of its function")
			return
		}
		op := opcodes[code[p]]
		p++
		misc := uint32(0)
		switch op.imm {
		case immMisc:
			var next int
			misc, next = uleb(code, p)
			if next < 0 || misc >= uint32(len(miscOpcodes)) {
				s.fail(Malformed, start, "unknown instruction 0xfc")
				return
			}
			op, p = miscOpcodes[misc], next
		case immVector:
			if p >= len(code) {
				s.fail(Malformed, start, reasonCut)
				return
			}
			op = vectorOpcodes[code[p]]
			p++
		}
		s.way.cost += uint64(op.cost)
		b.compile.instrs += uint64(op.compile)

		switch op.imm {
		case immNone:
			if code[start] == opUnreachable {
				s.branch(0, inner, 0) // what comes before it is paid for all the same
				s.way.lost = true
			}

		case immLocal:
			var x uint32
			if x, p = uleb(code, p); p < 0 || int64(x) >= int64(b.nlocals) {
				s.fail(Malformed, start, "local"+reasonIndex)
				return
			}
			switch code[start] {
			case opLocalGet:
				s.dispatch.get(start, p, x)
			case opLocalSet:
				s.dispatch.set(start, p, x)
			}

		case immI32:
			var v int32
			if v, p = sleb32(code, p); p < 0 {
				s.fail(Malformed, start, "bad number")
				return
			}
			s.dispatch.constant(p, v)

		case immI64:
			if p = skipSleb64(code, p); p < 0 {
				s.fail(Malformed, start, "bad number")
				return
			}

		case immMemArg, immMemArgLane:
			if _, p = uleb(code, p); p >= 0 {
				_, p = uleb(code, p)
			}
			if p < 0 {
				s.fail(Malformed, start, "bad number")
				return
			}
			if op.imm == immMemArgLane {
				p++
			}

		case immLabel:
			var x uint32
			if x, p = uleb(code, p); p < 0 || int64(x) >= int64(len(s.frames)) {
				s.fail(Malformed, start, "label"+reasonIndex)
				return
			}
			f := len(s.frames) - 1 - int(x)
			to := &s.frames[f]
			if to.kind != opLoop || code[start] != opBr || !s.jump(start, to.loop, inner) {
				s.branch(f, inner, 0)
			}
			s.way.lost = s.way.lost || code[start] == opBr
			b.compile.blocks += 2
			b.compile.hand(int(to.width), 1)
			b.branches = append(b.branches, branch{uint32(start), uint32(p), uint32(len(s.frames))})

		case immBlock:
			var params, results int
			if p, params, results = s.blockType(p); p < 0 {
				return
			}
			b.compile.hand(params+results, 1)
			if len(s.frames) >= MaxNesting {
				s.fail(OverLimit, start, limitReason("nested blocks", len(s.frames)+1, MaxNesting))
				return
			}
			kind := code[start]
			b.compile.blocks++
			switch kind {
			case opIf:
				b.compile.blocks += 3
			case opLoop:
				parent := inner
				inner = uint32(len(b.loops))
				note(start, p, editLoop, inner)
				b.loops[parent].outer = true
				nesting := b.loops[parent].nesting + 1
				b.compile.blocks += 5
				b.compile.nesting += uint64(nesting)
				b.loops = append(b.loops, loop{
					parent: parent, nesting: nesting, start: uint32(p), depth: uint32(len(s.frames) + 1),
					edits: uint32(len(b.edits)), branches: uint32(len(b.branches)), exits: uint32(len(s.exits)), before: s.way,
				})
				s.reach(parent)
				s.way.cost = 0
			}
			width := results
			if kind == opLoop {
				width = params
			}
			s.frames = append(s.frames, frame{kind: kind, loop: inner, width: uint32(width), before: s.way, met: way{lost: true}})
			s.dispatch.block(kind, start, p)

		case immElse:
			top := len(s.frames) - 1
			if s.frames[top].kind != opIf {
				s.fail(Malformed, start, "else without if")
				return
			}
			s.frames[top].kind = opElse
			s.frames[top].met.join(s.way)
			s.way = s.frames[top].before

		case immEnd:
			top := s.frames[len(s.frames)-1]
			s.frames = s.frames[:len(s.frames)-1]
			s.way.join(top.met)
			switch top.kind {
			case opIf:
				s.way.join(top.before)
			case opLoop:
				inner = s.endLoop(inner, start)
			}
			if top.target > 0 {
				s.dispatch.ends[top.target-1] = partEnd{s.way.cost, true}
			}

		case immCall:
			var f uint32
			if f, p = uleb(code, p); p < 0 || int64(f) >= int64(len(m.funcs)) {
				s.fail(Malformed, start, "function"+reasonIndex)
				return
			}
			b.compile.calls++
			values := len(m.types[m.funcs[f]].params) + len(m.types[m.funcs[f]].results)
			b.compile.instrs += uint64(values)
			b.compile.hand(values, 1)
			if to := s.w.funcIndex(f); to != f {
				note(start, p, editCall, to)
			}
			if int(f) >= m.importedFuncs {
				b.leaf = false
				callee := f - uint32(m.importedFuncs)
				s.calls.callees = append(s.calls.callees, callee)
				s.way.cost += uint64(s.w.facts[callee].free)
			}

		case immCallIndirect:
			var t, x uint32
			if t, p = uleb(code, p); p >= 0 {
				x, p = uleb(code, p)
			}
			if p < 0 || int64(t) >= int64(len(m.types)) || int64(x) >= int64(len(m.tables)) {
				s.fail(Malformed, start, "type or table"+reasonIndex)
				return
			}
			b.compile.calls++
			b.compile.blocks += 3 // of the check
			b.compile.hand(len(m.types[t].params)+len(m.types[t].results), 1)
			note(start, start, editIndirect, 0)
			b.leaf = false
			b.indirect++
			s.way.cost += uint64(s.w.mostFree)

		case immReturn:
			note(start, p, editReturn, uint32(len(s.frames)-1))
			s.branch(0, inner, 0)
			s.way.lost = true

		case immLabels:
			if p = s.labels(start, p, inner); p < 0 {
				return
			}
			b.branches = append(b.branches, branch{uint32(start), uint32(p), uint32(len(s.frames))})

		case immGlobal:
			var x uint32
			if x, p = uleb(code, p); p < 0 || int64(x) >= int64(len(m.globalType)) {
				s.fail(Malformed, start, "global"+reasonIndex)
				return
			}

		case immTable, immTable2:
			var x, y uint32
			if x, p = uleb(code, p); p >= 0 && op.imm == immTable2 {
				y, p = uleb(code, p)
			}
			if p < 0 || int64(max(x, y)) >= int64(len(m.tables)) {
				s.fail(Malformed, start, "table"+reasonIndex)
				return
			}
			switch {
			case code[start] == opTableSet:
				s.w.changesTables = true
			case code[start] != opMisc || misc == miscTableSize:
			default:
				s.w.changesTables = true
				if s.w.options.Meter {
					note(start, p, editCall, s.w.bulk(bulkOp{misc, x, y}))
				}
			}

		case immMemory, immMemory2:
			zeros := int(op.imm-immMemory) + 1
			for range zeros {
				if p >= len(code) || code[p] != 0 {
					s.fail(Malformed, start, "unknown memory")
					return
				}
				p++
			}
			if m.memory == nil {
				s.fail(Malformed, start, "an instruction for memory, but no memory")
				return
			}
			switch {
			case code[start] == opMemorySize || !s.w.options.Meter:
			case code[start] == opMemoryGrow:
				note(start, p, editCall, s.w.bulk(bulkOp{op: opMemoryGrow}))
			case misc == miscMemoryCopy && s.dispatch.short(start):
				s.way.cost += uint64(s.dispatch.value) >> bytesPerFuel
				b.compile.blocks += 2
			default: // filling makes a loop of its own in wazero, even for a few bytes
				note(start, p, editCall, s.w.bulk(bulkOp{op: misc}))
			}

		case immData, immDataMemory:
			var x uint32
			x, p = uleb(code, p)
			if p >= 0 && op.imm == immDataMemory {
				if p >= len(code) || code[p] != 0 || m.memory == nil {
					s.fail(Malformed, start, "unknown memory")
					return
				}
				p++
			}
			if p < 0 || int64(x) >= int64(len(m.data)) || !m.hasDataCount {
				s.fail(Malformed, start, "data segment"+reasonIndex+", or the data count is missing")
				return
			}
			to := s.w.data.index(x)
			switch {
			case misc == miscDataDrop:
				s.w.dropsData = s.w.dropsData || !s.w.data.gone(x)
				note(start, p, editDataDrop, to)
			case !s.w.options.Meter:
				note(start, p, editMemoryInit, to)
			case s.dispatch.short(start):
				s.way.cost += uint64(s.dispatch.value) >> bytesPerFuel
				note(start, p, editMemoryInit, to)
			default:
				note(start, p, editCall, s.w.bulk(bulkOp{op: misc, x: to}))
			}

		case immElem, immElemTable:
			var x, y uint32
			if x, p = uleb(code, p); p >= 0 && op.imm == immElemTable {
				y, p = uleb(code, p)
			}
			if p < 0 || int64(x) >= int64(len(m.elems)) || op.imm == immElemTable && int64(y) >= int64(len(m.tables)) {
				s.fail(Malformed, start, "element segment or table"+reasonIndex)
				return
			}
			if misc != miscTableInit {
				s.w.dropsElems = true
				break
			}
			s.w.changesTables = true
			if s.w.options.Meter {
				note(start, p, editCall, s.w.bulk(bulkOp{misc, x, y}))
			}

		case immFunc:
			var f uint32
			f, p = uleb(code, p)
			if _, ok := m.declared[f]; p < 0 || !ok {
				s.fail(Malformed, start, "ref.func of a function that occurs nowhere outside of code")
				return
			}
			note(start, p, editRefFunc, s.w.funcIndex(f))

		case immSelect:
			if p+2 > len(code) || code[p] != 1 {
				s.fail(Malformed, start, "a select must have one type")
				return
			}
			if kind, reason := checkValueType(code[p+1]); reason != "" {
				s.fail(kind, start, reason)
				return
			}
			p += 2

		case immRefType:
			if p >= len(code) {
				s.fail(Malformed, start, reasonCut)
				return
			}
			if kind, reason := checkRefType(code[p]); reason != "" {
				s.fail(kind, start, reason)
				return
			}
			p++

		case immLane:
			p++
		case immF32:
			p += 4
		case immF64:
			p += 8
		case immV128:
			p += 16

		case immProposal:
			s.fail(Unsupported, start, "an instruction of a proposal that is not enabled: WebAssembly 2.0 is")
			return
		default:
			s.fail(Malformed, start, "unknown instruction")
			return
		}
		if p > len(code) {
			s.fail(Malformed, start, reasonCut)
			return
		}
	}
	if len(s.frames) > 0 {
		s.fail(Malformed, p, "a block has no end")
	}
	s.reach(0)
}

// blockType checks the type of a block at p and returns the position after it, negative after a failure, and how many
// values the block takes and leaves.
func (s *scanner) blockType(p int) (next, params, results int) {
	t, next := sleb33(s.b.code, p)
	switch {
	case next < 0:
		s.fail(Malformed, p, "bad block type")
	case t >= 0:
		if t < int64(len(s.m.types)) {
			return next, len(s.m.types[t].params), len(s.m.types[t].results)
		}
		s.fail(Malformed, p, "type"+reasonIndex)
	case t == blockVoid-0x80:
		return next, 0, 0
	case t < blockVoid-0x80:
		s.fail(Malformed, p, "bad block type")
	default:
		kind, reason := checkValueType(byte(t & 0x7f))
		if reason == "" {
			return next, 0, 1
		}
		s.fail(kind, p, reason)
	}
	return -1, 0, 0
}

// labels checks a branch table at p and returns the position after it, negative after a failure.
func (s *scanner) labels(start, p int, inner uint32) int {
	b := &s.b
	n, next := uleb(b.code, p)
	if next < 0 || int64(n) >= int64(len(b.code)-next) {
		s.fail(Malformed, p, "the labels do not fit into their function")
		return -1
	}
	if n > MaxBranchTargets {
		s.fail(OverLimit, p, limitReason("branch targets", int(n), MaxBranchTargets))
		return -1
	}
	isDispatch := s.dispatch.begins(start, inner, &b.loops[inner], s.way.cost)
	b.compile.instrs += 40 * uint64(n)
	if n > largeTable {
		b.compile.labels += uint64(n)
	}
	last := uint32(0)
	for range n + 1 {
		var x uint32
		if x, next = uleb(b.code, next); next < 0 || int64(x) >= int64(len(s.frames)) {
			s.fail(Malformed, p, "label"+reasonIndex)
			return -1
		}
		if x != last {
			b.compile.blocks++
			last = x
		}
		f := len(s.frames) - 1 - int(x)
		to := &s.frames[f]
		b.compile.hand(int(to.width), 1)
		s.branch(f, inner, 0)
		if isDispatch {
			s.target(f, inner)
		}
	}
	s.way.lost = true
	return next
}
