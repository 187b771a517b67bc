package gojinn

import (
	"context"
	"net"
	"time"
)

// Dial is [DialContext] without a context.
func Dial(network, address string) (net.Conn, error) {
	return DialContext(context.Background(), network, address)
}

// DialContext connects to address, a host and a port as “allow tcp” or “allow tls”
// has them, and waits until the connection is there. The network is "tcp", "tcp4", "tcp6" (all
// the same: the server resolves names) or "tls", with which the server encrypts
// and verifies, and the program reads and writes plain text. The
// connection has deadlines and keeps only the goroutine waiting that uses it.
//
// It has the form that clients of databases ask for:
//
//	config.DialFunc = gojinn.DialContext // pgx
//	&redis.Options{Dialer: gojinn.DialContext}
//
// Errors are [*net.OpError]: with EACCES or ENOENT (errors.Is, [io/fs.ErrPermission],
// [io/fs.ErrNotExist]) for what is not allowed.
func DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: unresolved(address), Err: err}
	}
	return conn, nil
}

// unresolved is an address that nobody has resolved.
type unresolved string

func (unresolved) Network() string  { return "tcp" }
func (a unresolved) String() string { return string(a) }

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	folder, ok := map[string]string{"tcp": "tcp", "tcp4": "tcp", "tcp6": "tcp", "tls": "tls"}[network]
	if !ok {
		return nil, net.UnknownNetworkError(network)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	file, err := openFile("/net/" + folder + "/" + address)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, err
	}
	if err := connected(ctx, conn); err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// connected waits until a connection is there, or isn't going to be.
func connected(ctx context.Context, conn net.Conn) error {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	err := writable(conn)
	if !stop() { // the deadline has been set, or is going to be
		return ctx.Err()
	}
	return err
}
