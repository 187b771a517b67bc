package nats

import (
	"errors"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// UnmarshalCaddyfile sets up the store from a Caddyfile. Syntax:
//
//	store <name> nats <url>[,<url>…] … {
//	    creds    <file>
//	    token    <token>
//	    user     <name> <password>
//	    nkey     <seed file>
//	    tls {
//	        ca   <file>
//	        cert <file>
//	        key  <file>
//	    }
//	    replicas <n>
//	    prefix   <prefix>
//	    timeout  <duration>
//	}
func (n *Nats) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // nats
	for _, arg := range d.RemainingArgs() {
		n.URLs = append(n.URLs, strings.FieldsFunc(arg, func(r rune) bool { return r == ',' })...)
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := n.unmarshalOption(d); err != nil {
			return err
		}
	}
	if err := n.check(); err != nil {
		return d.Errf("store nats: %v", err)
	}
	// What placeholders stand for is checked when the configuration is loaded.
	if list := strings.Join(n.URLs, ","); !strings.Contains(list, "{") {
		if _, err := checkURLs(list); err != nil {
			return d.Errf("store nats: %v", err)
		}
	}
	if n.Prefix != "" && !strings.Contains(n.Prefix, "{") {
		if err := checkPrefix(n.Prefix); err != nil {
			return d.Errf("store nats: %v", err)
		}
	}
	return nil
}

func (n *Nats) unmarshalOption(d *caddyfile.Dispenser) error {
	name := d.Val()
	once := func(set bool) error {
		if set {
			return d.Errf("store nats: %s is given twice", name)
		}
		return nil
	}
	text := func(to *string) error {
		if err := once(*to != ""); err != nil {
			return err
		}
		if !d.AllArgs(to) || *to == "" {
			return d.Errf("store nats: %s takes one value", name)
		}
		return nil
	}
	switch name {
	case "creds":
		return text(&n.Creds)
	case "token":
		return text(&n.Token)
	case "nkey":
		return text(&n.NKey)
	case "prefix":
		return text(&n.Prefix)
	case "user":
		if err := once(n.User != ""); err != nil {
			return err
		}
		if !d.AllArgs(&n.User, &n.Password) || n.User == "" {
			return d.Errf("store nats: user takes a name and a password")
		}
	case "tls":
		if err := once(n.TLS != nil); err != nil {
			return err
		}
		return n.unmarshalTLS(d)
	case "replicas":
		var value string
		if err := errors.Join(once(n.Replicas != 0), text(&value)); err != nil {
			return err
		}
		count, err := strconv.Atoi(value)
		if err != nil || count < 1 || count > maxReplicas {
			return d.Errf("store nats: replicas: %q is not a number from 1 to %d", value, maxReplicas)
		}
		n.Replicas = count
	case "timeout":
		var value string
		if err := errors.Join(once(n.Timeout != 0), text(&value)); err != nil {
			return err
		}
		timeout, err := caddy.ParseDuration(value)
		if err != nil || timeout <= 0 {
			return d.Errf("store nats: timeout: %q is not a duration", value)
		}
		n.Timeout = caddy.Duration(timeout)
	default:
		return d.Errf("store nats: unknown option %q", name)
	}
	return nil
}

func (n *Nats) unmarshalTLS(d *caddyfile.Dispenser) error {
	n.TLS = new(TLS)
	if d.CountRemainingArgs() > 0 {
		return d.Errf("store nats: tls takes a block, not arguments")
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		to := map[string]*string{"ca": &n.TLS.CA, "cert": &n.TLS.Cert, "key": &n.TLS.Key}[name]
		switch {
		case to == nil:
			return d.Errf("store nats: tls: unknown option %q", name)
		case *to != "":
			return d.Errf("store nats: tls: %s is given twice", name)
		case !d.AllArgs(to) || *to == "":
			return d.Errf("store nats: tls: %s takes one file", name)
		}
	}
	return nil
}

var _ caddyfile.Unmarshaler = (*Nats)(nil)
