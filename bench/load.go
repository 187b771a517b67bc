package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

//go:embed wrk.lua
var wrkScript []byte

// requestBody is what every request carries: what a contact form sends.
const requestBody = `{"email":"ada@example.com","name":"Ada","message":"Is this machine for hire? I have some numbers to crunch."}`

// connections are the loads that every target gets.
var connections = []int{1, 16}

// A target is one row of the table: a URL and what must answer there.
type target struct {
	name   string
	url    string
	work   string // "echo", "contact", or "" for none
	status int
}

// A sample is what one run of wrk saw, or the medians of several.
type sample struct {
	perSecond float64
	p50, p99  time.Duration
}

// A loadRow holds a sample for each of connections.
type loadRow struct {
	target  target
	samples []sample
}

func findWrk() (string, error) {
	path, err := exec.LookPath("wrk")
	if err != nil {
		return "", errors.New("wrk, the load generator, is not installed: apt install wrk, brew install wrk, or https://github.com/wg/wrk")
	}
	return path, nil
}

// measureLoad measures all targets under all loads, in interleaved rounds.
func measureLoad(ctx context.Context, wrk, dir string, targets []target, o options) ([]loadRow, error) {
	script := filepath.Join(dir, "wrk.lua")
	if err := os.WriteFile(script, wrkScript, 0o600); err != nil {
		return nil, err
	}
	samples := make(map[string][][]sample) // by target's name, for each of connections
	for round := range o.rounds + 1 {
		duration := o.duration
		if round == 0 {
			duration = min(duration, 500*time.Millisecond) // a warm-up that does not count
		}
		for _, t := range targets {
			if round > 0 {
				progress("round %d of %d: %s", round, o.rounds, t.name)
			}
			for i, n := range connections {
				s, err := runWrk(ctx, wrk, script, t.url, n, duration)
				if err != nil {
					return nil, fmt.Errorf("loading %s with %d connections: %w", t.name, n, err)
				}
				if round > 0 {
					samples[t.name] = append(samples[t.name], make([][]sample, len(connections)-len(samples[t.name]))...)
					samples[t.name][i] = append(samples[t.name][i], s)
				}
			}
		}
	}
	var rows []loadRow
	for _, t := range targets {
		row := loadRow{target: t}
		for _, s := range samples[t.name] {
			row.samples = append(row.samples, medianSample(s))
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func medianSample(samples []sample) sample {
	var perSecond []float64
	var p50, p99 []time.Duration
	for _, s := range samples {
		perSecond, p50, p99 = append(perSecond, s.perSecond), append(p50, s.p50), append(p99, s.p99)
	}
	return sample{report.Median(perSecond), report.Median(p50), report.Median(p99)}
}

// runWrk measures one URL. wrk takes its duration in whole seconds, so it is
// interrupted when the time is up; it then reports as it does at its end. On a
// busy machine a short time can be up before wrk has begun to listen for that:
// then it is given more.
func runWrk(ctx context.Context, wrk, script, url string, conns int, duration time.Duration) (sample, error) {
	for attempt := 1; ; attempt++ {
		out, err := interruptedWrk(ctx, wrk, script, url, conns, duration)
		if err != nil {
			return sample{}, err
		}
		if len(out) > 0 {
			return parseWrk(out)
		}
		if attempt == 5 {
			return sample{}, fmt.Errorf("wrk printed nothing within %s", duration)
		}
		duration *= 2
	}
}

// interruptedWrk runs wrk for that long and returns what it printed.
func interruptedWrk(ctx context.Context, wrk, script, url string, conns int, duration time.Duration) ([]byte, error) {
	timed, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	cmd := exec.CommandContext(timed, wrk, "--threads", strconv.Itoa(min(conns, 2)), "--connections", strconv.Itoa(conns),
		"--duration", "1h", "--timeout", "10s", "--script", script, url)
	cmd.Env = append(os.Environ(), "BENCH_BODY="+requestBody)
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

// parseWrk reads the line that wrk.lua prints, which is the last.
func parseWrk(out []byte) (sample, error) {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	var got struct{ Requests, Duration, P50, P99, Errors int64 }
	if err := json.Unmarshal(lines[len(lines)-1], &got); err != nil {
		return sample{}, fmt.Errorf("reading what wrk printed: %w: %q", err, out)
	}
	if got.Errors > 0 {
		return sample{}, fmt.Errorf("%d of %d requests were not answered as they should be", got.Errors, got.Requests)
	}
	if got.Requests == 0 || got.Duration == 0 {
		return sample{}, errors.New("no request was answered")
	}
	return sample{
		perSecond: float64(got.Requests) / (time.Duration(got.Duration) * time.Microsecond).Seconds(),
		p50:       time.Duration(got.P50) * time.Microsecond,
		p99:       time.Duration(got.P99) * time.Microsecond,
	}, nil
}
