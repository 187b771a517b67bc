package engine

import (
	"io"
	"strings"
	"testing"
	"time"
)

// TestRetire: a function that has retired answers, and keeps no sandbox.
func TestRetire(t *testing.T) {
	t.Parallel()
	f := newFunction(t, newTestEngine(t, Config{}), newTally(3).bytes(), Options{Idle: time.Hour, Warm: 2})
	call := func() {
		t.Helper()
		if _, err := f.Run(t.Context(), strings.NewReader(""), io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
	}
	parked := func(n int) func() bool {
		return func() bool {
			running, restoring, parked := f.Sandboxes()
			return running+restoring == 0 && parked == n
		}
	}
	f.Start()
	waitFor(t, parked(2))
	call()
	waitFor(t, parked(2))
	f.Retire()
	waitFor(t, parked(0))
	call()
	waitFor(t, func() bool { return f.Memory() == 0 })
	f.Start()
	waitFor(t, func() bool { return parked(0)() && f.Memory() == 0 })
}
