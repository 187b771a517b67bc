package tmp

import (
	"context"
	"hash/fnv"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

// scratch is the mounted file system: it makes a new tree for every call.
type scratch struct {
	size   int64
	device uint64
}

// newScratch returns a file system whose trees hold size bytes each.
func newScratch(guestPath string, size int64) *scratch {
	h := fnv.New64a()
	_, _ = h.Write([]byte(guestPath)) // never fails
	// Out of the way of the numbers of the host's devices, and of those of the tree around it.
	return &scratch{size: size, device: 1<<62 | h.Sum64()>>2}
}

// Root makes the tree of one call.
func (s *scratch) Root(ctx context.Context) (vfs.Directory, error) {
	t := &tree{space: space{limit: s.size, budget: engine.BudgetOf(ctx)}, device: s.device}
	root, err := t.newInode(vfs.TypeDirectory)
	if err != nil {
		return nil, err
	}
	root.links = 1
	return &rootDirectory{directory{t.open(root)}}, nil
}

// tree is the directory as one call has it. Like everything a call has open, it is used by
// one goroutine at a time.
type tree struct {
	space  space
	device uint64
	inodes uint64 // made so far; numbers them
}

// inode is a file, directory or symbolic link, of which names and open handles are made.
type inode struct {
	number uint64
	kind   vfs.FileType
	links  int // names
	opens  int // handles
	// Nanoseconds since 1970. Reading doesn't change accessed.
	accessed, modified, changed int64

	content content // of a file
	names   *names  // of a directory
	target  string  // of a link
}

// What things take beside their bytes, so that nothing is free: at least as much as they take in
// memory.
const (
	costInode     = 256
	costDirectory = 512 // beside the inode
	costName      = 192
	costBlock     = 640
)

func (t *tree) newInode(kind vfs.FileType) (*inode, error) {
	cost := int64(costInode)
	if kind == vfs.TypeDirectory {
		cost += costDirectory
	}
	if err := t.space.take(cost); err != nil {
		return nil, err
	}
	t.inodes++
	now := time.Now().UnixNano()
	n := &inode{number: t.inodes, kind: kind, accessed: now, modified: now, changed: now}
	if kind == vfs.TypeDirectory {
		n.names = new(names)
	}
	return n, nil
}

// release gives back what n takes once it has neither names nor handles.
func (t *tree) release(n *inode) {
	if n.links > 0 || n.opens > 0 {
		return
	}
	t.space.give(costInode + int64(len(n.target)))
	if n.kind == vfs.TypeDirectory {
		t.space.give(costDirectory)
	}
	n.content.truncate(&t.space, 0)
}

// link gives n a name in parent, which has none like it.
func (t *tree) link(parent *inode, name string, n *inode) error {
	if parent.links == 0 {
		return vfs.ENOENT // it has been removed
	}
	if err := t.space.take(costName + int64(len(name))); err != nil {
		return err
	}
	parent.names.add(name, n)
	n.links++
	if n.kind == vfs.TypeDirectory {
		n.names.parent = parent
		parent.names.directories++
	}
	now := time.Now().UnixNano()
	n.changed = now
	parent.touch(now)
	return nil
}

// unlink takes the name from what it names.
func (t *tree) unlink(parent *inode, name string) {
	n := parent.names.remove(name)
	t.space.give(costName + int64(len(name)))
	t.unnamed(parent, n, time.Now().UnixNano())
	parent.touch(n.changed)
}

// unnamed deals with n having lost a name in parent.
func (t *tree) unnamed(parent, n *inode, now int64) {
	n.links--
	n.changed = now
	if n.kind == vfs.TypeDirectory {
		n.names.parent = nil
		parent.names.directories--
	}
	t.release(n)
}

// touch notes that the names of a directory, or the bytes of a file, have changed.
func (n *inode) touch(now int64) { n.modified, n.changed = now, now }

func (n *inode) setTimes(accessed, modified time.Time) {
	if !accessed.IsZero() {
		n.accessed = accessed.UnixNano()
	}
	if !modified.IsZero() {
		n.modified = modified.UnixNano()
	}
	n.changed = time.Now().UnixNano()
}

func (t *tree) stat(n *inode) vfs.Stat {
	s := vfs.Stat{
		Device: t.device, Inode: n.number, Type: n.kind, Links: uint64(n.links),
		Accessed: n.accessed, Modified: n.modified, Changed: n.changed,
	}
	switch n.kind {
	case vfs.TypeDirectory:
		if n.links > 0 {
			s.Links = 2 + uint64(n.names.directories)
		}
		s.Size = int64(n.names.len()) * costName
	case vfs.TypeSymlink:
		s.Size = int64(len(n.target))
	default:
		s.Size = n.content.size
	}
	return s
}

// handle is what open files and directories have in common.
type handle struct {
	tree *tree
	node *inode
}

func (t *tree) open(n *inode) handle {
	n.opens++
	return handle{t, n}
}

// Stat describes the file.
func (h *handle) Stat(context.Context) (vfs.Stat, error) { return h.tree.stat(h.node), nil }

// Close gives up the handle, and the file with it if it has no name.
func (h *handle) Close(context.Context) error {
	h.node.opens--
	h.tree.release(h.node)
	return nil
}

// SetTimes sets the times that are not zero.
func (h *handle) SetTimes(_ context.Context, accessed, modified time.Time) error {
	h.node.setTimes(accessed, modified)
	return nil
}

// Sync has nothing to flush to.
func (h *handle) Sync(context.Context, bool) error { return nil }
