// Command density measures a Caddy with very many functions in one folder, all of them
// different: 10,000 by default, 100 of them in Go. How long does it take to start,
// with their code in the cache; how much memory do they take as long as nobody calls
// them; how long does each take to answer for the first time; does the memory come
// back after that; and is one of them slower for the others being there?
//
//	go run ./bench/density -dir /var/tmp/density          # the first run compiles them all: ten minutes and 3 GB of disk
//	go run ./bench/density -dir /var/tmp/density          # the others take a few minutes
//	go run ./bench/density -functions 100 -go 0           # does everything still work?
//	go run ./bench/density -o bench/results/density.md -docs
//
// What misses its target is printed in bold. With -strict that is an error; on a machine
// that does other things too it need not be the engine's fault. It needs Linux, wrk, and
// one of the toolchains of C, Rust and Zig; and bubblewrap for the comparison with
// containers.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

// options are the command line.
type options struct {
	functions, inGo int
	dir             string
	rounds          int
	duration        time.Duration
	out             string
	docs, strict    bool
	profiles        string
}

func main() {
	var o options
	flag.IntVar(&o.functions, "functions", 10_000, "how many functions there are")
	flag.IntVar(&o.inGo, "go", 100, "how many of them are written in Go")
	flag.StringVar(&o.dir, "dir", "", "keep the functions and their compiled code in this `folder`; by default they are made anew")
	flag.IntVar(&o.rounds, "rounds", 5, "start Caddy, and measure throughput, this many times; the median counts")
	flag.DurationVar(&o.duration, "duration", 2*time.Second, "how long one measurement of throughput takes, in whole seconds")
	flag.StringVar(&o.out, "o", "", "write the report to this `file` too; in a folder it is named by date and processor")
	flag.BoolVar(&o.docs, "docs", false, "write the figures to docs/benchmarks.md and the picture beside it too")
	flag.BoolVar(&o.strict, "strict", false, "fail if a target is missed")
	flag.StringVar(&o.profiles, "profiles", "", "write profiles into this `folder`: the processor's time of a start, and the heap thereafter")
	flag.Parse()
	if flag.NArg() > 0 || o.functions < 1 || o.inGo < 0 || o.inGo > o.functions || o.rounds < 1 || o.duration < time.Second {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "density:", err)
		os.Exit(1)
	}
}

// A bench is what a run is made with.
type bench struct {
	options
	scratch string // a folder that is removed at the end
	binary  string // Caddy
	wrk     string
	folder  *folder // all functions
	single  *folder // one of them
}

// run measures everything and prints the report.
func run(ctx context.Context, o options) error {
	b := &bench{options: o}
	end, err := b.prepare(ctx)
	defer end()
	if err != nil {
		return err
	}
	r, err := b.measure(ctx)
	if err != nil {
		return err
	}
	fmt.Print("\n", r.markdown())
	if o.docs {
		if err := writeDocs("docs", r, time.Now()); err != nil {
			return err
		}
	}
	if err := report.Record(o.out, "density", r.markdown()); err != nil {
		return err
	}
	if o.strict && strings.Contains(r.markdown(), "**") {
		return errors.New("a target was missed")
	}
	return nil
}

// prepare makes everything that is needed. end, which is never nil, removes it.
func (b *bench) prepare(ctx context.Context) (end func(), err error) {
	end = func() {}
	if _, err := os.Stat("cmd/gojinn"); err != nil {
		return end, errors.New("run it in the root of the repository: go run ./bench/density")
	}
	if b.wrk, err = exec.LookPath("wrk"); err != nil {
		return end, errors.New("wrk, the load generator, is not installed: apt install wrk, brew install wrk, or https://github.com/wg/wrk")
	}
	if b.scratch, err = os.MkdirTemp("", "gojinn-density-"); err != nil {
		return end, err
	}
	end = func() { os.RemoveAll(b.scratch) }
	if b.dir == "" {
		b.dir = filepath.Join(b.scratch, "density")
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return end, err
	}
	progress("building")
	if b.binary, err = buildCaddy(ctx, b.scratch); err != nil {
		return end, err
	}
	if b.folder, err = makeFolder(ctx, filepath.Join(b.dir, "functions"), b.scratch, b.functions, b.inGo); err != nil {
		return end, err
	}
	if b.single, err = makeFolder(ctx, filepath.Join(b.dir, "one"), b.scratch, 1, 0); err != nil {
		return end, err
	}
	return end, b.fill(ctx)
}

// progress tells whoever waits what is being done.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
