package vfs

import (
	"context"
	"strings"
)

// place is where a path leads: to names below a directory of a mount, to a
// directory that only the tree has, or nowhere.
type place struct {
	node  *node     // the tree's node at this place, nil where it has none
	mount *node     // the mount that base belongs to
	base  Directory // nil: not in a mount
	names []string  // below base
}

// nowhere is the place of a name that a directory of the tree doesn't have.
func (p *place) nowhere() bool { return p.base == nil && p.node == nil }

// name is the place's name as its base is asked for it.
func (p *place) name() string {
	if len(p.names) == 0 {
		return "."
	}
	return strings.Join(p.names, "/")
}

// upward is true for the names that no change may be made through.
func (p *place) upward() bool {
	return len(p.names) == 0 || p.names[len(p.names)-1] == ".."
}

// target is what a path of a guest stands for.
type target struct {
	place
	slash bool // the path ended in a slash: it must be a directory's
}

// resolve finds what path, relative to d, stands for. A path that is absolute or
// leaves d is EPERM. The components that lie in a mount are left to the mount,
// ".." among them, since only the mount knows what is a symbolic link; where
// ".." leads out of a mount, and for mount points in the way, the path is taken
// as written.
func (d *Dir) resolve(ctx context.Context, path string) (target, error) {
	if err := checkPath(path); err != nil {
		return target{}, err
	}
	if path[0] == '/' {
		return target{}, EPERM
	}
	here, err := d.here(ctx)
	if err != nil {
		return target{}, err
	}
	var above []place // the places on the way from d to here
	for name := range components(path) {
		if here.nowhere() {
			return target{}, ENOENT
		}
		switch name {
		case ".":
		case "..":
			if len(above) == 0 {
				return target{}, EPERM
			}
			here = back(here, above[len(above)-1])
			above = above[:len(above)-1]
		default:
			above = append(above, here)
			if here, err = d.view.step(ctx, here, name); err != nil {
				return target{}, err
			}
		}
	}
	last := path[strings.LastIndexByte(path, '/')+1:]
	return target{place: here, slash: last == "" || last == "." || last == ".."}, nil
}

// here returns the directory's place. The mount at the root of the tree may have to be opened first,
// and another time after the view has entered mounts anew.
func (d *Dir) here(ctx context.Context) (place, error) {
	if !d.owned && d.place.node != nil && d.place.node.fs != nil {
		return d.view.enter(ctx, d.place.node)
	}
	return d.place, nil
}

// back is the place that ".." leads to from here, to which one step led from
// before.
func back(here, before place) place {
	if here.base == nil || here.base != before.base {
		return before
	}
	before.names = append(here.names, "..")
	return before
}

// step is the place that name leads to from here.
func (v *View) step(ctx context.Context, here place, name string) (place, error) {
	var next *node
	if here.node != nil {
		next = here.node.children[name]
	}
	below := place{node: next, mount: here.mount, base: here.base, names: append(here.names, name)}
	switch {
	case next != nil && next.fs != nil:
		return v.enter(ctx, next)
	case here.base == nil:
		return place{node: next}, nil
	case next == nil:
		return below, nil
	}
	if v.covers(ctx, next, here) {
		return below, nil
	}
	return place{node: next}, nil
}

// covers says whether the mount that here lies in has a directory of its own at
// n, which leads to a mount point further down; then what else is in there can
// be seen. Guests can neither make nor remove it, so one look is enough for a
// call, and a path that passes it a thousand times costs no more.
func (v *View) covers(ctx context.Context, n *node, here place) bool {
	covered, known := v.covered[n]
	if !known {
		inside := strings.TrimPrefix(strings.TrimPrefix(n.path, here.mount.path), "/")
		stat, err := here.base.Lookup(ctx, inside, true)
		covered = err == nil && stat.Type == TypeDirectory
		if v.covered == nil {
			v.covered = make(map[*node]bool)
		}
		v.covered[n] = covered
	}
	return covered
}
