package gojinn

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/gojinn/gojinn/engine"
)

func TestBuffer(t *testing.T) {
	t.Parallel()
	budget := engine.NewBudget(1 << 20)
	text := strings.Repeat("0123456789", 10_000)
	for name, r := range map[string]io.Reader{
		"at once":       strings.NewReader(text),
		"byte by byte":  iotest.OneByteReader(strings.NewReader(text)),
		"end with data": iotest.DataErrReader(strings.NewReader(text)),
	} {
		b := newBuffer(budget)
		if err := b.readAll(r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if string(b.bytes) != text {
			t.Errorf("%s: got %d bytes, want %d", name, len(b.bytes), len(text))
		}
		if used := budget.Used(); used < int64(len(text)) || used > 3*int64(len(text)) {
			t.Errorf("%s: %d bytes are reserved for %d", name, used, len(text))
		}
		b.free()
		if budget.Used() != 0 {
			t.Errorf("%s: %d bytes are reserved for nothing", name, budget.Used())
		}
	}
}

func TestBufferOverBudget(t *testing.T) {
	t.Parallel()
	const limit = 64 << 10
	budget := engine.NewBudget(limit)
	tests := map[string]func(b *buffer) error{
		"reading": func(b *buffer) error { return b.readAll(letters{}) },
		"writing": func(b *buffer) error {
			for {
				if _, err := b.Write(make([]byte, 1000)); err != nil {
					return err
				}
			}
		},
		"appending": func(b *buffer) error {
			return b.append(func(dst []byte) []byte { return append(dst, make([]byte, 2*limit)...) })
		},
	}
	for name, fill := range tests {
		b := newBuffer(budget)
		if err := fill(b); !errors.Is(err, engine.ErrOverloaded) {
			t.Errorf("%s: got %v", name, err)
		}
		if _, err := b.Write([]byte("more")); !errors.Is(err, engine.ErrOverloaded) {
			t.Errorf("%s: then got %v", name, err)
		}
		if budget.Used() > limit {
			t.Errorf("%s: %d bytes are reserved", name, budget.Used())
		}
		b.free()
		if budget.Used() != 0 {
			t.Errorf("%s: %d bytes are left", name, budget.Used())
		}
	}
}

func TestBufferPassesErrors(t *testing.T) {
	t.Parallel()
	b := newBuffer(engine.NewBudget(0))
	defer b.free()
	boom := errors.New("boom")
	if err := b.readAll(io.MultiReader(strings.NewReader("some"), iotest.ErrReader(boom))); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(b.bytes, []byte("some")) {
		t.Errorf("got %q", b.bytes)
	}
}

// TestLargeBuffers: what a large buffer leaves is for large ones only, and what
// one holds is reserved.
func TestLargeBuffers(t *testing.T) {
	budget := engine.NewBudget(4 << 20)
	large := strings.Repeat("x", 1<<20)
	for range 20 {
		b := newBuffer(budget)
		if _, err := io.WriteString(b, large); err != nil || string(b.bytes) != large {
			t.Fatalf("got %d bytes, %v", len(b.bytes), err)
		}
		if used := budget.Used(); used < int64(cap(b.bytes)) || used > 3<<20 {
			t.Errorf("%d bytes are reserved for a capacity of %d", used, cap(b.bytes))
		}
		b.free()
		small := newBuffer(budget)
		if _, err := small.Write([]byte("small")); err != nil || budget.Used() > maxSmall {
			t.Errorf("%d bytes are reserved for five, %v", budget.Used(), err)
		}
		small.free()
		if budget.Used() != 0 {
			t.Fatalf("%d bytes are reserved for nothing", budget.Used())
		}
	}
}
