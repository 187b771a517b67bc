// Package bolt is the key-value store that is a file of the server, a bbolt database: embedded,
// durable, and the default.
package bolt

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/stores"
)

func init() {
	caddy.RegisterModule(new(Bolt))
}

// Bolt keeps keys and values in one file, a bbolt database. What a function has stored is on
// the disk when it is told so. A file can be used by one server at a time; stores with the same
// path share it. It is opened by the first use; if it can't be, because another process
// has locked it or it is damaged, functions get errors until it can.
type Bolt struct {
	// The path of the file, which is made with mode 0600 if there is none. A relative path
	// is relative to the working directory of the server. Global placeholders are supported.
	// Default: `gojinn.db` in Caddy's data directory.
	Path string `json:"path,omitempty"`

	path string
	file *file // nil until Provision
	// uses are the configuration's, until Cleanup, and those of its calls; at 0 the file is
	// given up.
	uses atomic.Int64
}

const usage = "store <name> bolt [<path>]"

// pool holds the files in use by their path. The last to leave closes the file.
var pool = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*Bolt) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  stores.ModuleNamespace + ".bolt",
		New: func() caddy.Module { return new(Bolt) },
	}
}

// UnmarshalCaddyfile sets up the store from a Caddyfile. Syntax:
//
//	store <name> bolt [<path>]
func (b *Bolt) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // bolt
	if d.NextArg() {
		if b.Path = d.Val(); b.Path == "" {
			return d.Errf("store: bolt: the path is empty; usage: %s", usage)
		}
	}
	if d.NextArg() {
		return d.Errf("store: bolt: unexpected argument %q; usage: %s", d.Val(), usage)
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("store: bolt: takes no options, such as %q", d.Val())
	}
	return nil
}

// Provision finds out which file it is. It doesn't open it.
func (b *Bolt) Provision(caddy.Context) error {
	b.path = filepath.Join(caddy.AppDataDir(), "gojinn.db")
	if b.Path != "" {
		path, err := caddy.NewReplacer().ReplaceOrErr(b.Path, true, true)
		if err != nil {
			return fmt.Errorf("path %s: %w", b.Path, err)
		}
		b.path = path
	}
	var err error
	// A change of the working directory must not change which file it is.
	if b.path, err = filepath.Abs(b.path); err != nil {
		return fmt.Errorf("path %s: %w", b.Path, err)
	}
	if b.file, err = acquire(b.path); err == nil {
		b.uses.Store(1)
	}
	return err
}

// acquire is followed by one release.
func acquire(path string) (*file, error) {
	f, _, err := pool.LoadOrNew(path, func() (caddy.Destructor, error) { return &file{path: path}, nil })
	if err != nil {
		return nil, err
	}
	return f.(*file), nil
}

func release(path string) error {
	_, err := pool.Delete(path)
	return err
}

// Cleanup gives up the file, which is closed if nobody else uses it.
func (b *Bolt) Cleanup() error {
	if b.file == nil {
		return nil
	}
	return b.leave()
}

func (b *Bolt) leave() error {
	if b.uses.Add(-1) > 0 {
		return nil
	}
	return release(b.path)
}

// use returns the file, which is not given up until done: also after Cleanup, for the calls that
// outlive their configuration.
func (b *Bolt) use() (f *file, done func() error, err error) {
	for {
		n := b.uses.Load()
		if n <= 0 {
			f, err := acquire(b.path)
			return f, func() error { return release(b.path) }, err
		}
		if b.uses.CompareAndSwap(n, n+1) {
			return b.file, b.leave, nil
		}
	}
}

// with calls do with the file.
func (b *Bolt) with(ctx context.Context, ns stores.Namespace, do func(*file) error, keys ...string) error {
	if err := stores.Check(ctx, ns, keys...); err != nil {
		return err
	}
	f, done, err := b.use()
	if err != nil {
		return err
	}
	defer func() { _ = done() }() // closing a file that is durable anyway has nothing to say
	return do(f)
}

// Get implements [stores.Store].
func (b *Bolt) Get(ctx context.Context, ns stores.Namespace, key string) (item stores.Item, err error) {
	err = b.with(ctx, ns, func(f *file) error {
		return f.view(ctx, func(r *records) error {
			item, err = r.get(ns.Name, key)
			return err
		})
	}, key)
	return item, err
}

// Put implements [stores.Store].
func (b *Bolt) Put(ctx context.Context, ns stores.Namespace, key string, value []byte, expires time.Time) (uint64, error) {
	item, err := b.Update(ctx, ns, key, func(*stores.Item) (*stores.Item, error) {
		return &stores.Item{Value: value, Expires: expires}, nil
	})
	return item.Version, err
}

// Update implements [stores.Store].
func (b *Bolt) Update(ctx context.Context, ns stores.Namespace, key string, edit stores.Edit) (item stores.Item, err error) {
	err = b.with(ctx, ns, func(f *file) error {
		item, err = f.change(ctx, func(c *change, r *records) (err error) {
			c.item, err = r.update(ns, key, edit)
			return err
		})
		return err
	}, key)
	return item, err
}

// Rename implements [stores.Store].
func (b *Bolt) Rename(ctx context.Context, ns stores.Namespace, from, to string) error {
	return b.with(ctx, ns, func(f *file) error {
		_, err := f.change(ctx, func(_ *change, r *records) error { return r.rename(ns.Name, from, to) })
		return err
	}, from, to)
}

// List implements [stores.Store].
func (b *Bolt) List(ctx context.Context, ns stores.Namespace, q stores.Query) (entries []stores.Entry, err error) {
	err = b.with(ctx, ns, func(f *file) error {
		return f.view(ctx, func(r *records) error {
			entries, err = r.list(ctx, ns.Name, q)
			return err
		})
	})
	return entries, err
}

// Interface guards
var (
	_ stores.Store          = (*Bolt)(nil)
	_ caddy.Provisioner     = (*Bolt)(nil)
	_ caddy.CleanerUpper    = (*Bolt)(nil)
	_ caddyfile.Unmarshaler = (*Bolt)(nil)
)
