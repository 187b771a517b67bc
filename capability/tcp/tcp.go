// Package tcp is the capability to connect to addresses over TCP.
package tcp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/egress"
	"github.com/gojinn/gojinn/internal/sockets"
)

func init() {
	caddy.RegisterModule(new(TCP))
}

// TCP lets a function connect to addresses over TCP, by opening `/net/tcp/<host:port>`. What
// is read from such a file and written to it is the connection.
//
// The address that a name leads to is checked when a connection is made: loopback, private
// and all others that are not public are refused unless listed as private.
type TCP struct {
	// What the function may connect to: `host:port`, an IPv6 address in brackets. The host is
	// a name or an address; there are no wildcards. Global placeholders are supported.
	Addresses []string `json:"addresses,omitempty"`

	// Addresses that are not public and may be connected to all the same: prefixes such as
	// `10.0.0.0/8`, or single addresses. Link-local and metadata addresses can't be allowed.
	// Global placeholders are supported.
	Private []string `json:"private,omitempty"`

	endpoints []*sockets.Endpoint
}

// CaddyModule returns the Caddy module information.
func (*TCP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gojinn.capabilities.tcp",
		New: func() caddy.Module { return new(TCP) },
	}
}

// UnmarshalCaddyfile sets up the capability from a Caddyfile. Syntax:
//
//	allow tcp <host:port> … {
//	    private <cidr> …
//	}
func (t *TCP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // tcp
	t.Addresses = d.RemainingArgs()
	if len(t.Addresses) == 0 {
		return d.Err("allow tcp: no address; usage: allow tcp <host:port> …")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch option := d.Val(); {
		case option != "private":
			return d.Errf("allow tcp: unknown option %q; there is: private", option)
		case t.Private != nil:
			return d.Err("allow tcp: private is there twice")
		}
		if t.Private = d.RemainingArgs(); len(t.Private) == 0 {
			return d.Err("allow tcp: private: no address; usage: private <cidr> …")
		}
	}
	if err := t.check(); err != nil {
		return d.WrapErr(fmt.Errorf("allow tcp: %w", err))
	}
	return nil
}

// check refuses what is wrong whatever its placeholders stand for.
func (t *TCP) check() error {
	if strings.Contains(strings.Join(slices.Concat(t.Private, t.Addresses), ""), "{") {
		return nil
	}
	_, err := parse(t.Addresses, t.Private)
	return err
}

// parse makes endpoints of addresses, whose dialer allows the private ones.
func parse(addresses, private []string) ([]*sockets.Endpoint, error) {
	prefixes, err := egress.ParsePrivate(private)
	if err != nil {
		return nil, fmt.Errorf("private: %w", err)
	}
	policy := &egress.Policy{Private: prefixes}
	return sockets.Endpoint{Dial: policy.Dial}.Parse(addresses)
}

// Provision replaces the placeholders. It connects to nothing.
func (t *TCP) Provision(ctx caddy.Context) error {
	addresses, err := replaced(t.Addresses)
	if err != nil {
		return err
	}
	private, err := replaced(t.Private)
	if err != nil {
		return err
	}
	if t.endpoints, err = parse(addresses, private); err != nil {
		return err
	}
	logger := ctx.Logger()
	report := sockets.Sparingly(func(address string, err error, unreported int) {
		logger.Warn("no connection", zap.String("address", address), zap.Error(err), zap.Int("unreported", unreported))
	})
	for _, e := range t.endpoints {
		e.Report = report
	}
	return nil
}

func replaced(list []string) ([]string, error) {
	var made []string
	for _, text := range list {
		value, err := caddy.NewReplacer().ReplaceOrErr(text, true, true)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		made = append(made, value)
	}
	return made, nil
}

// Grant makes the addresses appear in /net/tcp, beside those of other lines.
func (t *TCP) Grant(g *engine.Grants) error { return sockets.Grant(g, sockets.TCP, t.endpoints...) }

var (
	_ caddy.Provisioner     = (*TCP)(nil)
	_ caddyfile.Unmarshaler = (*TCP)(nil)
)
