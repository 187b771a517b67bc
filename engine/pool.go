package engine

import (
	"context"
	"fmt"
	"runtime"
	"slices"
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

// pool admits calls to the sandboxes of one function, and keeps those that wait
// for the next. Safe for concurrent use.
type pool struct {
	limit   Concurrency
	slots   chan struct{} // a token for each running call; nil: no bound
	waiting atomic.Int64
	running atomic.Int64    // calls that have a turn
	closing context.Context // ends when the function is closed, and all its calls with it
	end     context.CancelFunc

	idle time.Duration
	warm int

	patience atomic.Int64  // see took; 0: not known yet
	learned  chan struct{} // closed when it is

	mu        sync.Mutex
	calls     int             // that have a turn, wait for one, or whose sandbox is being renewed or freed
	closed    chan struct{}   // nil until closed; then closed by the last call
	retired   bool            // no sandbox is parked any more
	ready     []*Sandbox      // longest parked first
	restoring int             // sandboxes that are being renewed
	filling   atomic.Int64    // goroutines that make some to be kept warm
	awaiting  []chan *Sandbox // calls that wait for one of those, or for one in use
	handed    int             // sandboxes that such calls have got
	timer     *time.Timer     // frees those that have been idle for too long; nil: none runs
	freeing   sync.WaitGroup  // of those taken out of ready to be freed
}

func newPool(options Options) *pool {
	p := &pool{limit: options.Concurrency, idle: options.Idle, warm: options.Warm, learned: make(chan struct{})}
	p.closing, p.end = context.WithCancel(context.Background())
	if p.limit.Calls > 0 {
		p.slots = make(chan struct{}, p.limit.Calls)
	}
	return p
}

// A call waits for a sandbox that is being renewed before it has one made: as long as that
// takes, which is minPatience for large programs whose start-up is short, and the start-up for others, such as
// interpreters, but at most maxPatience. Where it is more than minPatience, or not yet
// known, calls that may share a start-up also wait for sandboxes that serve others, if as many are made or in use as
// there are processors.
// They don't lose patience as long as others before them get theirs: one more start-up would only delay all. Nor
// do they at once if one is being renewed for them, which is nearer to its end than a new one.
const (
	minPatience = 2 * time.Millisecond
	maxPatience = 2 * time.Second
	// renewals is how many times its patience a call waits for a sandbox that is being renewed for it.
	renewals = 3
)

// took notes how long a start-up has taken.
func (p *pool) took(startup time.Duration) {
	if p.patience.Swap(int64(min(max(startup, minPatience), maxPatience))) == 0 {
		close(p.learned)
	}
}

// ran notes how long a call has taken. It is the start-up, where none has been noticed.
func (p *pool) ran(call time.Duration) {
	if p.patience.Load() == 0 {
		p.took(call)
	}
}

// take returns a sandbox that is ready for a call, or nil if one has to be made.
// It waits a moment for one that is being renewed, or will be if calls share their start-up.
func (p *pool) take(ctx context.Context, shares bool) *Sandbox {
	p.mu.Lock()
	if n := len(p.ready); n > 0 {
		// The one that was parked last: the most of it is in the processor's caches.
		s := p.ready[n-1]
		p.ready[n-1] = nil
		p.ready = p.ready[:n-1]
		p.mu.Unlock()
		return s
	}
	patience := time.Duration(p.patience.Load())
	var learned <-chan struct{}
	if patience == 0 {
		patience, learned = maxPatience, p.learned
	}
	inUse := int(p.running.Load()) - 1 - len(p.awaiting) + p.restoring // this call is one that runs
	if len(p.awaiting) >= p.restoring && (!shares || p.retired || patience == minPatience || inUse < runtime.GOMAXPROCS(0)) {
		p.mu.Unlock()
		return nil
	}
	renewed := make(chan *Sandbox, 1)
	p.awaiting = append(p.awaiting, renewed)
	handed := p.handed
	p.mu.Unlock()

	timer := time.NewTimer(patience)
	defer timer.Stop()
	for round := 1; ; round++ {
		select {
		case s := <-renewed:
			return s
		case <-learned:
			learned, patience = nil, time.Duration(p.patience.Load())
			timer.Reset(patience)
			continue
		case <-timer.C:
		case <-ctx.Done():
		case <-p.closing.Done():
		}
		p.mu.Lock()
		i := slices.Index(p.awaiting, renewed)
		switch {
		case i < 0:
			p.mu.Unlock()
			return <-renewed // it came just now
		case ctx.Err() != nil, p.closing.Err() != nil, patience == minPatience, p.handed == handed && (i >= p.restoring || round >= renewals):
			p.awaiting = slices.Delete(p.awaiting, i, i+1)
			p.mu.Unlock()
			return nil
		}
		handed = p.handed
		p.mu.Unlock()
		timer.Reset(patience)
	}
}

// renewing notes that a sandbox is being made ready for another call. It is
// false if there are so many that it is to be freed.
func (p *pool) renewing() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed != nil || p.retired || p.limit.Calls > 0 && p.restoring >= p.limit.Calls {
		return false
	}
	p.restoring++
	return true
}

// renewed follows renewing: s is ready, or nil if it has been freed. It is false if
// s is not needed.
func (p *pool) renewed(s *Sandbox) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.restoring--
	if s == nil {
		if len(p.awaiting) > p.restoring {
			p.hand(nil) // whoever gets it makes one
		}
		return false
	}
	return p.add(s)
}

// put has a sandbox serve a call that waits for one, or parks it. It is false if it has
// to be closed instead.
func (p *pool) put(s *Sandbox) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.add(s)
}

// hand gives a sandbox to the call that has waited longest. mu is held.
func (p *pool) hand(s *Sandbox) {
	if s != nil {
		p.handed++
	}
	p.awaiting[0] <- s // has room
	p.awaiting = slices.Delete(p.awaiting, 0, 1)
}

// add is put. mu is held.
func (p *pool) add(s *Sandbox) bool {
	if len(p.awaiting) > 0 {
		p.hand(s)
		return true
	}
	if p.closed != nil || p.retired || p.limit.Calls > 0 && len(p.ready) >= max(p.limit.Calls, p.warm) || p.idle <= 0 && len(p.ready) >= p.warm {
		return false
	}
	s.since = time.Now()
	p.ready = append(p.ready, s)
	p.schedule()
	return true
}

// schedule starts the timer for the sandbox that has been parked longest, if
// it is not to be kept warm. mu is held.
func (p *pool) schedule() {
	if p.timer == nil && len(p.ready) > p.warm {
		p.timer = time.AfterFunc(max(0, time.Until(p.ready[0].since.Add(p.idle))), p.expire)
	}
}

// expire frees the sandboxes that have been idle for too long.
func (p *pool) expire() {
	p.mu.Lock()
	p.timer = nil
	var old []*Sandbox
	for len(p.ready) > p.warm && time.Since(p.ready[0].since) >= p.idle {
		old = append(old, p.oldest())
	}
	p.schedule()
	p.mu.Unlock()
	for _, s := range old {
		p.free(s)
	}
}

// retire frees the sandboxes that are parked, and has no more parked.
func (p *pool) retire() {
	p.mu.Lock()
	p.retired = true
	p.mu.Unlock()
	for more := true; more; {
		_, more = p.evict()
	}
}

// oldest takes out the sandbox that has been parked longest, for free. mu is held.
func (p *pool) oldest() *Sandbox {
	s := p.ready[0]
	p.ready = slices.Delete(p.ready, 0, 1)
	p.freeing.Add(1)
	return s
}

func (p *pool) free(s *Sandbox) {
	defer p.freeing.Done()
	s.close()
}

// evict frees the sandbox that has been parked longest. It returns how many bytes
// that gave back to the budget, and is false if none is parked.
func (p *pool) evict() (bytes int64, ok bool) {
	p.mu.Lock()
	if len(p.ready) == 0 {
		p.mu.Unlock()
		return 0, false
	}
	s := p.oldest()
	p.mu.Unlock()
	bytes = s.memory.reserved
	p.free(s)
	return bytes, true
}

// idleBytes is how many sandboxes are parked, and how much of the budget evicting them
// would give back.
func (p *pool) idleBytes() (count int, n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.ready {
		n += s.memory.reserved
	}
	return len(p.ready), n
}

// parked is the number of sandboxes that wait for a call, and idleSince when the one
// that waits longest began to.
func (p *pool) parked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ready)
}

func (p *pool) idleSince() (since time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.ready) == 0 {
		return time.Time{}, false
	}
	return p.ready[0].since, true
}

// acquire takes a turn, waiting for one if there is room in the queue. It
// returns how long it waited. Every acquire without an error is to be
// followed by one release, and then one leave.
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
		return queued, err
	}
	p.running.Add(1)
	return queued, nil
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
	for more := true; more; {
		_, more = p.evict()
	}
	p.freeing.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
		p.timer = nil
	}
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

// release ends a turn. Its sandbox may have yet to be renewed; leave follows then.
func (p *pool) release() {
	p.running.Add(-1)
	if p.slots != nil {
		<-p.slots
	}
}

// count counts the calls that have a turn, and the sandboxes that are made ready
// for another, or are.
func (p *pool) count() (running, restoring, parked int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int(p.running.Load()), p.restoring + int(p.filling.Load()), len(p.ready)
}
