package main

import (
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine"
)

// TestSoak is the soak in short. The long one is a command.
func TestSoak(t *testing.T) {
	t.Parallel()
	s, err := newSoak(t.Context(), "../../examples")
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.run(t.Context(), 3000, func(int, int, int64) {}); err != nil {
		t.Fatal(err)
	}
	if err := s.verdict(); err != nil {
		t.Error(err)
	}
	starts := map[string]int{}
	for _, b := range s.subjects {
		for kind, n := range b.starts {
			starts[kind] += n
		}
		if b.endings["answered"] == 0 || b.endings[engine.ErrCanceled.Error()] == 0 {
			t.Errorf("%s: got endings %v", b.name, b.endings)
		}
	}
	if starts[engine.StartReset] < 500 || starts[engine.StartSnapshot] < 500 {
		t.Errorf("got starts %v", starts)
	}
	if text := s.markdown(); !strings.Contains(text, "0 differences") || !strings.Contains(text, "| contact-c, auto |") {
		t.Errorf("got %s", text)
	}
}

// TestDifferenceFails: one difference is enough.
func TestDifferenceFails(t *testing.T) {
	t.Parallel()
	s := &soak{}
	if err := s.verdict(); err != nil {
		t.Error(err)
	}
	for range 30 {
		s.differs("memory")
	}
	if err := s.verdict(); err == nil || !strings.Contains(err.Error(), "30 differences") {
		t.Errorf("got %v", err)
	}
}
