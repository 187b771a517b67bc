package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

//go:embed wrk.lua
var wrkScript []byte

// connections are the loads that every target gets.
var connections = []int{1, 16}

// A sample is what one run of wrk saw, or the medians of several.
type sample struct {
	perSecond float64
	p50, p99  time.Duration
	garbage   float64 // bytes that Caddy allocated for a request
}

// A loadRow holds the samples of a target: for each of connections, one of
// every round.
type loadRow struct {
	target  target
	samples [][]sample
}

// median is what the rounds of one load come to.
func (r loadRow) median(load int) sample { return medianSample(r.samples[load]) }

// beside compares, round by round, how many requests a target answers and how
// many another.
func (r loadRow) beside(other loadRow, load int) report.Spread {
	var ratios []float64
	for round, s := range r.samples[load] {
		ratios = append(ratios, s.perSecond/other.samples[load][round].perSecond)
	}
	return report.SpreadOf(ratios)
}

func findWrk() (string, error) {
	path, err := exec.LookPath("wrk")
	if err != nil {
		return "", errors.New("wrk, the load generator, is not installed: apt install wrk, brew install wrk, or https://github.com/wg/wrk")
	}
	return path, nil
}

// pause is before each measurement: what served the one before may still collect its garbage.
const pause = 200 * time.Millisecond

// measureLoad measures all targets under all loads, in interleaved rounds, each in an order of its
// own: what a target leaves behind must not always meet the same one.
func measureLoad(ctx context.Context, wrk, dir string, targets []target, o options) ([]loadRow, error) {
	l := &loader{wrk: wrk, dir: dir}
	if err := os.WriteFile(l.script(), wrkScript, 0o600); err != nil {
		return nil, err
	}
	rows := make([]loadRow, len(targets))
	for i, t := range targets {
		rows[i] = loadRow{t, make([][]sample, len(connections))}
	}
	needed := make(map[[2]int]time.Duration) // by row and load: what was enough before
	for round := range o.rounds + 1 {
		duration := o.duration
		if round == 0 {
			duration = min(duration, 500*time.Millisecond) // a warm-up that does not count
		}
		for _, j := range rand.Perm(len(rows)) {
			row := rows[j]
			if round > 0 {
				progress("round %d of %d: %s", round, o.rounds, row.target.name())
			}
			for i, n := range connections {
				time.Sleep(pause)
				s, took, err := l.run(ctx, row.target, n, max(duration, needed[[2]int{j, i}]))
				if err != nil {
					return nil, fmt.Errorf("loading %s with %d connections: %w", row.target.name(), n, err)
				}
				if took > duration {
					needed[[2]int{j, i}] = took
				}
				if round > 0 {
					row.samples[i] = append(row.samples[i], s)
				}
			}
		}
	}
	return rows, nil
}

func medianSample(samples []sample) sample {
	var perSecond, garbage []float64
	var p50, p99 []time.Duration
	for _, s := range samples {
		perSecond, p50, p99, garbage = append(perSecond, s.perSecond), append(p50, s.p50), append(p99, s.p99), append(garbage, s.garbage)
	}
	return sample{report.Median(perSecond), report.Median(p50), report.Median(p99), report.Median(garbage)}
}

// maxAttempts is how often wrk is run for one sample, each time twice as long.
const maxAttempts = 7

// A loader runs wrk.
type loader struct {
	wrk string // the program
	dir string // for its files
}

func (l *loader) script() string { return filepath.Join(l.dir, "wrk.lua") }
func (l *loader) body() string   { return filepath.Join(l.dir, "wrk.body") }

// run measures one target, and says how long that took. wrk takes its duration
// in whole seconds, so it is interrupted when the time is up; it then reports as
// it does at its end. If the time was up before wrk had begun to listen for
// that, or before connections had some answers each, it is given more.
func (l *loader) run(ctx context.Context, t target, conns int, duration time.Duration) (s sample, took time.Duration, err error) {
	if err := os.WriteFile(l.body(), []byte(t.work.body), 0o600); err != nil {
		return sample{}, 0, err
	}
	for attempt := 1; ; attempt++ {
		first, err := allocated(ctx, t.process)
		if err != nil {
			return sample{}, 0, err
		}
		before, err := allocated(ctx, t.process)
		if err != nil {
			return sample{}, 0, err
		}
		out, err := l.interrupted(ctx, t, conns, duration)
		if err != nil {
			return sample{}, 0, err
		}
		after, err := allocated(ctx, t.process)
		if err != nil {
			return sample{}, 0, err
		}
		s, requests, err := parseWrk(out)
		enough := err == nil && requests >= float64(2*conns)
		if enough || attempt == maxAttempts && err == nil {
			asking := before - first // what reading the metrics allocates itself
			s.garbage = max(after-before-asking, 0) / requests
			return s, duration, nil
		}
		if attempt == maxAttempts || err != nil && !errors.Is(err, errNothing) {
			return sample{}, 0, fmt.Errorf("%s of wrk: %w", duration, err)
		}
		duration *= 2
	}
}

// interrupted runs wrk for that long and returns what it printed.
func (l *loader) interrupted(ctx context.Context, t target, conns int, duration time.Duration) ([]byte, error) {
	timed, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	cmd := exec.CommandContext(timed, l.wrk, "--threads", strconv.Itoa(min(conns, 2)), "--connections", strconv.Itoa(conns),
		"--duration", "1h", "--timeout", "1m", "--script", l.script(), t.process.URL(t.paths[0]))
	cmd.Env = append(os.Environ(), "BENCH_BODY="+l.body(), "BENCH_PATHS="+strings.Join(t.paths, " "))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 15 * time.Second
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case timed.Err() == nil:
		return nil, fmt.Errorf("wrk ended early (%v): %s", err, stderr.String())
	}
	return out.Bytes(), nil
}

// errNothing says that wrk had no time to measure.
var errNothing = errors.New("no request was answered")

// parseWrk reads the line that wrk.lua prints, which is the last.
func parseWrk(out []byte) (s sample, requests float64, err error) {
	if len(out) == 0 {
		return sample{}, 0, errNothing
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var got struct{ Requests, Duration, P50, P99, Errors int64 }
	if err := json.Unmarshal(lines[len(lines)-1], &got); err != nil {
		return sample{}, 0, fmt.Errorf("reading what wrk printed: %w: %q", err, out)
	}
	if got.Errors > 0 {
		return sample{}, 0, fmt.Errorf("%d of %d requests were not answered as they should be", got.Errors, got.Requests)
	}
	if got.Requests == 0 || got.Duration == 0 {
		return sample{}, 0, errNothing
	}
	return sample{
		perSecond: float64(got.Requests) / (time.Duration(got.Duration) * time.Microsecond).Seconds(),
		p50:       time.Duration(got.P50) * time.Microsecond,
		p99:       time.Duration(got.P99) * time.Microsecond,
	}, float64(got.Requests), nil
}
