package engine

import (
	"testing"
	"time"
)

// TestStartupLimit: a start-up that never comes to its end ends all the same where calls have no
// timeout, and is left to the calls then.
func TestStartupLimit(t *testing.T) {
	t.Parallel()
	f := newFunction(t, newTestEngine(t, Config{}), spinner(), Options{Warm: 1, Limits: Limits{Files: 4}})
	start := time.Now()
	f.Start()
	var took time.Duration
	for parked := 0; parked == 0; time.Sleep(10 * time.Millisecond) {
		if _, _, parked = f.Sandboxes(); parked == 0 && time.Since(start) > 2*time.Minute {
			t.Fatal("it goes on")
		}
		took = time.Since(start)
	}
	if took < maxStartup {
		t.Errorf("it took %s, want at least %s", took, maxStartup)
	}
	if !f.start.late() {
		t.Error("it would be tried again at once")
	}
}
