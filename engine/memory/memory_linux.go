package memory

import (
	"bytes"
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve maps size bytes of addresses without access: nothing is charged for
// them even where the kernel never overcommits, and no huge page makes one byte
// cost two megabytes. An image in a file is mapped over them, copy on write.
func reserve(size uint64, image *Image) ([]byte, error) {
	reserved, err := unix.Mmap(-1, 0, int(size), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_NORESERVE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	if err := mapImage(reserved, 0, size, image, unix.PROT_NONE); err != nil {
		_ = unix.Munmap(reserved)
		return nil, err
	}
	// Kernels without huge pages answer EINVAL; then there is nothing to turn off.
	_ = unix.Madvise(reserved, unix.MADV_NOHUGEPAGE)
	return reserved, nil
}

// mapImage maps what lies in [from, to) of an image over reserved addresses.
func mapImage(reserved []byte, from, to uint64, image *Image, prot int) error {
	if image == nil {
		return nil
	}
	for _, e := range image.extents {
		start, end := max(e.start, from), min(e.end, to)
		if !e.mapped || start >= end {
			continue
		}
		if err := mapOver(reserved[start:end], image.file.fd, start, prot); err != nil {
			return err
		}
	}
	return nil
}

// mapOver replaces what is mapped at bytes, whole pages, by a file from offset,
// copy on write; by zeros if fd is -1. After an error nothing may be mapped there.
func mapOver(bytes []byte, fd int, offset uint64, prot int) error {
	flags := unix.MAP_PRIVATE | unix.MAP_NORESERVE | unix.MAP_FIXED
	if fd < 0 {
		flags |= unix.MAP_ANON
	}
	_, err := unix.MmapPtr(fd, int64(offset), unsafe.Pointer(&bytes[0]), uintptr(len(bytes)), prot, flags)
	return err
}

// remap makes bytes [from, to) what they were when they had just been committed.
func remap(reserved []byte, from, to uint64, image *Image) error {
	const prot = unix.PROT_READ | unix.PROT_WRITE
	if err := mapOver(reserved[from:to], -1, 0, prot); err != nil {
		return err
	}
	if err := mapImage(reserved, from, to, image, prot); err != nil {
		return err
	}
	_ = unix.Madvise(reserved[from:to], unix.MADV_NOHUGEPAGE)
	return nil
}

// commit makes bytes [from, to), whole pages, readable and writable.
func commit(reserved []byte, from, to uint64) error {
	return unix.Mprotect(reserved[from:to], unix.PROT_READ|unix.PROT_WRITE)
}

func release(reserved []byte) error { return unix.Munmap(reserved) }

// giveBack makes bytes, whole pages, what they were when they were mapped,
// without memory of their own.
func giveBack(bytes []byte) error { return unix.Madvise(bytes, unix.MADV_DONTNEED) }

// allocate returns size zero bytes, whole pages, off the heap.
func allocate(size uint64) ([]byte, error) {
	b, err := unix.Mmap(-1, 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	_ = unix.Madvise(b, unix.MADV_NOHUGEPAGE)
	return b, nil
}

// layFile writes the kept pages to a file, keeps its mapping and maps the
// overlays of it. False without an error: there are no such files.
func (l *Linear) layFile(overlays []overlay) (laid bool, err error) {
	size := uint64(len(l.kept.pages)) * pageSize
	fd, err := sealedFile(size, func(fd int) error {
		for n, p := range l.kept.pages {
			page := l.page(uint64(p))
			if bytes.Equal(page, zeroPage()) {
				continue // and takes no memory until it is read
			}
			if err := writeAt(fd, page, uint64(n)*pageSize); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return false, nil
	}
	// What is mapped lasts without a descriptor.
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	if err := l.kept.release(); err != nil {
		return false, err
	}
	kept, err := unix.Mmap(fd, 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return false, err
	}
	l.kept.bytes, l.kept.file = kept, true
	for _, o := range overlays {
		over := l.reserved[o.from*pageSize : o.to*pageSize]
		if err := mapOver(over, fd, uint64(o.slot)*pageSize, unix.PROT_READ|unix.PROT_WRITE); err != nil {
			return false, err
		}
		_ = unix.Madvise(over, unix.MADV_NOHUGEPAGE)
	}
	return true, nil
}
