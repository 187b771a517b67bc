package vfs

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strings"
)

const (
	// MaxPath is the longest path a guest may give, in bytes.
	MaxPath = 4095
	// MaxName is the longest component of a path, in bytes.
	MaxName = 255
)

// Tree says what is mounted where. Mount points may lie inside other mounts,
// whose content at that place they hide; directories that lead to mount points
// exist by themselves. The zero Tree is empty: its root is a directory without
// entries that can't be changed.
//
// A Tree is built by one goroutine; after that it is only read, and safe for
// concurrent use.
type Tree struct {
	root  node
	nodes int // made so far; numbers them
}

// node is a place in the tree that is a mount point or leads to one.
type node struct {
	id       int
	path     string // absolute; "" is the root's
	fs       FS     // nil: a directory of the tree's own, or of the mount around it
	children map[string]*node
}

// NewTree returns a tree with the devices every guest has: /dev/null and
// /dev/urandom.
func NewTree() *Tree {
	t := new(Tree)
	for guestPath, device := range map[string]FS{"/dev/null": Null, "/dev/urandom": Random} {
		if err := t.Mount(guestPath, device); err != nil {
			panic(err) // impossible: both paths are valid and the tree is empty
		}
	}
	return t
}

// Mount makes fs appear at guestPath, an absolute path without ".", ".." and
// empty components; "/" is allowed. Mounting twice at one place is an error.
func (t *Tree) Mount(guestPath string, fs FS) error {
	if err := checkMountPoint(guestPath); err != nil {
		return fmt.Errorf("mounting at %q: %w", guestPath, err)
	}
	n := &t.root
	for name := range components(guestPath) {
		n = t.child(n, name)
	}
	if n.fs != nil {
		return fmt.Errorf("mounting at %q: something is mounted there already", guestPath)
	}
	n.fs = fs
	return nil
}

func (t *Tree) child(parent *node, name string) *node {
	if n := parent.children[name]; n != nil {
		return n
	}
	t.nodes++
	n := &node{id: t.nodes, path: parent.path + "/" + name}
	if parent.children == nil {
		parent.children = make(map[string]*node)
	}
	parent.children[name] = n
	return n
}

func checkMountPoint(guestPath string) error {
	switch {
	case !strings.HasPrefix(guestPath, "/"):
		return fmt.Errorf("a mount point is an absolute path")
	case path.Clean(guestPath) != guestPath:
		return fmt.Errorf("a mount point has no empty, %q or %q component and no slash at its end", ".", "..")
	}
	return checkPath(guestPath)
}

// components yields the non-empty components of a path.
func components(p string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name := range strings.SplitSeq(p, "/") {
			if name != "" && !yield(name) {
				return
			}
		}
	}
}

// checkPath refuses what no path may be, wherever it leads.
func checkPath(p string) error {
	switch {
	case p == "":
		return ENOENT
	case len(p) > MaxPath:
		return ENAMETOOLONG
	case strings.IndexByte(p, 0) >= 0:
		return EINVAL
	}
	for name := range components(p) {
		if len(name) > MaxName {
			return ENAMETOOLONG
		}
	}
	return nil
}

// names returns the names of the node's children, sorted.
func (n *node) names() []string {
	if n == nil {
		return nil
	}
	names := make([]string, 0, len(n.children))
	for name := range n.children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// treeDevice is the device number of the tree's own directories, out of the way
// of the numbers of the host's devices.
const treeDevice = 1 << 63

func (n *node) stat() Stat {
	return Stat{Device: treeDevice, Inode: uint64(n.id) + 1, Type: TypeDirectory, Links: 1}
}

// View is a tree as one call sees it. It is used by one goroutine at a time.
type View struct {
	// Enter, if set, opens the root of a mount instead of the mount itself, unless that is an inert
	// device. It is called when a mount is first used, and may panic to prevent that.
	Enter func(ctx context.Context, guestPath string, fs FS) (Directory, error)
	// BeforeChange, if set, is called with the mount point before something is changed in a mount
	// that allows it, or opened to be changed. It may panic to prevent that.
	BeforeChange func(guestPath string)
	// Refused, if set, is called with the absolute path of what a guest has asked for and can't have as
	// the tree is: since no mount has the path, or with change since it may not be changed there. The
	// path is as the guest wrote it, but for "." and ".."; if it had to be a directory's it ends in a slash.
	Refused func(guestPath string, change bool)

	tree    *Tree
	roots   map[*node]Directory // of the mounts used so far
	left    []Directory         // roots that Reenter has left
	covered map[*node]bool      // what covers has found out
}

// View returns a view of the tree for one call, which must be closed. Nothing
// is opened before a path leads there.
func (t *Tree) View() *View { return &View{tree: t} }

// Root returns the root directory of the tree. It needs no closing.
func (v *View) Root() *Dir { return &Dir{view: v, place: place{node: &v.tree.root}} }

// Reenter has mounts entered anew when they are next used. What was opened through them stays open.
func (v *View) Reenter() {
	for _, root := range v.roots {
		v.left = append(v.left, root)
	}
	v.roots, v.covered = nil, nil
}

// Close closes the roots of the mounts that were used, after everything that
// was opened through them. It returns the first error.
func (v *View) Close(ctx context.Context) error {
	var first error
	v.Reenter()
	for _, root := range v.left {
		if err := root.Close(ctx); err != nil && first == nil {
			first = err
		}
	}
	v.left = nil
	return first
}

// enter returns the place that n is: the root of what is mounted there, or a
// directory of the tree.
func (v *View) enter(ctx context.Context, n *node) (place, error) {
	if n.fs == nil {
		return place{node: n}, nil
	}
	root, ok := v.roots[n]
	if !ok {
		var err error
		if v.Enter != nil && !isInert(n.fs) {
			root, err = v.Enter(ctx, n.path, n.fs)
		} else {
			root, err = n.fs.Root(ctx)
		}
		if err != nil {
			return place{}, err
		}
		if v.roots == nil {
			v.roots = make(map[*node]Directory)
		}
		v.roots[n] = root
	}
	return place{node: n, mount: n, base: root}, nil
}
