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
}

var streamFraming = framing{contract.EndOfLine, contract.DecodeHead}

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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	progress := &progress{idle: c.function.idleTimeout, over: func() {
		cancel(fmt.Errorf("%w: no byte in or out for %s", engine.ErrTimeout, c.function.idleTimeout))
	}}
	out := &responseStream{w: w, control: http.NewResponseController(w), method: r.Method, framing: f, head: c.newBuffer(), progress: progress}
	defer out.head.free()
	defer progress.stop()

	in, ended, err := c.requestStream(w, r, head, out.control, progress, cancel)
	if err != nil {
		return err
	}
	err = c.run(ctx, in, out)
	ended()
	if err == nil {
		err = out.finish()
	}
	c.begun = out.begun
	return err
}

// requestStream is what the function reads: head, then the request's body. ended is to be called
// when it reads no more.
func (c *call) requestStream(w http.ResponseWriter, r *http.Request, head []byte, control *http.ResponseController, p *progress, cancel context.CancelCauseFunc) (in io.Reader, ended func(), err error) {
	if r.Body == nil || r.ContentLength == 0 {
		return bytes.NewReader(head), func() {}, nil
	}
	if err := c.limitBody(w, r); err != nil {
		return nil, nil, err
	}
	// Or HTTP/1.1 would have the function read everything before it answers. Where there is no
	// such thing there is no need for it.
	_ = control.EnableFullDuplex()
	s := &requestStream{head: head, body: r.Body, control: control, progress: p, failed: func(err error) { cancel(bodyError(r, err)) }}
	return s, s.end, nil
}

// requestStream is a request's head and body. Read is called by a goroutine that may outlive the call.
type requestStream struct {
	head     []byte
	body     io.Reader
	control  *http.ResponseController
	progress *progress
	failed   func(error)

	mu      sync.Mutex
	over    bool
	reading chan struct{} // closed when the Read under way has returned; nil: there is none
}

var errOver = errors.New("the call is over")

// Read implements [io.Reader].
func (s *requestStream) Read(p []byte) (int, error) {
	if len(s.head) > 0 {
		n := copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	done := make(chan struct{})
	if !s.begin(done) {
		return 0, errOver
	}
	n, err := s.body.Read(p)
	over := s.done(done)
	if n > 0 {
		s.progress.made()
	}
	if err != nil && err != io.EOF && !over {
		s.failed(err)
	}
	return n, err
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

func (s *requestStream) done(done chan struct{}) (over bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading = nil
	close(done)
	return s.over
}

// end makes a Read that waits for the client return: the server must not be left with a request that somebody
// still reads.
func (s *requestStream) end() {
	s.mu.Lock()
	s.over = true
	reading := s.reading
	s.mu.Unlock()
	if reading != nil && s.control.SetReadDeadline(time.Unix(1, 0)) == nil {
		<-reading
	}
}

// responseStream hands on what a function writes. It implements [engine.Stream].
type responseStream struct {
	w        http.ResponseWriter
	control  *http.ResponseController
	method   string
	framing  framing
	progress *progress

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
	if len(body) == 0 || !s.hasBody {
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
	if len(s.head.bytes) == 0 {
		if n := s.framing.end(p, 0); n > 0 {
			return p[n:], s.send(p[:n])
		}
	}
	from := len(s.head.bytes)
	if _, err := s.head.Write(p[:min(len(p), maxHead+1-from)]); err != nil {
		return nil, err
	}
	n := s.framing.end(s.head.bytes, from)
	switch {
	case n > 0:
		return p[n-from:], s.send(s.head.bytes[:n])
	case len(s.head.bytes) > maxHead:
		return nil, contract.TooLong(s.head.bytes, maxHead)
	}
	return nil, nil
}

// send sends the status and the fields.
func (s *responseStream) send(head []byte) error {
	response, err := s.framing.decode(head)
	if err != nil {
		return err
	}
	s.begun, s.dirty = true, true
	s.hasBody = response.WriteHead(s.w, s.method)
	contentType, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	s.each = strings.EqualFold(strings.TrimSpace(contentType), "text/event-stream")
	s.flushed = time.Now()
	s.progress.made()
	if !s.hasBody {
		return s.Flush() // whatever the function still has to do
	}
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
	err := s.unlessOver(s.control.Flush)
	if err == nil || errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return fmt.Errorf("%w: %w", errResponse, err)
}

// unlessOver runs f, which writes to the client, and makes it return when the call ends.
func (s *responseStream) unlessOver(f func() error) error {
	interrupted := make(chan struct{})
	stop := context.AfterFunc(s.life, func() {
		_ = s.control.SetWriteDeadline(time.Unix(1, 0)) // where that can't be done nothing can
		close(interrupted)
	})
	err := f()
	if !stop() {
		<-interrupted // the connection may be another request's soon
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
