// Package tls is the capability to connect to addresses over TLS.
package tls

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
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
	caddy.RegisterModule(new(TLS))
}

// TLS lets a function connect to addresses over TLS, by opening `/net/tls/<host:port>`. What
// is read from such a file and written to it is what TLS protects: the server does the
// handshake and verifies the other side's certificate, and the function needs neither
// certificates nor a library.
//
// The address that a name leads to is checked when a connection is made: loopback, private
// and all others that are not public are refused unless listed as private.
type TLS struct {
	// What the function may connect to: `host:port`, an IPv6 address in brackets. The host is
	// a name or an address; there are no wildcards. Global placeholders are supported.
	Addresses []string `json:"addresses,omitempty"`

	// For servers that begin in plain text: `postgres` or `mysql`. Without TLS the connection
	// fails, whatever the function would do. Default: TLS from the first byte.
	StartTLS string `json:"starttls,omitempty"`

	// Addresses that are not public and may be connected to all the same: prefixes such as
	// `10.0.0.0/8`, or single addresses. Link-local and metadata addresses can't be allowed.
	// Global placeholders are supported.
	Private []string `json:"private,omitempty"`

	// A file of certificates in PEM, of authorities that are trusted in place of the system's.
	// It is read when the configuration is loaded. Global placeholders are supported.
	CA string `json:"ca,omitempty"`

	// The name that the other side has to prove. Default: the host of the address.
	ServerName string `json:"server_name,omitempty"`

	endpoints []*sockets.Endpoint
}

// CaddyModule returns the Caddy module information.
func (*TLS) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gojinn.capabilities.tls",
		New: func() caddy.Module { return new(TLS) },
	}
}

// UnmarshalCaddyfile sets up the capability from a Caddyfile. Syntax:
//
//	allow tls <host:port> … {
//	    starttls    postgres | mysql
//	    private     <cidr> …
//	    ca          <pem file>
//	    server_name <name>
//	}
func (t *TLS) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // tls
	t.Addresses = d.RemainingArgs()
	if len(t.Addresses) == 0 {
		return d.Err("allow tls: no address; usage: allow tls <host:port> …")
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("allow tls: %s is there twice", option)
		}
		seen[option] = true
		if err := t.unmarshalOption(d, option); err != nil {
			return err
		}
	}
	if err := t.check(); err != nil {
		return d.WrapErr(fmt.Errorf("allow tls: %w", err))
	}
	return nil
}

func (t *TLS) unmarshalOption(d *caddyfile.Dispenser, option string) error {
	var value *string
	switch option {
	case "private":
		if t.Private = d.RemainingArgs(); len(t.Private) == 0 {
			return d.Err("allow tls: private: no address; usage: private <cidr> …")
		}
		return nil
	case "starttls":
		value = &t.StartTLS
	case "ca":
		value = &t.CA
	case "server_name":
		value = &t.ServerName
	default:
		return d.Errf("allow tls: unknown option %q; there are: starttls, private, ca, server_name", option)
	}
	if !d.AllArgs(value) || *value == "" {
		return d.Errf("allow tls: %s takes one value", option)
	}
	return nil
}

// check refuses what is wrong whatever its placeholders stand for, and whatever the host looks
// like.
func (t *TLS) check() error {
	if strings.Contains(strings.Join(slices.Concat(t.Private, t.Addresses, []string{t.ServerName}), ""), "{") {
		return nil
	}
	_, err := t.parse(nil)
	return err
}

// parse makes endpoints that trust roots, nil being the system's.
func (t *TLS) parse(roots *x509.CertPool) ([]*sockets.Endpoint, error) {
	starttls := sockets.StartTLS(t.StartTLS)
	switch starttls {
	case sockets.Directly, sockets.Postgres, sockets.MySQL:
	default:
		return nil, fmt.Errorf("starttls: %q is neither %s nor %s", t.StartTLS, sockets.Postgres, sockets.MySQL)
	}
	prefixes, err := egress.ParsePrivate(t.Private)
	if err != nil {
		return nil, fmt.Errorf("private: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	if t.ServerName != "" {
		if config.ServerName, err = egress.ParseHost(t.ServerName); err != nil {
			return nil, fmt.Errorf("server_name: %w", err)
		}
	}
	policy := &egress.Policy{Private: prefixes}
	return sockets.Endpoint{Dial: policy.Dial, TLS: config, StartTLS: starttls}.Parse(t.Addresses)
}

// Provision replaces the placeholders and reads the certificates. It connects to nothing.
func (t *TLS) Provision(ctx caddy.Context) error {
	resolved := TLS{StartTLS: t.StartTLS}
	var single []string
	for _, option := range []struct {
		from []string
		to   *[]string
	}{
		{t.Addresses, &resolved.Addresses},
		{t.Private, &resolved.Private},
		{[]string{t.ServerName, t.CA}, &single},
	} {
		var err error
		if *option.to, err = replaced(option.from); err != nil {
			return err
		}
	}
	resolved.ServerName = single[0]
	roots, err := readCA(single[1])
	if err != nil {
		return err
	}
	if t.endpoints, err = resolved.parse(roots); err != nil {
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

// readCA returns the authorities in a file; none, the system's, without a file.
func readCA(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("ca: %s holds no certificate in PEM", path)
	}
	return roots, nil
}

// Grant makes the addresses appear in /net/tls, beside those of other lines.
func (t *TLS) Grant(g *engine.Grants) error { return sockets.Grant(g, sockets.TLS, t.endpoints...) }

var (
	_ caddy.Provisioner     = (*TLS)(nil)
	_ caddyfile.Unmarshaler = (*TLS)(nil)
)
