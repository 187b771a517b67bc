// Package sockets is what `allow tcp` and `allow tls` mount: a directory of addresses whose
// files are connected byte streams, sockets to WASI.
//
// The guest opens a name and has a connection: there is nothing to bind, to resolve or to
// verify. What it may open is a list, and everything else about the connection (which
// addresses a name may lead to, TLS, how long connecting may take) is decided on this side.
package sockets

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/egress"
)

// The kinds of sockets: the capabilities' names, and those of their folders in /net.
const (
	TCP = "tcp"
	TLS = "tls"
)

// ConnectTimeout is how long resolving, connecting and the handshake of TLS may take together.
const ConnectTimeout = 10 * time.Second

// StartTLS is how a connection that begins in plain text turns to TLS.
type StartTLS string

// The ways to begin TLS.
const (
	Directly StartTLS = ""         // without a word in plain text
	Postgres StartTLS = "postgres" // PostgreSQL's SSLRequest
	MySQL    StartTLS = "mysql"    // MySQL's, and MariaDB's, SSL Connection Request
)

// Endpoint is an address that may be connected to, and how. It isn't changed after it has
// been granted, and is shared by all calls.
type Endpoint struct {
	// Host is a name or an IP literal, as [egress.ParseHostPort] writes it.
	Host string
	Port uint16
	// Dial connects, and refuses addresses that the guest may not reach: an
	// [egress.Policy]'s Dial. Required.
	Dial func(ctx context.Context, network, host string, port uint16) (net.Conn, error)
	// TLS is what the server has to prove; nil: the connection is plain.
	TLS *tls.Config
	// StartTLS is how TLS begins; without TLS it means nothing.
	StartTLS StartTLS
	// Timeout is for connecting. Default: [ConnectTimeout].
	Timeout time.Duration
	// Report is told why a connection could not be made, or ended in an error of TLS: guests
	// get a number only. It is called from any goroutine. nil: nobody wants to know.
	Report func(address string, err error)
}

// Kind is TCP or TLS.
func (e *Endpoint) Kind() string {
	if e.TLS != nil {
		return TLS
	}
	return TCP
}

// Name is the endpoint's name in its folder: host:port, an IPv6 address in brackets.
func (e *Endpoint) Name() string { return name(e.Host, e.Port) }

func name(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func (e *Endpoint) timeout() time.Duration {
	if e.Timeout > 0 {
		return e.Timeout
	}
	return ConnectTimeout
}

// Parse reads addresses, as [egress.ParseHostPort] does, into endpoints that are otherwise like
// e. With TLS and without a server name each has to prove that it is the host of its address.
// No address is an error, and so is one that is there twice, or too long.
func (e Endpoint) Parse(addresses []string) ([]*Endpoint, error) {
	var list []*Endpoint
	for _, address := range addresses {
		made := e
		var err error
		if made.Host, made.Port, err = egress.ParseHostPort(address); err != nil {
			return nil, err
		}
		if e.TLS != nil {
			made.TLS = e.TLS.Clone()
			if made.TLS.ServerName == "" {
				made.TLS.ServerName = made.Host
			}
			// Each call connects anew: a handshake that goes on from the last one saves a
			// round trip or the signatures.
			made.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
		list = append(list, &made)
	}
	if len(list) == 0 {
		return nil, errors.New("there is no address")
	}
	return list, Grant(new(engine.Grants), e.Kind(), list...)
}

func (e *Endpoint) report(err error) {
	if e.Report != nil {
		e.Report(e.Name(), err)
	}
}

// Grant grants endpoints of one kind, beside those of that kind that g has already. An
// address that it has is an error.
func Grant(g *engine.Grants, kind string, endpoints ...*Endpoint) error {
	return g.Share("/net/"+kind, func(have vfs.FS) (vfs.FS, error) {
		made := &folder{kind: kind, endpoints: make(map[string]*Endpoint)}
		switch have := have.(type) {
		case nil:
		case *folder:
			maps.Copy(made.endpoints, have.endpoints)
		default:
			return nil, fmt.Errorf("something else is mounted at /net/%s", kind)
		}
		for _, e := range endpoints {
			name := e.Name()
			switch {
			case made.endpoints[name] != nil:
				return nil, fmt.Errorf("%s %s is granted twice", kind, name)
			case len(name) > vfs.MaxName:
				return nil, fmt.Errorf("%s %s: longer than the name of a file, %d bytes", kind, name, vfs.MaxName)
			}
			made.endpoints[name] = e
		}
		made.names = slices.Sorted(maps.Keys(made.endpoints))
		return made, nil
	})
}

// folder is the mount, and its only directory. It never changes.
type folder struct {
	kind      string
	endpoints map[string]*Endpoint
	names     []string
}

// Root implements [vfs.FS].
func (f *folder) Root(context.Context) (vfs.Directory, error) { return f, nil }

// Stat implements [vfs.File].
func (f *folder) Stat(context.Context) (vfs.Stat, error) {
	return vfs.Stat{Device: device, Inode: 1, Type: vfs.TypeDirectory, Links: 1}, nil
}

// Close implements [vfs.File].
func (f *folder) Close(context.Context) error { return nil }

// device is the device number of sockets, out of the way of those of the host's devices and
// of the tree's.
const device = 1<<63 + 1

var socketStat = vfs.Stat{Device: device, Type: vfs.TypeSocketStream, Links: 1}

// find returns the endpoint that a guest means. How a name is written doesn't matter, as long
// as it stands for the same host: only IP addresses have more than one way, and upper case.
func (f *folder) find(ctx context.Context, path string) (*Endpoint, error) {
	host, port, err := egress.ParseHostPort(path)
	if err != nil {
		return nil, vfs.ENOENT
	}
	wanted := name(host, port)
	e := f.endpoints[wanted]
	if e == nil {
		engine.Refused(ctx, engine.Refusal{Kind: f.kind, What: wanted})
		return nil, vfs.ENOENT
	}
	return e, nil
}

// Lookup implements [vfs.Directory].
func (f *folder) Lookup(ctx context.Context, path string, _ bool) (vfs.Stat, error) {
	if path == "." {
		return f.Stat(ctx)
	}
	if _, err := f.find(ctx, path); err != nil {
		return vfs.Stat{}, err
	}
	return socketStat, nil
}

// Open connects to what path names. With NonBlock it returns before that is done.
func (f *folder) Open(ctx context.Context, path string, flags vfs.OpenFlags) (vfs.File, error) {
	if path == "." {
		if flags&vfs.Changing != 0 {
			return nil, vfs.EISDIR
		}
		return f, nil
	}
	e, err := f.find(ctx, path)
	switch {
	case err != nil:
		return nil, err
	case flags&vfs.OnlyDirectory != 0:
		return nil, vfs.ENOTDIR
	case flags&(vfs.Create|vfs.Exclusive) == vfs.Create|vfs.Exclusive:
		return nil, vfs.EEXIST
	}
	return open(ctx, e, flags&vfs.NonBlock == 0)
}

// List implements [vfs.Directory].
func (f *folder) List(context.Context) (vfs.Lister, error) { return &lister{f.names}, nil }

type lister struct{ names []string }

// Next implements [vfs.Lister].
func (l *lister) Next(_ context.Context, entries []vfs.Entry) (int, error) {
	n := min(len(entries), len(l.names))
	for i, name := range l.names[:n] {
		entries[i] = vfs.Entry{Name: name, Type: vfs.TypeSocketStream}
	}
	l.names = l.names[n:]
	return n, nil
}

// Close implements [vfs.Lister].
func (l *lister) Close() error { return nil }

var _ vfs.Directory = (*folder)(nil)
