// Package env is the capability to know a value: an environment variable.
package env

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/placeholder"
)

func init() {
	caddy.RegisterModule(new(Env))
}

// Env lets a function see one environment variable. Nothing else of the host's
// environment reaches it: a variable of the host is handed on by naming it.
//
// Global placeholders such as `{env.API_KEY}` and `{file./run/secrets/key}` are
// replaced when the configuration is loaded, request placeholders such as
// `{http.request.host}` for each request.
type Env struct {
	// The name of the variable. It may not contain `=`, and each may be given
	// to a function once.
	Name string `json:"name,omitempty"`

	// Its value. Placeholders are supported; one that a request doesn't have
	// is empty.
	Value string `json:"value,omitempty"`

	value engine.Value
}

// CaddyModule returns the Caddy module information.
func (*Env) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gojinn.capabilities.env",
		New: func() caddy.Module { return new(Env) },
	}
}

// UnmarshalCaddyfile sets up the capability from a Caddyfile. Syntax:
//
//	allow env <name> <value>
func (e *Env) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // env
	if !d.AllArgs(&e.Name, &e.Value) {
		return d.Err("allow env: wrong number of arguments; usage: allow env <name> <value>")
	}
	if err := e.check(); err != nil {
		return d.WrapErr(fmt.Errorf("allow env: %w", err))
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("allow env: takes no options, such as %q", d.Val())
	}
	return nil
}

// check refuses what can't be the name of a variable.
func (e *Env) check() error { return new(engine.Grants).Env(e.Name, engine.Value{}) }

// Provision replaces the placeholders that are known now.
func (e *Env) Provision(caddy.Context) error {
	if err := e.check(); err != nil {
		return err
	}
	var err error
	if e.value, err = placeholder.Value(e.Value); err != nil {
		return fmt.Errorf("%s: %w", e.Name, err)
	}
	return nil
}

// Grant adds the variable to what a function sees.
func (e *Env) Grant(g *engine.Grants) error { return g.Env(e.Name, e.value) }

var (
	_ caddy.Provisioner     = (*Env)(nil)
	_ caddyfile.Unmarshaler = (*Env)(nil)
)
