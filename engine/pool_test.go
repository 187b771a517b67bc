package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPoolQueue(t *testing.T) {
	t.Parallel()
	p := newPool(Options{Concurrency: Concurrency{Calls: 1, Queue: 1, Wait: time.Hour}})
	if _, err := p.acquire(t.Context()); err != nil {
		t.Fatal(err)
	}

	// The second waits for its turn, the third finds the queue full.
	second := make(chan error, 1)
	go func() {
		_, err := p.acquire(t.Context())
		second <- err
	}()
	waitFor(t, func() bool { return p.waiting.Load() == 1 })
	if _, err := p.acquire(t.Context()); !errors.Is(err, ErrOverloaded) {
		t.Errorf("with a full queue: got %v, want ErrOverloaded", err)
	}
	select {
	case err := <-second:
		t.Fatalf("the second call did not wait: %v", err)
	default:
	}
	p.release()
	p.leave()
	if err := <-second; err != nil {
		t.Errorf("after a release: got %v", err)
	}
	if got := p.running.Load(); got != 1 {
		t.Errorf("got %d running, want 1", got)
	}
}

func TestPoolEndsOfWaiting(t *testing.T) {
	t.Parallel()
	canceled, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("gone"))
	tests := []struct {
		name  string
		ctx   context.Context
		limit Concurrency
		want  error
	}{
		{"no queue", t.Context(), Concurrency{Calls: 1}, ErrOverloaded},
		{"wait is over", t.Context(), Concurrency{Calls: 1, Queue: 1, Wait: time.Millisecond}, ErrOverloaded},
		{"caller has gone", canceled, Concurrency{Calls: 1, Queue: 1, Wait: time.Hour}, ErrCanceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPool(Options{Concurrency: test.limit})
			if _, err := p.acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := p.acquire(test.ctx); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
			p.release()
			p.leave()
			if waiting, running := p.waiting.Load(), p.running.Load(); waiting != 0 || running != 0 {
				t.Errorf("got %d waiting, %d running, want none", waiting, running)
			}
		})
	}
}

func TestPoolHammer(t *testing.T) {
	t.Parallel()
	p := newPool(Options{Concurrency: Concurrency{Calls: 3, Queue: 20, Wait: 10 * time.Millisecond}})
	var running, most, served atomic.Int64
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 300 {
				if _, err := p.acquire(t.Context()); err != nil {
					continue
				}
				now := running.Add(1)
				for m := most.Load(); now > m && !most.CompareAndSwap(m, now); m = most.Load() {
				}
				served.Add(1)
				running.Add(-1)
				p.release()
				p.leave()
			}
		})
	}
	all.Wait()
	if most.Load() > 3 {
		t.Errorf("got %d calls at once, want at most 3", most.Load())
	}
	if served.Load() == 0 || p.running.Load() != 0 || p.waiting.Load() != 0 {
		t.Errorf("got %d served, %d running, %d waiting at the end", served.Load(), p.running.Load(), p.waiting.Load())
	}
}

func TestBudget(t *testing.T) {
	t.Parallel()
	b := NewBudget(100)
	if err := b.Reserve(60); err != nil {
		t.Fatal(err)
	}
	if err := b.Reserve(41); !errors.Is(err, ErrOverloaded) {
		t.Errorf("beyond the limit: got %v, want ErrOverloaded", err)
	}
	if err := b.Reserve(40); err != nil {
		t.Errorf("up to the limit: got %v", err)
	}
	b.Release(100)
	if b.Used() != 0 {
		t.Errorf("got %d used, want 0", b.Used())
	}
	if err := (&Budget{}).Reserve(1 << 60); err != nil {
		t.Errorf("zero value: got %v", err)
	}
}

func TestBudgetHammer(t *testing.T) {
	t.Parallel()
	b := NewBudget(10)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 2000 {
				if b.Reserve(3) == nil {
					if used := b.Used(); used > 10 {
						t.Errorf("got %d used of 10", used)
					}
					b.Release(3)
				}
			}
		})
	}
	all.Wait()
	if b.Used() != 0 {
		t.Errorf("got %d used at the end, want 0", b.Used())
	}
}

// waitFor waits until a goroutine of the test has come to a certain point.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	for range 10_000 {
		if done() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Fatal("it never happened")
}
