package engine

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// TestGoWaits: in a Go program only the goroutine waits that reads or writes,
// for standard input and for sockets of a mount.
func TestGoWaits(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	program, err := e.Compile(t.Context(), toolchaintest.Build(t, "testdata/guests/streams-go"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	for _, what := range []string{"stdin", "deadline", "echo", "parallel", "shutdown"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			options := Options{
				Args:   []Value{{Fixed: "streams"}, {Fixed: what}},
				Limits: Limits{Timeout: time.Minute, Files: 10, Log: 1 << 20},
			}
			if err := options.Grants.Mount("/net", echoes{}); err != nil {
				t.Fatal(err)
			}
			f, err := program.Function(options)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			in, slow := io.Pipe()
			go func() {
				for _, s := range []string{"one ", "two ", "three"} {
					time.Sleep(20 * time.Millisecond)
					io.WriteString(slow, s)
				}
				slow.Close()
			}()
			var out, log strings.Builder
			if _, err := f.Run(t.Context(), in, &out, &log); err != nil || out.String() != "ok\n" {
				t.Errorf("got %q, %v\n%s", out.String(), err, log.String())
			}
			in.Close()
		})
	}
	// The end of a call doesn't wait for a reader that waits.
	t.Run("ended while it waits", func(t *testing.T) {
		t.Parallel()
		f, err := program.Function(Options{
			Args:   []Value{{Fixed: "streams"}, {Fixed: "stdin"}},
			Limits: Limits{Timeout: 100 * time.Millisecond},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in, w := io.Pipe()
		defer w.Close()
		began := time.Now()
		if _, err := f.Run(t.Context(), in, io.Discard, io.Discard); !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v, want ErrTimeout", err)
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %s, want 100ms", took)
		}
	})
}
