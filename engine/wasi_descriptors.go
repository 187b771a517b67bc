package engine

import (
	"context"
	"errors"

	"github.com/gojinn/gojinn/engine/vfs"
)

// rights say what may be done with a descriptor (typenames.witx, $rights).
type rights uint64

const (
	rightFDDatasync rights = 1 << iota
	rightFDRead
	rightFDSeek
	rightFDFdstatSetFlags
	rightFDSync
	rightFDTell
	rightFDWrite
	rightFDAdvise
	rightFDAllocate
	rightPathCreateDirectory
	rightPathCreateFile
	rightPathLinkSource
	rightPathLinkTarget
	rightPathOpen
	rightFDReaddir
	rightPathReadlink
	rightPathRenameSource
	rightPathRenameTarget
	rightPathFilestatGet
	rightPathFilestatSetSize
	rightPathFilestatSetTimes
	rightFDFilestatGet
	rightFDFilestatSetSize
	rightFDFilestatSetTimes
	rightPathSymlink
	rightPathRemoveDirectory
	rightPathUnlinkFile
	rightPollFDReadwrite
	rightSockShutdown
	rightSockAccept

	rightsAll rights = 1<<iota - 1
)

// rightsNotOfDirectories can't apply to a directory.
const rightsNotOfDirectories = rightFDSeek | rightFDTell | rightFDWrite | rightFDAdvise | rightFDAllocate |
	rightFDFilestatSetSize | rightSockShutdown | rightSockAccept

// fdFlags are the flags of a descriptor (typenames.witx, $fdflags).
type fdFlags uint16

const (
	flagAppend fdFlags = 1 << iota
	flagDsync
	flagNonblock
	flagRsync
	flagSync

	flagsSync = flagDsync | flagRsync | flagSync
	flagsAll  = flagAppend | flagNonblock | flagsSync
)

// descriptor is an open file as the guest holds it. The position and the flags
// are the descriptor's; the file knows neither.
type descriptor struct {
	file    vfs.File
	dir     *vfs.Dir // file, if it is a directory
	flags   fdFlags
	offset  int64
	preopen bool
	// base are the rights of the descriptor, inheriting those of what is
	// opened through it. Everything the file can do is allowed at first; the
	// guest may give up rights.
	base, inheriting rights
	entries          listing // position of fd_readdir
}

// newDescriptor returns a descriptor of a file that was opened with the given
// flags, with every right that can apply to it.
func newDescriptor(file vfs.File, opened vfs.OpenFlags, flags fdFlags) descriptor {
	d := descriptor{file: file, flags: flags, base: rightsAll, inheriting: rightsAll}
	if dir, ok := file.(*vfs.Dir); ok {
		d.dir = dir
		d.base &^= rightsNotOfDirectories
	}
	if opened&vfs.Read == 0 {
		d.base &^= rightFDRead | rightFDReaddir
	}
	if opened&vfs.Write == 0 {
		d.base &^= rightFDWrite
	}
	return d
}

// nonblocking is true if a read or write that would have to wait is to fail.
func (d *descriptor) nonblocking() bool { return d.flags&flagNonblock != 0 }

// seekable is true for files with positions.
func (d *descriptor) seekable() bool {
	switch d.file.(type) {
	case vfs.ReaderAt, vfs.WriterAt:
		return true
	}
	return false
}

func (d *descriptor) close(ctx context.Context) error {
	return errors.Join(d.entries.close(), d.file.Close(ctx))
}

// The descriptors that a program finds when it starts: three streams and the
// root of the file tree.
const (
	inputDescriptor = iota
	outputDescriptor
	logDescriptor
	rootDescriptor
	standardDescriptors
)

// descriptors is the table of a process: its index is the number a guest uses.
type descriptors struct {
	slots []*descriptor // nil: free
	open  int
	limit int
}

// reset empties the table and sets how many files may be open beside the
// standard descriptors.
func (t *descriptors) reset(maxFiles int) {
	clear(t.slots)
	t.slots, t.open, t.limit = t.slots[:0], 0, maxFiles+standardDescriptors
}

// room is EMFILE if no more descriptors can be added.
func (t *descriptors) room() errno {
	if t.open >= t.limit {
		return vfs.EMFILE
	}
	return 0
}

// add gives d the lowest free number. The caller has made sure of room.
func (t *descriptors) add(d *descriptor) uint32 {
	t.open++
	for fd, slot := range t.slots {
		if slot == nil {
			t.slots[fd] = d
			return uint32(fd)
		}
	}
	t.slots = append(t.slots, d)
	return uint32(len(t.slots) - 1)
}

// get returns the open descriptor with a number, or nil.
func (t *descriptors) get(fd uint32) *descriptor {
	if uint64(fd) >= uint64(len(t.slots)) {
		return nil
	}
	return t.slots[fd]
}

// remove frees a number and returns what had it, or nil.
func (t *descriptors) remove(fd uint32) *descriptor {
	d := t.get(fd)
	if d != nil {
		t.slots[fd] = nil
		t.open--
	}
	return d
}

// closeAll closes everything that is open, in the order of the numbers. Without
// commit, files that would write something on being closed discard it.
func (t *descriptors) closeAll(ctx context.Context, commit bool) error {
	var errs []error
	for fd := range t.slots {
		d := t.remove(uint32(fd))
		if d == nil {
			continue
		}
		if discarder, ok := d.file.(vfs.Discarder); ok && !commit {
			discarder.Discard()
			continue
		}
		if err := d.close(ctx); err != nil && commit {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// descriptor returns the open descriptor with a number if it has the rights
// that are needed. Reading and writing need a file that was opened for it.
func (p *process) descriptor(fd uint32, need rights) (*descriptor, errno) {
	d := p.files.get(fd)
	switch {
	case d == nil:
		return nil, vfs.EBADF
	case need&^d.base&(rightFDRead|rightFDWrite) != 0:
		return nil, vfs.EBADF
	case need&^d.base != 0:
		return nil, vfs.ENOTCAPABLE
	}
	return d, 0
}

// directory returns the open directory with a number if it has the rights that
// are needed.
func (p *process) directory(fd uint32, need rights) (*descriptor, errno) {
	d := p.files.get(fd)
	switch {
	case d == nil:
		return nil, vfs.EBADF
	case d.dir == nil:
		return nil, vfs.ENOTDIR
	case need&^d.base != 0:
		return nil, vfs.ENOTCAPABLE
	}
	return d, 0
}
