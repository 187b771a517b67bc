package engine

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestLifetime(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		end  func(l *lifetime, caller, closing context.CancelFunc)
		want error
	}{
		{"the caller goes", func(_ *lifetime, caller, _ context.CancelFunc) { caller() }, context.Canceled},
		{"the function is closed", func(_ *lifetime, _, closing context.CancelFunc) { closing() }, context.Canceled},
		{"the call ends", func(l *lifetime, _, _ context.CancelFunc) { l.end() }, context.Canceled},
		{"the deadline comes", func(l *lifetime, _, _ context.CancelFunc) {}, context.DeadlineExceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, early := range []bool{true, false} { // the end comes before anybody waits
				parent, caller := context.WithCancel(context.WithValue(t.Context(), sandboxKey{}, "value"))
				closing, closed := context.WithCancel(t.Context())
				l := &lifetime{parent: parent, closing: closing}
				if test.want == context.DeadlineExceeded {
					l.deadline = time.Now().Add(20 * time.Millisecond)
				}
				if early {
					test.end(l, caller, closed)
				}
				child, cancel := context.WithCancel(l)
				if !early {
					if err := l.Err(); err != nil {
						t.Errorf("got %v before the end", err)
					}
					test.end(l, caller, closed)
				}
				<-child.Done()
				if err := l.Err(); !errors.Is(err, test.want) || !errors.Is(child.Err(), test.want) {
					t.Errorf("got %v, want %v", err, test.want)
				}
				if deadline, ok := l.Deadline(); ok != !l.deadline.IsZero() || !deadline.Equal(l.deadline) {
					t.Errorf("got deadline %v, %v", deadline, ok)
				}
				if l.Value(sandboxKey{}) != "value" {
					t.Error("got no value of the caller's context")
				}
				cancel()
				l.end()
				caller()
				closed()
			}
		})
	}
	l := &lifetime{parent: t.Context()}
	l.end()
	if l.waited != nil {
		t.Error("got a context that nobody asked for")
	}
}
