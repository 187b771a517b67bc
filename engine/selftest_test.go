package engine

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/wasmtest"
)

// TestSandboxesCanBeRestored: if it fails, wazero works differently than
// renew.go takes it to.
func TestSandboxesCanBeRestored(t *testing.T) {
	t.Parallel()
	if why := unrestorable(); why != "" {
		t.Error(why)
	}
	how, why := newTestEngine(t, Config{}).Restoring()
	t.Logf("restored by %s %s", how, why)
}

// TestSelfTestNotices: a guest that is not the same again does not pass.
func TestSelfTestNotices(t *testing.T) {
	for name, change := range map[string]func(s *Sandbox){
		"memory":       func(s *Sandbox) { s.memory.bytes()[100]++ },
		"memory's end": func(s *Sandbox) { b := s.memory.bytes(); b[len(b)-1]++ },
		"a global":     func(s *Sandbox) { s.globals[0].Set(7) },
		"descriptors":  func(s *Sandbox) { s.files.remove(1) },
	} {
		t.Run(name, func(t *testing.T) {
			var seen string
			e := newTestEngine(t, Config{Verify: func(what string) { seen = what }})
			f := newFunction(t, e, selfTest, Options{Idle: time.Minute, Snapshot: SnapshotOn})
			s, err := newSandbox(t.Context(), f)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			if !s.prepare() || s.kept == nil {
				t.Fatal("it did not park")
			}
			s.verify(s.kept.digest, "unchanged")
			if seen != "" {
				t.Fatalf("unchanged: %s", seen)
			}
			change(s)
			if s.verify(s.kept.digest, "changed"); seen == "" {
				t.Error("it went unnoticed")
			}
		})
	}
}

// TestNotRestorable: where sandboxes can't be taken back, functions are served
// by fresh ones and say so.
func TestNotRestorable(t *testing.T) {
	t.Parallel()
	e, err := newEngine(Config{}, "wazero is not what it was")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	f := newFunction(t, e, newTally(3).bytes(), Options{Idle: time.Minute, Snapshot: SnapshotOn})
	for range 3 {
		out, _, receipt, err := runIdle(t, f, "....")
		if err != nil || out != tallied || receipt.Start != StartFresh {
			t.Errorf("got %q, %q, %v", out, receipt.Start, err)
		}
	}
	if kind, why := f.StartKind(); kind != StartFresh || !strings.Contains(why, "wazero is not") {
		t.Errorf("got %q, %q", kind, why)
	}
	if how, why := e.Restoring(); how != StartFresh || !strings.Contains(why, "wazero is not") {
		t.Errorf("got %q, %q", how, why)
	}
}

// TestMemoryShrinks: memory that a call grew is gone for the next, to the last
// byte: what lies behind the end traps again.
func TestMemoryShrinks(t *testing.T) {
	t.Parallel()
	for _, kind := range []Snapshot{SnapshotOn, SnapshotOff} {
		g := newGuest(1)
		// Reads a byte; if it is not 0 grows to 3 pages and writes to the last byte; then
		// writes the size and reads the last byte of the third page.
		g.Main(code(g.io(g.read, 0, 1),
			c32(1024), 0x2d, 0, 0, 0x04, 0x40,
			c32(2), 0x40, 0, 0x1a, c32(3*65536-1), c32(9), 0x3a, 0, 0,
			0x0b,
			c32(1024), 0x3f, 0, 0x3a, 0, 0,
			store(0, 1024), store(4, 1), c32(1), c32(0), c32(1), c32(16), call(g.write), 0x1a,
			c32(3*65536-1), 0x2d, 0, 0, 0x1a)...)
		f := newFunction(t, newTestEngine(t, Config{}), g.Bytes(), Options{Idle: time.Minute, Snapshot: kind})
		for i := range 20 {
			grow := i%2 == 0
			in := string([]byte{0, 1}[i%2^1 : i%2^1+1])
			out, _, _, err := runIdle(t, f, in)
			if grow && (err != nil || out != "\x03") {
				t.Fatalf("call %d, grown: got %q, %v", i, out, err)
			}
			if !grow && (out != "\x01" || !sameEnd(err, &TrapError{Message: "out of bounds memory access"})) {
				t.Fatalf("call %d, not grown: got %q, %v", i, out, err)
			}
		}
	}
}

// TestMemoryAtItsMaximum: a memory that can't be made smaller costs its sandbox,
// and nothing else.
func TestMemoryAtItsMaximum(t *testing.T) {
	t.Parallel()
	guest := newTally(3)
	guest.slow = true
	wasm := guest.bytes()
	// The memory section: at least 3 pages, and now at most 23, which is what 'g' grows to.
	at := bytes.Index(wasm, wasmtest.Section(5, []byte{1, 0, 3}))
	wasm = append(append(append([]byte(nil), wasm[:at]...), wasmtest.Section(5, []byte{1, 1, 3, 23})...), wasm[at+5:]...)
	f := newFunction(t, verifiedEngine(t, Config{}), wasm, Options{Idle: time.Minute, Snapshot: SnapshotOn})
	for i := range 6 {
		if out, _, _, err := runIdle(t, f, "g..."); err != nil || out != tallied {
			t.Errorf("call %d: got %q, %v", i, out, err)
		}
		if _, _, parked := f.Sandboxes(); parked != 0 {
			t.Errorf("call %d: a sandbox was kept", i)
		}
	}
	for i := range 3 {
		if out, _, _, err := runIdle(t, f, "...."); err != nil || out != tallied {
			t.Errorf("call %d: got %q, %v", i, out, err)
		}
	}
}
