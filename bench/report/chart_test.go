package report

import (
	"bytes"
	"encoding/xml"
	"flag"
	"io"
	"math"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files")

func TestChart(t *testing.T) {
	t.Parallel()
	c := Chart{
		Title: "Answers & questions", Unit: "× the proxy", Series: []string{"1 connection", "16 connections"}, Mark: 1,
		Rows: []Row{
			{`respond "hello"`, []Spread{{4.6, 4.1, 5.2}, {2.9, 2.8, 3.3}}},
			{"a Go server", []Spread{{1, 1, 1}, {1, 1, 1}}},
			{"<Go>", []Spread{{0.08, 0.07, 0.1}, {0.06, 0.05, 0.07}}},
		},
	}
	got := c.SVG()
	const golden = "testdata/chart.golden.svg"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %s, %v: look at it and run go test -update", got, err)
	}
}

// Whatever is drawn is well-formed, has finite numbers and lies in the picture.
func TestChartOdd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Chart{
		"nothing":   {},
		"zeros":     {Series: []string{"a"}, Rows: []Row{{"0", []Spread{{}}}}},
		"long name": {Series: []string{"a"}, Rows: []Row{{strings.Repeat("é<", 100), []Spread{{1, 1, 1}}}}},
		"tiny":      {Series: []string{"a"}, Rows: []Row{{"t", []Spread{{1e-9, 1e-10, 1e-8}}}}},
		"huge":      {Series: []string{"a"}, Rows: []Row{{"h", []Spread{{1e12, 1, 3e12}}}}},
		"negative":  {Series: []string{"a"}, Rows: []Row{{"n", []Spread{{-2, -3, 1}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			svg := c.SVG()
			decoder := xml.NewDecoder(bytes.NewReader(svg))
			for {
				if _, err := decoder.Token(); err == io.EOF {
					break
				} else if err != nil {
					t.Fatalf("%v in %s", err, svg)
				}
			}
			for _, wrong := range []string{"NaN", "Inf", `width="-`, `x="-`} {
				if bytes.Contains(svg, []byte(wrong)) {
					t.Errorf("%q in %s", wrong, svg)
				}
			}
		})
	}
}

func TestTick(t *testing.T) {
	t.Parallel()
	for top, want := range map[float64]float64{5: 1, 1: 0.2, 7.3: 2, 26: 5, 100: 20, 0.06: 0.01, 0: 1, math.Inf(1): 1} {
		if got := tick(top); math.Abs(got-want) > want*1e-9 {
			t.Errorf("%g: got %g, want %g", top, got, want)
		}
	}
}

func TestSpread(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		values []float64
		want   Spread
		text   string
	}{
		{"none", nil, Spread{}, "0 (0–0)"},
		{"one", []float64{2.5}, Spread{2.5, 2.5, 2.5}, "2.50 (2.50–2.50)"},
		{"some", []float64{1.2, 0.056, 345.6}, Spread{1.2, 0.056, 345.6}, "1.20 (0.056–346)"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got := SpreadOf(test.values)
			if got != test.want || got.String() != test.text {
				t.Errorf("got %+v, %s", got, got)
			}
		})
	}
	if got, want := (Spread{1, 2, 3}).Scale(2), (Spread{2, 4, 6}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 1000: "1.00 kB", 99_960: "100 kB", 1_234_567: "1.23 MB", -2000: "-2.00 kB", 3e9: "3000 MB"} {
		if got := Bytes(n); got != want {
			t.Errorf("%g: got %s, want %s", n, got, want)
		}
	}
}
