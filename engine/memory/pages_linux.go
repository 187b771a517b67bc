package memory

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From linux/fs.h and linux/userfaultfd.h.
const (
	pagemapScan = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)

	pageIsWritten = 1 << 1
	pageIsFile    = 1 << 2
	pageIsPresent = 1 << 3
	pageIsSwapped = 1 << 4
	pageIsZero    = 1 << 5 // the kernel's page of zeros, where a guest only read

	scanProtects = 1 << 0 // PM_SCAN_WP_MATCHING
	scanInsists  = 1 << 1 // PM_SCAN_CHECK_WPASYNC

	userModeOnly = 1 // UFFD_USER_MODE_ONLY: needs no privilege

	uffdioAPI          = 0xc018aa3f // _IOWR(UFFDIO, 0x3f, struct uffdio_api)
	uffdioRegister     = 0xc020aa00 // _IOWR(UFFDIO, 0x00, struct uffdio_register)
	uffdioWriteProtect = 0xc018aa06 // _IOWR(UFFDIO, 0x06, struct uffdio_writeprotect)

	uffdAPI              = 0xaa
	featureWPFile        = 1 << 12 // UFFD_FEATURE_WP_HUGETLBFS_SHMEM
	featureWPUnpopulated = 1 << 13
	featureWPAsync       = 1 << 15 // the kernel lets the write happen and takes note
	registerWP           = 1 << 1
	writeProtect         = 1 << 0
)

type region struct{ start, end, categories uint64 } // struct page_region

type scanArg struct { // struct pm_scan_arg
	size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
	inverted, mask, anyOf, returned                         uint64
}

type uffdAPIArg struct{ api, features, ioctls uint64 }

type uffdRegisterArg struct{ start, length, mode, ioctls uint64 }

type uffdWriteProtectArg struct{ start, length, mode uint64 }

// kernelSearch is what asking the kernel takes.
type kernelSearch struct {
	arg     scanArg
	regions [512]region
	entries [4096 * 8]byte // of /proc/self/pagemap, one of 8 bytes for each page
}

// pagemap is this process's page table, opened once and never closed.
var pagemap = sync.OnceValues(func() (int, error) {
	fd, err := unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: "/proc/self/pagemap", Err: err}
	}
	return fd, nil
})

// userfault is the one userfaultfd of the process, never closed: one for each
// memory would use up the descriptors. Nobody reads from it, since with
// asynchronous protection it has nothing to say.
var userfault = sync.OnceValues(func() (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|unix.O_NONBLOCK|userModeOnly, 0, 0)
	if errno != 0 {
		return -1, fmt.Errorf("userfaultfd: %w", errno)
	}
	arg := uffdAPIArg{api: uffdAPI, features: featureWPAsync | featureWPUnpopulated | featureWPFile}
	if err := ioctl(int(fd), uffdioAPI, unsafe.Pointer(&arg)); err != nil {
		_ = unix.Close(int(fd))
		return -1, fmt.Errorf("asynchronous write protection: %w", err)
	}
	return int(fd), nil
})

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// prepare opens what a way of undoing needs.
func prepare(u Undo) error {
	if u == UndoUserfault {
		if _, err := userfault(); err != nil {
			return err
		}
	}
	_, err := pagemap()
	return err
}

func (l *Linear) base() uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(l.reserved)))) }

// track lets pages of the memory be protected.
func (l *Linear) track() error {
	fd, err := userfault()
	if err != nil || len(l.reserved) == 0 {
		return err
	}
	arg := uffdRegisterArg{start: l.base(), length: uint64(len(l.reserved)), mode: registerWP}
	return ioctl(fd, uffdioRegister, unsafe.Pointer(&arg))
}

// ask asks the kernel for pages that may have changed. With all, and before
// pages were protected, those are all that are the memory's own, and no longer
// the image's or the zeros that it started with. When all pages there were have
// been protected, they are those that are not: they were written to, or are new.
func (l *Linear) ask(s *search, within pageRange, all bool) ([]pageRange, uint64, error) {
	if l.undo != UndoUserfault {
		return l.read(s, within)
	}
	if all || !l.protected {
		return l.scan(s, within, pageIsFile|pageIsZero, 0, 0)
	}
	return l.scan(s, within, pageIsZero, pageIsWritten, 0)
}

// scan asks with one system call for pages that are there, without some and with
// other properties. To find out whether a page is a file's takes longer than all
// the rest. With scanProtects, the pages are protected from then on.
func (l *Linear) scan(s *search, within pageRange, without, with, flags uint64) ([]pageRange, uint64, error) {
	fd, err := pagemap()
	if err != nil {
		return nil, 0, err
	}
	k := &s.kernel
	k.arg = scanArg{
		size:     uint64(unsafe.Sizeof(k.arg)),
		flags:    flags,
		start:    l.base() + within.from*pageSize,
		end:      l.base() + within.to*pageSize,
		vec:      uint64(uintptr(unsafe.Pointer(&k.regions[0]))), // on the heap: it doesn't move
		vecLen:   uint64(len(k.regions)),
		inverted: without,
		mask:     without | with,
		anyOf:    pageIsPresent | pageIsSwapped,
		returned: pageIsPresent, // regions that differ in nothing else are one
	}
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pagemapScan, uintptr(unsafe.Pointer(&k.arg)))
	runtime.KeepAlive(s)
	if errno != 0 {
		return nil, 0, fmt.Errorf("PAGEMAP_SCAN: %w", errno)
	}
	next := (k.arg.walkEnd - l.base()) / pageSize
	if n > uintptr(len(k.regions)) || next <= within.from || next > within.to {
		return nil, 0, errors.New("PAGEMAP_SCAN: an answer that makes no sense")
	}
	for i, r := range k.regions[:n] {
		s.ranges[i] = pageRange{(r.start - l.base()) / pageSize, (r.end - l.base()) / pageSize}
	}
	return s.ranges[:n], next, nil
}

// read reads the page table's entries, of as many pages as there is room for,
// and finds all that are the memory's own.
func (l *Linear) read(s *search, within pageRange) ([]pageRange, uint64, error) {
	fd, err := pagemap()
	if err != nil {
		return nil, 0, err
	}
	entries := s.kernel.entries[:min((within.to-within.from)*8, uint64(len(s.kernel.entries)))]
	n, err := unix.Pread(fd, entries, int64(l.base()/pageSize+within.from)*8)
	if err == nil && n != len(entries) {
		err = errors.New("an end where none should be")
	}
	if err != nil {
		return nil, 0, &os.PathError{Op: "read", Path: "/proc/self/pagemap", Err: err}
	}
	found := 0
	own := false // whether the page before is
	for i := uint64(0); i < uint64(len(entries))/8; i++ {
		// Bit 63: present; 62: swapped; 61: of a file, or shared.
		if top := binary.NativeEndian.Uint64(entries[i*8:]) >> 61; top&1 != 0 || top == 0 {
			own = false
			continue
		}
		p := within.from + i
		if !own {
			if found == len(s.ranges) {
				return s.ranges[:found], p, nil
			}
			s.ranges[found].from = p
			found++
			own = true
		}
		s.ranges[found-1].to = p + 1
	}
	return s.ranges[:found], within.from + uint64(len(entries))/8, nil
}

// protect protects all pages that are there. To have the image's among them, so
// that they are not found as new ones when a guest first reads them, they are
// brought in now.
func (l *Linear) protect(s *search) {
	if l.undo != UndoUserfault {
		return
	}
	if l.image != nil {
		for _, e := range l.image.extents {
			if e.mapped && e.start < l.kept.size {
				// Where it fails there is just more to compare.
				_ = unix.Madvise(l.reserved[e.start:min(e.end, l.kept.size)], unix.MADV_POPULATE_READ)
			}
		}
	}
	end := l.committed / pageSize
	for at := uint64(0); at < end; {
		_, next, err := l.scan(s, pageRange{at, end}, pageIsZero, pageIsWritten, scanProtects|scanInsists)
		if err != nil {
			l.undo = UndoPagemap
			return
		}
		at = next
	}
	l.protected = true
}

// protectPage protects one page. If that fails it stays watched.
func (l *Linear) protectPage(p uint64) {
	if l.undo != UndoUserfault {
		return
	}
	fd, err := userfault()
	if err == nil {
		arg := uffdWriteProtectArg{start: l.base() + p*pageSize, length: pageSize, mode: writeProtect}
		err = ioctl(fd, uffdioWriteProtect, unsafe.Pointer(&arg))
	}
	if err != nil {
		l.idle[p] = 1
	}
}
