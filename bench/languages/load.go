package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gojinn/gojinn/internal/process"
)

// connections are the loads that every row gets.
var connections = []int{1, 16}

// A sample is what one run of wrk saw.
type sample struct {
	perSecond float64
	p50, p99  time.Duration
}

// A measured row has, for each of connections, a sample of every round.
type measured struct {
	row
	samples [][]sample
}

// A loader runs wrk.
type loader struct {
	wrk string // the program
	dir string // for its files
}

// pause is before each measurement: what served the one before may still collect its garbage.
const pause = 200 * time.Millisecond

// measure measures all rows under all loads.
func (l *loader) measure(ctx context.Context, s *site, o options) ([]*measured, error) {
	if err := l.prepare(); err != nil {
		return nil, err
	}
	all := make([]*measured, len(s.rows))
	for i, row := range s.rows {
		all[i] = &measured{row, make([][]sample, len(connections))}
	}
	for round := range o.rounds + 1 {
		for _, i := range rand.Perm(len(all)) {
			m := all[i]
			if round > 0 {
				progress("round %d of %d: %s", round, o.rounds, m.name())
			}
			for load, n := range connections {
				time.Sleep(pause)
				got, err := l.run(ctx, s.caddy.URL(m.path), n, o.duration)
				if err != nil {
					return nil, fmt.Errorf("loading %s with %d connections: %w", m.name(), n, err)
				}
				if round > 0 { // the first is a warm-up
					m.samples[load] = append(m.samples[load], got)
				}
			}
		}
	}
	return all, nil
}

// prepare writes what wrk reads.
func (l *loader) prepare() error {
	script, err := os.ReadFile(filepath.Join("bench", "wrk.lua"))
	if err != nil {
		return err
	}
	if err := os.WriteFile(l.file("lua"), script, 0o600); err != nil {
		return err
	}
	return os.WriteFile(l.file("body"), []byte(contactBody), 0o600)
}

func (l *loader) file(kind string) string { return filepath.Join(l.dir, "wrk."+kind) }

// attempts is how often wrk is run for a sample, each time twice as long: it tells nothing of a
// time in which a connection has had no two answers.
const attempts = 6

// run loads a URL for that long.
func (l *loader) run(ctx context.Context, url string, conns int, duration time.Duration) (sample, error) {
	for attempt := 1; ; attempt++ {
		out, err := l.interrupted(ctx, url, conns, duration)
		if err != nil {
			return sample{}, err
		}
		got, requests, err := parseWrk(out)
		if err != nil || requests >= 2*int64(conns) {
			return got, err
		}
		if attempt == attempts {
			return sample{}, fmt.Errorf("%d answers within %s", requests, duration)
		}
		duration *= 2
	}
}

// interrupted runs wrk for that long, which by itself knows whole seconds only, and returns what it
// printed.
func (l *loader) interrupted(ctx context.Context, url string, conns int, duration time.Duration) ([]byte, error) {
	timed, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	path := "/" + strings.SplitN(url, "/", 4)[3]
	cmd := exec.CommandContext(timed, l.wrk, "--threads", strconv.Itoa(min(conns, 2)), "--connections", strconv.Itoa(conns),
		"--duration", "1h", "--timeout", "1m", "--script", l.file("lua"), url)
	cmd.Env = append(os.Environ(), "BENCH_BODY="+l.file("body"), "BENCH_PATHS="+path)
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

// parseWrk reads the line that wrk.lua prints, which is the last. Of nothing, as wrk prints that is
// interrupted before it has begun, it makes no requests.
func parseWrk(out []byte) (s sample, requests int64, err error) {
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	last := lines[len(lines)-1]
	if len(last) == 0 {
		return sample{}, 0, nil
	}
	var got struct{ Requests, Duration, P50, P99, Errors int64 }
	if err := json.Unmarshal(last, &got); err != nil {
		return sample{}, 0, fmt.Errorf("reading what wrk printed: %w: %q", err, out)
	}
	if got.Errors > 0 {
		return sample{}, 0, fmt.Errorf("%d of %d requests were not answered as they should be", got.Errors, got.Requests)
	}
	if got.Requests == 0 || got.Duration == 0 {
		return sample{}, 0, nil
	}
	return sample{
		perSecond: float64(got.Requests) / (time.Duration(got.Duration) * time.Microsecond).Seconds(),
		p50:       time.Duration(got.P50) * time.Microsecond,
		p99:       time.Duration(got.P99) * time.Microsecond,
	}, got.Requests, nil
}

// profile writes a profile of Caddy under each function's load.
func (l *loader) profile(ctx context.Context, s *site, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const seconds = 5
	for _, row := range s.rows {
		if !row.function {
			continue
		}
		progress("profiling %s", row.name())
		loaded, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			_, err := l.run(loaded, s.caddy.URL(row.path), 16, (seconds+1)*time.Second)
			ended <- err
		}()
		a, err := process.Ask(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.admin, seconds), "")
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("profiling: status %d", a.Status)
		}
		if err == nil {
			err = <-ended
		}
		cancel()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, row.file()+".pprof"), []byte(a.Body), 0o644); err != nil {
			return err
		}
	}
	return nil
}
