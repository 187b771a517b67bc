// Command bench measures functions through Caddy over loopback, in one run
// beside what they compete with:
//
//   - respond "hello", which is Caddy alone,
//   - reverse_proxy to a Go net/http server that does the same work,
//   - the same server in a container,
//   - the same modules on plain wazero, instantiated for every request,
//   - the same functions without metering.
//
// It builds Caddy twice, starts it three times and the Go server twice, all as
// processes of their own, and loads them with wrk, one target at a time. Rounds
// are interleaved: every round measures every target once. Reported are the
// medians over the rounds and, of the ratios within a round, the extremes too,
// so that what a noisy machine does to one it does to all. Read the results as
// ratios. docs/benchmarks.md says more.
//
//	go run ./bench                                  # the full run, about fifteen minutes
//	go run ./bench -o bench/results -docs           # and record it, and put it into docs/benchmarks.md
//	go run ./bench -only '^echo: '                  # the small echo only
//	go run ./bench -rounds 1 -duration 200ms        # does everything still work?
//
// It needs wrk. Docker, Podman or bubblewrap make the container; without them
// there is none in the report.
//
// What the collector and other requests feel of hostile guests is measured by
// bench/liveness, and what functions leave to each other by bench/fairness.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

// options are the command line.
type options struct {
	rounds   int
	duration time.Duration
	calls    int
	only     *regexp.Regexp
	out      string
	docs     bool
}

func main() {
	var o options
	var only string
	flag.IntVar(&o.rounds, "rounds", 5, "measure every target this many times; the median counts")
	flag.DurationVar(&o.duration, "duration", 1200*time.Millisecond, "how long one measurement takes")
	flag.IntVar(&o.calls, "calls", 10, "calls of each kind in one round of the metering table")
	flag.StringVar(&only, "only", "", "measure only the targets whose names match this regular `expression`")
	flag.StringVar(&o.out, "o", "", "write the report to this `file` too; in a folder it is named by date and processor")
	flag.BoolVar(&o.docs, "docs", false, "write the figures, which must be all, to docs/benchmarks.md and its pictures too")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(only); err != nil || flag.NArg() > 0 || o.rounds < 1 || o.calls < 1 || o.duration <= 0 || o.docs && only != "" {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(run(ctx, o))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// run measures everything and prints the report.
func run(ctx context.Context, o options) error {
	if _, err := os.Stat("cmd/gojinn"); err != nil {
		return errors.New("run it in the root of the repository: go run ./bench")
	}
	wrk, err := findWrk()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "gojinn-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	site, err := startSite(ctx, dir)
	if err != nil {
		return err
	}
	defer site.stop()

	r := &results{machine: report.ThisMachine(), rounds: o.rounds, duration: o.duration, notes: site.notes}
	if r.load, err = measureLoad(ctx, wrk, dir, site.targets(o.only), o); err != nil {
		return err
	}
	if r.metering, err = measureMetering(ctx, site, o); err != nil {
		return err
	}
	if r.cold, err = measureCold(ctx, site); err != nil {
		return err
	}
	var notes []string
	if r.memory, notes, err = measureMemory(ctx, site, o); err != nil {
		return err
	}
	r.sizes = site.sizes()
	r.notes = slices.Concat(r.notes, notes, site.memory())
	fmt.Print("\n", r.markdown())
	if o.docs {
		if err := writeDocs("docs", r, time.Now()); err != nil {
			return err
		}
	}
	return report.Record(o.out, "", r.markdown())
}

// progress tells whoever waits what is being done.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
