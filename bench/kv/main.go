// Command kv measures the key-value store in a file beside the database it is made of: what a lone
// writer waits for, what many writers get done, and how fast is reading; of the store
// itself and through the capability, as functions use it. All take turns, round after
// round, in files in one folder, so that what a noisy machine does to one it does to all.
//
//	go run ./bench/kv                              # about three minutes
//	go run ./bench/kv -o bench/results/kv.md       # and record it
//	go run ./bench/kv -rounds 1 -duration 100ms
//
// What misses its bound is printed in bold. With -strict that is an error.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

// The bounds.
const (
	maxLone   = 1.5    // of the time that a commit of the database takes
	minMany   = 0.8    // of what the database's own batches get done
	minWrites = 5_000  // per second, durable, by many writers
	minReads  = 50_000 // per second
	maxLast   = 50 * time.Millisecond
)

const (
	writers   = 64
	readers   = 16
	valueSize = 100
	keys      = 10_000
)

func main() {
	rounds := flag.Int("rounds", 5, "how often everything is measured")
	duration := flag.Duration("duration", 2*time.Second, "how long each time")
	dir := flag.String("dir", "", "the `folder` for the databases; default: a temporary one")
	out := flag.String("o", "", "write the report to this `file` too; in a folder it is named by date and processor")
	strict := flag.Bool("strict", false, "fail if a bound is missed")
	flag.Parse()
	if flag.NArg() > 0 || *rounds <= 0 || *duration <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := printReport(ctx, *dir, *rounds, *duration, *out, *strict); err != nil {
		fmt.Fprintln(os.Stderr, "kv:", err)
		os.Exit(1)
	}
}

func printReport(ctx context.Context, dir string, rounds int, duration time.Duration, out string, strict bool) (err error) {
	temporary, err := os.MkdirTemp(dir, "gojinn-kv-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
	s, err := newSubjects(temporary)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	loads := s.loads()
	if err := measure(ctx, loads, rounds, duration); err != nil {
		return err
	}
	text := fmt.Sprintf("# Key-value store in a file: %s\n\n%s\n\n%d rounds of %s each; values of %d bytes, %d keys. Every write is on the disk before it returns.\n\n%s",
		report.ThisMachine(), time.Now().Format(time.DateOnly), rounds, duration, valueSize, keys, table(loads))
	fmt.Print(text)
	if err := report.Record(out, "kv", text); err != nil {
		return err
	}
	if strict && strings.Contains(text, "**") {
		return errors.New("a bound was missed")
	}
	return nil
}

// table has a row for each load. The ratios are of one round each, to the first load of the same kind:
// what many get done, and what one waits for, by the medians.
func table(loads []*load) string {
	var b strings.Builder
	b.WriteString("| | at once | per second | ratio | bound | median | 99 in 100 |\n|---|--:|--:|--:|--:|--:|--:|\n")
	var base *load
	for _, l := range loads {
		if base == nil || base.kind != l.kind {
			base = l
		}
		ratios := make([]float64, len(l.rates))
		for i := range l.rates {
			if ratios[i] = l.rates[i] / base.rates[i]; l.workers == 1 {
				ratios[i] = base.medians[i].Seconds() / l.medians[i].Seconds()
			}
		}
		rate, ratio := report.SpreadOf(l.rates), report.SpreadOf(ratios)
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s |\n", l.name, l.workers, mark(rate.String(), rate.Median >= l.minRate),
			mark(ratio.String(), ratio.Median >= l.minRatio), l.bound(), report.Short(report.Median(l.medians)),
			mark(report.Short(report.Median(l.lasts)), l.maxLast == 0 || report.Median(l.lasts) <= l.maxLast))
	}
	return b.String()
}

// bound says what a load has to reach.
func (l *load) bound() string {
	var bounds []string
	if l.minRatio > 0 {
		bounds = append(bounds, "ratio "+report.Number(l.minRatio))
	}
	if l.minRate > 0 {
		bounds = append(bounds, report.Number(l.minRate)+"/s")
	}
	if l.maxLast > 0 {
		bounds = append(bounds, report.Short(l.maxLast))
	}
	return strings.Join(bounds, ", ")
}

// mark is a figure, in bold if it misses its bound.
func mark(text string, met bool) string {
	if met {
		return text
	}
	return "**" + text + "**"
}
