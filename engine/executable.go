package engine

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/gojinn/gojinn/engine/memory"
	"github.com/gojinn/gojinn/engine/rewrite"
)

// executable is a program's code in memory: what its sandboxes are made of, and what
// their memories start with. It is immutable.
type executable struct {
	engine   *Engine
	report   *rewrite.Report
	image    *memory.Image // what its memories start with
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	weight   int64 // bytes of the budget
	stored   bool  // the code cache has it: it can be unloaded

	unrestorable string // why its sandboxes serve one call each; empty: they need not

	program *Program  // whose code it is, once it is
	refs    int       // sandboxes that have it. Guarded by Program.mu, as since is
	since   time.Time // when it was last taken or given back

	once    sync.Once
	initial struct { // what its sandboxes are right after they are instantiated
		globals []uint64
		digest  digest
	}
}

// remember takes from the first sandbox, not yet run, what others are taken back to.
func (c *executable) remember(s *Sandbox) {
	if c.unrestorable != "" {
		return
	}
	c.once.Do(func() {
		c.initial.globals = s.getGlobals()
		c.initial.digest = s.digest()
	})
}

// free gives up everything. No sandbox may be left.
func (c *executable) free() {
	if c.compiled != nil {
		// It drops references only and has no error to give.
		_ = guarded("closing", func() error { return c.compiled.Close(context.Background()) })
	}
	if c.image != nil {
		_ = c.image.Close() // nothing is left to be written
	}
	c.engine.budget.Release(c.weight)
}

// imageOf makes the initial memory of the report's data, which it forgets.
func imageOf(report *rewrite.Report) (*memory.Image, error) {
	var runs []memory.Run
	for _, r := range report.Image {
		runs = append(runs, memory.Run{Offset: uint64(r.Offset), Bytes: r.Bytes})
	}
	report.Image = nil
	return memory.NewImage(uint64(report.Memory.Min)*pageSize, runs)
}

// codeBytes estimates how much memory the machine code takes, which wazero
// doesn't say: four times the bytecode's size, and up to five.
func codeBytes(report *rewrite.Report) int64 { return int64(report.CodeBytes) * 9 / 2 }

const (
	// sweepDelay is how long after the first code has been unloaded its memory is
	// given back: what else is unloaded until then goes with it.
	sweepDelay = time.Second
	// sweepPause is the least time between two sweeps.
	sweepPause = 10 * time.Second
)

// sweep has the memory of unloaded code given back soon. wazero unmaps machine code by
// finalizers, and the collector that calls them doesn't see how much that is: left
// to itself it may not come for minutes.
func (e *Engine) sweep() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sweeping || e.closed {
		return
	}
	e.sweeping = true
	time.AfterFunc(max(sweepDelay, time.Until(e.swept.Add(sweepPause))), func() {
		e.mu.Lock()
		e.sweeping, e.swept = false, time.Now()
		e.mu.Unlock()
		runtime.GC()
	})
}
