package gojinn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
)

const (
	// maxHead bounds, in bytes, what a function writes before the body of its response: room
	// for all the fields that a response may have, escaped.
	maxHead = 2 << 20
	// maxPiece is how much of a response is handed on at once. A client that takes its time
	// takes pieces, so that it is seen to be there.
	maxPiece = 16 << 10
	// maxUnflushed is how long a program that goes on computing may have its output wait.
	maxUnflushed = 100 * time.Millisecond
)

// framing is how a contract has the head of a response.
type framing struct {
	// end returns the length of the head that b begins with, 0 if b doesn't hold all of it yet. What is
	// before from has been looked at.
	end func(b []byte, from int) int
	// decode parses a head. The errors are *contract.DecodeError.
	decode func(head []byte) (*contract.Response, error)
	// wanted tells whether what comes next is for the client: else it is dropped.
	wanted func() bool
}

var streamFraming = framing{contract.EndOfLine, contract.DecodeHead, func() bool { return true }}

// stream takes the request to the function and its answer to the client, both as they come.
func (c *call) stream(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	head := c.newBuffer()
	defer head.free()
	err := head.append(func(dst []byte) []byte { return contract.AppendHead(dst, r, c.meta(ctx, r)) })
	if err != nil {
		return err
	}
	return c.relay(ctx, w, r, head.bytes, streamFraming)
}

// relay runs the function on head and the request's body, and hands on what it answers.
func (c *call) relay(ctx context.Context, w http.ResponseWriter, r *http.Request, head []byte, f framing) error {
	peer := newPeer(w, r)
	defer peer.done()
	client := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(client))
	defer cancel(nil)
	defer context.AfterFunc(client, func() {
		if !peer.stopped.Load() { // or net/http has taken that for the client's leaving
			cancel(context.Cause(client))
		}
	})()
	progress := &progress{idle: c.function.idleTimeout, over: func() {
		cancel(fmt.Errorf("%w: no byte in or out for %s", engine.ErrTimeout, c.function.idleTimeout))
	}}
	body, err := c.requestStream(w, r, head, peer, progress, cancel)
	if err != nil {
		return err
	}
	out := &responseStream{w: w, peer: peer, method: r.Method, framing: f, head: c.newBuffer(), progress: progress, request: body}
	defer out.head.free()
	defer progress.stop()

	err = c.run(ctx, body.reader(head), out)
	body.end()
	if err == nil {
		err = out.finish()
	}
	if c.begun = out.begun; !c.begun {
		body.leave(w)
	}
	return err
}

// requestStream returns what there is of r besides its head, nil if that is nothing.
func (c *call) requestStream(w http.ResponseWriter, r *http.Request, head []byte, peer *peer, p *progress, cancel context.CancelCauseFunc) (*requestStream, error) {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil, nil
	}
	if err := c.limitBody(w, r); err != nil {
		return nil, err
	}
	return &requestStream{
		head: head, body: r.Body, peer: peer, progress: p, http1: r.ProtoMajor == 1,
		failed: func(err error) { cancel(bodyError(r, err)) },
	}, nil
}

// requestStream is a request's head and body. Read is called by a goroutine that may outlive the
// call. A nil one is that of a request without a body.
type requestStream struct {
	head     []byte
	body     io.Reader
	peer     *peer
	progress *progress
	http1    bool
	failed   func(error)

	mu      sync.Mutex
	over    bool          // the call is
	whole   bool          // the body has been read to its end
	reading chan struct{} // closed when the Read under way has returned; nil: there is none
}

var errOver = errors.New("the call is over")

// reader is what the function reads.
func (s *requestStream) reader(head []byte) io.Reader {
	if s == nil {
		return bytes.NewReader(head)
	}
	return s
}

// Read implements [io.Reader].
func (s *requestStream) Read(p []byte) (int, error) {
	if n := s.readHead(p); n > 0 {
		return n, nil
	}
	done := make(chan struct{})
	if !s.begin(done) {
		return 0, errOver
	}
	n, err := s.body.Read(p)
	over := s.done(done, err == io.EOF)
	if n > 0 {
		s.progress.made()
	}
	if err != nil && err != io.EOF && !over {
		s.failed(err)
	}
	return n, err
}

// readHead reads nothing when the call is over: the head's memory may be another call's.
func (s *requestStream) readHead(p []byte) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return 0
	}
	n := copy(p, s.head)
	s.head = s.head[n:]
	return n
}

func (s *requestStream) begin(done chan struct{}) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.reading = done
	return true
}

func (s *requestStream) done(done chan struct{}, whole bool) (over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = nil
	close(done)
	s.whole = s.whole || whole && !s.over // or the connection has been interrupted
	return s.over
}

// end makes a Read that waits for the client return: the server must not be left with a request that somebody
// still reads.
func (s *requestStream) end() {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.over = true
	reading := s.reading
	s.mu.Unlock()
	if reading != nil && s.peer.stopReading() == nil {
		<-reading
	}
	if s.remains() {
		s.peer.linger()
	}
}

// remains tells whether the connection may still hold a part of the request. That of HTTP/1 can't
// have another request then: net/http reads on to find that, but takes whatever comes for a request
// if it is interrupted, and a Read that was interrupted has ended the connection's context.
func (s *requestStream) remains() bool {
	if s == nil || !s.http1 {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.whole
}

// leave has the connection closed after the response, whose fields are yet to be sent, if it may still hold
// a part of the request. Nor does net/http wait for that part before it answers, then.
func (s *requestStream) leave(w http.ResponseWriter) {
	if s.remains() {
		w.Header().Set("Connection", "close")
	}
}

// responseStream hands on what a function writes. It implements [engine.Stream].
type responseStream struct {
	w        http.ResponseWriter
	peer     *peer
	method   string
	framing  framing
	progress *progress
	request  *requestStream // that it answers

	life    context.Context // of the call
	head    *buffer         // what there is of it until it is whole
	begun   bool            // the status has been sent
	hasBody bool            // what follows is for the client
	each    bool            // of its writes is flushed: it is events
	dirty   bool            // something is not flushed
	flushed time.Time       // when that was last done
}

// Begin implements [engine.Stream].
func (s *responseStream) Begin(ctx context.Context) {
	s.life = ctx
	s.progress.start()
}

// Write implements [engine.Stream].
func (s *responseStream) Write(p []byte) (int, error) {
	body := p
	if !s.begun {
		var err error
		if body, err = s.begin(p); err != nil {
			return 0, err
		}
	}
	if len(body) == 0 || !s.hasBody || !s.framing.wanted() {
		return len(p), nil
	}
	for len(body) > 0 {
		piece := body[:min(len(body), maxPiece)]
		if err := s.unlessOver(func() error { _, err := s.w.Write(piece); return err }); err != nil {
			return 0, fmt.Errorf("%w: %w", errResponse, err)
		}
		s.progress.made()
		body = body[len(piece):]
	}
	s.dirty = true
	if s.each || time.Since(s.flushed) > maxUnflushed {
		return len(p), s.Flush()
	}
	return len(p), nil
}

// begin takes what of p belongs to the head, and returns the rest.
func (s *responseStream) begin(p []byte) (rest []byte, err error) {
	head, rest := p, []byte(nil)
	if n := s.framing.end(p, 0); n > 0 && len(s.head.bytes) == 0 {
		head, rest = p[:n], p[n:]
	} else if head, rest, err = s.collect(p); head == nil {
		return nil, err
	}
	if err := s.send(head); err != nil {
		return nil, err
	}
	if !s.hasBody {
		return nil, s.Flush() // whatever the function still has to do
	}
	return rest, nil
}

// collect adds p to the head, and returns that when it is whole.
func (s *responseStream) collect(p []byte) (head, rest []byte, err error) {
	from := len(s.head.bytes)
	if _, err := s.head.Write(p[:min(len(p), maxHead+1-from)]); err != nil {
		return nil, nil, err
	}
	n := s.framing.end(s.head.bytes, from)
	switch {
	case n > 0:
		return s.head.bytes[:n], p[n-from:], nil
	case len(s.head.bytes) > maxHead:
		return nil, nil, contract.TooLong(s.head.bytes, maxHead)
	}
	return nil, nil, nil
}

// send sends the status and the fields.
func (s *responseStream) send(head []byte) error {
	response, err := s.framing.decode(head)
	if err != nil {
		return err
	}
	s.request.leave(s.w)
	s.begun, s.dirty = true, true
	s.hasBody = response.WriteHead(s.w, s.method)
	contentType, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	s.each = strings.EqualFold(strings.TrimSpace(contentType), "text/event-stream")
	s.flushed = time.Now()
	s.progress.made()
	return nil
}

// finish ends the response of a function that has ended well. One that has written no more than
// a head may have left out its end.
func (s *responseStream) finish() error {
	if s.begun {
		return nil
	}
	return s.send(s.head.bytes)
}

// Flush implements [engine.Stream].
func (s *responseStream) Flush() error {
	if !s.begun || !s.dirty {
		return nil
	}
	s.dirty, s.flushed = false, time.Now()
	err := s.unlessOver(s.peer.Flush)
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return fmt.Errorf("%w: %w", errResponse, err)
}

// unlessOver runs f, which writes to the client, and makes it return when the call ends.
func (s *responseStream) unlessOver(f func() error) error {
	returned, stopped := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(s.life, func() {
		defer close(stopped)
		s.peer.stopWriting(returned)
	})
	err := f()
	if stop() {
		return err
	}
	close(returned)
	<-stopped // the connection may be another request's soon
	if err == nil {
		err = context.Cause(s.life) // nothing more can be written
	}
	return err
}

// progress ends a call in which no byte comes or goes for too long. Safe for concurrent use, but for
// start and stop.
type progress struct {
	idle time.Duration // 0: no bound
	over func()

	last  atomic.Int64 // when there was one, in nanoseconds since began
	began time.Time
	timer *time.Timer
	mu    sync.Mutex
	ended bool
}

func (p *progress) start() {
	if p.idle <= 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.began = time.Now()
	p.timer = time.AfterFunc(p.idle, p.look)
}

// made notes that a byte has come or gone.
func (p *progress) made() {
	if p.idle > 0 {
		p.last.Store(int64(time.Since(p.began)))
	}
}

// look ends the call, or looks again when it may be time.
func (p *progress) look() {
	left := p.idle - (time.Since(p.began) - time.Duration(p.last.Load()))
	if left <= 0 {
		p.over()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.timer.Reset(left)
	}
}

func (p *progress) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	if p.timer != nil {
		p.timer.Stop()
	}
}
