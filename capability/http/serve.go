package http

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/egress"
	"github.com/gojinn/gojinn/internal/exchange"
	"github.com/gojinn/gojinn/internal/inbound"
)

// maxLine is the longest request line in bytes, with the body that it holds.
const maxLine = 8 << 20

// rule is one grant.
type rule struct {
	origins     []origin
	methods     []string      // nil: all
	timeout     time.Duration // negative: none
	maxResponse int64         // negative: no limit
	follow      int
	transport   *transport
	logger      *zap.Logger
}

// open returns an open file; limit is the call's.
func (m *mount) open(limit *engine.Budget) vfs.File {
	return exchange.New(func(line []byte) (exchange.Serve, bool) {
		r, err := parseRequest(line)
		return func(ctx context.Context, body io.ReadCloser, answer io.Writer) error {
			if body == nil {
				body = io.NopCloser(http.NoBody)
			}
			if err != nil {
				err = &failure{"invalid", err.Error(), nil}
				return refuse(err, body, answer)
			}
			return m.serve(ctx, r, body, answer, limit)
		}, r.stream
	}, exchange.Options{MaxLine: maxLine, Limit: limit})
}

// failure is an answer that is none: what the guest gets to know, and what is behind it.
type failure struct {
	code   string
	reason string // in words of ours: causes tell of the host's network
	cause  error
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.code + ": " + f.cause.Error()
	}
	return f.code + ": " + f.reason
}

func (f *failure) Unwrap() error { return f.cause }

// refuse answers with what went wrong, if it is a failure.
func refuse(err error, body io.Closer, answer io.Writer) error {
	body.Close() // a guest that is still writing is to come and read
	if f, ok := errors.AsType[*failure](err); ok {
		return writeFailure(answer, f)
	}
	return err
}

// serve makes a request and writes the answer.
func (m *mount) serve(ctx context.Context, r *request, body io.ReadCloser, answer io.Writer, limit *engine.Budget) error {
	rule := m.match(r.origin, r.method)
	if rule == nil {
		return refuse(refused(ctx, r.origin, r.method), body, answer)
	}
	defer rule.transport.used()
	call := ctx
	if rule.timeout >= 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, rule.timeout)
		defer cancel()
	}
	held := &held{shared: engine.BudgetOf(ctx), own: limit}
	defer func() { held.release(held.bytes) }()
	err := rule.exchange(ctx, r, body, answer, held)
	if err == nil || call.Err() != nil {
		return err
	}
	if logged := rule.logger.Check(zap.DebugLevel, "outbound request failed"); logged != nil {
		logged.Write(zap.Stringer("origin", r.origin), zap.String("method", r.method), zap.Error(err))
	}
	return refuse(err, body, answer)
}

// refused is the failure of a request that no grant allows.
func refused(ctx context.Context, at origin, method string) error {
	engine.Refused(ctx, engine.Refusal{Kind: "http", What: at.String(), How: method})
	return &failure{"refused", at.String() + " is not allowed with " + method, nil}
}

// held is the memory that one exchange takes for its bodies.
type held struct {
	shared, own *engine.Budget // of all functions, of the call
	bytes       int64
}

// reserve fails with an answer.
func (h *held) reserve(n int64) error {
	err := h.own.Reserve(n)
	if err == nil {
		if err = h.shared.Reserve(n); err != nil {
			h.own.Release(n)
		}
	}
	if err != nil {
		return &failure{"overloaded", "there is no memory for it at the moment", err}
	}
	h.bytes += n
	return nil
}

// release gives back n of the bytes.
func (h *held) release(n int64) {
	h.shared.Release(n)
	h.own.Release(n)
	h.bytes -= n
}

// exchange makes a request, with its redirects, and writes the answer. A failure means that
// nothing has been written.
func (r *rule) exchange(ctx context.Context, req *request, body io.ReadCloser, answer io.Writer, held *held) error {
	content := io.ReadCloser(http.NoBody)
	if req.stream {
		var err error
		if content, err = begun(body); err != nil {
			return err
		}
	}
	if err := held.reserve(req.bodyRoom()); err != nil {
		return err
	}
	fixed, err := req.decodeBody()
	if err != nil {
		return &failure{"invalid", err.Error(), nil}
	}
	response, err := r.follows(ctx, req, content, fixed)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusSwitchingProtocols {
		return &failure{"protocol", "the server changes the protocol, which nobody asked for", nil}
	}
	if r.maxResponse >= 0 && response.ContentLength > r.maxResponse && req.method != http.MethodHead {
		return &failure{"too_large", errTooLarge.Error(), nil}
	}
	if req.stream {
		return r.stream(ctx, req, response, answer, held)
	}
	return r.whole(ctx, req, response, answer, held)
}

// begun waits until the guest has written something of the body, or will write none: then there is none.
func begun(body io.ReadCloser) (io.ReadCloser, error) {
	first := make([]byte, 1)
	switch n, err := body.Read(first); {
	case n > 0:
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(first), body), body}, nil
	case err == io.EOF:
		return http.NoBody, nil
	default:
		return nil, err
	}
}

// follows makes a request and follows redirects, as far as the grant goes. The response that it returns
// may be one.
func (r *rule) follows(ctx context.Context, req *request, stream io.ReadCloser, fixed []byte) (*http.Response, error) {
	at, to, method, header := req.origin, req.url, req.method, outboundHeader(ctx, req)
	for hop := 0; ; hop++ {
		out := (&http.Request{Method: method, URL: to, Header: header.Clone(), Host: to.Host}).
			WithContext(context.WithValue(ctx, callKey{}, ctx))
		switch {
		case len(fixed) > 0:
			out.ContentLength = int64(len(fixed))
			out.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(fixed)), nil }
			out.Body, _ = out.GetBody()
		case stream != http.NoBody:
			out.Body, out.ContentLength = stream, -1
		}
		response, err := r.transport.RoundTrip(out)
		if err != nil {
			return nil, r.failed(ctx, at, method, err)
		}
		next := redirect(response)
		if next == "" || hop == r.follow {
			return response, nil
		}
		becomesGet := response.StatusCode == http.StatusSeeOther && method != http.MethodGet && method != http.MethodHead ||
			(response.StatusCode == http.StatusMovedPermanently || response.StatusCode == http.StatusFound) && method == http.MethodPost
		if stream != http.NoBody && !becomesGet {
			return response, nil // it would have to be sent again
		}
		// What is left of a small body lets the connection be used again.
		_, _ = io.CopyN(io.Discard, response.Body, 4<<10)
		response.Body.Close()
		if becomesGet {
			method, fixed, stream = http.MethodGet, nil, http.NoBody
			dropContent(header)
		}
		from := at
		if to, at, err = resolve(to, next); err != nil {
			return nil, &failure{"protocol", "the redirect leads to no URL that could be requested", err}
		}
		if !r.allows(at, method) {
			return nil, refused(ctx, at, method)
		}
		if at != from {
			header.Del("Authorization")
			header.Del("Cookie")
		}
	}
}

// redirect is where a response leads, "" if nowhere.
func redirect(response *http.Response) string {
	switch response.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return response.Header.Get("Location")
	}
	return ""
}

func resolve(base *url.URL, location string) (*url.URL, origin, error) {
	if len(location) > maxURL {
		return nil, origin{}, errors.New("too long")
	}
	to, err := base.Parse(location)
	if err != nil {
		return nil, origin{}, err
	}
	return parseURL(to.String())
}

// dropContent removes what describes a body that is not sent any more.
func dropContent(h http.Header) {
	for name := range h {
		if strings.HasPrefix(name, "Content-") {
			delete(h, name)
		}
	}
}

// outboundHeader are the guest's fields, and ours.
func outboundHeader(ctx context.Context, r *request) http.Header {
	h, in := r.header, inbound.From(ctx)
	if _, ok := h["User-Agent"]; !ok {
		h.Set("User-Agent", "gojinn")
	}
	if in.Traceparent != "" {
		h.Set("Traceparent", in.Traceparent)
	}
	_, others := inbound.Loop(r.loop)
	h.Set(inbound.LoopField, inbound.LoopValue(in.Hops, others))
	return h
}

// failed says what an error of a request is to the guest.
func (r *rule) failed(ctx context.Context, at origin, method string, err error) error {
	if refusal, ok := errors.AsType[*egress.AddressError](err); ok {
		engine.Refused(ctx, engine.Refusal{Kind: "http", What: at.String(), How: "private " + refusal.Addr.String()})
		return &failure{"refused", at.String() + " leads to an address that is not allowed", refusal}
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return &failure{"timeout", "it took too long", err}
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return err
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		switch {
		case dns.IsNotFound:
			return &failure{"dns", "there is no such host", err}
		case dns.IsTimeout:
			return &failure{"timeout", "the name was not resolved in time", err}
		}
		return &failure{"dns", "the name could not be resolved", err}
	}
	if dial, ok := errors.AsType[*net.OpError](err); ok && dial.Op == "dial" {
		if dial.Timeout() {
			return &failure{"timeout", "the connection took too long", err}
		}
		return &failure{"connect", "no connection could be made", err}
	}
	if as[*tls.CertificateVerificationError](err) {
		return &failure{"tls", "the certificate of the server is not to be trusted", err}
	}
	if as[*tlsError](err) {
		return &failure{"tls", "no secure connection could be made", err}
	}
	if text := err.Error(); strings.Contains(text, "response headers exceeded") || strings.Contains(text, "header list") {
		return &failure{"too_large", "the header of the answer is too large", err}
	}
	return &failure{"protocol", "the answer was none, or not HTTP", err}
}

func as[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}
