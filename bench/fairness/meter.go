package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// A load is a function and how it is called.
type load struct {
	name    string
	turns   int32 // of its loop, two to three nanoseconds each; negative: without end
	callers int
}

var smallLoads = []load{
	{"next to nothing", 1, 1},
	{"0.2 ms", 80_000, 1},
	{"1 ms", 400_000, 1},
	{"5 ms", 2_000_000, 1},
	{"1 ms, 8 callers", 400_000, 8},
}

// The greedy function runs greedyCalls calls at once, and has twice as many callers.
const greedyCalls = 32

var greedyLoads = []load{
	{"for ever", -1, 2 * greedyCalls},
	{"5 ms", 2_000_000, 2 * greedyCalls},
	{"next to nothing", 1, 2 * greedyCalls},
}

// side is how the function's calls went, alone or beside the other.
type side struct {
	rate         float64       // calls per second
	median, last time.Duration // of what they took; last: 99 in 100 took no longer
}

// row is one function beside one other: medians over the rounds.
type row struct {
	alone, beside side
	share         float64 // of rate, within a round
}

// A meter runs functions beside each other.
type meter struct {
	duration time.Duration
	engine   *engine.Engine
}

func newMeter(duration time.Duration) (*meter, error) {
	e, err := engine.New(engine.Config{})
	return &meter{duration, e}, err
}

func (m *meter) close() { _ = m.engine.Close() } // the process ends here

// function makes a function of its own of a load.
func (m *meter) function(ctx context.Context, l load) (*engine.Function, func(), error) {
	program, err := m.engine.Compile(ctx, guest(l.turns))
	if err != nil {
		return nil, nil, err
	}
	f, err := program.Function(engine.Options{
		Limits:      engine.Limits{Timeout: 10 * time.Second, Memory: 1 << 20},
		Concurrency: engine.Concurrency{Calls: greedyCalls, Queue: 10 * greedyCalls},
		Idle:        time.Minute,
	})
	if err != nil {
		return nil, nil, errors.Join(err, program.Close())
	}
	return f, func() { _ = errors.Join(f.Close(), program.Close()) }, nil
}

// measure is one row.
func (m *meter) measure(ctx context.Context, small, greedy load, rounds int) (row, error) {
	f, closeSmall, err := m.function(ctx, small)
	if err != nil {
		return row{}, err
	}
	defer closeSmall()
	g, closeGreedy, err := m.function(ctx, greedy)
	if err != nil {
		return row{}, err
	}
	defer closeGreedy()

	var alone, beside []side
	var shares []float64
	for range rounds {
		a, err := m.calls(ctx, f, small.callers)
		if err != nil {
			return row{}, err
		}
		b, err := m.beside(ctx, f, small.callers, g, greedy.callers)
		if err != nil {
			return row{}, err
		}
		alone, beside, shares = append(alone, a), append(beside, b), append(shares, b.rate/a.rate)
	}
	return row{medianSide(alone), medianSide(beside), report.Median(shares)}, nil
}

// beside measures f while g is kept busy.
func (m *meter) beside(ctx context.Context, f *engine.Function, callers int, g *engine.Function, greedy int) (side, error) {
	load, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	for range greedy {
		all.Go(func() {
			for load.Err() == nil {
				_, _ = g.Run(load, strings.NewReader("?"), io.Discard, io.Discard) // canceled in the end
			}
		})
	}
	time.Sleep(m.duration / 8) // until it has what it needs
	s, err := m.calls(ctx, f, callers)
	stop()
	all.Wait()
	return s, err
}

// calls calls f for a while, each caller one call after the other.
func (m *meter) calls(ctx context.Context, f *engine.Function, callers int) (side, error) {
	var took []time.Duration
	var failed error
	var mu sync.Mutex // guards both
	start := time.Now()
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			mine, err := callsOf(ctx, f, start.Add(m.duration))
			mu.Lock()
			defer mu.Unlock()
			took, failed = append(took, mine...), errors.Join(failed, err)
		})
	}
	all.Wait()
	if failed != nil {
		return side{}, failed
	}
	seconds := time.Since(start).Seconds()
	slices.Sort(took)
	return side{float64(len(took)) / seconds, took[len(took)/2], took[(len(took)-1)*99/100]}, nil
}

// callsOf is what one caller's calls took, at least one.
func callsOf(ctx context.Context, f *engine.Function, end time.Time) (took []time.Duration, err error) {
	for len(took) == 0 || time.Now().Before(end) {
		var out bytes.Buffer
		start := time.Now()
		_, err := f.Run(ctx, strings.NewReader("?"), &out, io.Discard)
		took = append(took, time.Since(start))
		if err != nil || out.String() != "?" {
			return nil, fmt.Errorf("it answered %q, %w", out.String(), err)
		}
	}
	return took, nil
}

// medianSide takes the median of every figure.
func medianSide(sides []side) side {
	var rates []float64
	var medians, lasts []time.Duration
	for _, s := range sides {
		rates, medians, lasts = append(rates, s.rate), append(medians, s.median), append(lasts, s.last)
	}
	return side{report.Median(rates), report.Median(medians), report.Median(lasts)}
}

// guest is a program that reads a byte, takes so many turns and writes the byte.
func guest(turns int32) []byte {
	m := wasmtest.New(1)
	code, c32, i32 := wasmtest.Code, wasmtest.I32Const, []byte{wasmtest.I32}
	read := m.Import("wasi_snapshot_preview1", "fd_read", bytes.Repeat(i32, 4), i32)
	write := m.Import("wasi_snapshot_preview1", "fd_write", bytes.Repeat(i32, 4), i32)
	m.Data(0, "\x40\x00\x00\x00\x01\x00\x00\x00") // an iovec: one byte at 64
	io := func(f uint32, fd int32) []byte {
		return code(c32(fd), c32(0), c32(1), c32(16), wasmtest.Call(f), 0x1a)
	}
	// do { memory[32]++ } while (memory[32] != turns)
	loop := code(0x03, 0x40,
		c32(32), c32(32), 0x28, 2, 0, c32(1), 0x6a, 0x36, 2, 0,
		c32(32), 0x28, 2, 0, c32(turns), 0x47, 0x0d, 0, 0x0b)
	m.Main(code(io(read, 0), loop, io(write, 1))...)
	return m.Bytes()
}
