package http

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gojinn/gojinn/internal/egress"
)

// Limits of connections.
const (
	handshakeTimeout  = 10 * time.Second
	idleTimeout       = 30 * time.Second
	maxIdle           = 64
	maxIdlePerHost    = 16
	maxResponseHeader = 128 << 10
	streamBuffer      = 512 << 10 // of an HTTP/2 stream that its guest doesn't read
)

// transport makes the connections of one grant.
type transport struct {
	*http.Transport
	policy *egress.Policy
	closed atomic.Bool
}

func newTransport(policy *egress.Policy) *transport {
	t := &transport{policy: policy}
	t.Transport = &http.Transport{
		// No proxy, whatever the environment of the server says: it would be a way around the check of addresses.
		Proxy:                  nil,
		DialContext:            t.dial,
		DialTLSContext:         t.dialTLS,
		ForceAttemptHTTP2:      true,
		TLSClientConfig:        new(tls.Config),
		MaxIdleConns:           maxIdle,
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxResponseHeader,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: streamBuffer,
			SendPingTimeout:           idleTimeout, // finds out that the other side is gone
			PingTimeout:               handshakeTimeout,
		},
	}
	return t
}

// close closes the connections that are idle, now and from now on.
func (t *transport) close() {
	t.closed.Store(true)
	t.CloseIdleConnections()
}

// used is called when a request has ended.
func (t *transport) used() {
	if t.closed.Load() {
		t.CloseIdleConnections()
	}
}

// callKey is where a request's context holds itself: net/http dials with one that goes on when the
// request has ended, and a guest that is gone should leave nothing behind.
type callKey struct{}

func dialContext(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	if call, ok := ctx.Value(callKey{}).(context.Context); ok {
		stop := context.AfterFunc(call, cancel)
		return ctx, func() { stop(); cancel() }
	}
	return ctx, cancel
}

func (t *transport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := dialContext(ctx)
	defer cancel()
	return t.connect(ctx, network, address)
}

func (t *transport) connect(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := egress.ParseHostPort(address)
	if err != nil {
		return nil, err
	}
	return t.policy.Dial(ctx, network, host, port)
}

// tlsError is what went wrong between a connection and its first request.
type tlsError struct{ cause error }

func (e *tlsError) Error() string { return e.cause.Error() }
func (e *tlsError) Unwrap() error { return e.cause }

func (t *transport) dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	ctx, cancel := dialContext(ctx)
	defer cancel()
	conn, err := t.connect(ctx, network, address)
	if err != nil {
		return nil, err
	}
	config := t.TLSClientConfig.Clone()
	config.NextProtos = []string{"h2", "http/1.1"}
	if config.ServerName, _, err = net.SplitHostPort(address); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, &tlsError{err}
	}
	return secured, nil
}
