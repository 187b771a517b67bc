package main

import (
	"strings"
	"testing"
	"time"
)

// Everything that is measured works. How fast is for the bench to tell, not for a test.
func TestLoads(t *testing.T) {
	t.Parallel()
	s, err := newSubjects(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	loads := s.loads()
	if err := measure(t.Context(), loads, 1, time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if got := table(loads); strings.Count(got, "\n") != len(loads)+2 {
		t.Errorf("got %d lines for %d loads:\n%s", strings.Count(got, "\n"), len(loads), got)
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	base := &load{kind: "a", name: "base", workers: 2, rates: []float64{100, 200, 300}, medians: []time.Duration{1}, lasts: []time.Duration{1}}
	l := &load{kind: "a", name: "ours", workers: 2, minRatio: 0.8, minRate: 100, maxLast: time.Second,
		rates: []float64{100, 160, 270}, medians: []time.Duration{1}, lasts: []time.Duration{time.Second}}
	if got := table([]*load{base, l}); strings.Contains(got, "**") {
		t.Errorf("within its bounds: got\n%s", got)
	}
	l.rates, l.lasts = []float64{50, 99, 200}, []time.Duration{time.Second + 1}
	if got := table([]*load{base, l}); strings.Count(got, "**") != 6 {
		t.Errorf("out of all bounds: got\n%s", got)
	}
}
