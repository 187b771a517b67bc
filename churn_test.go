package gojinn

import (
	"os"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/churn"
)

// self is this test as the caddy command, with the handlers. It collects garbage as Go does by itself: what
// the engine's headroom leaves lying for longer would count as resident, several times with the race detector.
func self() churn.Binary {
	return churn.Binary{Path: os.Args[0], Env: []string{runAsCaddy + "=1", "GOGC=100"}}
}

// TestChanges: requests don't notice that configurations are reloaded and modules swapped, only what
// has changed is compiled, and nothing is left of what was before. The long run is bench/churn.
func TestChanges(t *testing.T) {
	t.Parallel()
	c := churn.Changes{Functions: 4, Size: 20, Reloads: 20, Swaps: 20, Clients: 4, Still: 5, Settle: time.Minute}
	phases, err := c.Run(t.Context(), self(), t.TempDir(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range phases {
		t.Logf("%+v", p)
		if err := p.Verdict(); err != nil {
			t.Error(err)
		}
		if p.Answered == 0 {
			t.Errorf("%s, %s: nothing was asked", p.Name, p.Network)
		}
	}
}

// TestKills: a process that is killed at any moment leaves nothing that harms the next. The long run
// is bench/churn.
func TestKills(t *testing.T) {
	t.Parallel()
	k := churn.Kills{Functions: 4, Size: 40, Kills: 10, Clients: 2, Latest: 500 * time.Millisecond, Cache: "1MiB"}
	s, err := k.Run(t.Context(), self(), t.TempDir(), func(int) {})
	t.Logf("%+v", s)
	if err != nil {
		t.Fatal(err)
	}
	if s.Kills != k.Kills || s.Answered == 0 || s.Damaged == 0 || s.Noticed == 0 {
		t.Errorf("got %+v", s)
	}
	if s.Bytes > 2<<20 {
		t.Errorf("got a cache of %d bytes, of 1 MiB", s.Bytes)
	}
}
