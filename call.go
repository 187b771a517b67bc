package gojinn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/inbound"
)

// call is one request on its way through a function.
type call struct {
	function *function
	version  *version // nil: the one that the function has when the request has been read
	service  *service // nil if no handler is concerned
	id       string
	params   map[string]string // of a folder's route
	script   *scriptPath       // nil: the program is not told of one
	receipt  engine.Receipt
	begun    bool   // the client has been sent a status, though not all that follows
	local    string // the path and query whose answer is to be this one's; "": it has been answered
}

// serve takes the request to the function and its answer to the client. ctx is
// the request's, with the call's span. The error says how that ended, see
// statusOf.
func (c *call) serve(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	if err := checkTarget(r); err != nil {
		return err
	}
	from, err := inboundOf(ctx, r)
	if err != nil {
		return err
	}
	ctx = inbound.With(ctx, from)
	switch c.function.contract {
	case contractStream:
		return c.stream(ctx, w, r)
	case contractCGI:
		return c.cgi(ctx, w, r)
	}
	return c.exchange(ctx, w, r)
}

// checkTarget refuses requests whose path is another for a function than for Caddy's matchers, by
// which it may be protected. Over HTTP/1.1 "GET http:admin" is one without a path, and HTTP/3 has
// whatever the client sends for a host: URLs put together of "a/admin?" and a path have another
// path.
func checkTarget(r *http.Request) error {
	if r.URL.Opaque != "" {
		return fmt.Errorf("%w: %.100q is none", errPath, r.URL.Opaque)
	}
	if !isHost(r.Host) {
		return fmt.Errorf("%w: %.100q is none", errHost, r.Host)
	}
	return nil
}

// isHost tells whether a host, perhaps with its port, has only characters that hosts can have (RFC 3986,
// section 3.2.2), which net/http looks after only in HTTP/1 and HTTP/2. Empty is that of a
// client of HTTP/1.0.
func isHost(host string) bool {
	for i := range len(host) {
		c := host[i]
		letter, digit := 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9'
		if !letter && !digit && strings.IndexByte("-._~%!$&'()*+,;=:[]", c) < 0 {
			return false
		}
	}
	return true
}

// exchange serves a request whose bodies are held as a whole, one after the other.
func (c *call) exchange(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	in, out := c.newBuffer(), c.newBuffer()
	defer in.free()
	defer out.free()

	if err := c.encode(ctx, in, w, r); err != nil {
		return err
	}
	if err := c.run(ctx, bytes.NewReader(in.bytes), out); err != nil {
		return err
	}
	in.free() // a client may take its time with the response
	response, err := contract.DecodeResponse(out.bytes)
	if err != nil {
		return err
	}
	if err := response.Write(w, r.Method); err != nil {
		return fmt.Errorf("%w: %w", errResponse, err)
	}
	return nil
}

// maxHops is how often a request may have passed through functions, by its CDN-Loop field.
const maxHops = 8

// inboundOf is what requests that the function makes hand on of r, unless it goes in circles.
func inboundOf(ctx context.Context, r *http.Request) (*inbound.Request, error) {
	hops, _ := inbound.Loop(r.Header[inbound.LoopField])
	if hops > maxHops {
		return nil, fmt.Errorf("%w: %d times, %d allowed", errLoop, hops, maxHops)
	}
	return &inbound.Request{Traceparent: traceparent(ctx, r), Hops: hops}, nil
}

func (c *call) newBuffer() *buffer { return newBuffer(c.function.engine.Budget()) }

// encode reads the request's body and writes to in what the function is to
// read.
func (c *call) encode(ctx context.Context, in *buffer, w http.ResponseWriter, r *http.Request) error {
	body := c.newBuffer()
	defer body.free()
	if err := c.readBody(body, w, r); err != nil {
		return err
	}
	return in.append(func(dst []byte) []byte {
		return contract.AppendRequest(dst, r, c.meta(ctx, r), body.bytes)
	})
}

// meta is what is known of the request besides what net/http has.
func (c *call) meta(ctx context.Context, r *http.Request) contract.Meta {
	meta := metaOf(ctx, r, c.id)
	meta.Route, meta.Params = c.function.route, c.params
	return meta
}

// readBody reads the whole body.
func (c *call) readBody(body *buffer, w http.ResponseWriter, r *http.Request) error {
	if r.Body == nil || r.ContentLength == 0 {
		return nil
	}
	if err := c.limitBody(w, r); err != nil {
		return err
	}
	err := body.readAll(r.Body)
	if err == nil || errors.Is(err, engine.ErrOverloaded) {
		return err
	}
	return bodyError(r, err)
}

// limitBody makes reading a body that is too large fail. One that is announced to be is not read
// at all.
func (c *call) limitBody(w http.ResponseWriter, r *http.Request) error {
	limit := c.function.maxRequest
	if limit == off {
		return nil
	}
	// Limited before it is refused: an error route may read it too.
	r.Body = http.MaxBytesReader(w, r.Body, limit)
	if r.ContentLength > limit {
		return fmt.Errorf("%w: %d bytes announced, %d allowed", errRequestTooLarge, r.ContentLength, limit)
	}
	return nil
}

// bodyError says what it means that a body can't be read.
func bodyError(r *http.Request, err error) error {
	switch {
	case as[*http.MaxBytesError](err):
		return fmt.Errorf("%w: %w", errRequestTooLarge, err)
	case r.Context().Err() != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w while sending the request: %w", engine.ErrCanceled, err)
	}
	return fmt.Errorf("%w: %w", errBody, err)
}

// run hands in to the call's version, or the function's present one, and what it writes
// to out.
func (c *call) run(ctx context.Context, in io.Reader, out io.Writer) error {
	if c.version != nil {
		return c.runOn(ctx, c.version, in, out)
	}
	v, err := c.function.serving()
	if err != nil {
		return err
	}
	defer v.leave()
	return c.runOn(ctx, v, in, out)
}

func (c *call) runOn(ctx context.Context, v *version, in io.Reader, out io.Writer) (err error) {
	log := &stderrLog{logger: c.function.logger, fields: c.fields(), keep: c.function.maxLog}
	defer log.finish()
	c.receipt, err = v.Run(ctx, in, out, log)
	if errors.Is(err, engine.ErrCanceled) && c.service != nil && c.service.released.Load() && ctx.Err() == nil {
		return fmt.Errorf("%w: %w", errUnloaded, err)
	}
	return err
}

// metaOf collects what Caddy knows of a request. ctx holds what is known of it as inbound.
func metaOf(ctx context.Context, r *http.Request, id string) contract.Meta {
	meta := contract.Meta{
		ID:          id,
		URI:         r.URL.RequestURI(),
		OriginalURI: r.URL.RequestURI(),
		Scheme:      "http",
		Path:        r.URL.Path,
		RemoteAddr:  clientIP(r),
		Traceparent: inbound.From(ctx).Traceparent,
	}
	if r.TLS != nil {
		meta.Scheme = "https"
	}
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		meta.OriginalURI = original.URL.RequestURI()
	}
	return meta
}

// clientIP is the client's address as Caddy sees it, trusted proxies
// considered.
func clientIP(r *http.Request) string {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return ip
}

// requestID is the request's UUID, which Caddy makes when it is first asked for.
func requestID(r *http.Request) string {
	id, _ := replacerOf(r.Context()).GetString("http.request.uuid")
	return id
}

func replacerOf(ctx context.Context) *caddy.Replacer {
	return ctx.Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
}

func (c *call) setPlaceholders(r *http.Request, reason string) {
	repl := replacerOf(r.Context())
	repl.Set("http.gojinn.function", c.function.name)
	repl.Set("http.gojinn.reason", reason)
	repl.Set("http.gojinn.duration", c.receipt.Duration)
	repl.Set("http.gojinn.queue", c.receipt.Queue)
	repl.Set("http.gojinn.fuel", c.receipt.Fuel)
	repl.Set("http.gojinn.memory", c.receipt.Memory)
	repl.Set("http.gojinn.start", c.receipt.Start)
}

// fields are what every log entry of the call has.
func (c *call) fields() []zap.Field {
	return []zap.Field{zap.String("function", c.function.name), zap.String("request_id", c.id)}
}

// maxDetail bounds, in bytes, what of a guest's stack trace is logged.
const maxDetail = 8 << 10

// logEnd logs what the error given to Caddy leaves out. What a client alone can
// cause is for debugging only.
func (c *call) logEnd(reason string, err error) {
	level := zapcore.ErrorLevel
	switch reason {
	case "canceled", "bad_request", "request_too_large", "overloaded", "loop":
		level = zapcore.DebugLevel
	}
	entry := c.function.logger.Check(level, "call failed")
	if entry == nil {
		return
	}
	fields := append(c.fields(), zap.String("reason", reason), zap.String("error", printable(err.Error())))
	if trap, ok := errors.AsType[*engine.TrapError](err); ok && trap.Trace != "" {
		fields = append(fields, zap.Strings("trace", traceLines(trap.Trace)))
	}
	if host, ok := errors.AsType[*engine.HostError](err); ok {
		fields = append(fields, zap.ByteString("stack", host.Stack))
	}
	entry.Write(fields...)
}

// traceLines bounds a guest's stack trace and makes it fit for a log.
func traceLines(trace string) []string {
	var lines []string
	for line := range bytes.Lines([]byte(trace[:min(len(trace), maxDetail)])) {
		lines = append(lines, printable(string(bytes.TrimSpace(line))))
	}
	return lines
}
