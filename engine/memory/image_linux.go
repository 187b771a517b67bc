package memory

import (
	"errors"
	"unsafe"

	"golang.org/x/sys/unix"
)

// imageFile is the sealed file that an image lies in, at the same offsets, and
// one read-only mapping of it, from the first extent to the end of the last.
type imageFile struct {
	fd     int
	shared []byte
}

// seals is everything: nobody, we ourselves included, can change the file.
const seals = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_SEAL

// seal moves the extents to a sealed file in memory, or leaves them where they
// are and returns false: kernels, sandboxes and limits that forbid such files
// are no reason not to run.
func (i *Image) seal() bool {
	file, err := newImageFile(i.extents)
	if err != nil {
		return false
	}
	i.file = file
	base := i.extents[0].start
	for n := range i.extents {
		e := &i.extents[n]
		e.bytes = file.shared[e.start-base : e.end-base : e.end-base]
	}
	return true
}

func newImageFile(extents []extent) (imageFile, error) {
	start, end := extents[0].start, extents[len(extents)-1].end
	fd, err := sealedFile(end, func(fd int) error {
		for _, e := range extents {
			if err := writeAt(fd, e.bytes, e.start); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return imageFile{}, err
	}
	shared, err := unix.MmapPtr(fd, int64(start), nil, uintptr(end-start), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		_ = unix.Close(fd)
		return imageFile{}, err
	}
	return imageFile{fd, unsafe.Slice((*byte)(shared), end-start)}, nil
}

// sealedFile makes a file in memory of size bytes, with what write puts there
// and zeros, and seals it.
func sealedFile(size uint64, write func(fd int) error) (fd int, err error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	// Machines may insist on files that can't be executed; kernels before 6.3
	// don't know them.
	fd, err = unix.MemfdCreate("linear memory", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("linear memory", flags)
	}
	if err != nil {
		return -1, err
	}
	err = unix.Ftruncate(fd, int64(size))
	if err == nil {
		err = write(fd)
	}
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// writeAt writes all of b; one system call writes at most 2 GiB.
func writeAt(fd int, b []byte, offset uint64) error {
	for len(b) > 0 {
		n, err := unix.Pwrite(fd, b, int64(offset))
		if err != nil && err != unix.EINTR {
			return err
		}
		n = max(n, 0)
		b, offset = b[n:], offset+uint64(n)
	}
	return nil
}

func (f imageFile) close() error {
	return errors.Join(unix.MunmapPtr(unsafe.Pointer(&f.shared[0]), uintptr(len(f.shared))), unix.Close(f.fd))
}
