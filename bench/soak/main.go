// Command soak answers a great many calls in sandboxes that are taken back
// after each, ends them in every way there is, and looks for the slightest
// difference: every sandbox is compared, by a digest of its memory, globals and
// descriptors, with what it was, and every answer with that of a sandbox made
// for it. It fails if anything differs, and shows whether memory stays level.
//
//	go run ./bench/soak                      # a million calls, about twenty minutes on two processors
//	go run ./bench/soak -calls 2000          # does it still work?
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

func main() {
	calls := flag.Int("calls", 1_000_000, "how many calls to answer")
	out := flag.String("o", "", "write the report to this `file` too; in a folder it is named by date and processor")
	flag.Parse()
	if flag.NArg() > 0 || *calls < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *calls, *out); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, calls int, out string) error {
	s, err := newSoak(ctx, "examples")
	if err != nil {
		return err
	}
	defer s.close()
	start := time.Now()
	if err := s.run(ctx, calls, progress); err != nil {
		return err
	}
	text := fmt.Sprintf("# Soak: %s\n\n%s in %s\n\n%s", report.ThisMachine(), time.Now().Format(time.DateOnly),
		time.Since(start).Round(time.Second), s.markdown())
	fmt.Print(text)
	if err := report.Record(out, "soak", text); err != nil {
		return err
	}
	return s.verdict()
}

// progress tells whoever waits how far it is.
func progress(done, calls int, resident int64) {
	fmt.Fprintf(os.Stderr, "%d of %d calls, %d MiB resident\n", done, calls, resident>>20)
}
