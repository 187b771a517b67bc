package gojinn

import (
	"math"
	"runtime/debug"
	"testing"
)

func TestLowerMemoryLimit(t *testing.T) {
	const limit = 16 << 30
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	expect := func(want int64) {
		t.Helper()
		if got := debug.SetMemoryLimit(-1); got != want {
			t.Errorf("got a limit of %d, want %d", got, want)
		}
	}
	one := lowerMemoryLimit(4 << 30)
	expect(12 << 30)
	two := lowerMemoryLimit(100 << 30) // a quarter of what was left stays
	expect(3 << 30)
	one()
	expect(7 << 30)
	two()
	expect(limit)
	lowerMemoryLimit(0)()
	expect(limit)
	debug.SetMemoryLimit(math.MaxInt64)
	restore := lowerMemoryLimit(1 << 30)
	expect(math.MaxInt64)
	restore()
	expect(math.MaxInt64)
}
