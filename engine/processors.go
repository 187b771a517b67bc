package engine

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// processors are what the guests of an engine compute with: there are as many as Go uses
// (GOMAXPROCS), and code of a guest runs only while its sandbox has one. Those that wait for
// one stand in a line for each function, and the function that has used the least goes
// first. Safe for concurrent use.
//
// A function's use is counted in virtual time, and only while somebody waits (start-time fair
// queueing: Goyal, Vin and Cheng, 1996). One that joins has used no less than the one that
// was served last: nobody saves up time by being idle.
type processors struct {
	// free is how many nobody has or, below zero, how many claims wait. It falls below
	// zero, and changes there, with mu held only.
	free  atomic.Int64
	seats []seat // who has one, in any order

	mu       sync.Mutex
	lines    []*line       // in which somebody waits; first who joined first
	spare    int           // given back while somebody waits, for who comes first and has used the least
	called   int           // how many have been told to come
	since    time.Duration // since when somebody waits
	floor    time.Duration // what the function had used that was served last
	watch    *time.Timer   // runs while somebody waits; nil until somebody has
	watching bool
	seen     []lending // in the seats, when last looked at
}

// seat is one processor. Each lies in a cache line of its own.
type seat struct {
	claim atomic.Pointer[claim] // nil: nobody has it
	bell  *bell
	_     [48]byte
}

// lending is a claim in a certain host call.
type lending struct {
	claim *claim
	state uint64
}

// line is where the guests of one function wait for a processor. mu of the processors
// guards it.
type line struct {
	used        time.Duration // virtual time
	first, last *claim
}

const (
	// slice is how long a guest may compute while others wait that have no less.
	slice = time.Millisecond
	// maxDebt is how much more a function may have used than one that goes before it. What
	// is counted is time, not work: a guest may have held its processor while
	// the system had given that to another process.
	maxDebt = 5 * time.Millisecond
	// watchEvery is how often guests that have a processor are looked at while others wait.
	watchEvery = time.Millisecond
)

// newProcessors returns n processors.
func newProcessors(n int) *processors {
	p := &processors{seats: make([]seat, n), seen: make([]lending, n)}
	for i := range p.seats {
		p.seats[i].bell = newBell()
	}
	p.free.Store(int64(n))
	return p
}

// close gives up what the system has given. Nobody may have a processor.
func (p *processors) close() {
	for i := range p.seats {
		p.seats[i].bell.close()
	}
}

// giveWay lets goroutines go first that are no guests', while the claim keeps its processor.
func (c *claim) giveWay() {
	if c.state.Load()%states != held { // the seat may be another's
		runtime.Gosched()
		return
	}
	c.processors.seats[c.seat].bell.giveWay()
}

// claim is a sandbox's claim to a processor. One goroutine at a time uses it; what is
// guarded is so by mu of the processors.
type claim struct {
	processors *processors
	line       *line

	// state is none, held or lent and, above those bits, how often it has been lent.
	// Only its user changes it, but for a lent one, of which reclaim may make none.
	state  atomic.Uint64
	seat   int
	began  time.Duration // since when it has its processor
	paid   time.Duration // until when its use of that has been counted
	waited time.Duration // for one, since somebody set this to zero

	next    *claim        // in the line; guarded
	rotated bool          // it has used up its slice; guarded
	called  bool          // it has been told to come; guarded
	call    chan struct{} // on which it is told, a word at a time; nil until it has waited
	timer   *time.Timer   // of its deadline; nil until it has waited with one
}

// What a claim is to its processor.
const (
	none   = iota // it has none
	held          // it computes
	lent          // its guest is in a host call that may wait: then others may take the processor
	states = 4    // the bits above count
)

// processorClock counts from when the process started.
func processorClock() time.Duration { return time.Since(processorOrigin) }

var processorOrigin = time.Now()

// take waits for a processor. It is false if ctx or closing ends before, or the deadline
// passes, zero being none.
func (c *claim) take(ctx, closing context.Context, deadline time.Time) bool {
	if c.back() {
		return true
	}
	p := c.processors
	for free := p.free.Load(); free > 0; free = p.free.Load() {
		if p.free.CompareAndSwap(free, free-1) {
			c.sit()
			return true
		}
	}
	p.mu.Lock()
	if p.free.Add(-1) >= 0 {
		p.mu.Unlock()
		c.sit()
		return true
	}
	p.join(c, false)
	if p.spare > 0 && p.least(false) == c.line && c.line.first == c {
		// Who has been called is still on the way, and has used more.
		p.seize(c)
		p.mu.Unlock()
		c.sit()
		return true
	}
	p.mu.Unlock()
	return c.wait(ctx, closing, deadline)
}

// sit takes the seat of a processor that is the claim's. There is one: who gives
// a processor back leaves the seat first.
func (c *claim) sit() {
	seats := c.processors.seats
	for !seats[c.seat].claim.CompareAndSwap(nil, c) {
		c.seat = (c.seat + 1) % len(seats)
	}
	c.began = processorClock()
	c.paid = c.began
	c.state.Store(c.state.Load() + held)
}

// wait waits for a processor in line. mu is not held.
func (c *claim) wait(ctx, closing context.Context, deadline time.Time) bool {
	began := processorClock()
	defer func() { c.waited += processorClock() - began }()
	var expired <-chan time.Time
	if !deadline.IsZero() {
		if c.timer == nil {
			c.timer = time.NewTimer(time.Until(deadline))
		} else {
			c.timer.Reset(time.Until(deadline))
		}
		defer c.timer.Stop()
		expired = c.timer.C
	}
	for {
		select {
		case <-c.call:
			if c.come() {
				c.sit()
				return true
			}
			continue
		case <-expired:
		case <-ctx.Done():
		case <-closing.Done():
		}
		c.resign()
		return false
	}
}

// come follows a call. It is false if somebody with a better claim was quicker.
func (c *claim) come() bool {
	p := c.processors
	p.mu.Lock()
	defer p.mu.Unlock()
	c.called = false
	p.called--
	if p.spare == 0 {
		return false
	}
	p.seize(c)
	return true
}

// resign takes a claim out of line that waits no longer.
func (c *claim) resign() {
	p := c.processors
	p.mu.Lock()
	defer p.mu.Unlock()
	if c.called {
		<-c.call
		c.called = false
		p.called--
	}
	p.leave(c)
	p.settle()
}

// lend lets others have the processor while its guest is in a host call that may wait, if
// that takes long. A claim that has none lends nothing.
func (c *claim) lend() {
	if state := c.state.Load(); state%states == held {
		c.state.Store(state - held + states + lent)
	}
}

// back ends lend. It is false if the processor has been taken away.
func (c *claim) back() bool {
	state := c.state.Load()
	return state%states == held || state%states == lent && c.state.CompareAndSwap(state, state-lent+held)
}

// stand leaves the seat, and is false if the claim has none.
func (c *claim) stand() bool {
	state := c.state.Load()
	if state%states == none || !c.state.CompareAndSwap(state, state-state%states) {
		return false
	}
	c.processors.seats[c.seat].claim.Store(nil)
	return true
}

// give gives the processor back, if the claim has one.
func (c *claim) give() {
	if !c.stand() {
		return
	}
	p := c.processors
	for free := p.free.Load(); free >= 0; free = p.free.Load() {
		if p.free.CompareAndSwap(free, free+1) {
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count(c, c.paid, processorClock())
	p.spare++
	p.settle()
}

// rotate lets another guest compute if it is its turn, and waits for a processor then. It
// is false in the same cases as take, and then has none. The claim must hold its processor.
func (c *claim) rotate(ctx, closing context.Context, deadline time.Time) bool {
	now := processorClock()
	paid := c.paid
	c.paid = now
	p := c.processors
	if p.free.Load() >= 0 {
		return true
	}
	p.mu.Lock()
	if p.free.Load() >= 0 || p.spare > 0 {
		p.mu.Unlock()
		return true
	}
	p.count(c, paid, now)
	for _, l := range p.lines {
		l.used = min(l.used, c.line.used+maxDebt)
	}
	if !c.yields(p.least(false), now-c.began) {
		p.mu.Unlock()
		return true
	}
	c.stand()
	p.spare++
	p.settle()
	p.free.Add(-1)
	p.join(c, true)
	p.mu.Unlock()
	return c.wait(ctx, closing, deadline)
}

// yields tells whether a guest that has computed for so long makes room for the first in
// line l. One that has come just now need not wait for the end of the slice if its function
// has used less: else functions of short calls would wait longer than they compute.
func (c *claim) yields(l *line, computed time.Duration) bool {
	switch {
	case l != c.line && l.used > c.line.used:
		return false
	case l != c.line && l.used < c.line.used && !l.first.rotated:
		return true
	}
	return computed >= slice
}

// count adds to what a function has used. mu is held.
func (p *processors) count(c *claim, from, to time.Duration) {
	c.line.used += max(0, to-max(from, p.since))
}

// settle calls as many as there are processors to spare, or keeps those free if nobody
// waits. mu is held.
func (p *processors) settle() {
	if len(p.lines) == 0 {
		p.free.Add(int64(p.spare))
		p.spare = 0
	}
	for p.called < p.spare {
		l := p.least(true)
		if l == nil {
			return // all have been called
		}
		c := l.first
		for c.called {
			c = c.next
		}
		c.called = true
		p.called++
		c.call <- struct{}{}
	}
}

// least returns the line of the function that has used the least. With uncalled only those
// count in which somebody has not been called; nil is none. mu is held.
func (p *processors) least(uncalled bool) (least *line) {
	for _, l := range p.lines {
		if (least == nil || l.used < least.used) && (!uncalled || l.uncalled()) {
			least = l
		}
	}
	return least
}

// uncalled tells whether somebody in line has not been called. mu is held.
func (l *line) uncalled() bool {
	for c := l.first; c != nil; c = c.next {
		if !c.called {
			return true
		}
	}
	return false
}

// seize gives a processor to spare to a claim in line. mu is held.
func (p *processors) seize(c *claim) {
	p.floor = c.line.used
	p.spare--
	p.leave(c)
	p.settle()
}

// join puts a claim, which free counts already, at the end of its line. mu is held.
func (p *processors) join(c *claim, rotated bool) {
	if c.call == nil {
		c.call = make(chan struct{}, 1)
	}
	c.rotated = rotated
	l := c.line
	l.used = max(l.used, p.floor)
	if len(p.lines) == 0 {
		p.since = processorClock()
	}
	if l.first == nil {
		l.first = c
		p.lines = append(p.lines, l)
	} else {
		l.last.next = c
	}
	l.last = c
	if !p.watching {
		p.watching = true
		p.look()
	}
}

// leave takes a claim out of its line. mu is held.
func (p *processors) leave(c *claim) {
	l := c.line
	var before *claim
	for at := l.first; at != c; at = at.next {
		before = at
	}
	if before == nil {
		l.first = c.next
	} else {
		before.next = c.next
	}
	if l.last == c {
		l.last = before
	}
	c.next = nil
	if l.first == nil {
		i := slices.Index(p.lines, l)
		p.lines = slices.Delete(p.lines, i, i+1)
	}
	p.free.Add(1)
}

// look has the seats looked at in a while. mu is held.
func (p *processors) look() {
	if p.watch == nil {
		p.watch = time.AfterFunc(watchEvery, p.reclaim)
	} else {
		p.watch.Reset(watchEvery)
	}
}

// reclaim takes processors away from guests that are still in the host call in which they
// were when it looked before, as long as somebody waits.
func (p *processors) reclaim() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.seats {
		var now lending
		if c := p.seats[i].claim.Load(); c != nil && len(p.lines) > 0 {
			now = lending{c, c.state.Load()}
		}
		if now.state%states == lent && now == p.seen[i] && now.claim.state.CompareAndSwap(now.state, now.state-lent) {
			p.seats[i].claim.Store(nil)
			p.spare++
			p.settle()
		}
		p.seen[i] = now
	}
	if p.watching = len(p.lines) > 0; p.watching {
		p.look()
	}
}

// The sandbox's side of it.

// compute waits for a processor for the call that begin began, and says why there was none.
func (s *Sandbox) compute() error {
	for !s.claim.take(s.ctx, s.function.pool.closing, s.deadline) {
		if err := s.over(); err != nil {
			return err
		}
	}
	return nil
}

// resume is compute for a guest that gave its processor up, or lost it, in a host call. It
// does not return if the call is over.
func (s *Sandbox) resume() {
	if s.claim.back() {
		return
	}
	err := s.compute()
	s.waited()
	if err != nil {
		s.finish(err)
	}
}

// share lets guests compute that are less well served than this one, now and then. In a
// host call that may wait it takes the processor back before: that doesn't wait, it works.
func (s *Sandbox) share() {
	working := s.claim.state.Load()%states == held
	if !working {
		s.resume()
	}
	if !s.claim.rotate(s.ctx, s.function.pool.closing, s.deadline) {
		s.resume()
	}
	s.waited()
	if !working {
		s.claim.lend()
	}
}

// waited takes what the guest has waited for a processor off its CPU time.
func (s *Sandbox) waited() {
	s.idle += s.claim.waited
	s.claim.waited = 0
}

// rest gives the processor back: the host call under way has to wait.
func (s *Sandbox) rest() {
	s.claim.give()
	if out, ok := s.out.to.(*boundedOutput); ok {
		out.flush()
	}
}
