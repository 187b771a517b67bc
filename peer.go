package gojinn

import (
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// peer is the client of a call that streams: what makes reading from it and writing to it return
// when the call ends. Caddy's own limits on how long a single read or write may wait are
// suspended until done: what the function's idle_timeout says counts.
type peer struct {
	*http.ResponseController
	w       http.ResponseWriter
	reader  *caddyhttp.IdleTimeoutReader // Caddy's, around the request's body; nil: there is none
	beneath *http.ResponseController     // what is written by, without Caddy's limits
	restore []func()
	stopped atomic.Bool // writing, since the call is over
}

// noLimit is more than any call takes.
const noLimit = 365 * 24 * time.Hour

func newPeer(w http.ResponseWriter, r *http.Request) *peer {
	p := &peer{ResponseController: http.NewResponseController(w), w: w}
	p.beneath = p.ResponseController
	reader, writer := caddyhttp.IdleTimeoutsFromContext(r.Context())
	if reader != nil {
		p.reader = reader
		p.restore = append(p.restore, reader.Override(noLimit, 0))
	}
	if writer != nil {
		p.beneath = writer.Ctrl
		p.restore = append(p.restore, writer.Override(noLimit, 0, 0))
	}
	return p
}

// done puts Caddy's limits back. Nobody may read or write any more.
func (p *peer) done() {
	for _, f := range p.restore {
		f()
	}
}

var longAgo = time.Unix(1, 0)

// stopReading makes a read under way return, and all that follow. The error says that it
// can't be done.
func (p *peer) stopReading() error { return p.SetReadDeadline(longAgo) }

// stopAgain is how often a write that is to return is told so.
const stopAgain = 20 * time.Millisecond

// stopWriting makes a write under way return, which is when returned is closed, and all that
// follow. Where that can't be done nothing can.
func (p *peer) stopWriting(returned <-chan struct{}) {
	p.stopped.Store(true)
	for {
		// Not by Caddy's writer, which must not be used by two goroutines. But that sets a
		// deadline of its own before it writes, which may be right now.
		_ = p.beneath.SetWriteDeadline(longAgo)
		select {
		case <-returned:
			return
		case <-time.After(stopAgain):
		}
	}
}

// lingering is how long net/http may look for the end of a request after the response.
const lingering = 5 * time.Second

// linger has the connection, which must be HTTP/1, closed after the response, but not at once: one that is
// closed under a client that sends may lose what the client has yet to read.
func (p *peer) linger() {
	until := time.Now().Add(lingering)
	_ = p.SetReadDeadline(until)
	if p.reader != nil {
		_ = p.reader.Ctrl.SetReadDeadline(until) // where it keeps one that is over
	}
	// net/http does all that when a body is over its limit, if that is of the response as it made
	// it: no body has less than this one has too much.
	w := p.w
	for {
		outer, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			break
		}
		w = outer.Unwrap()
	}
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("x")), 0).Read(make([]byte, 1))
}
