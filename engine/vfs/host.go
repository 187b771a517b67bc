package vfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// HostDir mounts a directory of the host. Each call that uses it opens the
// directory anew, so nothing is held between calls and a directory that was
// replaced is seen by the next call.
//
// Guests are jailed in it by os.Root: no "..", symbolic link, rename or hard
// link leads out of it, also while others change it. A symbolic link with an
// absolute target is not followed, even if it would lead back in. The links a
// guest makes itself may neither be absolute nor contain "..": moved elsewhere
// later, such a link could lead a program of the host out of the directory.
//
// Only regular files and directories can be opened. Opening a FIFO could hang
// the host's thread and opening a device has effects, so both are refused with
// EACCES, as sockets are. Nothing bounds what guests write but the file system
// the directory lies on.
type HostDir struct {
	Path string
	// Writable lets guests change what is in the directory; otherwise every
	// attempt is EROFS.
	Writable bool
}

// Host implements [Ahead].
func (h *HostDir) Host() string { return h.Path }

// Root opens the directory for one call.
func (h *HostDir) Root(context.Context) (Directory, error) {
	root, err := os.OpenRoot(h.Path)
	if err == nil {
		return h.directory(root), nil
	}
	if info, errStat := os.Stat(h.Path); errStat == nil && !info.IsDir() {
		return nil, ENOTDIR // for which os.OpenRoot has no error number
	}
	return nil, hostError(err)
}

func (h *HostDir) directory(root *os.Root) Directory {
	d := &hostDir{root: root, mount: h}
	if h.Writable {
		return &writableHostDir{d}
	}
	return d
}

// hostError turns an error of the os package into an Errno. What has no number
// comes from os.Root's own checks and is an attempt to leave it.
func hostError(err error) error {
	if err == nil {
		return nil
	}
	if err == io.EOF {
		return err
	}
	if errno := ErrnoOf(err); errno != EIO || errors.Is(err, hostEIO) {
		return errno
	}
	return EPERM
}

// hostDir is a directory of the host that can't be changed.
type hostDir struct {
	root  *os.Root
	mount *HostDir
}

func (d *hostDir) Stat(context.Context) (Stat, error) {
	info, err := d.root.Stat(".")
	if err != nil {
		return Stat{}, hostError(err)
	}
	return hostStat(info), nil
}

func (d *hostDir) Close(context.Context) error { return hostError(d.root.Close()) }

func (d *hostDir) Sync(_ context.Context, dataOnly bool) error {
	f, err := d.root.Open(".")
	if err != nil {
		return hostError(err)
	}
	defer f.Close()
	return hostError(f.Sync())
}

// hostName returns the name in the host's notation. On Windows a component
// could otherwise contain separators, drives, streams or device names.
func hostName(name string) (string, error) {
	if runtime.GOOS != "windows" {
		return name, nil
	}
	for component := range components(name) {
		if strings.ContainsAny(component, `\:`) || component != ".." && !filepath.IsLocal(component) {
			return "", EINVAL
		}
	}
	return filepath.FromSlash(name), nil
}

func (d *hostDir) lookup(name string, follow bool) (fs.FileInfo, error) {
	stat := d.root.Lstat
	if follow {
		stat = d.root.Stat
	}
	info, err := stat(name)
	return info, hostError(err)
}

func (d *hostDir) Lookup(_ context.Context, name string, follow bool) (Stat, error) {
	name, err := hostName(name)
	if err != nil {
		return Stat{}, err
	}
	info, err := d.lookup(name, follow)
	if err != nil {
		return Stat{}, err
	}
	return hostStat(info), nil
}

func (d *hostDir) Readlink(_ context.Context, name string) (string, error) {
	name, err := hostName(name)
	if err != nil {
		return "", err
	}
	target, err := d.root.Readlink(name)
	return filepath.ToSlash(target), hostError(err)
}

func (d *hostDir) Open(_ context.Context, name string, flags OpenFlags) (File, error) {
	if flags&Changing != 0 && !d.mount.Writable {
		return nil, EROFS
	}
	name, err := hostName(name)
	if err != nil {
		return nil, err
	}
	// Look before opening: opening a device may already do something.
	info, err := d.lookup(name, flags&NoFollow == 0)
	switch {
	case err == ENOENT && flags&Create != 0:
		return d.openFile(name, flags)
	case err != nil:
		return nil, err
	case flags&(Create|Exclusive) == Create|Exclusive:
		return nil, EEXIST
	case info.IsDir():
		return d.openDir(name, flags)
	case flags&OnlyDirectory != 0:
		return nil, ENOTDIR
	case info.Mode().IsRegular():
		return d.openFile(name, flags)
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, ELOOP
	}
	return nil, EACCES
}

func (d *hostDir) openDir(name string, flags OpenFlags) (File, error) {
	if flags&Changing != 0 {
		return nil, EISDIR
	}
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, hostError(err)
	}
	return d.mount.directory(root), nil
}

// openFile opens what has been seen to be a regular file or not to exist. Since
// it may have been replaced in between, the open doesn't block and the result is
// looked at again.
func (d *hostDir) openFile(name string, flags OpenFlags) (File, error) {
	f, err := d.root.OpenFile(name, hostFlags(flags), newFileMode)
	if err != nil {
		return nil, hostError(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = EACCES
	}
	if err != nil {
		f.Close()
		return nil, hostError(err)
	}
	if d.mount.Writable {
		return &writableHostFile{hostFile{f}}, nil
	}
	return &hostFile{f}, nil
}

func hostFlags(flags OpenFlags) int {
	host := os.O_RDONLY
	switch flags & (Read | Write) {
	case Write:
		host = os.O_WRONLY
	case Read | Write:
		host = os.O_RDWR
	}
	for _, f := range []struct {
		flag OpenFlags
		host int
	}{{Create, os.O_CREATE}, {Exclusive, os.O_EXCL}, {Truncate, os.O_TRUNC}, {Sync, os.O_SYNC}} {
		if flags&f.flag != 0 {
			host |= f.host
		}
	}
	return host | hostNonBlock
}

// writableHostDir is a directory of the host that can be changed.
type writableHostDir struct{ *hostDir }

const (
	newFileMode = 0o666 // before umask
	newDirMode  = 0o777 // before umask
)

func (d *writableHostDir) Mkdir(_ context.Context, name string) error {
	name, err := hostName(name)
	if err != nil {
		return err
	}
	return hostError(d.root.Mkdir(name, newDirMode))
}

func (d *writableHostDir) Unlink(_ context.Context, name string) error {
	name, err := hostName(name)
	if err != nil {
		return err
	}
	return hostError(d.remove(name, false))
}

func (d *writableHostDir) Rmdir(_ context.Context, name string) error {
	name, err := hostName(name)
	if err != nil {
		return err
	}
	return hostError(d.remove(name, true))
}

// sibling checks the goal of a rename or link, which must be in the same mount.
func (d *writableHostDir) sibling(name string, to Directory, newName string) (string, *hostDir, string, error) {
	goal, ok := to.(*writableHostDir)
	if !ok || goal.mount != d.mount {
		return "", nil, "", EXDEV
	}
	name, err := hostName(name)
	if err != nil {
		return "", nil, "", err
	}
	newName, err = hostName(newName)
	return name, goal.hostDir, newName, err
}

func (d *writableHostDir) Rename(_ context.Context, name string, to Directory, newName string) error {
	name, goal, newName, err := d.sibling(name, to, newName)
	if err != nil {
		return err
	}
	return hostError(d.rename(name, goal, newName))
}

func (d *writableHostDir) Link(_ context.Context, name string, to Directory, newName string) error {
	name, goal, newName, err := d.sibling(name, to, newName)
	if err != nil {
		return err
	}
	return hostError(d.link(name, goal, newName))
}

func (d *writableHostDir) Symlink(_ context.Context, target, name string) error {
	name, err := hostName(name)
	if err != nil {
		return err
	}
	if strings.HasPrefix(target, "/") {
		return EPERM
	}
	for component := range components(target) {
		if component == ".." {
			return EPERM
		}
	}
	if target, err = hostName(target); err != nil {
		return err
	}
	return hostError(d.root.Symlink(target, name))
}

func (d *writableHostDir) SetTimesOf(_ context.Context, name string, follow bool, accessed, modified time.Time) error {
	name, err := hostName(name)
	if err != nil {
		return err
	}
	return hostError(d.setTimes(name, follow, accessed, modified))
}

// List starts reading the directory, a page of the host at a time.
func (d *hostDir) List(context.Context) (Lister, error) {
	l, err := d.list()
	if err != nil {
		return nil, hostError(err)
	}
	return l, nil
}

// Next returns the next entries in the order of the host.
func (l *direntLister) Next(_ context.Context, entries []Entry) (int, error) {
	n, err := l.next(entries)
	return n, hostError(err)
}

// hostFile is a regular file of the host that can't be changed.
type hostFile struct{ f *os.File }

func (f *hostFile) Stat(context.Context) (Stat, error) {
	info, err := f.f.Stat()
	if err != nil {
		return Stat{}, hostError(err)
	}
	return hostStat(info), nil
}

func (f *hostFile) Close(context.Context) error { return hostError(f.f.Close()) }

func (f *hostFile) ReadAt(_ context.Context, p []byte, offset int64) (int, error) {
	n, err := f.f.ReadAt(p, offset)
	return n, hostError(err)
}

func (f *hostFile) Sync(_ context.Context, dataOnly bool) error {
	if dataOnly {
		return hostError(f.syncData())
	}
	return hostError(f.f.Sync())
}

// SetTimes is refused here: the host would allow it on a file that is open for
// reading only.
func (f *hostFile) SetTimes(context.Context, time.Time, time.Time) error { return EROFS }

// writableHostFile is a regular file of the host that can be changed, as far as
// it was opened for that.
type writableHostFile struct{ hostFile }

func (f *writableHostFile) WriteAt(_ context.Context, p []byte, offset int64) (int, error) {
	n, err := f.f.WriteAt(p, offset)
	return n, hostError(err)
}

func (f *writableHostFile) Append(_ context.Context, p []byte) (int, int64, error) {
	n, err := f.append(p)
	if err != nil {
		return n, 0, hostError(err)
	}
	info, err := f.f.Stat()
	if err != nil {
		return n, 0, hostError(err)
	}
	return n, info.Size(), nil
}

func (f *writableHostFile) Truncate(_ context.Context, size int64) error {
	return hostError(f.f.Truncate(size))
}

func (f *writableHostFile) SetTimes(_ context.Context, accessed, modified time.Time) error {
	return hostError(f.setTimes(accessed, modified))
}

// appending serializes appendAtSize within this process.
var appending sync.Mutex

// appendAtSize appends where the system can't do it in one step. Writers
// outside this process may interfere.
func (f *hostFile) appendAtSize(p []byte) (int, error) {
	appending.Lock()
	defer appending.Unlock()
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return f.f.WriteAt(p, info.Size())
}

func hostType(mode fs.FileMode) FileType {
	switch {
	case mode.IsRegular():
		return TypeRegular
	case mode.IsDir():
		return TypeDirectory
	case mode&fs.ModeSymlink != 0:
		return TypeSymlink
	case mode&fs.ModeCharDevice != 0:
		return TypeCharacterDevice
	case mode&fs.ModeDevice != 0:
		return TypeBlockDevice
	case mode&fs.ModeSocket != 0:
		return TypeSocketStream
	}
	return TypeUnknown // a FIFO, for which preview 1 has no number
}

var (
	_ Ahead      = (*HostDir)(nil)
	_ Directory  = (*hostDir)(nil)
	_ LinkReader = (*hostDir)(nil)
	_ Syncer     = (*hostDir)(nil)
	_ Editor     = (*writableHostDir)(nil)
	_ ReaderAt   = (*hostFile)(nil)
	_ Syncer     = (*hostFile)(nil)
	_ TimeSetter = (*hostFile)(nil)
	_ WriterAt   = (*writableHostFile)(nil)
	_ Appender   = (*writableHostFile)(nil)
	_ Truncater  = (*writableHostFile)(nil)
	_ TimeSetter = (*writableHostFile)(nil)
)
