// Command churn keeps a server changing while it is used, and kills it. It fails
// if any request is answered otherwise than by its function and a version of it that was there, if a server does
// not start cleanly after it has been killed, or if anything is left of what was before.
//
//	go run ./bench/churn                                # 1,000 reloads, 1,000 swaps, 200 kills: about ten minutes
//	go run ./bench/churn -reloads 20 -swaps 20 -kill 5  # does it still work?
//	go run ./bench/churn -kill 200 -reloads 0           # only kills
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/internal/churn"
)

func main() {
	reloads := flag.Int("reloads", 1000, "how often to reload the configuration, in each of five ways; 0: neither reload nor swap")
	swaps := flag.Int("swaps", 1000, "how many modules to swap, in each of two ways")
	kills := flag.Int("kill", 200, "how often to kill the server")
	functions := flag.Int("functions", 8, "how many functions it has")
	binary := flag.String("binary", "", "the server's `file`; default: cmd/gojinn is built")
	out := flag.String("o", "", "write the report to this `file` too; in a folder it is named by date and processor")
	flag.Parse()
	if flag.NArg() > 0 || *reloads < 0 || *swaps < 0 || *kills < 0 || *functions < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	c := churn.Changes{Functions: *functions, Size: 40, Reloads: *reloads, Swaps: *swaps, Clients: 8, Still: min(50, 5+*reloads/4), Settle: 2 * time.Minute}
	k := churn.Kills{Functions: *functions, Size: 60, Kills: *kills, Clients: 4, Latest: time.Second, Cache: "2MiB"}
	if err := run(ctx, *binary, c, k, *out); err != nil {
		fmt.Fprintln(os.Stderr, "churn:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, binary string, c churn.Changes, k churn.Kills, out string) error {
	dir, err := os.MkdirTemp("", "gojinn-churn-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if binary == "" {
		binary = filepath.Join(dir, "gojinn")
		build := exec.CommandContext(ctx, "go", "build", "-tags", "nobadger,nomysql,nopgx", "-o", binary, "./cmd/gojinn")
		build.Stderr = os.Stderr
		if err := build.Run(); err != nil {
			return fmt.Errorf("building cmd/gojinn: %w", err)
		}
	}
	var text strings.Builder
	fmt.Fprintf(&text, "# Churn: %s\n\n%s\n", report.ThisMachine(), time.Now().Format(time.DateOnly))
	var verdict error
	if c.Reloads > 0 {
		phases, err := c.Run(ctx, churn.Binary{Path: binary}, filepath.Join(dir, "changes"), progress)
		if err != nil {
			return err
		}
		verdict = writeChanges(&text, c, phases)
	}
	if k.Kills > 0 {
		s, err := k.Run(ctx, churn.Binary{Path: binary}, filepath.Join(dir, "kills"), func(done int) {
			if done%20 == 0 {
				progress(fmt.Sprintf("%d of %d kills", done, k.Kills))
			}
		})
		if err != nil {
			return err
		}
		writeKills(&text, k, s)
	}
	fmt.Print(text.String())
	if err := report.Record(out, "churn", text.String()); err != nil {
		return err
	}
	return verdict
}

// progress tells whoever waits how far it is.
func progress(what string) { fmt.Fprintln(os.Stderr, what) }

// writeChanges writes a table of the phases. The error is what went otherwise than it should.
func writeChanges(b *strings.Builder, c churn.Changes, phases []churn.Phase) (verdict error) {
	fmt.Fprintf(b, "\n## Changes\n\n%d functions, half of them in a folder; %d clients, half of which keep their connections.\n\n", c.Functions, c.Clients)
	b.WriteString("| what | over | took | requests answered | connections lost | closed while idle | **failed** |\n|---|---|--:|--:|--:|--:|--:|\n")
	for _, p := range phases {
		lost := fmt.Sprint(p.Lost)
		for _, why := range slices.Sorted(maps.Keys(p.Losses)) {
			lost += fmt.Sprintf("; %s: %d", why, p.Losses[why])
		}
		fmt.Fprintf(b, "| %s | %s | %s | %d | %s | %d | **%d** |\n", name(p), p.Network, report.Short(p.Took), p.Answered, lost, p.Resent, p.Failed)
	}
	b.WriteString("\n| what | | goroutines | descriptors | mappings | resident | programs loaded | compiled |\n|---|---|--:|--:|--:|--:|--:|--:|\n")
	for _, p := range phases {
		for i, f := range []churn.Figures{p.Before, p.Most, p.After} {
			fmt.Fprintf(b, "| %s, %s | %s | %d | %d | %d | %s | %d | %d |\n", p.Name, p.Network, [...]string{"before", "most", "after"}[i],
				f.Goroutines, f.Descriptors, f.Mappings, report.Bytes(float64(f.Resident)), f.Loaded, f.Compiled)
		}
		verdict = errors.Join(verdict, p.Verdict())
	}
	if verdict != nil {
		fmt.Fprintf(b, "\n**%s**\n", verdict)
	}
	return verdict
}

func name(p churn.Phase) string {
	name := p.Name
	if p.Reloads > 0 {
		name = fmt.Sprintf("%d %s", p.Reloads, name)
	}
	if p.Swapped > 0 {
		name = fmt.Sprintf("%s (%d swaps)", name, p.Swapped)
	}
	return name
}

func writeKills(b *strings.Builder, k churn.Kills, s churn.Survival) {
	fmt.Fprintf(b, "\n## Kills\n\n%d kills in %s, %d of them before everything had been compiled. %d requests were answered, all by the version that they should be.\n",
		s.Kills, s.Took.Round(time.Second), s.Early, s.Answered)
	fmt.Fprintf(b, "\n%d files of the code cache were damaged in between; the log told of %d (a process tells at most once a minute).\n", s.Damaged, s.Noticed)
	fmt.Fprintf(b, "\nAt the end the cache, which may have %s, had %d files of together %s. Of unfinished work there were at most %d at a time, at the end %d.\n",
		k.Cache, s.Files, report.Bytes(float64(s.Bytes)), s.MostLeft, s.Left)
}
