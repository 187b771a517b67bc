package engine

import (
	"bytes"
	"os"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// uniqueCalls is how many calls of one function must not repeat a number.
func uniqueCalls() int {
	if raceDetector {
		return 300
	}
	return 10_000
}

// TestUniqueNumbers: a Go program that is restored from where it first read draws
// other numbers in every call, from every generator, and time goes on.
func TestUniqueNumbers(t *testing.T) {
	t.Parallel()
	wasm := toolchaintest.Build(t, "testdata/guests/random-go")
	e := newTestEngine(t, Config{})
	var kind, why string
	f := newFunction(t, e, wasm, Options{Args: []Value{{Fixed: "random"}, {Fixed: "0"}, {Fixed: "0"}, {Fixed: "brief"}},
		Idle: time.Minute, Concurrency: Concurrency{Calls: 2, Queue: 100},
		Settled: func(k, w string) { kind, why = k, w }, Limits: Limits{Log: 100}})

	var mu sync.Mutex
	seen := map[string]int{}
	starts := map[string]int{}
	repeats := map[string]bool{}
	line := regexp.MustCompile(`(?m)^(math/rand|math/rand/v2|shuffle|maphash|crypto/rand|number from start-up) (.*)$`)
	call := func() {
		var out bytes.Buffer
		receipt, err := f.Run(t.Context(), strings.NewReader(""), &out, &out)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			t.Errorf("%v: %s", err, &out)
		}
		starts[receipt.Start]++
		lines := line.FindAllStringSubmatch(out.String(), -1)
		if len(lines) != 6 {
			t.Errorf("got %.300q", &out)
		}
		for _, l := range lines {
			if seen[l[0]]++; seen[l[0]] > 1 {
				repeats[l[1]] = true
				if l[1] != "number from start-up" {
					t.Errorf("repeated: %s", l[0])
				}
			}
		}
	}
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			for range uniqueCalls() / 2 {
				call()
			}
		})
	}
	all.Wait()
	if kind != StartSnapshot || !strings.Contains(why, "Go program") || starts[StartSnapshot] < uniqueCalls()/2 {
		t.Errorf("got %s (%s), %v", kind, why, starts)
	}
	// What is documented to repeat does: else the rest proves nothing.
	if !repeats["number from start-up"] {
		t.Error("a number drawn before the first read did not repeat")
	}
}

// TestTimeAdvances: both clocks go on from one call to the next, wherever that starts.
func TestTimeAdvances(t *testing.T) {
	t.Parallel()
	for _, kind := range []Snapshot{SnapshotOn, SnapshotOff} {
		for clock := range int32(2) {
			guest := newTally(3)
			guest.Export("_start", 0, guest.FuncLocals(nil, nil, []byte{wasmtest.I32}, code(
				c32(100_000), 0x21, 0, 0x03, 0x40, 0x20, 0, c32(1), 0x6b, 0x22, 0, 0x0d, 0, 0x0b,
				guest.io(guest.read, 0, 4),
				c32(clock), 0x42, 0, c32(atCount), call(guest.clock), 0x1a,
				store(0, atCount), store(4, 8), c32(1), c32(0), c32(1), c32(16), call(guest.write), 0x1a)...))
			f := newFunction(t, newTestEngine(t, Config{}), guest.Bytes(), Options{Idle: time.Minute, Snapshot: kind})
			var last uint64
			for range 5 {
				out, _, receipt, err := runIdle(t, f, "x")
				if err != nil || len(out) != 8 {
					t.Fatalf("got %q, %v", out, err)
				}
				now := le.Uint64([]byte(out))
				if now <= last && receipt.Start == StartSnapshot {
					t.Errorf("clock %d, started by %s: got %d after %d", clock, receipt.Start, now, last)
				}
				last = now
				time.Sleep(2 * time.Millisecond)
			}
		}
	}
}

// TestNoLeak makes and frees sandboxes in every way and counts what is left of
// them: mappings, descriptors, goroutines.
func TestNoLeak(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("what a process has is counted in /proc")
	}
	e := newTestEngine(t, Config{})
	guest := newTally(3)
	guest.slow = true
	wasm := guest.bytes()
	p, err := e.Compile(t.Context(), wasm)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	sandboxes := 10_000
	if raceDetector {
		sandboxes = 500
	}
	round := func(n int) {
		for i := range n {
			f, err := p.Function(Options{Idle: time.Hour, Snapshot: Snapshot(i % 3), Warm: i % 2, Limits: Limits{Timeout: time.Minute, Memory: 1 << 24}})
			if err != nil {
				t.Fatal(err)
			}
			f.Start()
			for _, in := range []string{"....", "t", "g", "d"}[:1+i%4] {
				_, _ = f.Run(t.Context(), strings.NewReader(in), new(bytes.Buffer), new(bytes.Buffer))
			}
			f.Close()
		}
	}
	round(100)
	before := holdings(t)
	round(sandboxes / 4)
	after := holdings(t)
	for i := 0; i < 100 && !after.within(before); i++ {
		time.Sleep(20 * time.Millisecond)
		after = holdings(t)
	}
	if !after.within(before) {
		t.Errorf("got %+v, before %+v", after, before)
	}
}

// holding is what a process has that sandboxes could leave behind.
type holding struct{ mappings, descriptors, goroutines int }

func holdings(t *testing.T) holding {
	t.Helper()
	runtime.GC()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return holding{bytes.Count(maps, []byte("\n")), len(files), runtime.NumGoroutine()}
}

// within allows for what the Go runtime itself maps in the meantime.
func (h holding) within(before holding) bool {
	return h.mappings <= before.mappings+50 && h.descriptors <= before.descriptors+5 && h.goroutines <= before.goroutines+5
}
