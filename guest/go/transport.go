package gojinn

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"unicode/utf8"
)

// Transport makes HTTP requests by way of the server, as far as “allow http”
// lets it:
//
//	client := &http.Client{Transport: gojinn.Transport{}}
//
// It is [http.DefaultTransport], so [http.Get] and libraries that use [http.DefaultClient]
// or a client of their own work as elsewhere. TLS, connections and the resolving of names are the server's; a request's
// Host, if it is another than that of its URL, is not sent.
//
// A body of up to 64 KiB whose length is known is sent with that length, and then
// the answer arrives as a whole. Other requests, all without a body among them, are
// streamed: the answer's body is read as it comes, which has to be closed. The
// request's is read to its end before the answer is.
//
// What the server says of a request that it has not made or that was not
// answered is an [*Error]. The zero Transport is ready to be used, by several
// goroutines at a time.
type Transport struct{}

// Error is why there is no answer to a request.
type Error struct {
	Code   string // one of the words in docs/capabilities.md, such as "refused", "dns", "timeout"
	Reason string // for people
}

func (e *Error) Error() string { return e.Code + ": " + e.Reason }

// Timeout tells whether the request took too long.
func (e *Error) Timeout() bool { return e.Code == "timeout" }

const (
	httpPath = "/net/http"
	// wholeBody is how long a body may be that is sent within the line.
	wholeBody = 64 << 10
	// maxHead bounds the first line of an answer that is streamed.
	maxHead = 1 << 20
)

// RoundTrip makes a request. It implements [http.RoundTripper].
func (Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if r.URL == nil {
		return nil, errors.New("gojinn: the request has no URL")
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	line, stream, err := requestLine(r)
	if err != nil {
		return nil, err
	}
	file, err := openFile(httpPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{"refused", "the function has no “allow http”"}
	}
	if err != nil {
		return nil, err
	}
	return exchange(r, file, line, stream)
}

// requestLine is what asks for the request. A body that is not in it is to be streamed.
func requestLine(r *http.Request) (line []byte, stream bool, err error) {
	target := url.URL{Scheme: r.URL.Scheme, Opaque: r.URL.Opaque, Host: r.URL.Host, Path: r.URL.Path, RawPath: r.URL.RawPath,
		ForceQuery: r.URL.ForceQuery, RawQuery: r.URL.RawQuery}
	line = append(line, `{"method":`...)
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	line = appendString(line, method)
	line = append(line, `,"url":`...)
	line = appendString(line, target.String())
	line = append(line, `,"headers":{`...)
	w := response{object: line, header: r.Header}
	if !w.tryFields(r.Header) {
		w = response{object: line, header: canonical(r.Header)}
		w.tryFields(w.header)
	}
	if types := w.header["Content-Type"]; len(types) > 0 {
		w.field("Content-Type", types)
	}
	line = append(w.object, '}')
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength <= 0 || r.ContentLength > wholeBody {
		return append(line, `,"stream":true}`+"\n"...), true, nil
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		return nil, false, fmt.Errorf("gojinn: reading the request's body: %w", err)
	}
	if utf8.Valid(body) {
		line = appendText(append(line, `,"body":"`...), body)
	} else {
		line = base64.StdEncoding.AppendEncode(append(line, `,"body_base64":"`...), body)
	}
	return append(line, '"', '}', '\n'), false, nil
}

// exchange sends the request and reads the answer, with the file, which it
// closes unless the answer's body is still in it.
func exchange(r *http.Request, file io.ReadWriteCloser, line []byte, stream bool) (_ *http.Response, err error) {
	ctx := r.Context()
	// The file's end ends the request, on the server's side too.
	stop := context.AfterFunc(ctx, func() { file.Close() })
	var answer *answer
	defer func() {
		if err == nil && answer.file != nil {
			return // its body goes on
		}
		stop()
		file.Close()
		if ended := ctx.Err(); ended != nil && err != nil {
			err = ended
		}
	}()
	if _, err := file.Write(line); err != nil {
		return nil, err
	}
	if stream && r.Body != nil && r.Body != http.NoBody {
		if _, err := io.Copy(onlyWriter{file}, r.Body); err != nil {
			return nil, err
		}
	}
	if stream {
		answer, err = readStream(r, file)
	} else {
		answer, err = readWhole(file)
	}
	if err != nil {
		return nil, err
	}
	if answer.file != nil {
		answer.ctx, answer.stop = ctx, stop
	}
	return answer.response(r), nil
}

// onlyWriter hides what else a file can do, which [io.Copy] would try.
type onlyWriter struct{ io.Writer }

// An answer is what came back. If it is streamed, it is its body.
type answer struct {
	status int
	header http.Header
	whole  []byte

	file io.Closer // nil: whole is the body
	from *bufio.Reader
	ctx  context.Context
	stop func() bool
}

func readWhole(file io.Reader) (*answer, error) {
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	return parseAnswer(text)
}

func readStream(r *http.Request, file io.ReadCloser) (*answer, error) {
	from := bufio.NewReaderSize(file, 4<<10)
	var head []byte
	for {
		part, err := from.ReadSlice('\n')
		head = append(head, part...)
		switch {
		case err == nil:
			a, err := parseAnswer(head)
			if err == nil && r.Method != http.MethodHead {
				a.file, a.from = file, from
			}
			return a, err
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, unexpected(err)
		case len(head) > maxHead:
			return nil, errors.New("gojinn: the head of the answer is too long")
		}
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseAnswer takes an answer apart; text becomes a part of it.
func parseAnswer(text []byte) (*answer, error) {
	a, s := &answer{header: http.Header{}}, &scanner{b: text}
	in := input{header: a.header}
	var failure Error
	for first := true; ; first = false {
		more, err := s.more(first, '{', '}')
		if !more && err == nil {
			err = s.end()
		}
		if err != nil {
			return nil, fmt.Errorf("gojinn: the answer is not understood: %w", err)
		}
		if !more {
			break
		}
		name, err := s.name()
		if err == nil {
			err = a.member(s, &in, &failure, string(name))
		}
		if err != nil {
			return nil, fmt.Errorf("gojinn: the answer is not understood: %w", err)
		}
	}
	if failure.Code != "" {
		return nil, &failure
	}
	if a.status < 100 || a.status > 999 {
		return nil, fmt.Errorf("gojinn: the answer is not understood: status %d", a.status)
	}
	return a, nil
}

func (a *answer) member(s *scanner, in *input, failure *Error, name string) (err error) {
	var text []byte
	switch name {
	case "status":
		s.space()
		from := s.i
		if err = s.number(); err == nil {
			a.status, err = strconv.Atoi(string(s.b[from:s.i]))
		}
	case "headers":
		err = in.readHeaders(s)
	case "body":
		a.whole, err = s.text()
	case "body_base64":
		if text, err = s.text(); err == nil {
			a.whole, err = base64.StdEncoding.AppendDecode(nil, text)
		}
	case "error":
		text, err = s.text()
		failure.Code = string(text)
	case "reason":
		text, err = s.text()
		failure.Reason = string(text)
	default:
		err = s.skip(0)
	}
	return err
}

// response is the answer as package net/http has it.
func (a *answer) response(r *http.Request) *http.Response {
	response := &http.Response{
		Status: strconv.Itoa(a.status) + " " + http.StatusText(a.status), StatusCode: a.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, // the server doesn't tell
		Header: a.header, Request: r, ContentLength: int64(len(a.whole)), Body: http.NoBody,
	}
	if a.file != nil || r.Method == http.MethodHead {
		response.ContentLength = -1
		if n, err := strconv.ParseInt(a.header.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
			response.ContentLength = n
		}
	}
	switch {
	case a.file != nil:
		response.Body = a
	case len(a.whole) > 0 && r.Method != http.MethodHead:
		response.Body = io.NopCloser(bytes.NewReader(a.whole))
	}
	return response
}

// Read reads the body of an answer that is streamed.
func (a *answer) Read(p []byte) (int, error) {
	n, err := a.from.Read(p)
	if err != nil && err != io.EOF {
		if errors.Is(err, os.ErrClosed) && a.ctx.Err() == nil {
			return n, http.ErrBodyReadAfterClose
		}
		if ended := a.ctx.Err(); ended != nil {
			err = ended
		}
	}
	return n, err
}

// Close gives up what is left of the body.
func (a *answer) Close() error {
	a.stop()
	return a.file.Close()
}
