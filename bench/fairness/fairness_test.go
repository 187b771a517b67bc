package main

import (
	"strings"
	"testing"
	"time"
)

// Every pair of functions gets through. How fast is for the bench to tell, not for a test.
func TestMeasure(t *testing.T) {
	t.Parallel()
	m, err := newMeter(10 * time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	for _, greedy := range greedyLoads {
		r, err := m.measure(t.Context(), smallLoads[len(smallLoads)-1], greedy, 1)
		if err != nil || r.alone.rate <= 0 || r.beside.rate <= 0 || r.share <= 0 || r.beside.last < r.beside.median {
			t.Errorf("beside %s: got %+v, %v, want calls alone and beside it", greedy.name, r, err)
		}
	}
}

func TestCells(t *testing.T) {
	t.Parallel()
	kept := row{side{100, time.Millisecond, 2 * time.Millisecond}, side{45, 2 * time.Millisecond, 12 * time.Millisecond}, 0.45}
	if got := kept.cells(); strings.Contains(got, "**") {
		t.Errorf("within its bounds: got %s", got)
	}
	kept.share, kept.beside.last = 0.39, 13*time.Millisecond
	if got := kept.cells(); strings.Count(got, "**") != 4 {
		t.Errorf("out of both bounds: got %s", got)
	}
}
