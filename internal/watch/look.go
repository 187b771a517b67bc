package watch

import (
	"hash/maphash"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// maxEntries is how many entries of a tree are looked at.
const maxEntries = 1 << 20

// seed is that of the fingerprints of this process.
var seed = maphash.MakeSeed()

// look is how a watch looks for changes itself.
type look struct {
	last uint64        // fingerprint
	cost time.Duration // of taking it
	done time.Time     // when looked last
}

// first takes the fingerprint to compare with.
func (l *look) first(w *Watch) {
	l.last = l.take(w)
	l.done = time.Now()
}

// due returns when to look next.
func (l *look) due(w *Watch) time.Time {
	interval := w.notifier.seldom
	if w.view.refused {
		interval = w.notifier.often
	}
	return l.done.Add(max(interval, share*l.cost))
}

// renew takes a fingerprint of what the system told of, so that it isn't noticed
// once more, if that's cheap.
func (l *look) renew(w *Watch) {
	if l.cost < 5*time.Millisecond {
		l.last = l.take(w)
	}
}

// differs looks, and waits until what happens is over.
func (l *look) differs(w *Watch) bool {
	var sum time.Duration
	// Time during which others ran is no cost, so one long look isn't believed.
	most := 2*l.cost + time.Millisecond
	defer func() { l.cost, l.done = min(sum, most), time.Now() }()
	before := l.last
	l.last = l.take(w)
	sum += l.cost
	if l.last == before {
		return false
	}
	for end := time.Now().Add(patience); time.Now().Before(end); {
		select {
		case <-w.done:
			return true
		case <-time.After(quiet):
		}
		again := l.take(w)
		sum += l.cost
		if again == l.last {
			break
		}
		l.last = again
	}
	return true
}

// take returns a fingerprint of all that's watched.
func (l *look) take(w *Watch) uint64 {
	start := time.Now()
	defer func() { l.cost = time.Since(start) }()
	p := print{left: maxEntries}
	for _, path := range w.paths {
		info, err := os.Stat(path)
		if err != nil {
			continue
		}
		p.add(path, info)
		if w.tree && info.IsDir() {
			if real, err := filepath.EvalSymlinks(path); err == nil {
				p.folders = make(map[identity]struct{})
				p.folder(real, info)
			}
		}
	}
	for _, path := range w.folders {
		p.names(path)
	}
	return p.sum
}

// names adds the names in a folder.
func (p *print) names(path string) {
	dir, err := open(path)
	if err != nil {
		return
	}
	defer dir.Close()
	p.sum += maphash.Comparable(seed, path) // it's there, if empty
	for {
		entries, err := dir.ReadDir(min(batch, p.left))
		for _, e := range entries {
			p.left--
			p.sum += maphash.Comparable(seed, [3]string{path, e.Name(), e.Type().String()})
		}
		if err != nil || p.left <= 0 {
			return
		}
	}
}

// print is a fingerprint of files: names, kinds, sizes, times and identities.
type print struct {
	sum     uint64
	left    int // entries that may be looked at
	folders map[identity]struct{}
}

// add adds a file. What's added last is as good as what's added first, as
// entries of a folder come in any order.
func (p *print) add(path string, info fs.FileInfo) {
	about := struct {
		mode       fs.FileMode
		size, time int64
		id         identity
	}{mode: info.Mode(), id: identityOf(path, info)}
	if !info.IsDir() { // A folder is what's in it.
		about.size, about.time = info.Size(), info.ModTime().UnixNano()
	}
	var h maphash.Hash
	h.SetSeed(seed)
	h.WriteString(path)
	maphash.WriteComparable(&h, about)
	p.sum += h.Sum64()
}

// folder adds what's in a folder and below. path leads through no links.
func (p *print) folder(path string, info fs.FileInfo) {
	id := identityOf(path, info)
	if _, ok := p.folders[id]; ok {
		return
	}
	p.folders[id] = struct{}{}
	dir, err := open(path)
	if err != nil {
		return
	}
	defer dir.Close()
	var below []string
	for {
		entries, err := dir.ReadDir(min(batch, p.left))
		for _, e := range entries {
			p.left--
			if p.entry(filepath.Join(path, e.Name()), e) {
				below = append(below, e.Name())
			}
		}
		if err != nil || p.left <= 0 {
			break
		}
	}
	dir.Close() // Not kept open while those below are.
	for _, name := range below {
		p.below(filepath.Join(path, name))
	}
}

// entry adds an entry of a folder and says whether it's a folder or leads to one.
func (p *print) entry(path string, e fs.DirEntry) bool {
	info, err := e.Info()
	if err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if target, err := os.Stat(path); err == nil {
			info = target
		}
	}
	if err != nil {
		return false
	}
	p.add(path, info)
	return info.IsDir()
}

// below adds what's in the folder at path, which may be a link.
func (p *print) below(path string) {
	if p.left <= 0 {
		return
	}
	real := path
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if real, err = filepath.EvalSymlinks(path); err != nil {
			return
		}
	}
	if info, err := os.Stat(real); err == nil && info.IsDir() {
		p.folder(real, info)
	}
}
