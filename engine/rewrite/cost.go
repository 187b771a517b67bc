package rewrite

// How long wazero compiles. Compilation can't be cancelled, and takes more than linear time: 8,000 if blocks take a
// hundred times as long in one function as in eighty. So what a module asks for is estimated from its code, and bounded
// by MaxCompileTime. The estimate was fitted to measurements of bad shapes (blocks and loops, in sequence and nested,
// branch tables, live locals, checks of all kinds) on one core at 2.5 GHz; for programs it is up to three times too
// high.

// compileCost is what makes up the time for one function.
type compileCost struct {
	blocks  float64 // basic blocks that wazero makes of it, and that we add
	instrs  uint64  // instructions, in units of costUnit
	calls   uint64
	nesting uint64 // of loops: the sum of their depths
	exits   uint64 // blocks that are left from within a loop, for every loop: ours, not wazero's
	labels  uint64 // of large branch tables
	wide    uint64 // values beyond wideValues that calls, blocks and branches hand on
}

// largeTable is how many targets a branch table may have without being counted as large: beyond it, a target costs
// wazero 2 KB and 50 µs.
const largeTable = 1000

// wideValues is how many values a call, a block or a branch may hand on without being counted as wide. Toolchains stay
// below it; each value above costs wazero about 400 bytes and 10 µs for every place where it is handed on.
const wideValues = 32

// hand counts values that are handed on, at each of so many places.
func (c *compileCost) hand(values, places int) {
	if values > wideValues {
		c.wide += uint64(values-wideValues) * uint64(places)
	}
}

// compileMemory is what adds up over all functions of a module while it is compiled.
type compileMemory struct{ labels, wide, locals uint64 }

// add counts a function, and says what there is too much of, if anything.
func (m *compileMemory) add(c *compileCost, locals int) string {
	m.labels += c.labels
	m.wide += c.wide
	m.locals += uint64(locals)
	switch {
	case m.labels > MaxLargeTables:
		return limitReason("targets of large branch tables", int(m.labels), MaxLargeTables)
	case m.wide > MaxWideValues:
		return limitReason("values of wide calls, blocks and branches", int(m.wide), MaxWideValues)
	case m.locals > MaxAllLocals:
		return limitReason("locals in all functions", int(m.locals), MaxAllLocals)
	}
	return ""
}

// costUnit is the unit of opcode.compile, in nanoseconds.
const costUnit = 100

// nanoseconds estimates the time for a function with so many locals, in a module with so many globals.
func (c *compileCost) nanoseconds(locals, globals, mutable int) float64 {
	b, l, g := c.blocks, float64(locals), float64(globals)
	return b*(1400+b*(1.3+b*5e-5+l*0.08)) + // dominators, liveness, register allocation
		costUnit*float64(c.instrs) +
		350*float64(c.calls)*float64(mutable+ownGlobals) + // globals are loaded again after every call
		500*float64(c.nesting) +
		20*float64(c.exits) +
		50*g + 5_000 // set up for every function
}
