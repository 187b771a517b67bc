package engine

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// unrestorable says why sandboxes can't be taken back in this process, or
// nothing. That rests on how wazero works inside: that a guest's stack can be taken back,
// that it keeps nothing of a guest but memory, globals and tables, and that it takes
// a memory that has become smaller. So it is tried once, and what differs with another
// version of wazero costs speed, not correctness.
var unrestorable = sync.OnceValue(func() string {
	var difference string
	e, err := newEngine(Config{Verify: func(what string) { difference = what }}, "")
	if err != nil {
		return err.Error()
	}
	defer e.Close()
	for _, snapshot := range []Snapshot{SnapshotOn, SnapshotOff} {
		if err := e.tryRestoring(snapshot); err != nil {
			return err.Error()
		}
	}
	return difference
})

// tryRestoring answers three calls of selfTest with one sandbox.
func (e *Engine) tryRestoring(snapshot Snapshot) error {
	ctx := context.Background()
	p, err := e.Compile(ctx, selfTest)
	if err != nil {
		return err
	}
	defer p.Close()
	f, err := p.Function(Options{Idle: time.Minute, Snapshot: snapshot, Limits: Limits{Timeout: 10 * time.Second}})
	if err != nil {
		return err
	}
	defer f.Close()
	s, err := newSandbox(ctx, f)
	if err != nil {
		return err
	}
	defer s.close()
	if !s.prepare() {
		return fmt.Errorf("a sandbox could not be parked")
	}
	for range 3 {
		var out bytes.Buffer
		receipt, err := s.run(ctx, strings.NewReader("call"), &out, &out)
		if err != nil || out.String() != selfTestAnswer {
			return fmt.Errorf("started by %s it answers %q, %v", receipt.Start, out.String(), err)
		}
		if !s.renew() {
			return fmt.Errorf("a sandbox could not be renewed")
		}
		if want := map[Snapshot]string{SnapshotOn: StartSnapshot, SnapshotOff: StartReset}[snapshot]; s.kind != want {
			return fmt.Errorf("a sandbox was renewed by %s, not by %s", s.kind, want)
		}
	}
	return nil
}

// selfTest counts, in memory and in a global, once before and once after it
// reads, grows its memory, and writes both counts.
var selfTest = []byte("\x00asm\x01\x00\x00\x00" +
	"\x01\x0c\x02\x60\x00\x00\x60\x04\x7f\x7f\x7f\x7f\x01\x7f" + // types: () -> (), (i32 i32 i32 i32) -> i32
	"\x02\x44\x02" + // imports
	"\x16wasi_snapshot_preview1\x07fd_read\x00\x01" +
	"\x16wasi_snapshot_preview1\x08fd_write\x00\x01" +
	"\x03\x02\x01\x00" + // function 2: type 0
	"\x05\x03\x01\x00\x01" + // a memory of one page
	"\x06\x06\x01\x7f\x01\x41\x00\x0b" + // a mutable i32
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x02" +
	"\x0a\x53\x01\x51\x00" + // code
	"\x41\xe4\x00\x41\xe4\x00\x28\x02\x00\x41\x01\x6a\x36\x02\x00" + // memory[100]++
	"\x23\x00\x41\x01\x6a\x24\x00" + // global++
	"\x41\x00\x41\x00\x41\x01\x41\x08\x10\x00\x1a" + // fd_read(0, iovec at 0)
	"\x41\x01\x40\x00\x1a" + // memory.grow(1)
	"\x41\xe4\x00\x41\xe4\x00\x28\x02\x00\x41\x01\x6a\x36\x02\x00" +
	"\x23\x00\x41\x01\x6a\x24\x00" +
	"\x41\xe8\x00\x23\x00\x36\x02\x00" + // memory[104] = global
	"\x41\x01\x41\x10\x41\x01\x41\x08\x10\x01\x1a" + // fd_write(1, iovec at 16)
	"\x0b" +
	"\x0b\x1e\x01\x00\x41\x00\x0b\x18" + // data at 0: both iovecs
	"\xc8\x00\x00\x00\x04\x00\x00\x00" + "\x00\x00\x00\x00\x00\x00\x00\x00" + "\x64\x00\x00\x00\x08\x00\x00\x00")

const selfTestAnswer = "\x02\x00\x00\x00\x02\x00\x00\x00"
