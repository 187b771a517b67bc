package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"math"
	"unicode/utf8"
)

// Chart is a picture of horizontal bars with their spreads.
type Chart struct {
	Title  string
	Unit   string   // what the axis counts
	Series []string // the bars of each row; with more than one, a legend names them
	Rows   []Row
	Mark   float64 // a line at this value, for comparison; 0: none
}

// Row is one thing measured: a bar for each of the chart's series.
type Row struct {
	Name   string
	Values []Spread
}

// The measures of a chart, in pixels.
const (
	chartWidth  = 800
	charWidth   = 7 // of the font, about
	barHeight   = 12
	rowGap      = 10
	headHeight  = 34
	axisHeight  = 44
	labelSpace  = 56 // right of the bars, for their values
	maxNameSize = 48 // characters
)

// chartStyle has the colours of both modes. The background goes with them: a
// picture is shown as its viewer's system likes it, whatever the page does.
const chartStyle = `
  .back { fill: #ffffff } text { fill: #1f2328; font: 12px system-ui, sans-serif } .title { font-size: 15px; font-weight: 600 }
  .grid { stroke: #d1d9e0 } .mark { stroke: #cf222e; stroke-dasharray: 4 3 } .spread { stroke: #1f2328; stroke-width: 1.5; fill: none }
  .s0 { fill: #54aeff } .s1 { fill: #0a5fc4 }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117 } text { fill: #e6edf3 } .grid { stroke: #30363d } .mark { stroke: #ff7b72 } .spread { stroke: #e6edf3 }
    .s0 { fill: #388bfd } .s1 { fill: #1158c7 }
  }
`

// SVG draws the chart. The same chart is always the same bytes.
func (c Chart) SVG() []byte {
	var b bytes.Buffer
	names, top := 0, c.Mark
	for _, row := range c.Rows {
		names = max(names, min(utf8.RuneCountInString(row.Name), maxNameSize))
		for _, v := range row.Values {
			top = max(top, v.High)
		}
	}
	step := tick(top)
	top = math.Ceil(max(top, step)/step) * step
	left := float64(16 + names*charWidth)
	width := chartWidth - left - labelSpace
	x := func(v float64) float64 { return left + width*min(max(v, 0), top)/top }
	rowHeight := len(c.Series)*barHeight + rowGap
	bottom := headHeight + len(c.Rows)*rowHeight
	height := bottom + axisHeight

	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img">`+"\n", chartWidth, height, chartWidth, height)
	fmt.Fprintf(&b, "<title>%s</title>\n<style>%s</style>\n", escape(c.Title), chartStyle)
	fmt.Fprintf(&b, `<rect class="back" width="%d" height="%d"/>`+"\n", chartWidth, height)
	c.text(&b, "title", 8, 20, "start", c.Title)
	for i := 0; float64(i)*step <= top*1.0001; i++ {
		at := x(float64(i) * step)
		line(&b, "grid", at, headHeight, at, float64(bottom))
		c.text(&b, "", at, float64(bottom+14), "middle", Number(float64(i)*step))
	}
	c.legend(&b, left, float64(bottom+34))
	for i, row := range c.Rows {
		y := float64(headHeight + i*rowHeight + rowGap/2)
		c.text(&b, "", left-8, y+float64(len(c.Series)*barHeight)/2+4, "end", shorten(row.Name))
		for j, v := range row.Values {
			c.bar(&b, j, x, y+float64(j*barHeight), v)
		}
	}
	if c.Mark > 0 {
		line(&b, "mark", x(c.Mark), headHeight, x(c.Mark), float64(bottom))
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// bar draws one bar, its spread and its value.
func (c Chart) bar(b *bytes.Buffer, series int, x func(float64) float64, y float64, v Spread) {
	fmt.Fprintf(b, `<rect class="s%d" x="%.1f" y="%.1f" width="%.1f" height="%d"/>`+"\n", series, x(0), y, x(v.Median)-x(0), barHeight-1)
	low, high, middle := x(v.Low), x(v.High), y+float64(barHeight-1)/2
	fmt.Fprintf(b, `<path class="spread" d="M%.1f %.1fH%.1fM%.1f %.1fv6M%.1f %.1fv6"/>`+"\n", low, middle, high, low, middle-3, high, middle-3)
	c.text(b, "", high+5, y+10, "start", Number(v.Median))
}

// legend says what the axis counts and, if there are several, what the bars
// of a row are.
func (c Chart) legend(b *bytes.Buffer, left, y float64) {
	c.text(b, "", left, y, "start", c.Unit)
	if len(c.Series) < 2 {
		return
	}
	at := left + float64(utf8.RuneCountInString(c.Unit)*charWidth) + 24
	for i, name := range c.Series {
		fmt.Fprintf(b, `<rect class="s%d" x="%.1f" y="%.1f" width="10" height="10"/>`+"\n", i, at, y-9)
		c.text(b, "", at+14, y, "start", name)
		at += float64(14 + utf8.RuneCountInString(name)*charWidth + 16)
	}
}

func (Chart) text(b *bytes.Buffer, class string, x, y float64, anchor, text string) {
	if class != "" {
		class = ` class="` + class + `"`
	}
	fmt.Fprintf(b, `<text%s x="%.1f" y="%.1f" text-anchor="%s">%s</text>`+"\n", class, x, y, anchor, escape(text))
}

func line(b *bytes.Buffer, class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(b, `<line class="%s" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`+"\n", class, x1, y1, x2, y2)
}

// tick is the distance of the axis's marks: 1, 2 or 5 times a power of ten, so
// that about five fit.
func tick(top float64) float64 {
	if !(top > 0) || math.IsInf(top, 1) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(top/5)))
	for _, m := range []float64{1, 2, 5} {
		if top/(m*power) <= 6 {
			return m * power
		}
	}
	return 10 * power
}

func shorten(name string) string {
	if runes := []rune(name); len(runes) > maxNameSize {
		return string(runes[:maxNameSize-1]) + "…"
	}
	return name
}

func escape(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a bytes.Buffer takes everything
	return b.String()
}
