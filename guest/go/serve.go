package gojinn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
)

// Serve answers the request for which the program was started, by handler (nil:
// [http.DefaultServeMux]), and ends the program. It is the last thing that main
// does.
//
// A handler that panics ends the program with exit code 2, its stack in the server's log; the
// client gets 502. If it panics with [http.ErrAbortHandler], nothing is logged.
//
// What the program has done before Serve is done once and shared by all
// requests, as long as it depends on nothing: see the package's documentation.
func Serve(handler http.Handler) {
	if handler == nil {
		handler = http.DefaultServeMux
	}
	c := newCall(os.Stderr)
	c.warm()
	text, rest, err := readObject(c.text[:0], readSome)
	if err != nil {
		c.fail(fmt.Errorf("reading the request: %w", err))
	}
	defer c.abort()
	if rest != nil {
		err = c.stream(text, rest, handler, readBody, writeOutput)
	} else {
		err = c.answer(text, handler, writeOutput)
	}
	if err != nil {
		c.fail(err)
	}
	exit(0)
}

// A call is all that a request needs, made before it is there and close
// together: every page of memory that a request writes to is copied when the
// program is taken back to where it waits for the next.
type call struct {
	in      input
	request http.Request
	url     url.URL
	body    body
	tls     tls.ConnectionState
	addr    [24]byte // for an IPv4 address
	out     response
	log     io.Writer
	values  [maxFields]string // of header fields
	few     [bodyRoom]byte    // for a response's body
	text    [inputRoom]byte   // for the request object, and the response object behind it
}

const (
	inputRoom = 64 << 10
	bodyRoom  = 2 << 10
	maxFields = 32
)

func newCall(log io.Writer) *call {
	c := &call{log: log}
	c.in.header = make(http.Header, maxFields)
	c.out.header = make(http.Header)
	c.reset()
	return c
}

// answer has the handler answer the request that text, which it uses up, is.
func (c *call) answer(text []byte, handler http.Handler, write func([]byte) error) error {
	if err := c.in.read(text); err != nil {
		return fmt.Errorf("the request on stdin is not one of the json contract: %w", err)
	}
	if err := c.receive(); err != nil {
		return fmt.Errorf("the request on stdin is not one of HTTP: %w", err)
	}
	c.out.object = text[len(text):]
	handler.ServeHTTP(&c.out, &c.request)
	return c.out.finish(write)
}

// stream has the handler answer a request of the contract stream: text is its line, rest what has been
// read behind that, and open opens what follows.
func (c *call) stream(text, rest []byte, handler http.Handler, open func() func([]byte) (int, error), write func([]byte) error) error {
	if err := c.in.read(text); err != nil {
		return fmt.Errorf("the request on stdin is not one of the contract stream: %w", err)
	}
	if c.in.had&hadBody != 0 && len(rest) > 0 {
		return errors.New("the request on stdin has a body and is followed by more")
	}
	if err := c.receive(); err != nil {
		return fmt.Errorf("the request on stdin is not one of HTTP: %w", err)
	}
	c.out.object = rest[len(rest):]
	if c.in.had&hadBody != 0 { // of the contract json, but by somebody who ends lines
		handler.ServeHTTP(&c.out, &c.request)
		return c.out.finish(write)
	}
	r := &c.request
	if r.ContentLength = declaredLength(r.Header); r.ContentLength != 0 {
		r.Body = &streamBody{rest: rest, open: open}
	}
	c.out.stream = write
	handler.ServeHTTP(&c.out, r)
	return c.out.send()
}

// abort ends the program without a word if the handler has asked for it.
func (c *call) abort() {
	switch p := recover(); p {
	case nil:
	case http.ErrAbortHandler:
		os.Exit(2)
	default:
		panic(p)
	}
}

// fail ends the program with an error, which the server logs.
func (c *call) fail(err error) {
	fmt.Fprintf(c.log, "gojinn: %v\n", err)
	os.Exit(1)
}

// readObject reads the request object, into buf as long as there is room. That of the contract json is
// all there is, that of stream ends with a line end, which JSON that was written for machines
// has nowhere else: rest is what has been read behind it then, and not nil.
func readObject(buf []byte, read func([]byte) (int, error)) (object, rest []byte, err error) {
	for {
		if len(buf) == cap(buf) {
			// In large steps: nothing collects what is left behind.
			buf = slices.Grow(buf, 3*cap(buf))
		}
		from := len(buf)
		n, err := read(buf[from:cap(buf)])
		buf = buf[:from+n]
		if i := bytes.IndexByte(buf[from:], '\n'); i >= 0 && endsObject(buf[:from+i]) {
			return buf[: from+i : from+i], buf[from+i+1:], nil
		}
		switch err {
		case nil:
		case io.EOF:
			return buf, nil, nil
		default:
			return buf, nil, err
		}
	}
}

// endsObject tells whether an object ends at a line end. People write them on several lines.
func endsObject(line []byte) bool {
	return bytes.HasPrefix(line, []byte(`{"`)) && bytes.HasSuffix(line, []byte("}"))
}

// reset makes it ready for a request.
func (c *call) reset() {
	clear(c.in.header)
	clear(c.out.header)
	c.in = input{header: c.in.header, values: c.values[:0]}
	c.out = response{header: c.out.header, body: c.few[:0], log: c.log}
	c.request = *new(http.Request).WithContext(requestContext{context.Background(), &c.in.Request})
	c.url, c.body, c.tls = url.URL{}, body{}, tls.ConnectionState{}
}

// patience is what GOGC is unless somebody has said otherwise: the heap may have
// four times the 4 MiB at which the first collection is due by default. Most programs have ended
// by then, and a collection of even a small heap writes to pages all over memory.
const patience = 400

func init() {
	// Not in Serve: a collection before it would ask for the time of day.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(patience)
	}
}
