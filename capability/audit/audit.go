// Package audit is the capability that grants nothing: it has what a function asks for and is
// refused recorded.
package audit

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
)

func init() {
	caddy.RegisterModule(new(Audit))
}

// Audit has what a function asks for and isn't allowed recorded: paths that nothing grants,
// changes where only reading is granted, addresses and origins that its other grants don't hold. It
// grants nothing. Each thing is logged once and shown by the admin API, at most 1,000 of
// them for each function. What a program looks up in its environment can't be seen from outside.
type Audit struct{}

// CaddyModule returns the Caddy module information.
func (*Audit) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gojinn.capabilities.audit",
		New: func() caddy.Module { return new(Audit) },
	}
}

// UnmarshalCaddyfile sets up the capability from a Caddyfile. Syntax:
//
//	allow audit
func (*Audit) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // audit
	if d.NextArg() {
		return d.Errf("allow audit: unexpected argument %q; usage: allow audit", d.Val())
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("allow audit: takes no options, such as %q", d.Val())
	}
	return nil
}

// Grant has the function watched. Whoever makes functions of the grants, and knows their names, gives
// each a [Record] of its own.
func (*Audit) Grant(g *engine.Grants) error {
	g.Watch(func(engine.Refusal) {})
	return nil
}

var _ caddyfile.Unmarshaler = (*Audit)(nil)
