package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// weight is how much memory a process has, in bytes: what is mapped into it, and its
// share of that, where pages that several processes have count for each in part.
type weight struct{ rss, pss float64 }

func (w weight) more(than weight) weight { return weight{w.rss - than.rss, w.pss - than.pss} }

// weightOf reads the weight of a process, which only Linux tells.
func weightOf(pid int) (weight, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return weight{}, fmt.Errorf("this system does not tell a process's memory as Linux does: %w", err)
	}
	return parseSmaps(string(text))
}

func parseSmaps(text string) (w weight, err error) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		to, ok := map[string]*float64{"Rss": &w.rss, "Pss": &w.pss}[name]
		if !ok {
			continue
		}
		kilobytes, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			return weight{}, fmt.Errorf("reading smaps_rollup: %w", err)
		}
		*to = kilobytes * 1024
	}
	if w.rss == 0 || w.pss == 0 {
		return weight{}, errors.New("reading smaps_rollup: no Rss, or no Pss")
	}
	return w, nil
}

// rest waits until a server's memory stays the same by itself and returns it.
func (s *server) rest(ctx context.Context) (weight, error) {
	return s.steady(ctx, 500*time.Millisecond, func() error { return nil })
}

// bare returns a server's memory without what its heap keeps free.
func (s *server) bare(ctx context.Context) (weight, error) {
	return s.steady(ctx, 200*time.Millisecond, func() error { return s.free(ctx) })
}

// steady reads a server's memory until several readings in a row are the same.
func (s *server) steady(ctx context.Context, pause time.Duration, prepare func() error) (last weight, err error) {
	const same, readings = 4, 60
	steady := 0
	for range readings {
		if err := prepare(); err != nil {
			return weight{}, err
		}
		now, err := weightOf(s.cmd.Process.Pid)
		if err != nil {
			return weight{}, err
		}
		if d := now.rss - last.rss; d < now.rss/200 && -d < now.rss/200 {
			steady++
		} else {
			steady = 0
		}
		last = now
		if steady == same {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return weight{}, ctx.Err()
		}
	}
	return last, nil
}

// watchPeak reads a server's memory again and again until the returned function is
// called, which returns the most there was.
func (s *server) watchPeak() (end func() weight) {
	stop := make(chan struct{})
	var peak weight
	look := func() {
		if now, err := weightOf(s.cmd.Process.Pid); err == nil && now.rss > peak.rss {
			peak = now
		}
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(250 * time.Millisecond):
				look()
			}
		}
	})
	return func() weight {
		close(stop)
		done.Wait()
		look()
		return peak
	}
}
