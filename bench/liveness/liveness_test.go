package main

import (
	"errors"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
)

// Every guest ends as it should while others run. How fast is for the bench to
// tell, not for a test.
func TestMeasure(t *testing.T) {
	t.Parallel()
	m, err := newMeter(t.Context(), 50*time.Millisecond, 10*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer m.close()
	for _, g := range hostileGuests() {
		r, err := m.measure(t.Context(), g)
		if err != nil || r.calls == 0 || r.ending == "" || r.felt.worstPause == 0 {
			t.Errorf("%s: got %+v, %v, want calls that end with %v", g.name, r, err, g.want)
		}
	}
}

func TestJudge(t *testing.T) {
	t.Parallel()
	calls := []call{{90, engine.ErrTimeout}, {130, engine.ErrTimeout}, {110, engine.ErrTimeout}}
	if ending, overshoot, err := judge(calls, engine.ErrTimeout, 100); ending != "deadline exceeded" || overshoot != 30 || err != nil {
		t.Errorf("got %s, %d, %v, want deadline exceeded, 30", ending, overshoot, err)
	}
	calls[1].err = engine.ErrStack
	if ending, _, err := judge(calls, engine.ErrStack, 100); ending != "call stack exhausted" || err != nil {
		t.Errorf("got %s, %v, want call stack exhausted", ending, err)
	}
	for _, other := range []error{nil, errors.New("other")} {
		if _, _, err := judge([]call{{100, other}}, engine.ErrTimeout, 100); err == nil {
			t.Errorf("a call that ended with %v was taken for a timeout", other)
		}
	}
}

func TestBounded(t *testing.T) {
	t.Parallel()
	if got := bounded(time.Second, time.Second); got != "1s" {
		t.Errorf("within its bound: got %s", got)
	}
	if got := bounded(2*time.Second, time.Second); got != "**2s**" {
		t.Errorf("over its bound: got %s", got)
	}
}
