//go:build !linux || vfsportable

// What host_linux.go does with system calls, with the standard library alone.
// The tag vfsportable selects it on Linux too, to test it there.

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// hostNonBlock keeps an open from waiting for the other end of a FIFO.
const hostNonBlock = syscall.O_NONBLOCK

// hostEIO is the host's own I/O error.
const hostEIO = syscall.EIO

// The standard library gives no portable access to more.
func hostStat(info fs.FileInfo) Stat {
	modified := info.ModTime().UnixNano()
	return Stat{
		Type: hostType(info.Mode()), Links: 1, Size: info.Size(),
		Accessed: modified, Modified: modified, Changed: modified,
	}
}

// remove looks first, since os.Root removes files and directories alike.
func (d *hostDir) remove(name string, directory bool) error {
	info, err := d.root.Lstat(name)
	switch {
	case err != nil:
		return err
	case directory && !info.IsDir():
		return ENOTDIR
	case !directory && info.IsDir():
		return EISDIR
	}
	return d.root.Remove(name)
}

// rename knows no way between two roots, so what is not relative to one
// directory counts as another file system.
func (d *hostDir) rename(name string, to *hostDir, newName string) error {
	if err := d.sameRoot(to); err != nil {
		return err
	}
	return d.root.Rename(name, newName)
}

func (d *hostDir) link(name string, to *hostDir, newName string) error {
	if err := d.sameRoot(to); err != nil {
		return err
	}
	return d.root.Link(name, newName)
}

func (d *hostDir) sameRoot(to *hostDir) error {
	if d.root == to.root {
		return nil
	}
	info, err := d.root.Stat(".")
	if err != nil {
		return err
	}
	other, err := to.root.Stat(".")
	if err != nil {
		return err
	}
	if !os.SameFile(info, other) {
		return EXDEV
	}
	return nil
}

func (d *hostDir) setTimes(name string, follow bool, accessed, modified time.Time) error {
	if !follow {
		info, err := d.root.Lstat(name)
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return ENOTSUP
		}
	}
	return d.root.Chtimes(name, accessed, modified)
}

func (f *hostFile) setTimes(_, _ time.Time) error { return ENOTSUP }

func (f *hostFile) syncData() error { return f.f.Sync() }

func (f *hostFile) append(p []byte) (int, error) { return f.appendAtSize(p) }

func (d *hostDir) list() (Lister, error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	return &direntLister{dir}, nil
}

type direntLister struct{ dir *os.File }

func (l *direntLister) next(entries []Entry) (int, error) {
	found, err := l.dir.ReadDir(len(entries))
	if errors.Is(err, io.EOF) {
		err = nil
	}
	for i, e := range found {
		entries[i] = Entry{Name: e.Name(), Type: hostType(e.Type())}
	}
	return len(found), err
}

func (l *direntLister) Close() error { return l.dir.Close() }
