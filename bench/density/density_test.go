package main

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/process"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

var update = flag.Bool("update", false, "write the golden files")

// What is replaced is in the module's data: a program answers with its own media type.
func TestDistinct(t *testing.T) {
	t.Parallel()
	m := wasmtest.New(1)
	write := m.Import("wasi_snapshot_preview1", "fd_write", []byte{wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I32}, []byte{wasmtest.I32})
	m.Data(0, placeholder)
	m.Data(32, "\x00\x00\x00\x00"+string([]byte{byte(len(placeholder)), 0, 0, 0}))
	m.Main(wasmtest.Code(wasmtest.I32Const(1), wasmtest.I32Const(32), wasmtest.I32Const(1), wasmtest.I32Const(48), wasmtest.Call(write), 0x1a)...)
	e, err := engine.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for _, number := range []int{0, 7, 99_999} {
		f := function{number, "wasm"}
		module, err := distinct(m.Bytes(), f)
		if err != nil {
			t.Fatal(err)
		}
		if got := run1(t, e, module); got != f.mediaType() {
			t.Errorf("function %d: got %q, want %q", number, got, f.mediaType())
		}
	}
	if module, err := distinct(wasmtest.Header, function{}); err == nil {
		t.Errorf("got %x of a module without the placeholder", module)
	}
}

func run1(t *testing.T, e *engine.Engine, module []byte) string {
	t.Helper()
	p, err := e.Compile(context.Background(), module)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f, err := p.Function(engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	if _, err := f.Run(context.Background(), strings.NewReader(""), &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "f00001.wasm")
	if err := writeChanged(path, []byte("one")); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour).Round(time.Second)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		content string
		touched bool
	}{{"one", false}, {"two", true}} {
		if err := writeChanged(path, []byte(step.content)); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := !info.ModTime().Equal(old); got != step.touched {
			t.Errorf("%s: written %t, want %t", step.content, got, step.touched)
		}
	}
	other := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeOthers(dir, nil); err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(left) != 1 || left[0] != other {
		t.Errorf("got %q, %v, want only what is no function", left, err)
	}
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	var values []float64
	for i := range 100 {
		values = append(values, float64((i*37)%100))
	}
	for q, want := range map[float64]float64{0: 0, 0.5: 50, 0.99: 99, 1: 99} {
		if got := quantile(values, q); got != want {
			t.Errorf("%g: got %g, want %g", q, got, want)
		}
	}
	if got := quantile(nil, 0.5); got != 0 {
		t.Errorf("of nothing: got %g", got)
	}
}

func TestThousands(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := thousands(n); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// someResults miss all targets if bad.
func someResults(bad bool) *results {
	r := &results{
		machine: report.Machine{CPU: "A Processor", Cores: 2, System: "linux/amd64, go1.26.8"},
		options: options{functions: 10_000, inGo: 100}, bytes: 650e6, notes: []string{"A note."},
		startAlone: report.SpreadOf([]float64{0.1}), start: report.SpreadOf([]float64{2, 2.5, 2.25}),
		alone: memory{process.Weight{RSS: 62e6, PSS: 61e6}, process.Weight{RSS: 60e6, PSS: 59e6}}, idle: memory{process.Weight{RSS: 150e6, PSS: 149e6}, process.Weight{RSS: 120e6, PSS: 119e6}},
		peak: memory{asIs: process.Weight{RSS: 800e6, PSS: 799e6}}, after: memory{process.Weight{RSS: 300e6, PSS: 299e6}, process.Weight{RSS: 130e6, PSS: 129e6}},
		container: process.Weight{RSS: 9.6e6, PSS: 1.7e6}, series: 67, mostLoaded: 4321, allAnswered: 30 * time.Second,
		cold:    map[string][]float64{"C": {0.001, 0.002, 0.003}, "Go": {0.02}},
		rateOne: report.SpreadOf([]float64{20_000}), rateMany: report.SpreadOf([]float64{19_000}), rateRatio: report.SpreadOf([]float64{0.95}),
	}
	if bad {
		r.start, r.rateRatio = report.SpreadOf([]float64{7}), report.SpreadOf([]float64{0.5})
		r.idle.bare, r.after.bare = process.Weight{RSS: 200e6, PSS: 200e6}, process.Weight{RSS: 230e6, PSS: 230e6}
	}
	return r
}

func TestReport(t *testing.T) {
	t.Parallel()
	got := someResults(false).body("##", "benchmarks")
	const golden = "testdata/density.golden.md"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("got %s, %v: look at it and run go test -update", got, err)
	}
	if strings.Contains(got, "**") {
		t.Error("a target is missed that is not")
	}
	if got := strings.Count(someResults(true).body("##", ""), "**"); got != 8 {
		t.Errorf("got %d marks, want two for each of the four targets", got)
	}
}

// The documentation has a place for the figures, and writing them leaves the rest.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "benchmarks"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "benchmarks.md")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 { // what has been written can be written again
		if err := writeDocs(dir, someResults(false), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	now, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, _, _ := strings.Cut(string(text), figuresBegin)
	_, after, _ := strings.Cut(string(text), figuresEnd)
	if !strings.HasPrefix(string(now), before) || !strings.HasSuffix(string(now), after) || strings.Count(string(now), "A note.") != 1 {
		t.Errorf("got %s", now)
	}
	if svg, err := os.ReadFile(filepath.Join(dir, "benchmarks", "density.svg")); err != nil || !bytes.Contains(svg, []byte("10,000 functions")) {
		t.Errorf("got %q, %v", svg, err)
	}
	if err := os.WriteFile(path, []byte("no place"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := writeDocs(dir, someResults(false), time.Now()); err == nil {
		t.Error("figures were written where there is no place for them")
	}
}
