package engine

import (
	"context"
	"fmt"
	"sync"
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
	closing context.Context // ends when the function is closed, and all its calls with it
	end     context.CancelFunc

	mu     sync.Mutex
	calls  int           // that have a turn, or wait for one
	closed chan struct{} // nil until closed; then closed by the last call
}

func newPool(limit Concurrency) *pool {
	p := &pool{limit: limit}
	p.closing, p.end = context.WithCancel(context.Background())
	if limit.Calls > 0 {
		p.slots = make(chan struct{}, limit.Calls)
	}
	return p
}

// acquire takes a turn, waiting for one if there is room in the queue. It
// returns how long it waited. Every acquire without an error is to be
// followed by one release.
func (p *pool) acquire(ctx context.Context) (queued time.Duration, err error) {
	if err := p.enter(); err != nil {
		return 0, err
	}
	if p.slots != nil {
		select {
		case p.slots <- struct{}{}:
		default:
			queued, err = p.queue(ctx)
		}
	}
	if err != nil {
		p.leave()
	}
	return queued, err
}

// enter counts a call, unless the pool is closed.
func (p *pool) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil {
		return errClosed
	}
	p.calls++
	return nil
}

func (p *pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.calls--; p.calls == 0 && p.closed != nil {
		close(p.closed)
	}
}

// close ends all calls and returns when the last has ended. Calling it again
// only waits.
func (p *pool) close() {
	p.mu.Lock()
	if p.closed == nil {
		p.closed = make(chan struct{})
		if p.calls == 0 {
			close(p.closed)
		}
	}
	p.mu.Unlock()
	p.end()
	<-p.closed
}

var errClosed = fmt.Errorf("%w: the function is closed", ErrCanceled)

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
	case <-p.closing.Done():
		return time.Since(start), errClosed
	case <-ctx.Done():
		return time.Since(start), fmt.Errorf("%w while waiting for a turn: %w", ErrCanceled, context.Cause(ctx))
	}
}

func (p *pool) release() {
	if p.slots != nil {
		<-p.slots
	}
	p.leave()
}

// running is the number of calls that have a turn.
func (p *pool) running() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(0, p.calls-int(p.waiting.Load()))
}
