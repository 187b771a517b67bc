package sockets

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

const (
	// queueSize is how much a socket holds for each direction, beside what the system's own
	// buffers hold.
	queueSize = 32 << 10
	// charged and chargedTLS are what a socket takes from the ceiling that all calls share.
	charged    = 2 * queueSize
	chargedTLS = charged + 64<<10 // records in both directions, and what the handshake needs
	// linger is how long closing waits for the system to take what has been written.
	linger = time.Second
)

// socket is a connection, or one in the making. Two goroutines of its own stand between the
// guest, which may not want to wait, and the network: one connects and then reads ahead, the
// other exists while there is something to write.
//
// The guest's side, the methods of [vfs.Socket] and its like, is used by one goroutine at a
// time.
type socket struct {
	endpoint *Endpoint
	budget   *engine.Budget
	charged  int64
	cancel   context.CancelFunc // of connecting
	arrived  chan struct{}      // wakes the guest; holds one wake

	mu      sync.Mutex
	changed sync.Cond // for the goroutines: room to read into, something written, closed
	state   state
	conn    stream   // nil until the guest's bytes can go there
	raw     net.Conn // below conn; nil until there is one
	closed  bool
	waiters []*waiter

	in    queue
	inErr error // what follows in; io.EOF is the end of the stream
	deaf  bool  // the guest reads no more

	out      queue
	outErr   error // nothing can be written any more
	mute     bool  // the guest writes no more
	finished bool  // and the other side knows, or need not
	writing  bool  // a goroutine does
}

// state is how far a connection is.
type state int

const (
	connecting state = iota
	usable           // what the guest writes is taken, if only to be sent later
	failed           // inErr says why
)

// stream is a connection of which the guest's direction can be ended.
type stream interface {
	net.Conn
	CloseWrite() error
}

type waiter struct {
	want vfs.Events
	wake func()
}

// open makes a socket that connects, at most until the call of ctx ends. With wait it returns
// when that is done, or why it can't be.
func open(ctx context.Context, e *Endpoint, wait bool) (vfs.File, error) {
	s := &socket{endpoint: e, budget: engine.BudgetOf(ctx), charged: charged, arrived: make(chan struct{}, 1)}
	if e.TLS != nil {
		s.charged = chargedTLS
	}
	if err := s.budget.Reserve(s.charged); err != nil {
		return nil, fmt.Errorf("%w: %w", vfs.ENOBUFS, err)
	}
	s.changed.L = &s.mu
	s.in.limit, s.out.limit = queueSize, queueSize
	life, cancel := context.WithCancel(ctx)
	s.cancel = cancel
	go s.run(life)
	if !wait {
		return s, nil
	}
	err := s.wait(ctx, (*socket).connected)
	if err == nil {
		err = s.failure()
	}
	if err != nil {
		s.Discard()
		return nil, err
	}
	return s, nil
}

// run connects and then reads until there is nothing more to read, or the socket is closed.
func (s *socket) run(ctx context.Context) {
	conn, err := s.connect(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		s.conn = conn
		s.become(usable)
		s.send()
		s.readAhead()
	case !s.closed:
		if ctx.Err() == nil {
			s.endpoint.report(err)
		}
		s.inErr = errnoOf(err)
		s.outErr = s.inErr
		s.become(failed)
	}
}

func (s *socket) become(state state) {
	s.state = state
	s.notify(vfs.Readable | vfs.Writable)
}

// holds keeps conn as what is closed with the socket. It is false if that has happened
// already.
func (s *socket) holds(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = conn.Close()
		return false
	}
	s.raw = conn
	return true
}

// readAhead reads as long as there is room. mu is held, but not while it reads.
func (s *socket) readAhead() {
	for s.inErr == nil {
		for !s.closed && (s.in.room() == 0 || s.deaf) {
			s.changed.Wait()
		}
		if s.closed {
			return
		}
		room := s.in.reserve()
		s.mu.Unlock()
		n, err := s.conn.Read(room)
		s.mu.Lock()
		s.in.commit(n)
		if err == io.EOF {
			s.inErr = err
		} else if err != nil {
			s.inErr = s.broken(err)
		}
		s.notify(vfs.Readable)
	}
}

// send has what is in out written, unless that is under way. mu is held.
func (s *socket) send() {
	if s.conn != nil && !s.writing && (s.out.held > 0 || s.mute && !s.finished) {
		s.writing = true
		go s.write()
	}
}

// write writes until out is empty.
func (s *socket) write() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.outErr == nil && !s.closed {
		var n int
		var err error
		switch p := s.out.head(); {
		case len(p) > 0:
			s.mu.Unlock()
			n, err = s.conn.Write(p)
			s.mu.Lock()
			s.out.drop(n)
		case s.mute && !s.finished:
			s.finished = true
			s.mu.Unlock()
			err = s.conn.CloseWrite()
			s.mu.Lock()
		default:
			s.quiet()
			return
		}
		if err != nil {
			s.outErr = s.broken(err)
		}
		s.notify(vfs.Writable)
	}
	s.quiet()
}

// quiet ends write. mu is held.
func (s *socket) quiet() {
	s.writing = false
	s.notify(vfs.Writable)
}

// broken returns the number for an error of a connection that has been made, and reports those
// of TLS. mu is held.
func (s *socket) broken(err error) error {
	errno := errnoOf(err)
	if errno == vfs.EPROTO && !s.closed {
		s.endpoint.report(err)
	}
	return errno
}

// notify wakes whoever waits for one of the events. mu is held.
func (s *socket) notify(events vfs.Events) {
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	for _, w := range s.waiters {
		if w.want&events != 0 {
			w.wake()
		}
	}
}

// What the guest waits for. mu is held.

func (s *socket) connected() bool { return s.state != connecting }

func (s *socket) readable() bool { return s.in.held > 0 || s.inErr != nil || s.deaf }

func (s *socket) writable() bool {
	return s.outErr != nil || s.mute || s.state == usable && s.out.room() > 0
}

func (s *socket) written() bool { return !s.writing }

// wait waits until something holds or ctx ends.
func (s *socket) wait(ctx context.Context, until func(*socket) bool) error {
	for {
		s.mu.Lock()
		holds := until(s)
		s.mu.Unlock()
		if holds {
			return nil
		}
		select {
		case <-s.arrived:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// failure is why there is no connection; nil: there is one.
func (s *socket) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == failed {
		return s.inErr
	}
	return nil
}

// Stat implements [vfs.File].
func (s *socket) Stat(context.Context) (vfs.Stat, error) { return socketStat, nil }

// Read implements [vfs.Reader].
func (s *socket) Read(ctx context.Context, p []byte) (int, error) {
	return s.receive(ctx, p, (*queue).take)
}

// Peek implements [vfs.Peeker].
func (s *socket) Peek(ctx context.Context, p []byte) (int, error) {
	return s.receive(ctx, p, (*queue).peek)
}

func (s *socket) receive(ctx context.Context, p []byte, from func(*queue, []byte) int) (int, error) {
	if err := s.wait(ctx, (*socket).readable); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.deaf:
		return 0, nil
	case s.in.held == 0:
		return 0, s.inErr
	}
	n := from(&s.in, p)
	s.changed.Signal()
	return n, nil
}

// Write implements [vfs.Writer]: it takes what there is room for. That it can't be written
// shows later.
func (s *socket) Write(ctx context.Context, p []byte) (int, error) {
	if err := s.wait(ctx, (*socket).writable); err != nil {
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.outErr != nil:
		return 0, s.outErr
	case s.mute:
		return 0, vfs.EPIPE
	}
	n, err := s.writeNow(p)
	if err != nil {
		s.outErr = s.broken(err)
		return 0, s.outErr
	}
	if n < len(p) {
		n += s.out.add(p[n:])
		s.changed.Signal()
		s.send()
	}
	return n, nil
}

// writeNow writes what the system takes at once, if nothing has to be written before: that saves
// the way through another goroutine. mu is held.
func (s *socket) writeNow(p []byte) (int, error) {
	if conn, ok := s.conn.(plain); ok && s.out.held == 0 && !s.writing {
		return tryWrite(conn.Conn, p)
	}
	return 0, nil
}

// Shutdown implements [vfs.Socket]. What has been written before is sent first.
func (s *socket) Shutdown(_ context.Context, read, write bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == failed {
		return vfs.ENOTCONN
	}
	if read {
		s.deaf = true
		s.notify(vfs.Readable)
	}
	if write {
		s.mute = true
		s.send()
		s.notify(vfs.Writable)
	}
	return nil
}

// Ready implements [vfs.Poller].
func (s *socket) Ready(want vfs.Events) (got vfs.Events, n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if want&vfs.Writable != 0 && s.writable() {
		got |= vfs.Writable
		n = int64(s.out.room())
	}
	if want&vfs.Readable != 0 && s.readable() {
		got |= vfs.Readable
		n = int64(s.in.held)
	}
	if s.inErr != nil || s.deaf {
		got |= vfs.Hangup
	}
	return got, n
}

// Notify implements [vfs.Poller].
func (s *socket) Notify(want vfs.Events, wake func()) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &waiter{want, wake}
	s.waiters = append(s.waiters, w)
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waiters = slices.DeleteFunc(s.waiters, func(other *waiter) bool { return other == w })
	}
}

// Close ends the connection, when the system has taken what was written or a second has
// passed: like the system's, it says nothing about what arrives.
func (s *socket) Close(ctx context.Context) error {
	s.mu.Lock()
	s.mute = true
	s.finished = s.finished || s.endpoint.TLS == nil // the end of TCP needs no word of its own
	s.send()
	rest := s.writing
	s.mu.Unlock()
	if rest {
		ctx, cancel := context.WithTimeout(ctx, linger)
		_ = s.wait(ctx, (*socket).written)
		cancel()
	}
	s.Discard()
	return nil
}

// Discard ends the connection at once: the call has failed. What has been written may get
// lost, and with TLS the other side sees that it was not the end.
func (s *socket) Discard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.cancel()
	if s.raw != nil {
		_ = s.raw.Close()
	}
	s.changed.Broadcast()
	s.budget.Release(s.charged)
}

var (
	_ vfs.Socket    = (*socket)(nil)
	_ vfs.Poller    = (*socket)(nil)
	_ vfs.Peeker    = (*socket)(nil)
	_ vfs.Discarder = (*socket)(nil)
)
