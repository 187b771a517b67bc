package engine

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"

	"github.com/gojinn/gojinn/engine/vfs"
)

// stdio is what the standard streams have in common. Their type is unknown,
// preview 1's word for a pipe: a character device could be taken for a terminal
// (isatty of wasi-libc).
type stdio struct{}

func (stdio) Stat(context.Context) (vfs.Stat, error) { return vfs.Stat{Type: vfs.TypeUnknown}, nil }

func (stdio) Close(context.Context) error { return nil }

// waitingInput is the standard input of a program for which there is no call yet.
type waitingInput struct{ stdio }

// Read is never called: a read of it waits for the call.
func (waitingInput) Read(context.Context, []byte) (int, error) { return 0, vfs.EIO }

// earlyLog is where a program's standard error goes before there is a call.
type earlyLog process

func (l *earlyLog) Write(p []byte) (int, error) {
	l.early = append(l.early, p...)
	return len(p), nil
}

// output is a guest's standard output or standard error.
type output struct {
	stdio
	to io.Writer
}

func (o *output) Write(_ context.Context, p []byte) (int, error) { return o.to.Write(p) }

// newInput returns from as a guest's standard input; nil is empty. What knows
// its length, as bytes.Reader does, is in memory and read directly. Anything
// else may block, so it is read ahead by a goroutine, into memory of its own:
// the guest can poll it, and the call can end at any moment. A Read of from
// that is under way then goes on until it returns by itself.
func newInput(from io.Reader) vfs.File {
	if from == nil {
		from = new(bytes.Reader)
	}
	if from, ok := from.(heldReader); ok {
		return &heldInput{from: from}
	}
	return &streamInput{from: from}
}

// heldReader is a reader that holds everything it will ever return.
type heldReader interface {
	io.Reader
	Len() int
}

type heldInput struct {
	stdio
	from heldReader
}

func (i *heldInput) Read(_ context.Context, p []byte) (int, error) { return i.from.Read(p) }

func (i *heldInput) Ready(want vfs.Events) (vfs.Events, int64) {
	if n := i.from.Len(); n > 0 {
		return want & vfs.Readable, int64(n)
	}
	return want&vfs.Readable | vfs.Hangup, 0
}

func (i *heldInput) Notify(vfs.Events, func()) (stop func()) { return func() {} }

// streamInput reads ahead, one buffer at a time and only when somebody waits
// for it or asks whether it is there.
type streamInput struct {
	stdio
	from io.Reader

	mu      sync.Mutex
	buffer  []byte
	unread  []byte // of buffer
	err     error  // from's last word, which follows unread
	reading bool   // by a goroutine, which has buffer to itself meanwhile
	waiters []*func()
}

const (
	// readAhead is how much of a stream is read at once.
	readAhead = 32 << 10
	// maxEmptyReads is how often in a row a reader may return nothing at all.
	maxEmptyReads = 100
)

// Read waits for input or for the end of the call.
func (i *streamInput) Read(ctx context.Context, p []byte) (int, error) {
	if n, err, ok := i.take(p); ok {
		return n, err
	}
	arrived := newWakeup()
	defer i.Notify(vfs.Readable, arrived.wake)()
	for {
		if n, err, ok := i.take(p); ok {
			return n, err
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// take hands out what has been read, or the end. It is not ok if there is
// neither yet.
func (i *streamInput) take(p []byte) (n int, err error, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.unread) > 0 {
		n = copy(p, i.unread)
		i.unread = i.unread[n:]
		return n, nil, true
	}
	return 0, i.err, i.err != nil
}

// Ready implements [vfs.Poller].
func (i *streamInput) Ready(want vfs.Events) (vfs.Events, int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case len(i.unread) > 0:
		return want & vfs.Readable, int64(len(i.unread))
	case i.err != nil:
		return want&vfs.Readable | vfs.Hangup, 0
	}
	i.ahead() // who asks again and again need not wait
	return 0, 0
}

// ahead starts reading unless that is under way or has been done. mu is held.
func (i *streamInput) ahead() {
	if !i.reading && len(i.unread) == 0 && i.err == nil {
		i.reading = true
		go i.read()
	}
}

// Notify implements [vfs.Poller].
func (i *streamInput) Notify(_ vfs.Events, wake func()) (stop func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.waiters = append(i.waiters, &wake)
	i.ahead()
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.waiters = slices.DeleteFunc(i.waiters, func(w *func()) bool { return w == &wake })
	}
}

// read fills the buffer once and wakes who waits for it.
func (i *streamInput) read() {
	if i.buffer == nil {
		i.buffer = make([]byte, readAhead)
	}
	n := 0
	err := guarded("reading the input", func() (err error) {
		for range maxEmptyReads {
			if n, err = i.from.Read(i.buffer); n > 0 || err != nil {
				return err
			}
		}
		return io.ErrNoProgress
	})
	i.mu.Lock()
	defer i.mu.Unlock()
	i.unread, i.err, i.reading = i.buffer[:n], err, false
	for _, wake := range i.waiters {
		(*wake)()
	}
}
