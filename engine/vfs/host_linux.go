//go:build linux && !vfsportable

package vfs

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// hostNonBlock keeps an open from waiting for the other end of a FIFO.
const hostNonBlock = unix.O_NONBLOCK

// hostEIO is the host's own I/O error.
const hostEIO = syscall.EIO

func hostStat(info fs.FileInfo) Stat {
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Stat{Type: hostType(info.Mode()), Size: info.Size(), Modified: info.ModTime().UnixNano()}
	}
	return Stat{
		Device: uint64(s.Dev), Inode: s.Ino, Links: uint64(s.Nlink),
		Type: hostType(info.Mode()), Size: s.Size,
		Accessed: s.Atim.Nano(), Modified: s.Mtim.Nano(), Changed: s.Ctim.Nano(),
	}
}

// at calls f with the open directory in which name is, found without leaving
// the root, and the last component of name, which f must not follow.
//
// os.Root has no calls for what needs this: removing either a file or a
// directory, renaming as POSIX has it, and anything between two roots.
func (d *hostDir) at(name string, f func(dir int, base string) error) error {
	parent, base := ".", strings.TrimRight(name, "/")
	if slash := strings.LastIndexByte(base, '/'); slash >= 0 {
		parent, base = base[:slash], base[slash+1:]
	}
	dir, err := d.root.OpenFile(parent, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer dir.Close()
	return withFD(dir, func(fd int) error { return f(fd, base) })
}

func withFD(file *os.File, f func(fd int) error) error {
	conn, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := conn.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}

func (d *hostDir) remove(name string, directory bool) error {
	flags := 0
	if directory {
		flags = unix.AT_REMOVEDIR
	}
	return d.at(name, func(dir int, base string) error { return unix.Unlinkat(dir, base, flags) })
}

func (d *hostDir) rename(name string, to *hostDir, newName string) error {
	return d.at(name, func(dir int, base string) error {
		return to.at(newName, func(newDir int, newBase string) error {
			return unix.Renameat(dir, base, newDir, newBase)
		})
	})
}

func (d *hostDir) link(name string, to *hostDir, newName string) error {
	return d.at(name, func(dir int, base string) error {
		return to.at(newName, func(newDir int, newBase string) error {
			return unix.Linkat(dir, base, newDir, newBase, 0)
		})
	})
}

func (d *hostDir) setTimes(name string, follow bool, accessed, modified time.Time) error {
	if follow {
		return d.root.Chtimes(name, accessed, modified)
	}
	times := timespecs(accessed, modified)
	return d.at(name, func(dir int, base string) error {
		return unix.UtimesNanoAt(dir, base, times[:], unix.AT_SYMLINK_NOFOLLOW)
	})
}

func timespecs(accessed, modified time.Time) [2]unix.Timespec {
	var times [2]unix.Timespec
	for i, t := range []time.Time{accessed, modified} {
		if t.IsZero() {
			times[i].Nsec = unix.UTIME_OMIT
		} else {
			times[i] = unix.NsecToTimespec(t.UnixNano())
		}
	}
	return times
}

func (f *hostFile) setTimes(accessed, modified time.Time) error {
	times := timespecs(accessed, modified)
	return withFD(f.f, func(fd int) error {
		// futimens(2): utimensat without a path. No package has it.
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

func (f *hostFile) syncData() error { return withFD(f.f, unix.Fdatasync) }

// append relies on the kernel to find the end, so that calls that append to one
// file at the same time don't overwrite each other.
func (f *hostFile) append(p []byte) (n int, err error) {
	err = withFD(f.f, func(fd int) error {
		n, err = unix.Pwritev2(fd, [][]byte{p}, 0, unix.RWF_APPEND)
		return err
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.appendAtSize(p)
	}
	return max(n, 0), err
}

// list reads the entries with getdents64, since package os gives no inode
// numbers, which wasi-libc would then look up one by one.
func (d *hostDir) list() (Lister, error) {
	dir, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	return &direntLister{dir: dir, buf: make([]byte, 8192)}, nil
}

type direntLister struct {
	dir  *os.File
	buf  []byte
	rest []byte // of buf: dirents not yet returned
}

func (l *direntLister) next(entries []Entry) (int, error) {
	n := 0
	for n < len(entries) {
		if len(l.rest) == 0 {
			if err := l.fill(); err != nil || len(l.rest) == 0 {
				return n, err
			}
		}
		if l.take(&entries[n]) {
			n++
		}
	}
	return n, nil
}

func (l *direntLister) fill() error {
	return withFD(l.dir, func(fd int) error {
		n, err := unix.Getdents(fd, l.buf)
		l.rest = l.buf[:max(n, 0)]
		return err
	})
}

// take reads the first dirent of rest (getdents64(2): d_ino, d_off, d_reclen,
// d_type, d_name up to a NUL) and reports whether it is to be listed.
func (l *direntLister) take(e *Entry) bool {
	const (
		offIno, offReclen = 0, 16
		offType, offName  = 18, 19
	)
	dirent := l.rest[:binary.NativeEndian.Uint16(l.rest[offReclen:])]
	l.rest = l.rest[len(dirent):]
	e.Name = unix.ByteSliceToString(dirent[offName:])
	e.Inode = binary.NativeEndian.Uint64(dirent[offIno:])
	e.Type = direntTypes[dirent[offType]]
	return e.Name != "." && e.Name != ".."
}

var direntTypes = [256]FileType{
	unix.DT_BLK:  TypeBlockDevice,
	unix.DT_CHR:  TypeCharacterDevice,
	unix.DT_DIR:  TypeDirectory,
	unix.DT_LNK:  TypeSymlink,
	unix.DT_REG:  TypeRegular,
	unix.DT_SOCK: TypeSocketStream,
}

func (l *direntLister) Close() error { return l.dir.Close() }
