package kv

import (
	"context"
	"strings"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/exchange"
	"github.com/gojinn/gojinn/stores"
)

// directory is a namespace as one call sees it. It holds nothing.
type directory struct{ *grant }

// Root returns the directory for one call.
func (g *grant) Root(context.Context) (vfs.Directory, error) { return directory{g}, nil }

// Stat describes the directory.
func (d directory) Stat(context.Context) (vfs.Stat, error) {
	return vfs.Stat{Device: d.id, Inode: 2, Type: vfs.TypeDirectory, Links: 1}, nil // 2 is even: no key's
}

// Close does nothing.
func (d directory) Close(context.Context) error { return nil }

// stat describes the file of a key.
func (g *grant) stat(key string, size int, modified time.Time) vfs.Stat {
	at := modified.UnixNano()
	if modified.IsZero() {
		at = 0
	}
	return vfs.Stat{Device: g.id, Inode: number(key), Type: vfs.TypeRegular, Links: 1, Size: int64(size), Accessed: at, Modified: at, Changed: at}
}

func (g *grant) deviceStat() vfs.Stat {
	return vfs.Stat{Device: g.id, Inode: 4, Type: vfs.TypeCharacterDevice, Links: 1} // 4 is even: no key's
}

// key returns the key that a name stands for. There are no directories that one could lead
// through.
func (d directory) key(ctx context.Context, name string) (string, error) {
	first, _, through := strings.Cut(name, "/")
	if !through {
		return keyOf(name)
	}
	if _, err := d.Lookup(ctx, first, false); err != nil {
		return "", err
	}
	return "", vfs.ENOTDIR
}

// Lookup describes a file.
func (d directory) Lookup(ctx context.Context, name string, _ bool) (vfs.Stat, error) {
	switch name {
	case ".":
		return d.Stat(ctx)
	case operations:
		return d.deviceStat(), nil
	}
	key, err := d.key(ctx, name)
	if err != nil {
		return vfs.Stat{}, err
	}
	item, err := d.store.Get(ctx, d.namespace, key)
	if err != nil {
		return vfs.Stat{}, d.errno(ctx, err)
	}
	return d.stat(key, len(item.Value), item.Modified), nil
}

// Open opens a file.
func (d directory) Open(ctx context.Context, name string, flags vfs.OpenFlags) (vfs.File, error) {
	made := flags&(vfs.Create|vfs.Exclusive) == vfs.Create|vfs.Exclusive
	switch {
	case name == "." && made, name == operations && made:
		return nil, vfs.EEXIST
	case name == "." && flags&vfs.Changing != 0:
		return nil, vfs.EISDIR
	case name == ".":
		return d, nil
	case name == operations && flags&vfs.OnlyDirectory != 0:
		return nil, vfs.ENOTDIR
	case name == operations:
		return d.device(), nil
	}
	key, err := d.key(ctx, name)
	switch {
	case err != nil:
		return nil, err
	case flags&vfs.OnlyDirectory != 0:
		return nil, d.notDirectory(ctx, key)
	case d.readOnly && flags&vfs.Changing != 0:
		return nil, d.refuse(ctx)
	}
	return d.open(ctx, key, flags)
}

// refuse is the error of everything that changes a namespace that may only be read.
func (g *grant) refuse(ctx context.Context) error {
	engine.Refused(ctx, engine.Refusal{Kind: "kv", What: g.namespace.Name, How: "rw"})
	return vfs.EROFS
}

func (d directory) notDirectory(ctx context.Context, key string) error {
	if _, err := d.store.Get(ctx, d.namespace, key); err != nil {
		return d.errno(ctx, err)
	}
	return vfs.ENOTDIR
}

// device returns the file that takes operations.
func (g *grant) device() vfs.File {
	// A value may be written with as many escapes as bytes; with more of them base64 is shorter.
	return &device{exchange.New(g.begin, exchange.Options{MaxLine: int(2*g.maxValue) + 8<<10, Finish: !g.readOnly}), g}
}

type device struct {
	*exchange.File
	grant *grant
}

// Stat describes the device.
func (d *device) Stat(context.Context) (vfs.Stat, error) { return d.grant.deviceStat(), nil }

// change is the key that a change is made to.
func (d directory) change(ctx context.Context, name string) (string, error) {
	if d.readOnly {
		return "", d.refuse(ctx)
	}
	if name == operations {
		return "", vfs.EPERM
	}
	return d.key(ctx, name)
}

// Unlink deletes a key.
func (d directory) Unlink(ctx context.Context, name string) error {
	key, err := d.change(ctx, name)
	if err != nil {
		return err
	}
	_, err = d.store.Update(ctx, d.namespace, key, func(old *stores.Item) (*stores.Item, error) {
		if old == nil {
			return nil, stores.ErrNotFound
		}
		return nil, nil
	})
	return d.errno(ctx, err)
}

// Rename gives a value another key, in one step.
func (d directory) Rename(ctx context.Context, name string, to vfs.Directory, newName string) error {
	from, err := d.change(ctx, name)
	if err != nil {
		return err
	}
	other, ok := to.(directory)
	if !ok || other.grant != d.grant {
		return vfs.EXDEV
	}
	key, err := d.change(ctx, newName)
	if err != nil {
		return err
	}
	return d.errno(ctx, d.store.Rename(ctx, d.namespace, from, key))
}

// unmakable is the error for making something that a namespace can't have: EPERM, as file
// systems have it that know no such thing.
func (d directory) unmakable(ctx context.Context, name string) error {
	if _, err := d.Lookup(ctx, name, false); err == nil && !d.readOnly {
		return vfs.EEXIST
	}
	if _, err := d.change(ctx, name); err != nil {
		return err
	}
	return vfs.EPERM
}

// Mkdir is refused: a namespace is flat.
func (d directory) Mkdir(ctx context.Context, name string) error { return d.unmakable(ctx, name) }

// Link is refused: a value has one key.
func (d directory) Link(ctx context.Context, _ string, _ vfs.Directory, newName string) error {
	return d.unmakable(ctx, newName)
}

// Symlink is refused.
func (d directory) Symlink(ctx context.Context, _, name string) error { return d.unmakable(ctx, name) }

// Rmdir is refused: there are no directories.
func (d directory) Rmdir(ctx context.Context, name string) error {
	if _, err := d.change(ctx, name); err != nil {
		return err
	}
	if _, err := d.Lookup(ctx, name, false); err != nil {
		return err
	}
	return vfs.ENOTDIR
}

// SetTimesOf is refused: when a value was written is the store's to say.
func (d directory) SetTimesOf(ctx context.Context, name string, _ bool, _, _ time.Time) error {
	if name == "." {
		return vfs.EPERM
	}
	if _, err := d.change(ctx, name); err != nil {
		return err
	}
	if _, err := d.Lookup(ctx, name, false); err != nil {
		return err
	}
	return vfs.EPERM
}

// List starts reading the keys.
func (d directory) List(context.Context) (vfs.Lister, error) { return &lister{directory: d}, nil }

// listPage is how many keys are asked for at once.
const listPage = 128

// lister reads the keys in the order of their bytes, a page at a time. Keys that come or go meanwhile may
// be in it or not; all others are, once.
type lister struct {
	directory
	page []stores.Entry // not yet listed
	last string         // of what has been read
	end  bool
}

// Next returns the next names. Keys whose names would be longer than a name can be are not among
// them.
func (l *lister) Next(ctx context.Context, entries []vfs.Entry) (int, error) {
	n := 0
	for n < len(entries) {
		if len(l.page) == 0 {
			// What is there is given out before more is waited for.
			if l.end || n > 0 {
				break
			}
			if err := l.turn(ctx); err != nil {
				return 0, err
			}
			continue
		}
		key := l.page[0].Key
		l.page = l.page[1:]
		if name := nameOf(key); len(name) <= vfs.MaxName {
			entries[n] = vfs.Entry{Name: name, Inode: number(key), Type: vfs.TypeRegular}
			n++
		}
	}
	return n, nil
}

func (l *lister) turn(ctx context.Context) (err error) {
	l.page, err = l.store.List(ctx, l.namespace, stores.Query{After: l.last, Limit: listPage})
	if err != nil {
		return l.errno(ctx, err)
	}
	if l.end = len(l.page) < listPage; len(l.page) > 0 {
		l.last = l.page[len(l.page)-1].Key
	}
	return nil
}

// Close does nothing.
func (l *lister) Close() error { return nil }

var (
	_ vfs.Editor     = directory{}
	_ vfs.Lister     = (*lister)(nil)
	_ vfs.Reader     = (*device)(nil)
	_ vfs.Writer     = (*device)(nil)
	_ vfs.Poller     = (*device)(nil)
	_ vfs.FS         = (*grant)(nil)
	_ exchange.Begin = (*grant)(nil).begin
)
