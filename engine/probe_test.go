package engine

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

func TestParked(t *testing.T) {
	t.Parallel()
	page := os.Getpagesize()
	pages := func(n int64) int64 { return n * int64(page) }
	for _, test := range []struct {
		name     string
		snapshot Snapshot
		starts   []string // before every call, as Parked has it
		kept     int64    // when snapshots are kept
	}{
		{"snapshot", SnapshotOn, []string{StartFresh, StartSnapshot, StartSnapshot}, pages(1)},
		{"reset", SnapshotOff, []string{StartFresh, StartReset, StartReset}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := verifiedEngine(t, Config{})
			guest := newTally(1)
			guest.slow = true
			guest.Data(40_000, strings.Repeat("x", 10))
			f := newFunction(t, e, guest.bytes(), Options{Idle: time.Hour, Warm: 1, Snapshot: test.snapshot})
			if p, ok := f.Parked(); ok {
				t.Errorf("before there is a sandbox: got %+v", p)
			}
			if got := f.Program().ImageBytes(); got < int64(page) || got > 65536 {
				t.Errorf("image: got %d bytes, want a page or a few", got)
			}
			f.Start()
			waitFor(t, func() bool { _, restoring, _ := f.Sandboxes(); return restoring == 0 })
			for i, start := range test.starts {
				p, ok := f.Parked()
				if !ok || p.Start != start || p.Kept != test.kept || p.Memory != 65536 || p.Reseeded {
					t.Errorf("before call %d: got %+v, %v; want one that is %s, with %d bytes kept", i, p, ok, start, test.kept)
				}
				// A call changes the page with the counts and the one it reads to.
				if changed := p.Restored > 0 && p.Restored <= 4; changed != (i > 0) {
					t.Errorf("before call %d: got %d pages restored", i, p.Restored)
				}
				out, _, receipt, err := runIdle(t, f, "call")
				if err != nil || out != tallied || receipt.Start != start {
					t.Errorf("call %d: got %q by %s, %v", i, out, receipt.Start, err)
				}
			}
		})
	}
}

// What a Go program keeps repeats but for its random state, and that is told.
func TestParkedReseeded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		snapshot Snapshot
		want     bool
	}{{SnapshotAuto, true}, {SnapshotOn, false}, {SnapshotOff, false}} {
		f := newFunction(t, verifiedEngine(t, Config{}), toolchaintest.Build(t, "testdata/guests/random-go"),
			Options{Warm: 1, Snapshot: test.snapshot})
		f.Start()
		waitFor(t, func() bool { _, restoring, _ := f.Sandboxes(); return restoring == 0 })
		if p, ok := f.Parked(); !ok || p.Reseeded != test.want {
			t.Errorf("snapshot %d: got %+v, %v, want Reseeded to be %v", test.snapshot, p, ok, test.want)
		}
	}
}
