package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/toolchain"
)

// sources are the examples that are called.
var sources = []string{"contact", "contact-rust", "contact-zig", "contact-c"}

// callers is how many calls run at once.
const callers = 4

// subject is a function of one program, taken back in one way.
type subject struct {
	name     string
	function *engine.Function
	program  *engine.Program
	fresh    map[string]string // the answers that sandboxes made for the call gave, by request

	mu      sync.Mutex
	starts  map[string]int
	endings map[string]int
}

// soak is one run.
type soak struct {
	engine   *engine.Engine
	subjects []*subject

	mu          sync.Mutex
	differences []string // the first few
	differing   int

	done     atomic.Int64
	resident []int64 // bytes, at equal distances
}

// newSoak compiles all programs whose toolchain is present.
func newSoak(ctx context.Context, examples string) (s *soak, err error) {
	s = &soak{}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.engine, err = engine.New(engine.Config{Verify: s.differs}); err != nil {
		return s, err
	}
	if how, why := s.engine.Restoring(); how == engine.StartFresh {
		return s, errors.New(why)
	}
	for _, source := range sources {
		module, err := moduleOf(ctx, filepath.Join(examples, source))
		if missing := new(toolchain.MissingError); errors.As(err, &missing) {
			fmt.Fprintln(os.Stderr, "left out:", err)
			continue
		}
		if err != nil {
			return s, fmt.Errorf("%s: %w", source, err)
		}
		for _, way := range []struct {
			name     string
			snapshot engine.Snapshot
		}{{"auto", engine.SnapshotAuto}, {"snapshot on", engine.SnapshotOn}, {"snapshot off", engine.SnapshotOff}} {
			if err := s.add(ctx, source+", "+way.name, module, way.snapshot); err != nil {
				return s, fmt.Errorf("%s: %w", source, err)
			}
		}
	}
	if len(s.subjects) == 0 {
		return s, errors.New("no program could be built")
	}
	return s, nil
}

// moduleOf is the module of a function's folder: what is checked in, or what
// its source compiles to.
func moduleOf(ctx context.Context, source string) ([]byte, error) {
	function, err := toolchain.Find(source)
	if err != nil {
		return nil, err
	}
	if built := function[0].Built; built != "" && function[0].Language != toolchain.Go {
		return os.ReadFile(built)
	}
	dir, err := os.MkdirTemp("", "gojinn-soak-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "module.wasm")
	if err := toolchain.Build(ctx, source, file, os.Stderr); err != nil {
		return nil, err
	}
	return os.ReadFile(file)
}

func (s *soak) add(ctx context.Context, name string, module []byte, snapshot engine.Snapshot) error {
	program, err := s.engine.Compile(ctx, module)
	if err != nil {
		return err
	}
	b := &subject{name: name, program: program, fresh: map[string]string{}, starts: map[string]int{}, endings: map[string]int{}}
	s.subjects = append(s.subjects, b)
	options := engine.Options{
		Args:        []engine.Value{{Fixed: name}},
		Limits:      engine.Limits{Timeout: 10 * time.Second, Memory: 128 << 20, Output: 1 << 20, Log: 1 << 10, Files: 16},
		Concurrency: engine.Concurrency{Calls: callers, Queue: callers},
		Snapshot:    snapshot,
	}
	reference, err := program.Function(options)
	if err != nil {
		return err
	}
	defer reference.Close()
	for _, request := range requests {
		var out bytes.Buffer
		if _, err := reference.Run(ctx, strings.NewReader(request), &out, io.Discard); err != nil {
			continue // an answer is not to be expected
		}
		b.fresh[request] = out.String()
	}
	options.Idle = time.Minute
	b.function, err = program.Function(options)
	return err
}

// requests are answered, refused and not understood.
var requests = []string{
	contact(`{\"email\":\"ada@example.com\",\"message\":\"hello\"}`),
	contact(`{\"email\":\"nobody\",\"message\":\"\"}`),
	contact(`{\"email\":\"a@b.c\",\"message\":\"` + strings.Repeat("long ", 4000) + `\"}`),
	contact(`{`),
	`{"method":"GET","headers":{}}`,
	`not JSON at all`,
	``,
}

func contact(body string) string {
	return `{"id":"1","method":"POST","uri":"/contact","path":"/contact","headers":{"Content-Type":["application/json"]},"body":"` + body + `"}`
}

// run makes the calls.
func (s *soak) run(ctx context.Context, calls int, progress func(done, calls int, resident int64)) error {
	var all sync.WaitGroup
	var failed atomic.Pointer[error]
	for i := range callers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(i)))
			for s.done.Add(1) <= int64(calls) && ctx.Err() == nil && failed.Load() == nil {
				if err := s.call(ctx, s.subjects[random.IntN(len(s.subjects))], random); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	const samples = 20
	for next := 1; ; {
		select {
		case <-finished:
			if err := failed.Load(); err != nil {
				return *err
			}
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if done := int(min(s.done.Load(), int64(calls))); done >= calls/samples*next {
			runtime.GC()
			s.resident = append(s.resident, resident())
			progress(done, calls, s.resident[len(s.resident)-1])
			next = done*samples/calls + 1
		}
	}
}

// call makes one call and ends it in some way.
func (s *soak) call(ctx context.Context, b *subject, random *rand.Rand) error {
	request := requests[random.IntN(len(requests))]
	var in io.Reader = strings.NewReader(request)
	var out bytes.Buffer
	var to io.Writer = &out
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	disturbed := true
	switch random.IntN(10) {
	case 0: // the client leaves
		timer := time.AfterFunc(time.Duration(random.IntN(1000))*time.Microsecond, func() { cancel(errLeft) })
		defer timer.Stop()
	case 1: // the client takes the beginning of the answer only
		to = &failingWriter{left: random.IntN(64)}
	case 2: // the request comes in pieces, and may end early
		in = &pieces{text: request, fail: random.IntN(2) == 0, random: random}
		disturbed = in.(*pieces).fail
	default:
		disturbed = false
	}
	receipt, err := b.function.Run(ctx, in, to, io.Discard)
	b.mu.Lock()
	b.starts[receipt.Start]++
	b.endings[endingOf(err)]++
	b.mu.Unlock()
	want, answered := b.fresh[request]
	switch {
	case disturbed:
	case answered != (err == nil):
		s.differs(fmt.Sprintf("%s, started by %s: %.40q ended with %v", b.name, receipt.Start, request, err))
	case answered && out.String() != want:
		s.differs(fmt.Sprintf("%s, started by %s: %.40q was answered by %.200q, want %.200q", b.name, receipt.Start, request, out.String(), want))
	}
	if errors.As(err, new(*engine.HostError)) {
		return err
	}
	return nil
}

var errLeft = errors.New("the client has left")

type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errLeft
	}
	return len(p), nil
}

// pieces is a reader that gives few bytes at a time.
type pieces struct {
	text   string
	fail   bool
	random *rand.Rand
}

func (r *pieces) Read(p []byte) (int, error) {
	if r.text == "" || r.fail && len(r.text) < 50 {
		return 0, io.EOF
	}
	n := copy(p, r.text[:min(len(r.text), 1+r.random.IntN(1<<12))])
	r.text = r.text[n:]
	return n, nil
}

func endingOf(err error) string {
	trap, exit := new(engine.TrapError), new(engine.ExitError)
	switch {
	case err == nil:
		return "answered"
	case errors.As(err, &trap):
		return "trap"
	case errors.As(err, &exit):
		return "exit code"
	}
	for _, known := range []error{engine.ErrCanceled, engine.ErrTimeout, engine.ErrFuel, engine.ErrMemory, engine.ErrOutput, engine.ErrStack, engine.ErrOverloaded} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return err.Error()
}

// differs notes a difference.
func (s *soak) differs(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.differing++; len(s.differences) < 20 {
		s.differences = append(s.differences, what)
	}
}

func (s *soak) close() {
	for _, b := range s.subjects {
		if b.function != nil {
			b.function.Close()
		}
		b.program.Close()
	}
	if s.engine != nil {
		s.engine.Close()
	}
}

// markdown is the report.
func (s *soak) markdown() string {
	var b strings.Builder
	how, why := s.engine.Restoring()
	fmt.Fprintf(&b, "Sandboxes are restored by %s. %s\n\n| function | calls | started | ended |\n|---|--:|---|---|\n", how, why)
	for _, subject := range s.subjects {
		total := 0
		for _, n := range subject.starts {
			total += n
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", subject.name, total, counts(subject.starts), counts(subject.endings))
	}
	fmt.Fprintf(&b, "\n%d differences.", s.differing)
	for _, d := range s.differences {
		fmt.Fprintf(&b, "\n* %s", d)
	}
	if n := len(s.resident); n > 4 {
		settled := s.resident[n/4:]
		fmt.Fprintf(&b, "\n\nResident memory after a quarter of the calls and at the end: %s and %s; the least and the most in between: %s and %s.",
			report.Bytes(float64(settled[0])), report.Bytes(float64(settled[len(settled)-1])),
			report.Bytes(float64(slices.Min(settled))), report.Bytes(float64(slices.Max(settled))))
	}
	b.WriteString("\n")
	return b.String()
}

func counts(of map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, of[name]))
	}
	return strings.Join(parts, ", ")
}

// verdict is an error if anything differed.
func (s *soak) verdict() error {
	if s.differing > 0 {
		return fmt.Errorf("%d differences, the first: %s", s.differing, s.differences[0])
	}
	return nil
}

// resident is how much memory of the process is in use, in bytes, or 0 if that
// can't be told.
func resident() int64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	if _, err := fmt.Sscan(string(text), &size, &pages); err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
