package vfs

import (
	"path"
	"strings"
)

// told returns err. If that is what the tree says of a path, and not a mount, who wants to know of
// it is told.
func (d *Dir) told(guestPath string, change bool, err error) error {
	if err == nil || d.view.Refused == nil {
		return err
	}
	full := d.below(guestPath)
	if strings.HasSuffix(guestPath, "/") && full != "/" {
		full += "/"
	}
	switch ErrnoOf(err) {
	case EROFS:
		d.view.Refused(full, change)
	case ENOENT:
		if guestPath != "" && !d.view.tree.mounted(full) {
			d.view.Refused(full, change)
		}
	}
	return err
}

// below is the absolute path of a path relative to d, if anybody wants to know.
func (d *Dir) below(guestPath string) string {
	if d.view.Refused == nil {
		return ""
	}
	return path.Clean("/" + d.path + "/" + guestPath)
}

// mounted tells whether an absolute path leads into a mount, as it is written.
func (t *Tree) mounted(guestPath string) bool {
	n := &t.root
	for name := range components(guestPath) {
		if n == nil || n.fs != nil {
			break
		}
		n = n.children[name]
	}
	return n != nil && n.fs != nil
}
