package memory

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// reserve maps size bytes of addresses without access: nothing is charged for
// them even where the kernel never overcommits, and no huge page makes one byte
// cost two megabytes. An image in a file is mapped over them, copy on write.
func reserve(size uint64, image *Image) ([]byte, error) {
	const flags = unix.MAP_PRIVATE | unix.MAP_NORESERVE
	reserved, err := unix.Mmap(-1, 0, int(size), unix.PROT_NONE, flags|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	if image != nil {
		for _, e := range image.extents {
			if !e.mapped || e.start >= size {
				continue
			}
			length := min(e.end, size) - e.start
			if _, err := unix.MmapPtr(image.file.fd, int64(e.start), unsafe.Pointer(&reserved[e.start]), uintptr(length),
				unix.PROT_NONE, flags|unix.MAP_FIXED); err != nil {
				_ = unix.Munmap(reserved)
				return nil, err
			}
		}
	}
	// Kernels without huge pages answer EINVAL; then there is nothing to turn off.
	_ = unix.Madvise(reserved, unix.MADV_NOHUGEPAGE)
	return reserved, nil
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
