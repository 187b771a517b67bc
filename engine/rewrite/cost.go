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
		50*g + 5_000 // set up for every function
}
