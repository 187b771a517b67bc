package tmp

import (
	"context"
	"strings"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// directory is an open directory. Paths, and the symbolic links in them, don't lead out of it.
type directory struct{ handle }

const (
	// maxLinks is how many symbolic links one path may lead through, as in directories of
	// the host.
	maxLinks = 8
	// maxDepth is how far above a directory a rename looks for the one that it moves. Deeper
	// trees can be made, but in them directories can't be moved.
	maxDepth = 4096
)

// spot is where a path leads.
type spot struct {
	parent *inode // nil: the path ends in "." or ".."
	name   string // in it
	node   *inode // nil: there is none of that name
}

// find walks along a path, below d. A link at its end is followed only if asked for.
func (d *directory) find(path string, follow bool) (spot, error) {
	above := append(make([]*inode, 0, 16), d.node)
	for rest, links := path, 0; ; {
		rest = strings.TrimLeft(rest, "/")
		name, behind, more := strings.Cut(rest, "/")
		here := above[len(above)-1]
		if here.kind != vfs.TypeDirectory {
			return spot{}, vfs.ENOTDIR
		}
		switch name {
		case "", ".":
			if !more {
				return spot{node: here}, nil
			}
			rest = behind
			continue
		case "..":
			above = above[:len(above)-1]
			if len(above) == 0 {
				return spot{}, vfs.EPERM
			}
			if !more {
				return spot{node: above[len(above)-1]}, nil
			}
			rest = behind
			continue
		}
		n := here.names.get(name)
		switch {
		case n != nil && n.kind == vfs.TypeSymlink && (more || follow):
			if links++; links > maxLinks {
				return spot{}, vfs.ELOOP
			}
			if strings.HasPrefix(n.target, "/") {
				return spot{}, vfs.EPERM
			}
			if rest = n.target; more {
				rest += "/" + behind
			}
		case !more:
			return spot{here, name, n}, nil
		case n == nil:
			return spot{}, vfs.ENOENT
		default:
			above = append(above, n)
			rest = behind
		}
	}
}

// existing is find for what must be there.
func (d *directory) existing(path string, follow bool) (spot, error) {
	s, err := d.find(path, follow)
	if err == nil && s.node == nil {
		err = vfs.ENOENT
	}
	return s, err
}

// vacant is find for what must not be there.
func (d *directory) vacant(path string) (spot, error) {
	s, err := d.find(path, false)
	switch {
	case err != nil:
		return s, err
	case s.node != nil:
		return s, vfs.EEXIST
	case len(s.name) > vfs.MaxName:
		return s, vfs.ENAMETOOLONG // by a link's target
	}
	return s, nil
}

// create makes something new at a place that is free.
func (t *tree) create(at spot, kind vfs.FileType) (*inode, error) {
	n, err := t.newInode(kind)
	if err != nil {
		return nil, err
	}
	if err := t.link(at.parent, at.name, n); err != nil {
		t.release(n)
		return nil, err
	}
	return n, nil
}

// rootDirectory is the directory that the tree was made for.
type rootDirectory struct{ directory }

// Close empties the tree, after everything that was opened in it.
func (r *rootDirectory) Close(context.Context) error {
	for left := []*inode{r.node}; len(left) > 0; {
		n := left[len(left)-1]
		left = left[:len(left)-1]
		if n.names != nil {
			for _, e := range n.names.byName {
				left = append(left, e.node)
			}
			n.names = nil
		}
		n.content.truncate(&r.tree.space, 0)
	}
	r.tree.space.close()
	return nil
}

// Open opens a file or directory, or makes a file.
func (d *directory) Open(_ context.Context, name string, flags vfs.OpenFlags) (vfs.File, error) {
	exclusive := flags&(vfs.Create|vfs.Exclusive) == vfs.Create|vfs.Exclusive
	at, err := d.find(name, flags&vfs.NoFollow == 0 && !exclusive)
	switch {
	case err != nil:
		return nil, err
	case at.node != nil && exclusive:
		return nil, vfs.EEXIST
	case at.node != nil:
		return d.tree.openNode(at.node, flags)
	case flags&vfs.Create == 0:
		return nil, vfs.ENOENT
	case len(at.name) > vfs.MaxName:
		return nil, vfs.ENAMETOOLONG
	}
	n, err := d.tree.create(at, vfs.TypeRegular)
	if err != nil {
		return nil, err
	}
	return &file{d.tree.open(n), flags}, nil
}

func (t *tree) openNode(n *inode, flags vfs.OpenFlags) (vfs.File, error) {
	switch {
	case n.kind == vfs.TypeDirectory && flags&vfs.Changing != 0:
		return nil, vfs.EISDIR
	case n.kind == vfs.TypeDirectory:
		return &directory{t.open(n)}, nil
	case flags&vfs.OnlyDirectory != 0:
		return nil, vfs.ENOTDIR
	case n.kind == vfs.TypeSymlink:
		return nil, vfs.ELOOP
	}
	if flags&vfs.Truncate != 0 {
		n.content.truncate(&t.space, 0)
		n.touch(time.Now().UnixNano())
	}
	return &file{t.open(n), flags}, nil
}

// Lookup describes what has a name.
func (d *directory) Lookup(_ context.Context, name string, follow bool) (vfs.Stat, error) {
	at, err := d.existing(name, follow)
	if err != nil {
		return vfs.Stat{}, err
	}
	return d.tree.stat(at.node), nil
}

// List starts listing the directory.
func (d *directory) List(context.Context) (vfs.Lister, error) {
	return &lister{names: d.node.names}, nil
}

// Readlink returns the target of a symbolic link.
func (d *directory) Readlink(_ context.Context, name string) (string, error) {
	at, err := d.existing(name, false)
	if err == nil && at.node.kind != vfs.TypeSymlink {
		err = vfs.EINVAL
	}
	if err != nil {
		return "", err
	}
	return at.node.target, nil
}

// Mkdir makes a directory.
func (d *directory) Mkdir(_ context.Context, name string) error {
	at, err := d.vacant(name)
	if err != nil {
		return err
	}
	_, err = d.tree.create(at, vfs.TypeDirectory)
	return err
}

// Symlink makes a symbolic link, whose target may be anything: only who follows it is told that it
// leads nowhere.
func (d *directory) Symlink(_ context.Context, target, name string) error {
	at, err := d.vacant(name)
	if err != nil {
		return err
	}
	if err := d.tree.space.take(int64(len(target))); err != nil {
		return err
	}
	n, err := d.tree.create(at, vfs.TypeSymlink)
	if err != nil {
		d.tree.space.give(int64(len(target)))
		return err
	}
	n.target = strings.Clone(target)
	return nil
}

// Unlink removes a name of anything but a directory.
func (d *directory) Unlink(_ context.Context, name string) error {
	at, err := d.existing(name, false)
	switch {
	case err != nil:
		return err
	case at.node.kind == vfs.TypeDirectory:
		return vfs.EISDIR
	}
	d.tree.unlink(at.parent, at.name)
	return nil
}

// Rmdir removes an empty directory.
func (d *directory) Rmdir(_ context.Context, name string) error {
	at, err := d.existing(name, false)
	switch {
	case err != nil:
		return err
	case at.node.kind != vfs.TypeDirectory:
		return vfs.ENOTDIR
	case at.parent == nil:
		return vfs.EINVAL
	case at.node.names.len() > 0:
		return vfs.ENOTEMPTY
	}
	d.tree.unlink(at.parent, at.name)
	return nil
}

// Link gives a file another name.
func (d *directory) Link(_ context.Context, name string, to vfs.Directory, newName string) error {
	goal, err := d.sibling(to)
	if err != nil {
		return err
	}
	from, err := d.find(name, false)
	if err != nil {
		return err
	}
	at, err := goal.vacant(newName)
	switch {
	case from.node == nil && (err == nil || err == vfs.EEXIST):
		return vfs.ENOENT
	case err != nil:
		return err
	case from.node.kind == vfs.TypeDirectory:
		return vfs.EPERM
	}
	return d.tree.link(at.parent, at.name, from.node)
}

// sibling returns a directory of the same tree.
func (d *directory) sibling(to vfs.Directory) (*directory, error) {
	if root, ok := to.(*rootDirectory); ok {
		to = &root.directory
	}
	goal, ok := to.(*directory)
	if !ok || goal.tree != d.tree {
		return nil, vfs.EXDEV
	}
	return goal, nil
}

// Rename moves a file or directory, and replaces what is there as POSIX has it.
func (d *directory) Rename(_ context.Context, name string, to vfs.Directory, newName string) error {
	goal, err := d.sibling(to)
	if err != nil {
		return err
	}
	from, err := d.find(name, false)
	if err != nil {
		return err
	}
	at, err := goal.find(newName, false)
	switch {
	case err != nil:
		return err
	case from.node == nil:
		return vfs.ENOENT
	case len(at.name) > vfs.MaxName:
		return vfs.ENAMETOOLONG
	case from.parent == nil || at.parent == nil:
		return vfs.EBUSY
	case at.parent.links == 0:
		return vfs.ENOENT
	}
	if err := replaceable(from, at); err != nil {
		return err
	}
	if from.node == at.node {
		return nil // two names of one file both stay
	}
	return d.tree.move(from, at)
}

// replaceable tells why from can't take the place of what is at its goal.
func replaceable(from, at spot) error {
	if from.node.kind == vfs.TypeDirectory {
		if inside, err := within(at.parent, from.node); err != nil || inside {
			return either(err, vfs.EINVAL)
		}
	}
	if at.node == nil || at.node == from.node {
		return nil
	}
	isDir, replacesDir := from.node.kind == vfs.TypeDirectory, at.node.kind == vfs.TypeDirectory
	if replacesDir {
		if above, err := within(from.parent, at.node); err != nil || above {
			return either(err, vfs.ENOTEMPTY)
		}
	}
	switch {
	case isDir && !replacesDir:
		return vfs.ENOTDIR
	case !isDir && replacesDir:
		return vfs.EISDIR
	case replacesDir && at.node.names.len() > 0:
		return vfs.ENOTEMPTY
	}
	return nil
}

func either(err error, otherwise vfs.Errno) error {
	if err != nil {
		return err
	}
	return otherwise
}

// within tells whether a directory is n, or somewhere below it.
func within(dir, n *inode) (bool, error) {
	for range maxDepth {
		switch dir {
		case nil:
			return false, nil
		case n:
			return true, nil
		}
		dir = dir.names.parent
	}
	return false, vfs.ENAMETOOLONG
}

// move gives from the place of at, and removes what was there.
func (t *tree) move(from, at spot) error {
	// Another name is the only thing that may be missing space.
	if more := int64(len(at.name) - len(from.name)); at.node == nil && more > 0 {
		if err := t.space.take(more); err != nil {
			return err
		}
	} else if at.node == nil {
		t.space.give(-more)
	} else {
		t.space.give(costName + int64(len(from.name)))
	}
	now := time.Now().UnixNano()
	from.parent.names.remove(from.name)
	if at.node == nil {
		at.parent.names.add(at.name, from.node)
	} else {
		at.parent.names.byName[at.name].node = from.node
		t.unnamed(at.parent, at.node, now)
	}
	if from.node.kind == vfs.TypeDirectory {
		from.node.names.parent = at.parent
		from.parent.names.directories--
		at.parent.names.directories++
	}
	from.node.changed = now
	from.parent.touch(now)
	at.parent.touch(now)
	return nil
}

// SetTimesOf sets the times that are not zero.
func (d *directory) SetTimesOf(_ context.Context, name string, follow bool, accessed, modified time.Time) error {
	at, err := d.existing(name, follow)
	if err != nil {
		return err
	}
	at.node.setTimes(accessed, modified)
	return nil
}

var (
	_ vfs.Editor     = (*directory)(nil)
	_ vfs.Editor     = (*rootDirectory)(nil)
	_ vfs.LinkReader = (*directory)(nil)
	_ vfs.TimeSetter = (*directory)(nil)
	_ vfs.Syncer     = (*directory)(nil)
)
