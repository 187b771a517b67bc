// Command fairness measures how much of a processor a function gets, and how long its
// calls take, beside another one that takes all it can get: with as many calls at once as
// it may have, and more waiting. Every row measures the function alone and
// beside the other, round after round, so that what a noisy machine does to one it does
// to both; once with all processors and once with GOMAXPROCS=1.
//
//	go run ./bench/fairness                     # about five minutes
//	go run ./bench/fairness -o bench/results    # and record it
//	go run ./bench/fairness -rounds 1 -duration 100ms
//
// What misses its bound is printed in bold. With -strict that is an error; on a machine that
// does other things too it need not be the engine's fault.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

// The bounds: what is left to a function beside another.
const (
	minShare = 0.4                   // of its calls per second
	maxDelay = 10 * time.Millisecond // more, for 99 in 100 of its calls
)

func main() {
	rounds := flag.Int("rounds", 5, "how often everything is measured")
	duration := flag.Duration("duration", 800*time.Millisecond, "how long each time")
	out := flag.String("o", "", "write the report to this `file` too; in a folder it is named by date and processor")
	strict := flag.Bool("strict", false, "fail if a bound is missed")
	only := flag.String("only", "", "the rows whose names match this `regexp`: 'small beside greedy'")
	child := flag.Bool("child", false, "measure with the GOMAXPROCS of the environment and print one table")
	flag.Parse()
	wanted, err := regexp.Compile(*only)
	if err != nil || flag.NArg() > 0 || *rounds <= 0 || *duration <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *child {
		err = printTable(ctx, wanted, *rounds, *duration)
	} else {
		err = printReport(ctx, *only, *rounds, *duration, *out, *strict)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "fairness:", err)
		os.Exit(1)
	}
}

// printReport measures in processes of their own.
func printReport(ctx context.Context, only string, rounds int, duration time.Duration, out string, strict bool) error {
	head := fmt.Sprintf("Medians of %d rounds of %s each; bounds: %.0f %% of the calls, 99 in 100 within %s more.",
		rounds, duration, 100*minShare, maxDelay)
	return report.Children(ctx, "fairness", head, out, strict,
		"-child", "-only", only, "-rounds", strconv.Itoa(rounds), "-duration", duration.String())
}

// printTable measures every small function beside every greedy one, a row for each.
func printTable(ctx context.Context, only *regexp.Regexp, rounds int, duration time.Duration) error {
	m, err := newMeter(duration)
	if err != nil {
		return err
	}
	defer m.close()
	fmt.Println("| a call of the function computes | callers | beside it, calls compute | calls/s alone | beside | share | median alone | beside | 99 in 100 alone | beside |")
	fmt.Println("|---|--:|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, small := range smallLoads {
		for _, greedy := range greedyLoads {
			if !only.MatchString(small.name + " beside " + greedy.name) {
				continue
			}
			r, err := m.measure(ctx, small, greedy, rounds)
			if err != nil {
				return fmt.Errorf("%s beside %s: %w", small.name, greedy.name, err)
			}
			fmt.Printf("| %s | %d | %s | %s |\n", small.name, small.callers, greedy.name, r.cells())
		}
	}
	return nil
}

func (r row) cells() string {
	share, last := fmt.Sprintf("%.2f", r.share), report.Short(r.beside.last)
	if r.share < minShare {
		share = "**" + share + "**"
	}
	if r.beside.last > r.alone.last+maxDelay {
		last = "**" + last + "**"
	}
	return strings.Join([]string{report.Number(r.alone.rate), report.Number(r.beside.rate), share,
		report.Short(r.alone.median), report.Short(r.beside.median), report.Short(r.alone.last), last}, " | ")
}
