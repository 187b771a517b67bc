// Command languages measures programs in interpreted languages, each request in a sandbox of its own
// that begins where the interpreter has started, beside the same files in the servers that their
// authors would run behind Caddy: gunicorn, puma and node by reverse_proxy, php-fpm by php_fastcgi, with as many
// processes as there are processors. Caddy, the servers and the load generator share the processors of one machine.
//
// Rounds are interleaved: every round measures every row once, in another order. Reported are the medians over
// the rounds and, of the ratios within a round, the extremes too.
//
//	eval "$(.ci/install-interpreters)"                     # or GOJINN_TEST_PYTHON=python.wasm and so on
//	apt install python3-flask gunicorn puma ruby-rack nodejs php-fpm
//	go run ./bench/languages                               # about five minutes
//	go run ./bench/languages -o bench/results/languages.md # and record it
//	go run ./bench/languages -rounds 1 -duration 300ms -calls 0 # does everything still work?
//
// A language whose interpreter is missing is left out, and so is a server that is not installed; the
// report says so. What misses its bound is printed in bold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

// options are the command line.
type options struct {
	rounds   int
	duration time.Duration
	calls    int
	only     *regexp.Regexp
	profiles string
	out      string
	strict   bool
}

func main() {
	var o options
	var only string
	flag.IntVar(&o.rounds, "rounds", 5, "measure every row this many times; the median counts")
	flag.DurationVar(&o.duration, "duration", 1500*time.Millisecond, "how long one measurement takes")
	flag.IntVar(&o.calls, "calls", 30, "calls of each kind in the table of starts, which takes minutes; 0: no such table")
	flag.StringVar(&only, "only", "", "measure only the rows whose names match this regular `expression`")
	flag.StringVar(&o.profiles, "profiles", "", "write profiles of Caddy's processor time to this `folder`, one for each function under load")
	flag.StringVar(&o.out, "o", "", "write the report to this `file` too; in a folder it is named by date and processor")
	flag.BoolVar(&o.strict, "strict", false, "fail if a bound is missed")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(only); err != nil || flag.NArg() > 0 || o.rounds < 1 || o.calls < 0 || o.duration <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "languages:", err)
		os.Exit(1)
	}
}

// run measures everything and prints the report.
func run(ctx context.Context, o options) error {
	if _, err := os.Stat("cmd/gojinn"); err != nil {
		return errors.New("run it in the root of the repository: go run ./bench/languages")
	}
	dir, err := os.MkdirTemp("", "gojinn-languages-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	s, err := startSite(ctx, dir, o.only)
	defer s.stop()
	if err != nil {
		return err
	}
	r := &results{machine: report.ThisMachine(), rounds: o.rounds, duration: o.duration, calls: o.calls, load: loadAverage(), notes: s.notes}
	if r.rows, err = measure(ctx, s, o); err != nil {
		return err
	}
	if o.profiles != "" {
		if err := profile(ctx, s, o.profiles); err != nil {
			return err
		}
	}
	if o.calls > 0 {
		s.stop() // what follows shares the processors with nobody
		if r.starts, err = measureStarts(ctx, s, o.calls); err != nil {
			return err
		}
	}
	text := r.markdown()
	fmt.Print(text)
	if err := report.Record(o.out, "languages", text); err != nil {
		return err
	}
	if o.strict && r.missed() {
		return report.ErrMissed
	}
	return nil
}

// progress tells whoever waits what is being done.
func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
