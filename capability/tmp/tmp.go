// Package tmp is the capability to have scratch space: a directory in memory that is empty at
// every call.
package tmp

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/units"
)

func init() {
	caddy.RegisterModule(new(Tmp))
}

// Tmp gives a function a directory for temporary files. They are in memory, and are gone when
// the call ends: each call finds the directory empty, and no call sees what another
// has in it.
type Tmp struct {
	// Where the function sees it: an absolute path.
	Path string `json:"path,omitempty"`

	// The most that one call may have there. Names, directories and the bookkeeping count
	// too; a file takes its size rounded up to 4KiB, and up to 1KiB beside it. What
	// is in use counts against the memory of all functions. At least 64KiB. Default: 16MiB.
	Size *units.Size `json:"size,omitempty"`
}

const (
	defaultSize = 16 << 20
	minSize     = 64 << 10
)

const usage = "allow tmp <guest path> [<size>]"

// CaddyModule returns the Caddy module information.
func (*Tmp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gojinn.capabilities.tmp",
		New: func() caddy.Module { return new(Tmp) },
	}
}

// UnmarshalCaddyfile sets up the capability from a Caddyfile. Syntax:
//
//	allow tmp <guest path> [<size>]
func (c *Tmp) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // tmp
	args := d.RemainingArgs()
	if len(args) < 1 || len(args) > 2 {
		return d.Errf("allow tmp: wrong number of arguments; usage: %s", usage)
	}
	c.Path = args[0]
	if len(args) == 2 {
		size, err := units.ParseSize(args[1])
		if err != nil {
			return d.WrapErr(fmt.Errorf("allow tmp: %w", err))
		}
		c.Size = &size
	}
	if err := c.check(); err != nil {
		return d.WrapErr(fmt.Errorf("allow tmp: %w", err))
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("allow tmp: takes no options, such as %q", d.Val())
	}
	return nil
}

func (c *Tmp) check() error {
	if c.Size != nil && *c.Size < minSize { // or off
		return fmt.Errorf("the size %s is less than %s", c.Size, units.Size(minSize))
	}
	return c.Grant(new(engine.Grants)) // the path
}

// Provision refuses what is wrong in JSON.
func (c *Tmp) Provision(caddy.Context) error { return c.check() }

// Grant mounts the directory in a function's file tree.
func (c *Tmp) Grant(g *engine.Grants) error {
	size := int64(defaultSize)
	if c.Size != nil {
		size = int64(*c.Size)
	}
	return g.Mount(c.Path, newScratch(c.Path, size))
}

var (
	_ caddy.Provisioner     = (*Tmp)(nil)
	_ caddyfile.Unmarshaler = (*Tmp)(nil)
)
