// Package dir is the capability to use a directory of the host.
package dir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

func init() {
	caddy.RegisterModule(new(Dir))
}

// Dir lets a function use a directory of the host. The function is jailed in
// it: neither `..` nor a symbolic link, a rename or a hard link leads out. Only
// regular files and directories can be opened.
//
// With `rw` nothing bounds what the function writes but the file system the
// directory lies on: use one with a quota if that matters.
type Dir struct {
	// The directory of the host. A relative path is relative to the working
	// directory of the server. Global placeholders are supported. It must
	// exist when the configuration is loaded, and is opened anew by each call
	// that uses it.
	Host string `json:"host,omitempty"`

	// Where the function sees it: an absolute path.
	Guest string `json:"guest,omitempty"`

	// What the function may do: `ro` for reading, `rw` for changing too.
	// Default: ro.
	Mode string `json:"mode,omitempty"`

	mount vfs.HostDir
}

// The modes of a directory.
const (
	readOnly  = "ro"
	readWrite = "rw"
)

// CaddyModule returns the Caddy module information.
func (*Dir) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gojinn.capabilities.dir",
		New: func() caddy.Module { return new(Dir) },
	}
}

// UnmarshalCaddyfile sets up the capability from a Caddyfile. Syntax:
//
//	allow dir <host path> <guest path> [ro|rw]
func (c *Dir) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // dir
	args := d.RemainingArgs()
	if len(args) < 2 || len(args) > 3 {
		return d.Err("allow dir: wrong number of arguments; usage: allow dir <host path> <guest path> [ro|rw]")
	}
	c.Host, c.Guest = args[0], args[1]
	if len(args) == 3 {
		c.Mode = args[2]
	}
	if err := c.check(); err != nil {
		return d.WrapErr(fmt.Errorf("allow dir: %w", err))
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("allow dir: takes no options, such as %q", d.Val())
	}
	return nil
}

// check refuses what is wrong whatever the host looks like.
func (c *Dir) check() error {
	switch {
	case c.Host == "":
		return errors.New("the host path is empty")
	case c.Mode != "" && c.Mode != readOnly && c.Mode != readWrite:
		return fmt.Errorf("the mode %q is neither %s nor %s", c.Mode, readOnly, readWrite)
	}
	return c.Grant(new(engine.Grants)) // the guest path
}

// Provision finds the directory. It opens nothing.
func (c *Dir) Provision(caddy.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	host, err := caddy.NewReplacer().ReplaceOrErr(c.Host, true, true)
	if err != nil {
		return fmt.Errorf("host path %s: %w", c.Host, err)
	}
	// A change of the working directory must not change what is granted.
	if host, err = filepath.Abs(host); err != nil {
		return fmt.Errorf("host path %s: %w", c.Host, err)
	}
	info, err := os.Stat(host)
	switch {
	case err != nil:
		return fmt.Errorf("host path: %w", err)
	case !info.IsDir():
		return fmt.Errorf("host path: %s is not a directory", host)
	}
	c.mount = vfs.HostDir{Path: host, Writable: c.Mode == readWrite}
	return nil
}

// Grant mounts the directory in a function's file tree.
func (c *Dir) Grant(g *engine.Grants) error { return g.Mount(c.Guest, &c.mount) }

var (
	_ caddy.Provisioner     = (*Dir)(nil)
	_ caddyfile.Unmarshaler = (*Dir)(nil)
)
