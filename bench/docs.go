package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gojinn/gojinn/bench/report"
)

// The figures in docs/benchmarks.md stand between these lines. Everything else
// there is written by hand.
const (
	figuresBegin = "<!-- figures: written by go run ./bench -docs -->\n"
	figuresEnd   = "<!-- end of figures -->\n"
)

// writeDocs puts the figures into benchmarks.md of that folder and their
// pictures into benchmarks.
func writeDocs(dir string, r *results, at time.Time) error {
	path := filepath.Join(dir, "benchmarks.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if text, err = replaceFigures(text, r.figures(at)); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	pictures := filepath.Join(dir, "benchmarks")
	if err := os.MkdirAll(pictures, 0o755); err != nil {
		return err
	}
	for name, chart := range r.charts() {
		if err := os.WriteFile(filepath.Join(pictures, name+".svg"), chart.SVG(), 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(path, text, 0o644)
}

// figures are what the documentation shows of a run.
func (r *results) figures(at time.Time) string {
	return fmt.Sprintf("%s, on %s. %s", r.machine, at.Format("2 January 2006"), r.body("###", "benchmarks"))
}

// charts are the pictures of a run, by the names of their files.
func (r *results) charts() map[string]report.Chart {
	charts := make(map[string]report.Chart)
	for _, t := range r.loadTables() {
		if chart, ok := t.chart(); ok {
			charts[t.file()] = chart
		}
	}
	if chart, ok := r.coldChart(); ok {
		charts["cold"] = chart
	}
	return charts
}

func replaceFigures(text []byte, figures string) ([]byte, error) {
	before, rest, ok := strings.Cut(string(text), figuresBegin)
	_, after, closed := strings.Cut(rest, figuresEnd)
	if !ok || !closed {
		return nil, errors.New("there is no place for figures")
	}
	return []byte(before + figuresBegin + "\n" + figures + "\n" + figuresEnd + after), nil
}
