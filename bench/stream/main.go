// Command stream measures what streams cost others and the server: the latency of another function while
// clients listen to server-sent events, and how the memory of the Caddy process grows while large bodies
// pass through a function in either direction.
//
//	go run ./bench/stream                             # about five minutes
//	go run ./bench/stream -o bench/results/stream.md  # and record it
//	go run ./bench/stream -duration 1s -size 64MiB -clients 10
//
// What misses its bound is printed in bold. With -strict that is an error.
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
	"github.com/gojinn/gojinn/internal/process"
	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/units"
)

const (
	// maxGrowth is how much the process may grow, in bytes, while a body passes.
	maxGrowth = 64 << 20
	// maxMissing is which part of the events that were due may be missing: those on their way.
	maxMissing = 0.05
	// maxJoining is how long clients may take till all of them listen: each has an interpreter started.
	maxJoining = 5 * time.Minute
	// pause is how long lies between two requests of those that are measured.
	pause = 10 * time.Millisecond
)

// A source is a function whose events clients listen to.
type source struct {
	folder      string
	interpreter string // the variable that names its interpreter's module; "" for none
}

var listened = []source{{folder: "examples/events"}, {folder: "examples/events-rust"}, {folder: "examples/events-python", interpreter: "GOJINN_TEST_PYTHON"}}

// name is what the source has in tables, and its path.
func (s source) name() string { return filepath.Base(s.folder) }

// missing says whether its interpreter is not here.
func (s source) missing() bool { return s.interpreter != "" && os.Getenv(s.interpreter) == "" }

func main() {
	clients := flag.Int("clients", 100, "how many listen")
	duration := flag.Duration("duration", time.Minute, "how long they do, and how long others are measured before")
	size := flag.String("size", "5GiB", "the `size` of the large bodies")
	out := flag.String("o", "", "write the report to this `file` too; in a folder it is named by date and processor")
	strict := flag.Bool("strict", false, "fail if a bound is missed")
	flag.Parse()
	bytes, err := units.ParseSize(*size)
	if err != nil || flag.NArg() > 0 || *clients <= 0 || *duration < time.Second || bytes <= 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := &bench{clients: *clients, duration: *duration, size: int64(bytes)}
	if err := b.report(ctx, *out, *strict); err != nil {
		fmt.Fprintln(os.Stderr, "stream:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	clients  int
	duration time.Duration
	size     int64
	caddy    *process.Process
}

func (b *bench) report(ctx context.Context, out string, strict bool) (err error) {
	dir, err := os.MkdirTemp("", "gojinn-stream-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := b.start(ctx, dir); err != nil {
		return err
	}
	defer b.caddy.Stop()
	load := loadAverage()
	bodies, err := b.bodies(ctx) // first: what the others leave behind is still being freed for a while
	if err != nil {
		return err
	}
	events, err := b.events(ctx)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("# Streams: %s\n\n%s, load average %s before\n\n"+
		"%d clients listen to one event a second for %s; meanwhile another function is asked every %s, one request at a time. All run on the same cores.\n\n%s\n"+
		"A body of %s passes through a function in Go. The process's resident memory is looked at ten times a second.\n\n%s",
		report.ThisMachine(), time.Now().Format(time.DateOnly), load, b.clients, b.duration, pause, events, report.Bytes(float64(b.size)), bodies)
	fmt.Print(text)
	if err := report.Record(out, "stream", text); err != nil {
		return err
	}
	if strict && strings.Contains(text, "**") {
		return errors.New("a bound was missed")
	}
	return nil
}

// loadAverage is what the system says of the last minute.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// start builds everything and runs Caddy.
func (b *bench) start(ctx context.Context, dir string) error {
	binary := filepath.Join(dir, "caddy")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "nobadger,nomysql,nopgx", "-o", binary, "./bench/caddy")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building bench/caddy: %w", err)
	}
	address, err := process.FreeAddress()
	if err != nil {
		return err
	}
	site := ""
	serve := func(path, module, options string) {
		site += fmt.Sprintf("handle_path %s/* {\ngojinn %s {\ncontract stream\nmax_request off\nconcurrency %d queue 1000\n%s}\n}\n", path, module, b.clients+10, options)
	}
	add := func(source, path string) error {
		functions, err := toolchain.Find(source)
		if err != nil {
			return err
		}
		module := functions[0].Built
		if functions[0].Language == toolchain.Go {
			module = filepath.Join(dir, strings.ReplaceAll(path, "/", "")+".wasm")
			if err := toolchain.Build(ctx, source, module, os.Stderr); err != nil {
				return err
			}
		}
		serve(path, module, "")
		return nil
	}
	if err := add("bench/stream/guest", "/bodies"); err != nil {
		return err
	}
	for _, source := range listened {
		switch {
		case source.missing():
			fmt.Fprintf(os.Stderr, "%s is left out: %s is not set\n", source.name(), source.interpreter)
		case source.interpreter != "":
			folder, err := filepath.Abs(source.folder)
			if err != nil {
				return err
			}
			serve("/"+source.name(), os.Getenv(source.interpreter), fmt.Sprintf("args python /app/gojinn.py main\nallow dir %q /app\nmemory 256MiB\n", folder))
		default:
			if err := add(source.folder, "/"+source.name()); err != nil {
				return err
			}
		}
	}
	other := filepath.Join(dir, "other.wasm")
	if err := toolchain.Build(ctx, "bench/guests/echo-go-sdk", other, os.Stderr); err != nil {
		return err
	}
	config := fmt.Sprintf("{\nadmin off\npersist_config off\nauto_https off\nlog {\noutput discard\n}\ngojinn {\ncache_dir %s\n}\n}\nhttp://%s {\n%sgojinn /other %s\n}\n",
		filepath.Join(dir, "cache"), address, site, other)
	cmd, err := process.Caddy(binary, dir, "stream", config)
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if b.caddy, err = process.Start("Caddy", cmd); err != nil {
		return err
	}
	b.caddy.Address = address
	err = b.caddy.Await(ctx, 2*time.Minute, func() bool {
		answer, err := process.Ask(ctx, "POST", b.caddy.URL("/other"), "x")
		return err == nil && answer.Status == 200
	})
	if err != nil {
		b.caddy.Stop()
	}
	return err
}

// mark makes what misses its bound bold.
func mark(text string, met bool) string {
	if met {
		return text
	}
	return "**" + text + "**"
}
