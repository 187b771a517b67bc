package gojinn

import (
	"math"
	"runtime/debug"
	"sync"
)

// memoryLimit guards the process's memory limit, of which Go's collector knows
// but guests' memory is no part: it lies outside of Go's heap.
var memoryLimit sync.Mutex

// lowerMemoryLimit takes from the limit what guests may come to use, so that
// both fit, and returns how to give it back. Where there is no limit it does
// nothing, and it leaves the heap at least a quarter: with less, Go would do
// little but collect.
func lowerMemoryLimit(ceiling int64) (restore func()) {
	memoryLimit.Lock()
	defer memoryLimit.Unlock()
	limit := debug.SetMemoryLimit(-1)
	if limit == math.MaxInt64 || ceiling <= 0 {
		return func() {}
	}
	taken := min(ceiling, limit-limit/4)
	debug.SetMemoryLimit(limit - taken)
	return func() {
		memoryLimit.Lock()
		defer memoryLimit.Unlock()
		debug.SetMemoryLimit(debug.SetMemoryLimit(-1) + taken)
	}
}
