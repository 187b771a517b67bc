// Command liveness measures what the rest of the process feels while hostile
// guests run: how long the garbage collector waits for them, how late another
// goroutine wakes, how long another function takes to answer, and by how much
// calls outlive their deadline. As many guests run at once as Go uses
// processors, so that there is none to spare; once with all processors and once
// with GOMAXPROCS=1.
//
//	go run ./bench/liveness                     # about a minute
//	go run ./bench/liveness -o bench/results    # and record it
//	go run ./bench/liveness -duration 300ms     # does everything still work?
//
// What exceeds its bound is printed in bold. With -strict that is an error; on a
// machine that does other things too it need not be the engine's fault.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

// The bounds: what a server may feel of a guest.
const (
	maxPause     = 50 * time.Millisecond // of runtime.GC
	maxOvershoot = 20 * time.Millisecond // of a deadline
)

func main() {
	timeout := flag.Duration("timeout", 200*time.Millisecond, "the deadline of every hostile call")
	duration := flag.Duration("duration", 2*time.Second, "how long each kind of guest runs, one call after the other")
	out := flag.String("o", "", "write the report to this `file` too; in a folder it is named by date and processor")
	strict := flag.Bool("strict", false, "fail if a bound is exceeded")
	child := flag.Bool("child", false, "measure with the GOMAXPROCS of the environment and print one table")
	flag.Parse()
	if flag.NArg() > 0 || *timeout <= 0 || *duration <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if *child {
		err = printTable(ctx, *timeout, *duration)
	} else {
		err = printReport(ctx, *timeout, *duration, *out, *strict)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "liveness:", err)
		os.Exit(1)
	}
}

// printReport measures in processes of their own.
func printReport(ctx context.Context, timeout, duration time.Duration, out string, strict bool) error {
	head := fmt.Sprintf("Every call has a deadline of %s; bounds: collector %s, overshoot %s.",
		timeout, maxPause, maxOvershoot)
	return report.Children(ctx, "liveness", head, out, strict,
		"-child", "-timeout", timeout.String(), "-duration", duration.String())
}

// printTable measures all guests and prints a row for each.
func printTable(ctx context.Context, timeout, duration time.Duration) error {
	m, err := newMeter(ctx, timeout, duration)
	if err != nil {
		return err
	}
	defer m.close()
	fmt.Println("| guest | calls | ended with | overshoot | collector, median | worst | a goroutine, late by | another function, median | worst |")
	fmt.Println("|---|--:|---|--:|--:|--:|--:|--:|--:|")
	for _, g := range hostileGuests() {
		r, err := m.measure(ctx, g)
		if err != nil {
			return fmt.Errorf("%s: %w", g.name, err)
		}
		fmt.Printf("| %s | %d | %s | %s | %s |\n", g.name, r.calls, r.ending, bounded(r.overshoot, maxOvershoot), r.felt.cells())
	}
	f, err := m.beside(ctx, spinInGo)
	if err != nil {
		return err
	}
	fmt.Printf("| for comparison: a loop in Go | | | | %s |\n", f.cells())
	return nil
}

func (f felt) cells() string {
	return strings.Join([]string{report.Short(f.pause), bounded(f.worstPause, maxPause), report.Short(f.late),
		report.Short(f.answer), report.Short(f.worstAnswer)}, " | ")
}

// bounded is a duration, in bold if it exceeds its bound.
func bounded(d, bound time.Duration) string {
	if d > bound {
		return "**" + report.Short(d) + "**"
	}
	return report.Short(d)
}
