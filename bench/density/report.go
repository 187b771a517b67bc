package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/internal/process"
)

// The targets for 10,000 functions. A smaller run has the same.
const (
	maxStart = 5.0   // seconds to the first answer
	maxIdle  = 100e6 // bytes more than Caddy alone
	maxLeft  = 20e6  // bytes more than before all have been called
	minRate  = 0.9   // of the requests that a function answers alone
)

// memory is a server's, as it is, and without what its heap keeps free.
type memory struct{ asIs, bare process.Weight }

// results are what one run found.
type results struct {
	machine report.Machine
	options
	bytes int64 // of the modules
	notes []string

	startAlone, start report.Spread // seconds
	alone, idle       memory
	peak, after       memory // bare is not known of the peak
	container         process.Weight
	series            int // of metrics
	cold              map[string][]float64
	allAnswered       time.Duration
	mostLoaded        float64
	rateOne, rateMany report.Spread // requests per second
	rateRatio         report.Spread
}

func (r *results) markdown() string {
	return fmt.Sprintf("# %s\n\n%s, %s", r.machine, time.Now().Format("2 January 2006"), r.body("##", ""))
}

// target is a figure, in bold if it misses its target.
func target(text string, met bool) string {
	if met {
		return text
	}
	return "**" + text + "**"
}

// body are all tables, with headings of that level. pictures is the folder of the
// chart, as the text is to name it; "" for none.
func (r *results) body(heading, pictures string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s functions in one folder, %d of them in Go, the others in C, Rust and Zig, all of them different: %s of modules.\n",
		thousands(r.functions), r.inGo, report.Bytes(float64(r.bytes)))
	fmt.Fprintf(&b, "\n%s Start and throughput\n\n| | %s functions | none, or one | target |\n|---|--:|--:|--:|\n", heading, thousands(r.functions))
	fmt.Fprintf(&b, "| from starting Caddy to the first answer, with a warm code cache, s | %s | %s | at most %s |\n",
		target(r.start.String(), r.start.Median <= maxStart), r.startAlone, report.Number(maxStart))
	fmt.Fprintf(&b, "| requests/s of one function, 16 connections | %s | %s | |\n", r.rateMany, r.rateOne)
	fmt.Fprintf(&b, "| … as a ratio | %s | 1 | at least %s |\n", target(r.rateRatio.String(), r.rateRatio.Median >= minRate), report.Number(minRate))
	fmt.Fprintf(&b, "| series of metrics | %d | | |\n", r.series)
	r.memoryTable(&b, heading, pictures)
	r.coldTable(&b, heading)
	if len(r.notes) > 0 {
		fmt.Fprintf(&b, "\n* %s\n", strings.Join(r.notes, "\n* "))
	}
	return b.String()
}

func (r *results) memoryTable(b *strings.Builder, heading, pictures string) {
	fmt.Fprintf(b, "\n%s Memory of many functions\n\n", heading)
	if pictures != "" {
		fmt.Fprintf(b, "![%s](%s/density.svg)\n\n", r.chart().Title, pictures)
	}
	b.WriteString("| Caddy's memory | resident | share | resident, free heap given back | share | more than alone | target |\n|---|--:|--:|--:|--:|--:|--:|\n")
	row := func(what string, m memory, more, goal string) {
		bare := []string{"", ""}
		if m.bare.RSS > 0 {
			bare = []string{report.Bytes(m.bare.RSS), report.Bytes(m.bare.PSS)}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s | %s |\n", what, report.Bytes(m.asIs.RSS), report.Bytes(m.asIs.PSS), bare[0], bare[1], more, goal)
	}
	more, left := r.idle.bare.More(r.alone.bare).RSS, r.after.bare.More(r.idle.bare).RSS
	row("alone", r.alone, "", "")
	row("started, nothing called", r.idle, target(report.Bytes(more), more <= maxIdle), "at most "+report.Bytes(maxIdle))
	row(fmt.Sprintf("at most, while all are called once; %.0f were loaded then", r.mostLoaded), r.peak, report.Bytes(r.peak.asIs.More(r.alone.asIs).RSS), "")
	row("all unloaded again", r.after, target(report.Bytes(r.after.bare.More(r.alone.bare).RSS), left <= maxLeft), "at most "+report.Bytes(maxLeft)+" more than before")
	fmt.Fprintf(b, "\nOne container with a Go server that does the same work has %s resident, %s as its share of %d: %s of them would have %s.\n",
		report.Bytes(r.container.RSS), report.Bytes(r.container.PSS), containers, thousands(r.functions), report.Bytes(r.container.PSS*float64(r.functions)))
}

func (r *results) coldTable(b *strings.Builder, heading string) {
	fmt.Fprintf(b, "\n%s The first answer of each\n\n| one after the other, code fetched from the cache | functions | p50, ms | p99, ms | most, ms |\n|---|--:|--:|--:|--:|\n", heading)
	for _, l := range append(slices.Clone(smallLanguages), goLanguage) {
		if times := r.cold[l.name]; len(times) > 0 {
			fmt.Fprintf(b, "| %s | %d | %s | %s | %s |\n", l.name, len(times), report.Number(1000*quantile(times, 0.5)),
				report.Number(1000*quantile(times, 0.99)), report.Number(1000*slices.Max(times)))
		}
	}
	fmt.Fprintf(b, "\nAll of them took %s. Each answered with what only it answers.\n", report.Short(r.allAnswered))
}

// chart is the picture of the memory.
func (r *results) chart() report.Chart {
	c := report.Chart{
		Title:  fmt.Sprintf("Resident memory of Caddy with %s functions", thousands(r.functions)),
		Unit:   "MB, free heap given back but at the peak; the line is the target",
		Series: []string{"resident"},
		Mark:   (r.alone.bare.RSS + maxIdle) / 1e6,
	}
	for _, row := range []struct {
		name string
		w    process.Weight
	}{
		{"Caddy alone", r.alone.bare}, {"started, nothing called", r.idle.bare},
		{"at most, all called once", r.peak.asIs}, {"all unloaded again", r.after.bare},
	} {
		c.Rows = append(c.Rows, report.Row{Name: row.name, Values: []report.Spread{report.SpreadOf([]float64{row.w.RSS / 1e6})}})
	}
	return c
}

// thousands writes a number with commas.
func thousands(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// The figures in docs/benchmarks.md stand between these lines.
const (
	figuresBegin = "<!-- density: written by go run ./bench/density -docs -->\n"
	figuresEnd   = "<!-- end of density -->\n"
)

// writeDocs puts the figures into benchmarks.md of that folder and their picture into
// benchmarks.
func writeDocs(dir string, r *results, at time.Time) error {
	path := filepath.Join(dir, "benchmarks.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), figuresBegin)
	_, after, closed := strings.Cut(rest, figuresEnd)
	if !ok || !closed {
		return fmt.Errorf("%s: %w", path, errors.New("there is no place for figures"))
	}
	figures := fmt.Sprintf("%s, on %s. %s", r.machine, at.Format("2 January 2006"), r.body("###", "benchmarks"))
	if err := os.WriteFile(filepath.Join(dir, "benchmarks", "density.svg"), r.chart().SVG(), 0o644); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(before+figuresBegin+"\n"+figures+"\n"+figuresEnd+after), 0o644)
}
