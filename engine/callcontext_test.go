package engine

import (
	"context"
	"testing"
)

// TestCallContext: what is done for a call finds its budget and its watcher, also through
// contexts made from the call's.
func TestCallContext(t *testing.T) {
	t.Parallel()
	var got []Refusal
	budget := NewBudget(7)
	l := &lifetime{parent: t.Context(), budget: budget, watch: func(r Refusal) { got = append(got, r) }}
	defer l.end()
	derived, cancel := context.WithCancel(l)
	defer cancel()
	for _, ctx := range []context.Context{l, derived} {
		if BudgetOf(ctx) != budget {
			t.Error("got another budget than the call's")
		}
		Refused(ctx, Refusal{Kind: "path", What: "/x"})
	}
	if len(got) != 2 || got[0] != (Refusal{Kind: "path", What: "/x"}) {
		t.Errorf("got %v, want the refusal twice", got)
	}

	for _, ctx := range []context.Context{t.Context(), &lifetime{parent: t.Context()}} {
		Refused(ctx, Refusal{}) // nobody watches
		if err := BudgetOf(ctx).Reserve(1 << 40); err != nil {
			t.Errorf("without a budget: got %v", err)
		}
	}
}
