package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/engine"
)

// A row is how the calls of one kind of guest went.
type row struct {
	calls     int
	ending    string        // how they ended
	overshoot time.Duration // the most by which one outlived its deadline
	felt      felt
}

// felt is what the rest of the process felt meanwhile.
type felt struct {
	pause, worstPause   time.Duration // runtime.GC: median, most
	late                time.Duration // the most by which a goroutine that sleeps woke late
	answer, worstAnswer time.Duration // a call of another function: median, most
}

// A meter runs guests and measures around them.
type meter struct {
	timeout, duration time.Duration
	engine            *engine.Engine
	polite            *engine.Function // the other function
	program           *engine.Program  // of it
}

func newMeter(ctx context.Context, timeout, duration time.Duration) (*meter, error) {
	e, err := engine.New(engine.Config{})
	if err != nil {
		return nil, err
	}
	m := &meter{timeout: timeout, duration: duration, engine: e}
	if m.program, m.polite, err = m.load(ctx, politeGuest()); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return m, nil
}

func (m *meter) close() {
	_ = errors.Join(m.polite.Close(), m.program.Close(), m.engine.Close()) // the process ends here
}

// load makes a function of a module, with the deadline of all.
func (m *meter) load(ctx context.Context, module []byte) (*engine.Program, *engine.Function, error) {
	program, err := m.engine.Compile(ctx, module)
	if err != nil {
		return nil, nil, err
	}
	function, err := program.Function(engine.Options{
		Limits: engine.Limits{Timeout: m.timeout, Memory: 128 << 20, Log: 1 << 10},
		Idle:   30 * time.Second,
	})
	if err != nil {
		return nil, nil, errors.Join(err, program.Close())
	}
	return program, function, nil
}

// measure calls one guest again and again, on every processor.
func (m *meter) measure(ctx context.Context, g guest) (row, error) {
	program, function, err := m.load(ctx, g.module)
	if err != nil {
		return row{}, err
	}
	defer func() { _ = errors.Join(function.Close(), program.Close()) }()

	var r row
	var calls []call
	var mu sync.Mutex // guards calls
	r.felt, err = m.beside(ctx, func(end time.Time) {
		mine := m.hostileCalls(ctx, function, end)
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, mine...)
	})
	if err != nil {
		return row{}, err
	}
	r.calls = len(calls)
	r.ending, r.overshoot, err = judge(calls, g.want, m.timeout)
	return r, err
}

// beside measures while every processor is kept busy with load, which returns
// when its time is up.
func (m *meter) beside(ctx context.Context, load func(end time.Time)) (f felt, err error) {
	end := time.Now().Add(m.duration)
	var pauses, answers []time.Duration
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() { load(end) })
	}
	all.Go(func() { f.late = lateness(end) })
	all.Go(func() { answers, err = m.politeCalls(ctx, end) })
	all.Go(func() { pauses = collections(end) })
	all.Wait()
	if err != nil {
		return felt{}, fmt.Errorf("the other function: %w", err)
	}
	f.pause, f.worstPause = report.Median(pauses), slices.Max(pauses)
	f.answer, f.worstAnswer = report.Median(answers), slices.Max(answers)
	return f, nil
}

// spinInGo holds a processor as an ordinary goroutine may.
func spinInGo(end time.Time) {
	for n := 0; n&0xffff != 0 || time.Now().Before(end); n++ {
	}
}

// A call is how one call of a hostile guest went.
type call struct {
	took time.Duration
	err  error
}

// hostileCalls calls the function again and again, at least once. Its standard
// input never comes, and everything it writes is thrown away.
func (m *meter) hostileCalls(ctx context.Context, f *engine.Function, end time.Time) (calls []call) {
	for len(calls) == 0 || time.Now().Before(end) {
		never, w := io.Pipe()
		receipt, err := f.Run(ctx, never, io.Discard, io.Discard)
		calls = append(calls, call{receipt.Duration, err})
		_ = w.Close() // never fails
	}
	return calls
}

// judge checks that all calls ended as they should, which on a slow machine
// may be at the deadline.
func judge(calls []call, want error, timeout time.Duration) (ending string, overshoot time.Duration, err error) {
	ending = engine.ErrTimeout.Error()
	for _, c := range calls {
		switch {
		case errors.Is(c.err, want):
			ending = want.Error()
		case !errors.Is(c.err, engine.ErrTimeout):
			return "", 0, fmt.Errorf("a call ended with %v after %s, want %v", c.err, c.took, want)
		}
		overshoot = max(overshoot, c.took-timeout)
	}
	return ending, overshoot, nil
}

// lateness is the most by which a goroutine that sleeps a millisecond wakes
// late.
func lateness(end time.Time) (worst time.Duration) {
	const nap = time.Millisecond
	for start := time.Now(); start.Before(end); start = time.Now() {
		time.Sleep(nap)
		worst = max(worst, time.Since(start)-nap)
	}
	return worst
}

// collections is how long each of many garbage collections took.
func collections(end time.Time) (took []time.Duration) {
	for len(took) == 0 || time.Now().Before(end) {
		start := time.Now()
		runtime.GC()
		took = append(took, time.Since(start))
		time.Sleep(10 * time.Millisecond)
	}
	return took
}

// politeCalls is how long each of many calls of the other function took.
func (m *meter) politeCalls(ctx context.Context, end time.Time) (took []time.Duration, err error) {
	for len(took) == 0 || time.Now().Before(end) {
		var out bytes.Buffer
		start := time.Now()
		_, err := m.polite.Run(ctx, strings.NewReader(""), &out, io.Discard)
		took = append(took, time.Since(start))
		if err != nil || out.String() != politeAnswer {
			return nil, fmt.Errorf("it answered %q, %w", out.String(), err)
		}
		time.Sleep(time.Millisecond)
	}
	return took, nil
}
