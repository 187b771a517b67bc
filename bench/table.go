package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

// results are what one run found.
type results struct {
	machine  report.Machine
	rounds   int
	duration time.Duration
	load     []loadRow
	metering []meteringRow
	notes    []string
}

// markdown is the report as it is printed and recorded.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\nMedian of %s of %s for each target and load; the load generator ran on the same machine.\n\n",
		r.machine, plural(r.rounds, "interleaved round"), r.duration)
	fmt.Fprintf(&b, "| POST of %d bytes over loopback |", len(requestBody))
	for _, n := range connections {
		fmt.Fprintf(&b, " %s: requests/s | p50 | p99 | × proxy |", plural(n, "connection"))
	}
	b.WriteString("\n|---|" + strings.Repeat("--:|--:|--:|--:|", len(connections)) + "\n")
	for _, row := range r.load {
		fmt.Fprintf(&b, "| %s |", row.target.name)
		for i, s := range row.samples {
			fmt.Fprintf(&b, " %.0f | %s | %s | %s |", s.perSecond, report.Short(s.p50), report.Short(s.p99), r.beside(row.target, i, s))
		}
		b.WriteString("\n")
	}
	if len(r.metering) > 0 {
		b.WriteString("\n| metering, processor time of a call | metered | unmetered | ratio | at most |\n|---|--:|--:|--:|--:|\n")
		for _, m := range r.metering {
			fmt.Fprintf(&b, "| %s | %s | %s | %.3f | %.2f |\n", m.work, report.Short(m.metered), report.Short(m.off), m.ratio, m.atMost)
		}
	}
	if len(r.notes) > 0 {
		b.WriteString("\n* " + strings.Join(r.notes, "\n* ") + "\n")
	}
	return b.String()
}

// beside says how many times the requests of the proxy with the same work a
// target answers, under the load of that index.
func (r *results) beside(t target, load int, s sample) string {
	for _, row := range r.load {
		if t.work != "" && row.target.work == t.work && strings.Contains(row.target.name, "reverse_proxy") {
			return fmt.Sprintf("%.2f", s.perSecond/row.samples[load].perSecond)
		}
	}
	return ""
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
