package memory

import "golang.org/x/sys/unix"

// reserve maps addresses without access: nothing is charged for them even
// where the kernel never overcommits, and no huge page makes one byte cost
// two megabytes.
func reserve(max uint64) ([]byte, error) {
	page := uint64(unix.Getpagesize())
	rounded := (max + page - 1) / page * page
	mapped, err := unix.Mmap(-1, 0, int(rounded), unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, err
	}
	// Kernels without huge pages answer EINVAL; then there is nothing to turn off.
	_ = unix.Madvise(mapped, unix.MADV_NOHUGEPAGE)
	return mapped, nil
}

// commit makes bytes [from, to) readable and writable.
func commit(reserved []byte, from, to uint64) error {
	page := uint64(unix.Getpagesize())
	start := from / page * page
	end := min((to+page-1)/page*page, uint64(len(reserved)))
	return unix.Mprotect(reserved[start:end], unix.PROT_READ|unix.PROT_WRITE)
}

func release(reserved []byte) error { return unix.Munmap(reserved) }
