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
	cold     []coldRow
	memory   []memoryRow
	sizes    []sizeRow
	metering []meteringRow
	notes    []string
}

// markdown is the report as it is printed and recorded.
func (r *results) markdown() string {
	return fmt.Sprintf("# %s\n\n%s", r.machine, r.body("##", ""))
}

// method says how the figures came about.
func (r *results) method() string {
	return fmt.Sprintf("Median of %s of %s for each target and load; in parentheses the least and the most over the rounds. The load generator ran on the same machine.",
		plural(r.rounds, "interleaved round"), r.duration)
}

// body are all tables, with headings of that level. pictures is the folder of
// the charts, as the text is to name it; "" for none.
func (r *results) body(heading, pictures string) string {
	var b strings.Builder
	b.WriteString(r.method() + "\n")
	for _, t := range r.loadTables() {
		fmt.Fprintf(&b, "\n%s %s\n\n", heading, capital(t.work.name))
		if _, ok := t.chart(); ok && pictures != "" {
			fmt.Fprintf(&b, "![%s](%s/%s.svg)\n\n", t.title(), pictures, t.file())
		}
		b.WriteString(t.markdown())
	}
	if len(r.cold) > 0 {
		fmt.Fprintf(&b, "\n%s From nothing to the first answer\n\n", heading)
		if pictures != "" {
			fmt.Fprintf(&b, "![%s](%s/cold.svg)\n\n", coldTitle, pictures)
		}
		fmt.Fprintf(&b, "| median of %d | ms |\n|---|--:|\n", coldStarts)
		for _, row := range r.cold {
			fmt.Fprintf(&b, "| %s | %s |\n", row.what, row.took.Scale(1000))
		}
	}
	if len(r.memory) > 0 {
		fmt.Fprintf(&b, "\n%s Memory\n\n| one more of | resident, kB | share, kB |\n|---|--:|--:|\n", heading)
		for _, row := range r.memory {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", row.what, row.rss.Scale(1e-3), row.pss.Scale(1e-3))
		}
	}
	if len(r.sizes) > 0 {
		fmt.Fprintf(&b, "\n%s Size of what is deployed\n\n| | bytes |\n|---|--:|\n", heading)
		for _, row := range r.sizes {
			fmt.Fprintf(&b, "| %s | %s |\n", row.what, report.Bytes(row.bytes))
		}
	}
	if len(r.metering) > 0 {
		fmt.Fprintf(&b, "\n%s Metering\n\n| processor time of a call | metered | unmetered | ratio | at most |\n|---|--:|--:|--:|--:|\n", heading)
		for _, m := range r.metering {
			fmt.Fprintf(&b, "| %s | %s | %s | %.3f | %.2f |\n", m.work, report.Short(m.metered), report.Short(m.off), m.ratio, m.atMost)
		}
	}
	if len(r.notes) > 0 {
		fmt.Fprintf(&b, "\n%s Notes\n\n* %s\n", heading, strings.Join(r.notes, "\n* "))
	}
	return b.String()
}

// A loadTable holds the rows of one work.
type loadTable struct {
	work  work
	rows  []loadRow
	proxy *loadRow // what the rows are compared with; nil if it was not measured
}

// loadTables are the rows measured, by their work, in order.
func (r *results) loadTables() (tables []*loadTable) {
	for _, row := range r.load {
		if n := len(tables); n == 0 || tables[n-1].work.name != row.target.work.name {
			tables = append(tables, &loadTable{work: row.target.work})
		}
		t := tables[len(tables)-1]
		t.rows = append(t.rows, row)
		if row.target.proxy {
			t.proxy = &row
		}
	}
	return tables
}

func (t *loadTable) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| POST of %s |", plural(len(t.work.body), "byte"))
	for _, n := range connections {
		fmt.Fprintf(&b, " %s: × proxy | requests/s | p50 | p99 |", plural(n, "connection"))
	}
	b.WriteString(" garbage/request |\n|---|" + strings.Repeat("--:|--:|--:|--:|", len(connections)) + "--:|\n")
	for _, row := range t.rows {
		fmt.Fprintf(&b, "| %s |", row.target.label)
		for i := range connections {
			s := row.median(i)
			fmt.Fprintf(&b, " %s | %.0f | %s | %s |", t.ratio(row, i), s.perSecond, report.Short(s.p50), report.Short(s.p99))
		}
		// Under the most load: reading the metrics makes garbage too.
		fmt.Fprintf(&b, " %s |\n", report.Bytes(row.median(len(connections)-1).garbage))
	}
	return b.String()
}

// ratio says how many times the requests of the proxy a target answers.
func (t *loadTable) ratio(row loadRow, load int) string {
	switch {
	case t.proxy == nil:
		return ""
	case row.target.proxy:
		return "1"
	}
	return row.beside(*t.proxy, load).String()
}

func (t *loadTable) title() string {
	return capital(t.work.name) + ": requests per second, as multiples of the proxied Go server's"
}

// file names the table's picture.
func (t *loadTable) file() string { return strings.ReplaceAll(strings.ToLower(t.work.name), " ", "-") }

// chart is the table as a picture; ok is false if there is nothing to compare
// with.
func (t *loadTable) chart() (chart report.Chart, ok bool) {
	if t.proxy == nil {
		return chart, false
	}
	chart = report.Chart{Title: t.title(), Unit: "× proxy", Mark: 1}
	for _, n := range connections {
		chart.Series = append(chart.Series, plural(n, "connection"))
	}
	for _, row := range t.rows {
		bars := report.Row{Name: strings.ReplaceAll(row.target.label, "`", "")}
		for i := range connections {
			bars.Values = append(bars.Values, row.beside(*t.proxy, i))
		}
		chart.Rows = append(chart.Rows, bars)
	}
	return chart, true
}

const coldTitle = "From nothing to the first answer"

// coldChart is the table of cold starts as a picture.
func (r *results) coldChart() (chart report.Chart, ok bool) {
	chart = report.Chart{Title: coldTitle, Unit: "ms", Series: []string{""}}
	for _, row := range r.cold {
		chart.Rows = append(chart.Rows, report.Row{Name: row.what, Values: []report.Spread{row.took.Scale(1000)}})
	}
	return chart, len(r.cold) > 0
}

func capital(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
