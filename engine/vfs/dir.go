package vfs

import (
	"context"
	"strings"
	"time"
)

// Dir is an open directory of a tree, with which guests reach what is below it:
// its methods take paths as guests give them, relative to the directory. It is
// the only Directory that knows of mount points.
//
// A path that is absolute or leaves the directory is refused with EPERM, as are
// links that lead out of a mount. Changes need a mount that allows them, else
// they are EROFS; a mount point and the way to it can't be removed, replaced or
// renamed (EBUSY), and nothing can be renamed or linked from one mount into
// another (EXDEV).
type Dir struct {
	view  *View
	path  string // as the guest wrote it, absolute; only kept if the view tells what is refused
	place place  // where it is; without names
	owned bool   // place.base is this Dir's to close
}

// Stat describes the directory.
func (d *Dir) Stat(ctx context.Context) (Stat, error) {
	here, err := d.here(ctx)
	switch {
	case err != nil:
		return Stat{}, err
	case here.base == nil:
		return here.node.stat(), nil
	}
	return here.base.Stat(ctx)
}

// Close releases the directory. What was opened through it stays open.
func (d *Dir) Close(ctx context.Context) error {
	if !d.owned {
		return nil
	}
	d.owned = false
	return d.place.base.Close(ctx)
}

// Sync flushes the directory itself, where its mount can do so.
func (d *Dir) Sync(ctx context.Context, dataOnly bool) error {
	here, err := d.here(ctx)
	if s, ok := here.base.(Syncer); ok {
		return s.Sync(ctx, dataOnly)
	}
	return err
}

// SetTimes sets the times of the directory that are not zero.
func (d *Dir) SetTimes(ctx context.Context, accessed, modified time.Time) error {
	return d.SetTimesOf(ctx, ".", true, accessed, modified)
}

// Open opens path. What is a directory comes back as a *Dir.
func (d *Dir) Open(ctx context.Context, path string, flags OpenFlags) (File, error) {
	f, err := d.open(ctx, path, flags)
	if err != nil && flags&OnlyDirectory != 0 {
		path += "/"
	}
	return f, d.told(path, flags&Changing != 0, err)
}

func (d *Dir) open(ctx context.Context, path string, flags OpenFlags) (File, error) {
	t, err := d.resolve(ctx, path)
	if err != nil {
		return nil, err
	}
	if t.slash {
		if flags&Create != 0 {
			return nil, EISDIR
		}
		flags = flags&^NoFollow | OnlyDirectory
	}
	if flags&(Create|OnlyDirectory) == Create|OnlyDirectory {
		return nil, EINVAL
	}
	if t.base == nil {
		return d.openInTree(&t, path, flags)
	}
	if _, ok := t.base.(Editor); ok && flags&Changing != 0 {
		d.view.beforeChange(&t)
	}
	f, err := t.base.Open(ctx, t.name(), flags)
	if err != nil {
		return nil, err
	}
	if base, ok := f.(Directory); ok {
		return &Dir{view: d.view, path: d.below(path), place: place{node: t.node, mount: t.mount, base: base}, owned: true}, nil
	}
	return f, nil
}

func (d *Dir) openInTree(t *target, path string, flags OpenFlags) (File, error) {
	switch {
	case t.nowhere() && flags&Create != 0:
		return nil, EROFS
	case t.nowhere():
		return nil, ENOENT
	case flags&(Create|Exclusive) == Create|Exclusive:
		return nil, EEXIST
	case flags&Changing != 0:
		return nil, EISDIR
	}
	return &Dir{view: d.view, path: d.below(path), place: t.place}, nil
}

// Lookup describes what path stands for, or with follow what it links to.
func (d *Dir) Lookup(ctx context.Context, path string, follow bool) (Stat, error) {
	stat, err := d.lookup(ctx, path, follow)
	return stat, d.told(path, false, err)
}

func (d *Dir) lookup(ctx context.Context, path string, follow bool) (Stat, error) {
	t, err := d.resolve(ctx, path)
	if err != nil {
		return Stat{}, err
	}
	return t.stat(ctx, follow)
}

func (t *target) stat(ctx context.Context, follow bool) (Stat, error) {
	switch {
	case t.nowhere():
		return Stat{}, ENOENT
	case t.base == nil:
		return t.node.stat(), nil
	}
	stat, err := t.base.Lookup(ctx, t.name(), follow || t.slash)
	if err == nil && t.slash && stat.Type != TypeDirectory {
		return Stat{}, ENOTDIR
	}
	return stat, err
}

// Readlink returns the target of a symbolic link.
func (d *Dir) Readlink(ctx context.Context, path string) (string, error) {
	target, err := d.readlink(ctx, path)
	return target, d.told(path, false, err)
}

func (d *Dir) readlink(ctx context.Context, path string) (string, error) {
	t, err := d.resolve(ctx, path)
	if err != nil {
		return "", err
	}
	reader, ok := t.base.(LinkReader)
	if !ok || t.slash {
		if _, err := t.stat(ctx, false); err != nil {
			return "", err
		}
		return "", EINVAL
	}
	return reader.Readlink(ctx, t.name())
}

// Mkdir makes a directory.
func (d *Dir) Mkdir(ctx context.Context, path string) error {
	return d.told(path, true, d.mkdir(ctx, path))
}

func (d *Dir) mkdir(ctx context.Context, path string) error {
	t, err := d.resolve(ctx, path)
	if err != nil {
		return err
	}
	if t.node != nil || t.base != nil && t.upward() {
		return EEXIST
	}
	editor, err := d.view.editor(&t)
	if err != nil {
		return err
	}
	return editor.Mkdir(ctx, t.name())
}

// editor returns the directory in which t can be changed.
func (v *View) editor(t *target) (Editor, error) {
	if editor, ok := t.base.(Editor); ok {
		v.beforeChange(t)
		return editor, nil
	}
	return nil, EROFS
}

func (v *View) beforeChange(t *target) {
	if v.BeforeChange != nil {
		v.BeforeChange(t.mount.path)
	}
}

// fixed is the error for removing, renaming or replacing what t stands for, if
// that is no name that could be given to something else.
func (t *target) fixed() error {
	switch {
	case t.node != nil:
		return EBUSY
	case t.base != nil && t.upward():
		return EINVAL
	}
	return nil
}

// movable returns the directory in which t can be removed.
func (v *View) movable(t *target) (Editor, error) {
	if err := t.fixed(); err != nil {
		return nil, err
	}
	return v.editor(t)
}

// Unlink removes what path stands for, unless that is a directory (EISDIR).
func (d *Dir) Unlink(ctx context.Context, path string) error {
	return d.told(path, true, d.unlink(ctx, path))
}

func (d *Dir) unlink(ctx context.Context, path string) error {
	t, err := d.resolve(ctx, path)
	if err != nil {
		return err
	}
	if t.nowhere() {
		return ENOENT
	}
	if t.slash {
		if _, err := t.stat(ctx, false); err != nil {
			return err
		}
		return EISDIR
	}
	editor, err := d.view.movable(&t)
	if err != nil {
		return err
	}
	return editor.Unlink(ctx, t.name())
}

// Rmdir removes an empty directory.
func (d *Dir) Rmdir(ctx context.Context, path string) error {
	return d.told(path, true, d.rmdir(ctx, path))
}

func (d *Dir) rmdir(ctx context.Context, path string) error {
	t, err := d.resolve(ctx, path)
	if err != nil {
		return err
	}
	if t.nowhere() {
		return ENOENT
	}
	editor, err := d.view.movable(&t)
	if err != nil {
		return err
	}
	return editor.Rmdir(ctx, t.name())
}

// Rename moves path to newPath, which is relative to the directory to of the
// same view, and replaces what is there as POSIX has it.
func (d *Dir) Rename(ctx context.Context, path string, to *Dir, newPath string) error {
	return to.told(newPath, true, d.told(path, true, d.rename(ctx, path, to, newPath)))
}

func (d *Dir) rename(ctx context.Context, path string, to *Dir, newPath string) error {
	from, err := d.resolve(ctx, path)
	if err != nil {
		return err
	}
	goal, err := to.resolve(ctx, newPath)
	if err != nil {
		return err
	}
	editor, err := d.view.pair(&from, &goal)
	if err != nil {
		return err
	}
	if from.slash || goal.slash {
		stat, err := from.base.Lookup(ctx, from.name(), false)
		if err != nil {
			return err
		}
		if stat.Type != TypeDirectory {
			return ENOTDIR
		}
	}
	return editor.Rename(ctx, from.name(), goal.base, goal.name())
}

// pair returns the directory that can give from the name goal.
func (v *View) pair(from, goal *target) (Editor, error) {
	if from.nowhere() {
		return nil, ENOENT
	}
	if err := from.fixed(); err != nil {
		return nil, err
	}
	if err := goal.fixed(); err != nil {
		return nil, err
	}
	if from.mount != goal.mount {
		return nil, EXDEV
	}
	return v.editor(from)
}

// Link gives the file at path another name, newPath, relative to the directory
// to of the same view. A symbolic link is not followed.
func (d *Dir) Link(ctx context.Context, path string, to *Dir, newPath string) error {
	return to.told(newPath, true, d.told(path, true, d.link(ctx, path, to, newPath)))
}

func (d *Dir) link(ctx context.Context, path string, to *Dir, newPath string) error {
	from, err := d.resolve(ctx, path)
	if err != nil {
		return err
	}
	goal, err := to.resolve(ctx, newPath)
	if err != nil {
		return err
	}
	if goal.node != nil {
		return EEXIST
	}
	editor, err := d.view.pair(&from, &goal)
	if err != nil {
		return err
	}
	if from.slash {
		if _, err := from.stat(ctx, true); err != nil {
			return err
		}
		return EPERM // a directory
	}
	if err := goal.noSlash(ctx); err != nil {
		return err
	}
	return editor.Link(ctx, from.name(), goal.base, goal.name())
}

// noSlash refuses a path with a slash at its end where something is to be made
// that is no directory.
func (t *target) noSlash(ctx context.Context) error {
	if !t.slash {
		return nil
	}
	if _, err := t.stat(ctx, true); err != nil {
		return err
	}
	return EEXIST
}

// Symlink makes path a symbolic link to what the guest wrote as its target.
func (d *Dir) Symlink(ctx context.Context, to, path string) error {
	return d.told(path, true, d.symlink(ctx, to, path))
}

func (d *Dir) symlink(ctx context.Context, to, path string) error {
	switch {
	case to == "":
		return ENOENT
	case len(to) > MaxPath:
		return ENAMETOOLONG
	case strings.IndexByte(to, 0) >= 0:
		return EINVAL
	}
	t, err := d.resolve(ctx, path)
	if err != nil {
		return err
	}
	if t.node != nil || t.base != nil && t.upward() {
		return EEXIST
	}
	if err := t.noSlash(ctx); err != nil {
		return err
	}
	editor, err := d.view.editor(&t)
	if err != nil {
		return err
	}
	return editor.Symlink(ctx, to, t.name())
}

// SetTimesOf sets the times of what path stands for that are not zero.
func (d *Dir) SetTimesOf(ctx context.Context, path string, follow bool, accessed, modified time.Time) error {
	return d.told(path, true, d.setTimesOf(ctx, path, follow, accessed, modified))
}

func (d *Dir) setTimesOf(ctx context.Context, path string, follow bool, accessed, modified time.Time) error {
	t, err := d.resolve(ctx, path)
	if err != nil {
		return err
	}
	if t.nowhere() {
		return ENOENT
	}
	editor, err := d.view.editor(&t)
	if err != nil {
		return err
	}
	if t.slash {
		if _, err := t.stat(ctx, true); err != nil {
			return err
		}
	}
	return editor.SetTimesOf(ctx, t.name(), follow || t.slash, accessed, modified)
}

// List starts reading the directory: mount points and the ways to them first,
// in alphabetical order, then what else the mount has.
func (d *Dir) List(ctx context.Context) (Lister, error) {
	here, err := d.here(ctx)
	if err != nil {
		return nil, err
	}
	l := &treeLister{dir: d, names: here.node.names()}
	if here.base != nil {
		if l.rest, err = here.base.List(ctx); err != nil {
			return nil, err
		}
	}
	return l, nil
}

type treeLister struct {
	dir   *Dir
	names []string // not yet listed
	rest  Lister   // nil: nothing but names
}

func (l *treeLister) Next(ctx context.Context, entries []Entry) (int, error) {
	n := 0
	for n < len(entries) && len(l.names) > 0 {
		entries[n] = l.dir.mountPoint(ctx, l.names[0])
		l.names = l.names[1:]
		n++
	}
	if n > 0 || l.rest == nil {
		return n, nil
	}
	for {
		n, err := l.rest.Next(ctx, entries)
		if n == 0 || err != nil {
			return n, err
		}
		if n = l.dir.dropHidden(entries[:n]); n > 0 {
			return n, nil
		}
	}
}

// mountPoint describes a child that the tree has. What can't be opened is
// listed all the same, of unknown type.
func (d *Dir) mountPoint(ctx context.Context, name string) Entry {
	e := Entry{Name: name}
	if p, err := d.view.step(ctx, place{node: d.place.node}, name); err == nil {
		t := target{place: p}
		if stat, err := t.stat(ctx, true); err == nil {
			e.Inode, e.Type = stat.Inode, stat.Type
		}
	}
	return e
}

// dropHidden removes the entries that the tree's own hide and returns how many
// are left.
func (d *Dir) dropHidden(entries []Entry) int {
	kept := 0
	for _, e := range entries {
		if d.place.node == nil || d.place.node.children[e.Name] == nil {
			entries[kept] = e
			kept++
		}
	}
	return kept
}

func (l *treeLister) Close() error {
	if l.rest == nil {
		return nil
	}
	return l.rest.Close()
}

var _ Directory = (*Dir)(nil)
