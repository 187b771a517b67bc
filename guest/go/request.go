package gojinn

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"
)

// Request is what the server tells of a request beyond what [http.Request] has.
type Request struct {
	ID          string            // names the request in the server's logs
	OriginalURI string            // path and query as the client sent them, before the server's rewrites
	Route       string            // the route that matched, if the server maps files to routes
	Params      map[string]string // what the route's placeholders matched; also [http.Request.PathValue]
	Traceparent string            // W3C trace context of this call, if the server traces
}

// RequestFrom returns what the server tells of the request whose context ctx
// is, or is derived from. For any other context it is the zero Request, so that
// handlers can be tested with [net/http/httptest]; [WithRequest] gives a test a
// Request of its own.
func RequestFrom(ctx context.Context) Request {
	if r, ok := ctx.Value(requestKey{}).(*Request); ok {
		return *r
	}
	return Request{}
}

// WithRequest returns a context for which [RequestFrom] returns r.
func WithRequest(ctx context.Context, r Request) context.Context {
	return requestContext{ctx, &r}
}

type requestKey struct{}

type requestContext struct {
	context.Context
	request *Request
}

func (c requestContext) Value(key any) any {
	if _, ok := key.(requestKey); ok {
		return c.request
	}
	return c.Context.Value(key)
}

// An input is a request object of the json contract, taken apart. Its strings
// are parts of the text it was read from.
type input struct {
	Request
	method, uri, scheme, host, proto, path, remoteAddr string

	header http.Header
	values []string // of which the lists in header are parts, while there is room
	body   []byte
	had    uint // members that there were
}

// read takes a request object apart. It uses up text, and what the input holds shares
// its memory. in must be empty, except for room in header and values.
func (in *input) read(text []byte) error {
	if !utf8.Valid(text) {
		return errors.New("it is not UTF-8")
	}
	s := &scanner{b: text}
	if err := in.begin(s); err != nil {
		return err
	}
	for {
		more, err := s.more(in.had == 0 && s.i == 0, '{', '}')
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := in.member(s); err != nil {
			return err
		}
	}
	if err := s.end(); err != nil {
		return err
	}
	switch {
	case in.had&hadMethod == 0:
		return errors.New("it has no method")
	case in.had&hadURI == 0:
		return errors.New("it has no uri")
	}
	return nil
}

// begin reads the first members, as long as they are those with which the server
// begins, in its order and without white space. That takes a third of the time.
func (in *input) begin(s *scanner) error {
	for i, value := range [...]*string{&in.ID, &in.method, &in.uri, &in.OriginalURI, &in.scheme, &in.host, &in.proto, &in.path} {
		name := firstMembers[i]
		end := s.i + len(name)
		if end >= len(s.b) || string(s.b[s.i:end]) != name {
			return nil
		}
		s.i = end
		text, err := s.text()
		if err != nil {
			return err
		}
		*value = stringOf(text)
		in.had |= hadID << i
	}
	return nil
}

var firstMembers = [...]string{`{"id":`, `,"method":`, `,"uri":`, `,"original_uri":`, `,"scheme":`, `,"host":`, `,"proto":`, `,"path":`}

const (
	hadID = 1 << iota
	hadMethod
	hadURI
	hadOriginalURI
	hadScheme
	hadHost
	hadProto
	hadPath
	hadRoute
	hadParams
	hadRemoteAddr
	hadTraceparent
	hadHeaders
	hadBody
)

// member scans a member.
func (in *input) member(s *scanner) error {
	name, err := s.name()
	if err != nil {
		return err
	}
	var bit uint
	var text *string
	switch string(name) {
	case "id":
		bit, text = hadID, &in.ID
	case "method":
		bit, text = hadMethod, &in.method
	case "uri":
		bit, text = hadURI, &in.uri
	case "original_uri":
		bit, text = hadOriginalURI, &in.OriginalURI
	case "scheme":
		bit, text = hadScheme, &in.scheme
	case "host":
		bit, text = hadHost, &in.host
	case "proto":
		bit, text = hadProto, &in.proto
	case "path":
		bit, text = hadPath, &in.path
	case "route":
		bit, text = hadRoute, &in.Route
	case "params":
		bit = hadParams
	case "remote_addr":
		bit, text = hadRemoteAddr, &in.remoteAddr
	case "traceparent":
		bit, text = hadTraceparent, &in.Traceparent
	case "headers":
		bit = hadHeaders
	case "body", "body_base64":
		bit = hadBody
	default: // query, which is in uri, and what later servers may add
		return s.skip(0)
	}
	if in.had&bit != 0 {
		return s.fault(fmt.Sprintf("there is a second %s", name))
	}
	in.had |= bit
	switch bit {
	case hadParams:
		return in.readParams(s)
	case hadHeaders:
		return in.readHeaders(s)
	}
	value, err := s.text()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	switch {
	case text != nil:
		*text = stringOf(value)
	case len(name) == len("body"):
		in.body = value
	default:
		in.body, err = base64.StdEncoding.AppendDecode(nil, value)
		if err != nil {
			return fmt.Errorf("body_base64: %w", err)
		}
	}
	return nil
}

func (in *input) readParams(s *scanner) error {
	in.Params = map[string]string{}
	for first := true; ; first = false {
		more, err := s.more(first, '{', '}')
		if !more {
			return err
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		value, err := s.text()
		if err != nil {
			return err
		}
		if _, ok := in.Params[stringOf(name)]; ok {
			return s.fault("a parameter for the second time")
		}
		in.Params[stringOf(name)] = stringOf(value)
	}
}

func (in *input) readHeaders(s *scanner) error {
	for first := true; ; first = false {
		more, err := s.more(first, '{', '}')
		if !more {
			return err
		}
		name, err := s.name()
		if err != nil {
			return err
		}
		values, err := in.readValues(s)
		if err != nil {
			return err
		}
		had := len(in.header)
		in.header[stringOf(name)] = values
		if len(in.header) == had {
			return s.fault("a field for the second time")
		}
	}
}

func (in *input) readValues(s *scanner) ([]string, error) {
	from := len(in.values)
	for first := true; ; first = false {
		more, err := s.more(first, '[', ']')
		if !more {
			to := len(in.values)
			return in.values[from:to:to], err
		}
		value, err := s.text()
		if err != nil {
			return nil, err
		}
		in.values = append(in.values, stringOf(value))
	}
}

// receive makes of the input what an [http.Server] would.
func (c *call) receive() error {
	in, r := &c.in, &c.request
	if in.proto == "" {
		in.proto = "HTTP/1.1"
	}
	major, minor, ok := http.ParseHTTPVersion(in.proto)
	if !ok {
		return fmt.Errorf("proto %q is none of HTTP's", in.proto)
	}
	if err := in.parseURL(&c.url); err != nil {
		return err
	}
	r.Method, r.URL, r.RequestURI, r.Host = in.method, &c.url, in.uri, in.host
	r.Proto, r.ProtoMajor, r.ProtoMinor = in.proto, major, minor
	r.Header, r.Body, r.ContentLength = in.header, http.NoBody, int64(len(in.body))
	r.RemoteAddr = c.remoteAddr()
	if len(in.body) > 0 {
		c.body.rest = in.body
		r.Body = &c.body
	}
	if in.scheme == "https" {
		c.tls.HandshakeComplete = true
		r.TLS = &c.tls
	}
	for name, value := range in.Params {
		r.SetPathValue(name, value)
	}
	c.out.head = in.method == http.MethodHead
	return nil
}

// remoteAddr returns the client's address with port 0: the server doesn't tell
// the port, and handlers expect one.
func (c *call) remoteAddr() string {
	ip := c.in.remoteAddr
	if strings.Contains(ip, ":") || len(ip)+len(":0") > len(c.addr) {
		return net.JoinHostPort(ip, "0")
	}
	return stringOf(append(append(c.addr[:0], ip...), ":0"...))
}

// parseURL parses the request's URL. Where the rewrites of a server have made something
// that isn't one, its path is what the server says.
func (in *input) parseURL(u *url.URL) error {
	path, query, asked := strings.Cut(in.uri, "?")
	if isPlainPath(path) && (!asked || query != "") && !strings.ContainsFunc(query, isControl) {
		u.Path, u.RawQuery = path, query // what follows would say the same
		return nil
	}
	parsed, err := url.ParseRequestURI(in.uri)
	switch {
	case err == nil:
		*u = *parsed
	case in.had&hadPath != 0:
		u.Path, u.RawQuery = in.path, query
	default:
		return err
	}
	return nil
}

func isControl(c rune) bool { return c < ' ' || c == 0x7f }

// isPlainPath tells whether a path begins with a slash and is the same encoded
// and decoded.
func isPlainPath(path string) bool {
	if path == "" || path[0] != '/' {
		return false
	}
	for _, c := range []byte(path) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '/', c == '-', c == '_', c == '.', c == '~':
		default:
			return false
		}
	}
	return true
}

// A body is that of a request. It is all there.
type body struct {
	rest   []byte
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case len(b.rest) == 0:
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	if b.rest = b.rest[n:]; len(b.rest) == 0 {
		return n, io.EOF // which saves a call
	}
	return n, nil
}

// WriteTo saves [io.Copy] its buffer.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := w.Write(b.rest)
	if n < len(b.rest) && err == nil {
		err = io.ErrShortWrite
	}
	b.rest = b.rest[n:]
	return int64(n), err
}

func (b *body) Close() error {
	b.closed = true
	return nil
}
