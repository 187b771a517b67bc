package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/wasmtest"
)

// recorder is a stream that tells what is done with it.
type recorder struct {
	life  context.Context
	wrote bytes.Buffer
	sent  chan string // what was written until each flush
	write func(ctx context.Context) error
}

func (r *recorder) Begin(ctx context.Context) { r.life = ctx }

func (r *recorder) Write(p []byte) (int, error) {
	if r.write != nil {
		if err := r.write(r.life); err != nil {
			return 0, err
		}
	}
	return r.wrote.Write(p)
}

func (r *recorder) Flush() error {
	r.sent <- r.wrote.String()
	return nil
}

// newTalker returns a guest that says something, waits for input and says more.
func newTalker() []byte {
	g := newTally(3)
	g.Export("_start", 0, g.FuncLocals(nil, nil, nil, code(g.says(1, "first"), g.io(g.read, 0, 4), g.says(1, "second"))...))
	return g.Bytes()
}

// TestStream: what a guest has written is on its way before it waits, and the context of a
// stream lives as long as the call.
func TestStream(t *testing.T) {
	t.Parallel()
	f := newFunction(t, newTestEngine(t, Config{}), newTalker(), Options{Limits: Limits{Files: 4}})
	in, client := io.Pipe()
	out := &recorder{sent: make(chan string, 4)}
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(t.Context(), in, out, io.Discard)
		ended <- err
	}()
	if got := <-out.sent; got != "first" {
		t.Errorf("flushed %q", got)
	}
	if err := out.life.Err(); err != nil {
		t.Errorf("the context has ended: %v", err)
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := out.wrote.String(); got != "firstsecond" {
		t.Errorf("got %q", got)
	}
	if out.life.Err() == nil {
		t.Error("the context goes on")
	}
}

// TestStreamBlocks: a write that nobody takes ends with the call, whatever ends that.
func TestStreamBlocks(t *testing.T) {
	t.Parallel()
	cause := errors.New("the caller had enough")
	for name, test := range map[string]struct {
		timeout time.Duration
		end     func(t *testing.T, f *Function, cancel context.CancelCauseFunc)
		want    error
	}{
		"timeout": {50 * time.Millisecond, func(*testing.T, *Function, context.CancelCauseFunc) {}, ErrTimeout},
		"caller":  {0, func(_ *testing.T, _ *Function, cancel context.CancelCauseFunc) { cancel(cause) }, cause},
		"closed": {0, func(t *testing.T, f *Function, _ context.CancelCauseFunc) {
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}, ErrCanceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFunction(t, newTestEngine(t, Config{}), newTalker(), Options{Limits: Limits{Files: 4, Timeout: test.timeout}})
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			blocked := make(chan struct{})
			out := &recorder{sent: make(chan string, 4), write: func(ctx context.Context) error {
				close(blocked)
				<-ctx.Done()
				return ctx.Err()
			}}
			ended := make(chan error, 1)
			go func() {
				_, err := f.Run(ctx, strings.NewReader("x"), out, io.Discard)
				ended <- err
			}()
			<-blocked
			test.end(t, f, cancel)
			if err := <-ended; !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

// TestStreamFails: a stream that can't be written ends the call.
func TestStreamFails(t *testing.T) {
	t.Parallel()
	f := newFunction(t, newTestEngine(t, Config{}), newTalker(), Options{Limits: Limits{Files: 4}})
	gone := errors.New("gone")
	out := &recorder{sent: make(chan string, 4), write: func(context.Context) error { return gone }}
	if _, err := f.Run(t.Context(), strings.NewReader("x"), out, io.Discard); !errors.Is(err, ErrCanceled) || !errors.Is(err, gone) {
		t.Errorf("got %v", err)
	}
}

type variableKey struct{}

// newTeller returns a guest that answers with its environment, which it asks for before it
// reads, or after.
func newTeller(before bool) []byte {
	g := newTally(3)
	sizes := g.Import(preview1Module, "environ_sizes_get", []byte{wasmtest.I32, wasmtest.I32}, i32)
	get := g.Import(preview1Module, "environ_get", []byte{wasmtest.I32, wasmtest.I32}, i32)
	// Pointers at 5000, text at 6000, of which the length is at 4004.
	ask := code(c32(4000), c32(4004), call(sizes), 0x1a, c32(5000), c32(6000), call(get), 0x1a)
	answer := code(store(0, 6000), c32(4), c32(4004), 0x28, 2, 0, 0x36, 2, 0, c32(1), c32(0), c32(1), c32(16), call(g.write), 0x1a)
	slow := code(wasmtest.I64Const(200_000), 0x21, 0, 0x03, 0x40, 0x20, 0, 0x42, 1, 0x7d, 0x22, 0, 0x42, 0, 0x52, 0x0d, 0, 0x0b)
	body := code(slow, g.io(g.read, 0, 4), ask, answer)
	if before {
		body = code(slow, ask, g.io(g.read, 0, 4), answer)
	}
	g.Export("_start", 0, g.FuncLocals(nil, nil, []byte{wasmtest.I64}, body...))
	return g.Bytes()
}

// TestEnviron: every call has its own variables, beside those that are granted, which count.
// A program that asks for them late enough shares its start-up between calls.
func TestEnviron(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{false, true} {
		options := Options{Idle: time.Minute, Limits: Limits{Files: 4}, Environ: func(ctx context.Context) []string {
			return []string{"CALL=" + ctx.Value(variableKey{}).(string), "GRANTED=by a client", "CUT=here\x00not here"}
		}}
		if err := options.Grants.Env("GRANTED", Value{Fixed: "by the operator"}); err != nil {
			t.Fatal(err)
		}
		f := newFunction(t, verifiedEngine(t, Config{}), newTeller(before), options)
		var last Receipt
		for _, call := range []string{"one", "another", "the third"} {
			var out bytes.Buffer
			receipt, err := f.Run(context.WithValue(t.Context(), variableKey{}, call), strings.NewReader("...."), &out, io.Discard)
			if want := "GRANTED=by the operator\x00CALL=" + call + "\x00CUT=here\x00"; err != nil || out.String() != want {
				t.Errorf("asked before: %v: got %q, %v, want %q", before, out.String(), err, want)
			}
			last = receipt
			waitFor(t, func() bool { running, restoring, _ := f.Sandboxes(); return running+restoring == 0 })
		}
		want := StartSnapshot
		if before {
			want = StartLate
		}
		if last.Start != want {
			t.Errorf("asked before: %v: got start %q, want %q", before, last.Start, want)
		}
	}
}
