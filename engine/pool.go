package engine

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Concurrency bounds how many calls of one function run at once and how many
// more may wait for their turn. Zero Calls means no bound.
type Concurrency struct {
	Calls int           // running at once
	Queue int           // waiting for a turn; 0: none waits
	Wait  time.Duration // longest wait for a turn; 0: not limited
}

// pool admits calls to the sandboxes of one function. Safe for concurrent use.
type pool struct {
	limit   Concurrency
	slots   chan struct{} // a token for each running call; nil: no bound
	waiting atomic.Int64
}

func newPool(limit Concurrency) *pool {
	p := &pool{limit: limit}
	if limit.Calls > 0 {
		p.slots = make(chan struct{}, limit.Calls)
	}
	return p
}

// acquire takes a turn, waiting for one if there is room in the queue. It
// returns how long it waited. Every acquire without an error is to be
// followed by one release.
func (p *pool) acquire(ctx context.Context) (time.Duration, error) {
	if p.slots == nil {
		return 0, nil
	}
	select {
	case p.slots <- struct{}{}:
		return 0, nil
	default:
	}
	return p.queue(ctx)
}

func (p *pool) queue(ctx context.Context) (time.Duration, error) {
	if p.waiting.Add(1) > int64(p.limit.Queue) {
		p.waiting.Add(-1)
		return 0, fmt.Errorf("%w: %d calls are running and %d are waiting", ErrOverloaded, p.limit.Calls, p.limit.Queue)
	}
	defer p.waiting.Add(-1)

	var expired <-chan time.Time
	if p.limit.Wait > 0 {
		timer := time.NewTimer(p.limit.Wait)
		defer timer.Stop()
		expired = timer.C
	}
	start := time.Now()
	select {
	case p.slots <- struct{}{}:
		return time.Since(start), nil
	case <-expired:
		return time.Since(start), fmt.Errorf("%w: no turn within %s", ErrOverloaded, p.limit.Wait)
	case <-ctx.Done():
		return time.Since(start), fmt.Errorf("%w while waiting for a turn: %w", ErrCanceled, context.Cause(ctx))
	}
}

func (p *pool) release() {
	if p.slots != nil {
		<-p.slots
	}
}

// running is the number of calls that hold a turn.
func (p *pool) running() int { return len(p.slots) }
