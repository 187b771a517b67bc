package sockets

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/egress"
)

// errClosed ends connecting for a socket that nobody wants any more.
var errClosed = errors.New("closed while connecting")

// connect makes the connection that the guest's bytes go through.
func (s *socket) connect(ctx context.Context) (stream, error) {
	e := s.endpoint
	limited, cancel := context.WithTimeout(ctx, e.timeout())
	defer cancel()
	conn, err := e.Dial(limited, "tcp", e.Host, e.Port)
	if err != nil {
		if refused, ok := errors.AsType[*egress.AddressError](err); ok {
			engine.Refused(ctx, engine.Refusal{Kind: e.Kind(), What: e.Name(), How: "private " + refused.Addr.String()})
		}
		return nil, err
	}
	if !s.holds(conn) {
		return nil, errClosed
	}
	switch {
	case e.TLS == nil:
		return plain{conn}, nil
	case e.StartTLS == MySQL:
		return s.startMySQL(ctx, limited, conn)
	case e.StartTLS == Postgres:
		if err := startPostgres(limited, conn); err != nil {
			return nil, err
		}
	}
	return e.secure(limited, conn)
}

// plain is a TCP connection.
type plain struct{ net.Conn }

// CloseWrite ends the guest's direction.
func (p plain) CloseWrite() error {
	if half, ok := p.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return vfs.ENOTSUP
}

// secure does the handshake of TLS, until ctx ends.
func (e *Endpoint) secure(ctx context.Context, conn net.Conn) (*tls.Conn, error) {
	secured := tls.Client(conn, e.TLS)
	if err := secured.HandshakeContext(ctx); err != nil {
		if errors.Is(err, io.EOF) {
			err = errHungUp
		}
		return nil, &tlsError{err}
	}
	return secured, nil
}

// until runs f, which uses conn, and ends its reads and writes when ctx ends.
func until(ctx context.Context, conn net.Conn, f func() error) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	err := f()
	if !stop() && err != nil {
		return context.Cause(ctx)
	}
	return err
}

// errHungUp is the end of a stream where there should be more.
var errHungUp = errors.New("the server hung up")

// tlsError is why a connection isn't as safe as it has to be.
type tlsError struct{ err error }

func (e *tlsError) Error() string { return "TLS: " + e.err.Error() }
func (e *tlsError) Unwrap() error { return e.err }

// errnoOf is the number that stands for an error of a connection.
func errnoOf(err error) vfs.Errno {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case is[*egress.AddressError](err):
		return vfs.EACCES
	case errors.Is(err, errHungUp), errors.Is(err, io.ErrUnexpectedEOF):
		return vfs.ECONNABORTED
	case errors.As(err, &timeout) && timeout.Timeout():
		return vfs.ETIMEDOUT
	case errors.As(err, &dns):
		return vfs.EHOSTUNREACH
	}
	if errno := vfs.ErrnoOf(systemError(err)); errno != vfs.EIO && errno != vfs.Success {
		return errno
	}
	if is[*tlsError](err) || isTLS(err) {
		return vfs.EPROTO
	}
	return vfs.EIO
}

func is[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// isTLS tells errors of TLS after the handshake from others.
func isTLS(err error) bool {
	// An alert from the server comes as one of these.
	if op, ok := errors.AsType[*net.OpError](err); ok && (op.Op == "remote error" || op.Op == "local error") {
		return true
	}
	return is[tls.RecordHeaderError](err) || is[tls.AlertError](err)
}
