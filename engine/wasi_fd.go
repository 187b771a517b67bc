package engine

import (
	"math"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

func (p *process) fdClose(fd uint32) errno {
	d := p.files.remove(fd)
	if d == nil {
		return vfs.EBADF
	}
	return vfs.ErrnoOf(d.close(p.life))
}

// fdRenumber moves a descriptor to another number, which must be in use, and
// closes what was there.
func (p *process) fdRenumber(from, to uint32) errno {
	if p.files.get(from) == nil || p.files.get(to) == nil {
		return vfs.EBADF
	}
	if from == to {
		return 0
	}
	replaced := p.files.remove(to)
	p.files.slots[to] = p.files.remove(from)
	p.files.open++
	return vfs.ErrnoOf(replaced.close(p.life))
}

// The whence of fd_seek (typenames.witx, $whence).
const (
	whenceSet = iota
	whenceCurrent
	whenceEnd
)

func (p *process) fdSeek(fd uint32, delta int64, whence, result uint32) errno {
	need := rightFDSeek
	if delta == 0 && whence == whenceCurrent {
		need = rightFDTell
	}
	d, errno := p.positioned(fd, need)
	if errno != 0 {
		return errno
	}
	at, ok := p.mem.at(result, 8)
	if !ok {
		return vfs.EFAULT
	}
	var base int64
	switch whence {
	case whenceSet:
	case whenceCurrent:
		base = d.offset
	case whenceEnd:
		stat, err := d.file.Stat(p.life)
		if err != nil {
			return vfs.ErrnoOf(err)
		}
		base = stat.Size
	default:
		return vfs.EINVAL
	}
	if delta > 0 && base > math.MaxInt64-delta {
		return vfs.EOVERFLOW
	}
	if base+delta < 0 {
		return vfs.EINVAL
	}
	d.offset = base + delta
	le.PutUint64(at, uint64(d.offset))
	return 0
}

func (p *process) fdTell(fd, result uint32) errno {
	return p.fdSeek(fd, 0, whenceCurrent, result)
}

// positioned returns an open file that has positions.
func (p *process) positioned(fd uint32, need rights) (*descriptor, errno) {
	d := p.files.get(fd)
	switch {
	case d == nil, d.dir != nil:
		return nil, vfs.EBADF
	case !d.seekable():
		return nil, vfs.ESPIPE
	}
	return p.descriptor(fd, need)
}

func (p *process) fdAdvise(fd uint32, offset, length uint64, advice uint32) errno {
	const noReuse = 5 // the last of $advice
	_, errno := p.positioned(fd, rightFDAdvise)
	switch {
	case errno != 0:
		return errno
	case advice > noReuse, offset > math.MaxInt64, length > math.MaxInt64:
		return vfs.EINVAL
	}
	return 0 // the host knows better
}

// fdAllocate makes the file at least as long as asked for. It reserves no
// space.
func (p *process) fdAllocate(fd uint32, offset, length uint64) errno {
	d, errno := p.positioned(fd, rightFDAllocate|rightFDWrite)
	switch {
	case errno != 0:
		return errno
	case length == 0, offset > math.MaxInt64:
		return vfs.EINVAL
	case length > math.MaxInt64-offset:
		return vfs.EFBIG
	}
	stat, err := d.file.Stat(p.life)
	if err != nil {
		return vfs.ErrnoOf(err)
	}
	if int64(offset+length) <= stat.Size {
		return 0
	}
	return p.truncate(d, offset+length)
}

func (p *process) fdFilestatSetSize(fd uint32, size uint64) errno {
	d, errno := p.positioned(fd, rightFDFilestatSetSize)
	switch {
	case errno != 0:
		return errno
	case d.base&rightFDWrite == 0:
		return vfs.EINVAL // as ftruncate has it
	case size > math.MaxInt64:
		return vfs.EFBIG
	}
	return p.truncate(d, size)
}

func (p *process) truncate(d *descriptor, size uint64) errno {
	file, ok := d.file.(vfs.Truncater)
	if !ok {
		return vfs.EINVAL
	}
	return vfs.ErrnoOf(file.Truncate(p.life, int64(size)))
}

func (p *process) fdSync(fd uint32, right rights) errno {
	d, errno := p.descriptor(fd, right)
	if errno != 0 {
		return errno
	}
	file, ok := d.file.(vfs.Syncer)
	if !ok {
		return vfs.EINVAL // as fsync has it for what can't be synchronized
	}
	return vfs.ErrnoOf(file.Sync(p.life, right == rightFDDatasync))
}

// fdFdstatGet writes an fdstat (typenames.witx, $fdstat).
func (p *process) fdFdstatGet(fd, result uint32) errno {
	d, errno := p.descriptor(fd, 0)
	if errno != 0 {
		return errno
	}
	at, ok := p.mem.at(result, 24)
	if !ok {
		return vfs.EFAULT
	}
	fileType := vfs.TypeDirectory
	if d.dir == nil {
		stat, err := d.file.Stat(p.life)
		if err != nil {
			return vfs.ErrnoOf(err)
		}
		fileType = stat.Type
	}
	clear(at)
	at[0] = byte(fileType)
	le.PutUint16(at[2:], uint16(d.flags))
	le.PutUint64(at[8:], uint64(d.base))
	le.PutUint64(at[16:], uint64(d.inheriting))
	return 0
}

// fdFdstatSetFlags changes append and non-blocking mode. Synchronized writing
// is decided when a file is opened.
func (p *process) fdFdstatSetFlags(fd, flags uint32) errno {
	d, errno := p.descriptor(fd, rightFDFdstatSetFlags)
	switch {
	case errno != 0:
		return errno
	case flags&^uint32(flagsAll) != 0:
		return vfs.EINVAL
	case (fdFlags(flags)^d.flags)&flagsSync != 0:
		return vfs.ENOTSUP
	}
	d.flags = fdFlags(flags)
	return 0
}

// fdFdstatSetRights gives up rights; they can't be had back.
func (p *process) fdFdstatSetRights(fd uint32, base, inheriting rights) errno {
	d, errno := p.descriptor(fd, 0)
	switch {
	case errno != 0:
		return errno
	case base&^d.base != 0, inheriting&^d.inheriting != 0:
		return vfs.ENOTCAPABLE
	}
	d.base, d.inheriting = base, inheriting
	return 0
}

func (p *process) fdFilestatGet(fd, result uint32) errno {
	d, errno := p.descriptor(fd, rightFDFilestatGet)
	if errno != 0 {
		return errno
	}
	at, ok := p.mem.at(result, filestatSize)
	if !ok {
		return vfs.EFAULT
	}
	stat, err := d.file.Stat(p.life)
	if err != nil {
		return vfs.ErrnoOf(err)
	}
	putFilestat(at, stat)
	return 0
}

const filestatSize = 64

// putFilestat writes a filestat (typenames.witx, $filestat).
func putFilestat(at []byte, s vfs.Stat) {
	clear(at)
	le.PutUint64(at[0:], s.Device)
	le.PutUint64(at[8:], s.Inode)
	at[16] = byte(s.Type)
	le.PutUint64(at[24:], s.Links)
	le.PutUint64(at[32:], uint64(s.Size))
	le.PutUint64(at[40:], uint64(s.Accessed))
	le.PutUint64(at[48:], uint64(s.Modified))
	le.PutUint64(at[56:], uint64(s.Changed))
}

func (p *process) fdFilestatSetTimes(fd uint32, accessed, modified uint64, which uint32) errno {
	d, errno := p.descriptor(fd, rightFDFilestatSetTimes)
	if errno != 0 {
		return errno
	}
	a, m, errno := newTimes(accessed, modified, which)
	if errno != 0 {
		return errno
	}
	file, ok := d.file.(vfs.TimeSetter)
	if !ok {
		return vfs.ENOTSUP
	}
	if p.startup.ahead { // a file that is open for reading can have its times set
		p.effect("it sets the times of a file")
	}
	return vfs.ErrnoOf(file.SetTimes(p.life, a, m))
}

// Which times to set, and to what (typenames.witx, $fstflags).
const (
	setAccessed = 1 << iota
	setAccessedNow
	setModified
	setModifiedNow
)

// newTimes returns the times that are to be set, zero for those that stay.
func newTimes(accessed, modified uint64, which uint32) (a, m time.Time, _ errno) {
	const all = setAccessed | setAccessedNow | setModified | setModifiedNow
	if which&^all != 0 {
		return a, m, vfs.EINVAL
	}
	a, errno := newTime(accessed, which&setAccessed != 0, which&setAccessedNow != 0)
	if errno != 0 {
		return a, m, errno
	}
	m, errno = newTime(modified, which&setModified != 0, which&setModifiedNow != 0)
	return a, m, errno
}

func newTime(ns uint64, given, now bool) (time.Time, errno) {
	switch {
	case given && now, given && ns > math.MaxInt64:
		return time.Time{}, vfs.EINVAL
	case given:
		return time.Unix(0, int64(ns)), 0
	case now:
		return time.Now(), 0
	}
	return time.Time{}, 0
}

// preopenName is the name of the only preopened directory, the root of the tree.
const preopenName = "/"

// fdPrestatGet writes a prestat (typenames.witx, $prestat). Guests ask for one
// number after the other until they get EBADF.
func (p *process) fdPrestatGet(fd, result uint32) errno {
	d := p.files.get(fd)
	if d == nil || !d.preopen {
		return vfs.EBADF
	}
	at, ok := p.mem.at(result, 8)
	if !ok {
		return vfs.EFAULT
	}
	le.PutUint32(at, 0) // a directory
	le.PutUint32(at[4:], uint32(len(preopenName)))
	return 0
}

func (p *process) fdPrestatDirName(fd, path, length uint32) errno {
	d := p.files.get(fd)
	switch {
	case d == nil:
		return vfs.EBADF
	case !d.preopen:
		return vfs.ENOTDIR
	case length < uint32(len(preopenName)):
		return vfs.ENAMETOOLONG
	}
	at, ok := p.mem.at(path, uint32(len(preopenName)))
	if !ok {
		return vfs.EFAULT
	}
	copy(at, preopenName)
	return 0
}
