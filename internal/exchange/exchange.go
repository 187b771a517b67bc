package exchange

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"
	"sync"

	"github.com/gojinn/gojinn/engine/vfs"
)

// bodyRoom is how much of a body is held between the guest and who serves it.
const bodyRoom = 64 << 10

// exchange is one request and its answer, between the guest's goroutine and the one that serves.
type exchange struct {
	cancel context.CancelFunc
	read   bool // the guest has begun to read the answer; its goroutine's

	mu       sync.Mutex
	buffer   []byte // all of the room for the body; nil: there is none, or nobody wants more of it
	body     []byte // what is in it
	bodyEnd  bool   // the guest writes no more of it
	answer   []byte // what is being written to the guest, which has not taken it yet
	swallow  bool   // nobody reads the answer
	ended    bool   // Serve has returned
	err      error
	fault    error // with which it panicked
	watchers []*watcher

	guest  chan struct{} // holds one if something has changed for the guest, who is the only one to wait
	serves chan struct{} // the same for the writer of the answer
	takes  chan struct{} // the same for the reader of the body
}

type watcher struct{ wake func() }

// start begins to serve. release gives back the memory of the request, and more.
func start(ctx context.Context, serve Serve, body bool, release func(more int64)) *exchange {
	e := &exchange{guest: make(chan struct{}, 1), serves: make(chan struct{}, 1)}
	ctx, e.cancel = context.WithCancel(ctx)
	var more int64
	if body {
		more, e.buffer, e.takes = bodyRoom, make([]byte, bodyRoom), make(chan struct{}, 1)
		e.body = e.buffer[:0]
	}
	go func() {
		err, fault := e.guarded(ctx, serve, body)
		e.mu.Lock()
		e.ended, e.err, e.fault = true, err, fault
		e.buffer, e.body = nil, nil
		e.changed()
		e.mu.Unlock()
		release(more)
	}()
	return e
}

// guarded serves. A panic is kept for the guest's goroutine, where it ends one call instead
// of the server.
func (e *exchange) guarded(ctx context.Context, serve Serve, body bool) (err, fault error) {
	defer func() {
		if r := recover(); r != nil {
			err, fault = vfs.EIO, fmt.Errorf("serving an exchange: %v\n%s", r, debug.Stack())
		}
	}()
	var from io.ReadCloser
	if body {
		from = &bodyReader{e, ctx}
	}
	return serve(ctx, from, &answerWriter{e, ctx}), nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// changed wakes the guest, however it waits. e is locked.
func (e *exchange) changed() {
	signal(e.guest)
	for _, w := range e.watchers {
		w.wake()
	}
}

// takesBody tells whether what the guest writes now belongs to the body.
func (e *exchange) takesBody() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.takes != nil && !e.bodyEnd
}

// endBody is the guest's wish to read.
func (e *exchange) endBody() {
	if e.takes != nil && !e.bodyEnd {
		e.bodyEnd = true
		signal(e.takes)
	}
}

func (e *exchange) writeBody(ctx context.Context, p []byte) (int, error) {
	for {
		e.mu.Lock()
		if e.buffer == nil {
			e.mu.Unlock()
			return len(p), nil // whoever wanted it wants no more
		}
		if n := min(len(p), len(e.buffer)-len(e.body)); n > 0 {
			if cap(e.body)-len(e.body) < n {
				e.body = e.buffer[:copy(e.buffer, e.body)]
			}
			e.body = append(e.body, p[:n]...)
			signal(e.takes)
			e.mu.Unlock()
			return n, nil
		}
		e.mu.Unlock()
		select {
		case <-e.guest:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

func (e *exchange) readAnswer(ctx context.Context, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		e.mu.Lock()
		e.endBody()
		if n := copy(p, e.answer); n > 0 {
			if e.answer = e.answer[n:]; len(e.answer) == 0 {
				signal(e.serves)
			}
			e.mu.Unlock()
			e.read = true
			return n, nil
		}
		ended, err, fault := e.ended, e.err, e.fault
		e.mu.Unlock()
		if fault != nil {
			panic(fault)
		}
		if ended {
			e.read = true
			return 0, err
		}
		select {
		case <-e.guest:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// finish waits until the request has been served; nobody reads the answer.
func (e *exchange) finish(ctx context.Context) error {
	e.mu.Lock()
	e.endBody()
	e.swallow, e.answer = true, nil
	signal(e.serves)
	e.mu.Unlock()
	for {
		e.mu.Lock()
		ended, err := e.ended, e.err
		e.mu.Unlock()
		if ended {
			return err
		}
		select {
		case <-e.guest:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *exchange) ready(want vfs.Events) (got vfs.Events, n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if want&vfs.Readable != 0 {
		e.endBody()
		if n = int64(len(e.answer)); n > 0 || e.ended {
			got |= vfs.Readable
		}
	}
	if want&vfs.Writable != 0 && (e.bodyEnd || e.buffer == nil || len(e.body) < len(e.buffer)) {
		got |= vfs.Writable
	}
	return got, n
}

func (e *exchange) notify(want vfs.Events, wake func()) (stop func()) {
	w := &watcher{wake}
	e.mu.Lock()
	defer e.mu.Unlock()
	if want&vfs.Readable != 0 {
		e.endBody()
	}
	e.watchers = append(e.watchers, w)
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.watchers = drop(e.watchers, w)
	}
}

// answerWriter is how an answer is given.
type answerWriter struct {
	e   *exchange
	ctx context.Context
}

// Write implements [io.Writer].
func (w *answerWriter) Write(p []byte) (int, error) {
	e := w.e
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(p) == 0 || e.swallow {
		return len(p), nil
	}
	e.answer = p
	e.changed()
	for len(e.answer) > 0 {
		e.mu.Unlock()
		select {
		case <-e.serves:
		case <-w.ctx.Done():
		}
		e.mu.Lock()
		if err := w.ctx.Err(); err != nil && len(e.answer) > 0 {
			taken := len(p) - len(e.answer)
			e.answer = nil
			return taken, err
		}
	}
	return len(p), nil
}

// bodyReader is how a body is read.
type bodyReader struct {
	e   *exchange
	ctx context.Context
}

// Read implements [io.Reader].
func (r *bodyReader) Read(p []byte) (int, error) {
	e := r.e
	for {
		e.mu.Lock()
		if e.buffer == nil {
			e.mu.Unlock()
			return 0, io.ErrClosedPipe
		}
		if n := copy(p, e.body); n > 0 || len(p) == 0 {
			if e.body = e.body[n:]; len(e.body) == 0 {
				e.body = e.buffer[:0]
			}
			e.changed()
			e.mu.Unlock()
			return n, nil
		}
		end := e.bodyEnd
		e.mu.Unlock()
		if end {
			return 0, io.EOF
		}
		select {
		case <-e.takes:
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		}
	}
}

// Close makes the rest of the body unwanted. A read that waits returns.
func (r *bodyReader) Close() error {
	e := r.e
	e.mu.Lock()
	defer e.mu.Unlock()
	e.buffer, e.body = nil, nil
	signal(e.takes)
	e.changed()
	return nil
}
