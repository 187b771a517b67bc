package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

// results are what one run found.
type results struct {
	machine  report.Machine
	rounds   int
	duration time.Duration
	calls    int
	load     string // of the machine before the run
	rows     []*measured
	starts   []*start
	notes    []string
}

// loadAverage is how busy the machine is: how many processes have waited for a processor in the last
// minute. "" if the system doesn't tell.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	load, _, _ := strings.Cut(string(text), " ")
	return load
}

// markdown is the report.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Interpreted languages: %s\n\n%s\n\nMedian of %d rounds of %s for each row and load, in random order; in parentheses the least and the most over the rounds. Caddy, the servers and the load generator share the processors.",
		r.machine, time.Now().Format(time.DateOnly), r.rounds, r.duration)
	if r.load != "" {
		fmt.Fprintf(&b, " Load average before: %s.", r.load)
	}
	fmt.Fprintf(&b, "\n\n## Beside native servers\n\nA POST of %d bytes. *Added* is the median latency less that of Caddy alone in the same round. *Processor time* is what Caddy and the server behind it took, with 16 connections: on a machine that others use too, what they are short of is not shared evenly among them.\n\n", len(contactBody))
	b.WriteString("| | 1 connection: p50 | added | bound | requests/s | 16 connections: × native | bound | requests/s | p50 | p99 | processor time of a request | × native |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	group := ""
	for _, m := range r.rows {
		if m.group != group {
			group = m.group
			fmt.Fprintf(&b, "| **%s** | | | | | | | | | | | |\n", group)
		}
		b.WriteString(r.line(m))
	}
	b.WriteString(r.startTable())
	if len(r.notes) > 0 {
		fmt.Fprintf(&b, "\n## Notes\n\n* %s\n", strings.Join(r.notes, "\n* "))
	}
	return b.String()
}

// line is a row of the first table.
func (r *results) line(m *measured) string {
	one, many := m.median(0), m.median(len(connections)-1)
	added, ratio := r.added(m), r.ratio(m)
	boundAdded, boundRatio, addedText, ratioText := "", "", "", ""
	if !m.alone {
		addedText = mark(millis(added), m.most == 0 || added.Median < m.most.Seconds())
	}
	if m.most > 0 {
		boundAdded = "< " + report.Short(m.most)
	}
	if ratio != nil {
		ratioText = mark(ratio.String(), ratio.Median >= m.least)
		if m.least > 0 {
			boundRatio = "≥ " + report.Number(m.least)
		}
	} else if m.base {
		ratioText = "1"
	}
	processor, beside := "", ""
	if many.processor > 0 {
		processor = report.Short(time.Duration(many.processor * float64(time.Second)))
		if base := r.base(m); base != nil && base != m {
			beside = report.Number(many.processor / base.median(len(connections)-1).processor)
		}
	}
	return fmt.Sprintf("| %s | %s | %s | %s | %.0f | %s | %s | %.0f | %s | %s | %s | %s |\n", m.label, report.Short(one.p50), addedText, boundAdded, one.perSecond,
		ratioText, boundRatio, many.perSecond, report.Short(many.p50), report.Short(many.p99), processor, beside)
}

// median is what the rounds of one load come to.
func (m *measured) median(load int) sample {
	var perSecond, processor []float64
	var p50, p99 []time.Duration
	for _, s := range m.samples[load] {
		perSecond, processor, p50, p99 = append(perSecond, s.perSecond), append(processor, s.processor), append(p50, s.p50), append(p99, s.p99)
	}
	return sample{perSecond: report.Median(perSecond), p50: report.Median(p50), p99: report.Median(p99), processor: report.Median(processor)}
}

// added is how much later than Caddy alone a row answers a lone client, in seconds.
func (r *results) added(m *measured) report.Spread {
	var added []float64
	for _, alone := range r.rows {
		if !alone.alone {
			continue
		}
		for round, s := range m.samples[0] {
			added = append(added, (s.p50 - alone.samples[0][round].p50).Seconds())
		}
	}
	return report.SpreadOf(added)
}

// ratio compares, round by round, how many requests a row answers under the most load with its
// group's server; nil if there is none.
func (r *results) ratio(m *measured) *report.Spread {
	load := len(connections) - 1
	base := r.base(m)
	if base == nil || base == m {
		return nil
	}
	var ratios []float64
	for round, s := range m.samples[load] {
		ratios = append(ratios, s.perSecond/base.samples[load][round].perSecond)
	}
	spread := report.SpreadOf(ratios)
	return &spread
}

// base is the row that a row's group is compared with, or nil.
func (r *results) base(m *measured) *measured {
	for _, base := range r.rows {
		if base.base && base.group == m.group {
			return base
		}
	}
	return nil
}

// missed tells whether a bound was.
func (r *results) missed() bool {
	for _, m := range r.rows {
		ratio := r.ratio(m)
		if ratio != nil && ratio.Median < m.least || m.most > 0 && r.added(m).Median >= m.most.Seconds() {
			return true
		}
	}
	return false
}

// startTable is the second table: what a sandbox of each program takes.
func (r *results) startTable() string {
	if len(r.starts) == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n## What a sandbox takes\n\n`gojinn function bench`, %d calls in each way, one at a time, HTTP excluded.\n\n", r.calls)
	b.WriteString("| | start | because | fresh: p50 | restored: p50 | p99 | pages a request changes | kept for a parked sandbox | linear memory | shared image | module |\n|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, s := range r.starts {
		here, fresh := s.rows["as configured"], s.rows["idle 0"]
		fmt.Fprintf(&b, "| %s, %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s |\n", s.program.language, s.program.what, s.kind, s.why,
			fresh["p50"], here["p50"], here["p99"], here["pages"], here["kept"], here["memory"], s.image, report.Bytes(s.module))
	}
	return b.String()
}

// millis is a time in seconds, and its extremes, with their unit.
func millis(s report.Spread) string { return s.Scale(1000).String() + " ms" }

// mark is a figure, in bold if it misses its bound.
func mark(text string, met bool) string {
	if met {
		return text
	}
	return "**" + text + "**"
}
