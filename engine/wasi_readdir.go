package engine

import (
	"math"

	"github.com/gojinn/gojinn/engine/vfs"
)

// listing is where fd_readdir is in a directory. Its entries are numbered from
// 0, "." and ".." first; a cookie is the number of the entry that comes next. A
// window of what was read last is kept, so that guests can go back a little: to
// an entry that didn't fit into their buffer. Going back further reads the
// directory again.
type listing struct {
	lister vfs.Lister // nil: not begun
	first  uint64     // the number of the first entry in window
	window []vfs.Entry
	ended  bool
}

const (
	// listingPage is how many entries are read at once.
	listingPage = 128
	// listingWindow is how many are kept at most.
	listingWindow = 2 * listingPage
	// costEntry is charged for each entry read.
	costEntry = 100
)

func (l *listing) close() error {
	lister := l.lister
	*l = listing{}
	if lister == nil {
		return nil
	}
	return lister.Close()
}

// entry returns the entry of d with a number, or nil behind the last.
func (p *process) entry(d *descriptor, number uint64) (*vfs.Entry, error) {
	l := &d.entries
	if l.lister == nil || number < l.first {
		if err := p.rewind(d); err != nil {
			return nil, err
		}
	}
	for number >= l.first+uint64(len(l.window)) {
		if l.ended {
			return nil, nil
		}
		if err := p.nextPage(l); err != nil {
			return nil, err
		}
	}
	return &l.window[number-l.first], nil
}

// rewind begins the listing anew.
func (p *process) rewind(d *descriptor) error {
	if err := d.entries.close(); err != nil {
		return err
	}
	stat, err := d.dir.Stat(p.life)
	if err != nil {
		return err
	}
	lister, err := d.dir.List(p.life)
	if err != nil {
		return err
	}
	// The parent's inode is nobody's business, but zero would make wasi-libc
	// look for it.
	d.entries = listing{lister: lister, window: []vfs.Entry{
		{Name: ".", Inode: stat.Inode, Type: vfs.TypeDirectory},
		{Name: "..", Inode: stat.Inode, Type: vfs.TypeDirectory},
	}}
	return nil
}

// nextPage reads more entries, and forgets the oldest for them.
func (p *process) nextPage(l *listing) error {
	if drop := len(l.window) + listingPage - listingWindow; drop > 0 {
		l.window = l.window[:copy(l.window, l.window[drop:])]
		l.first += uint64(drop)
	}
	kept := len(l.window)
	l.window = append(l.window, make([]vfs.Entry, listingPage)...)
	n, err := l.lister.Next(p.life, l.window[kept:])
	l.window = l.window[:kept+n]
	l.ended = n == 0
	p.sandbox.charge(int64(n) * costEntry)
	return err
}

// fdReaddir fills a buffer with entries from a cookie on. The last one may be
// cut; a buffer that is not full means the end.
func (p *process) fdReaddir(fd, buffer, size uint32, cookie uint64, result uint32) errno {
	d, errno := p.directory(fd, rightFDReaddir)
	if errno != 0 {
		return errno
	}
	to, ok := p.mem.at(buffer, size)
	used, okUsed := p.mem.at(result, 4)
	if !ok || !okUsed {
		return vfs.EFAULT
	}
	if cookie == 0 { // rewinddir
		if err := d.entries.close(); err != nil {
			return vfs.ErrnoOf(err)
		}
	}
	n, err := p.putEntries(to, d, cookie)
	if err != nil {
		return vfs.ErrnoOf(err)
	}
	p.chargeBytes(n)
	le.PutUint32(used, uint32(n))
	return 0
}

func (p *process) putEntries(to []byte, d *descriptor, number uint64) (int, error) {
	n := 0
	for n < len(to) && number < math.MaxUint64 {
		e, err := p.entry(d, number)
		if e == nil || err != nil {
			return n, err
		}
		number++
		n += putEntry(to[n:], e, number)
	}
	return n, nil
}

// putEntry writes a dirent (typenames.witx, $dirent) and the name, as far as
// there is room, and returns how much it wrote.
func putEntry(to []byte, e *vfs.Entry, next uint64) int {
	var header [24]byte
	le.PutUint64(header[0:], next)
	le.PutUint64(header[8:], e.Inode)
	le.PutUint32(header[16:], uint32(len(e.Name)))
	header[20] = byte(e.Type)
	n := copy(to, header[:])
	return n + copy(to[n:], e.Name)
}
