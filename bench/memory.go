package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/internal/process"
)

// How many things are made to see what one of them takes, and how many times.
const (
	parkedSandboxes = 50
	idleFunctions   = 1000
	memoryRounds    = 3
)

// A memoryRow is what one more of something adds to Caddy, in bytes: to what is
// mapped, and to its share of that, where a page that sandboxes have in common
// counts once.
type memoryRow struct {
	what     string
	rss, pss report.Spread
}

// A crowd is a Caddy with many of something, and one without.
type crowd struct {
	what          string
	n             int
	with, without func(*config)
	ready         func(ctx context.Context, p *process.Process) error
}

// measureMemory starts Caddys with and without, in turn.
func measureMemory(ctx context.Context, s *site, o options) (rows []memoryRow, notes []string, err error) {
	for _, c := range s.crowds() {
		var rss, pss []float64
		for round := range min(o.rounds, memoryRounds) {
			progress("memory of %s, round %d", c.what, round+1)
			rss0, pss0, err := s.weigh(ctx, c.without, nil)
			if errors.Is(err, process.ErrNoProc) {
				return nil, []string{"No memory was measured: " + err.Error() + "."}, nil
			} else if err != nil {
				return nil, nil, fmt.Errorf("memory without %s: %w", c.what, err)
			}
			rss1, pss1, err := s.weigh(ctx, c.with, c.ready)
			if err != nil {
				return nil, nil, fmt.Errorf("memory of %s: %w", c.what, err)
			}
			rss, pss = append(rss, (rss1-rss0)/float64(c.n)), append(pss, (pss1-pss0)/float64(c.n))
		}
		rows = append(rows, memoryRow{c.what, report.SpreadOf(rss), report.SpreadOf(pss)})
	}
	return rows, nil, nil
}

// crowds are what is weighed: functions that nobody calls and, of each language,
// sandboxes that wait.
func (s *site) crowds() (crowds []crowd) {
	one := func(g guest, options ...string) func(*config) {
		return func(c *config) { c.function(g.name, g.file(s.dir), options...) }
	}
	for _, g := range s.guests {
		if g.name == "echo-go" {
			crowds = append(crowds, crowd{what: "an idle function, " + g.language, n: idleFunctions - 1, without: one(g), with: func(c *config) {
				for i := range idleFunctions {
					c.function(fmt.Sprintf("%s/%d", g.name, i), g.file(s.dir))
				}
			}})
		}
		if g.work == "echo" {
			crowds = append(crowds, crowd{
				what: "a parked sandbox, " + g.language, n: parkedSandboxes,
				without: one(g), with: one(g, fmt.Sprintf("warm %d", parkedSandboxes)),
				ready: func(ctx context.Context, p *process.Process) error { return awaitSandboxes(ctx, p, g.name) },
			})
		}
	}
	return crowds
}

// weigh starts a Caddy with a configuration and returns its memory when it has
// come to rest.
func (s *site) weigh(ctx context.Context, configure func(*config), ready func(context.Context, *process.Process) error) (rss, pss float64, err error) {
	address, err := process.FreeAddress()
	if err != nil {
		return 0, 0, err
	}
	admin, err := process.FreeAddress()
	if err != nil {
		return 0, 0, err
	}
	c := newConfig(s.dir, address, admin)
	configure(c)
	p, err := startCaddy(ctx, s.dir, s.binary, "weighed", address, c.text())
	if err != nil {
		return 0, 0, err
	}
	defer p.Stop()
	if ready != nil {
		if err := ready(ctx, p); err != nil {
			return 0, 0, err
		}
	}
	return settle(ctx, p, admin)
}

// settle has a Caddy collect its garbage and returns its memory as soon as that
// stays the same. A heap holds on to free memory for a while.
func settle(ctx context.Context, p *process.Process, admin string) (rss, pss float64, err error) {
	// Caddy's profiles of the heap collect garbage first.
	w, err := p.Settle(ctx, 250*time.Millisecond, func() error {
		status, _, err := get(ctx, "http://"+admin+"/debug/pprof/heap?gc=1")
		if err != nil || status != http.StatusOK {
			return fmt.Errorf("collecting garbage: status %d, %w", status, err)
		}
		return nil
	})
	return w.RSS, w.PSS, err
}

// awaitSandboxes returns when all sandboxes that warm asks for are there.
func awaitSandboxes(ctx context.Context, p *process.Process, function string) error {
	for range 600 {
		n, err := metric(ctx, p, "gojinn_sandboxes", fmt.Sprintf("function=%q", function))
		if err != nil {
			return err
		}
		if n >= parkedSandboxes {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return fmt.Errorf("%d sandboxes of %s are not there after a minute", parkedSandboxes, function)
}
