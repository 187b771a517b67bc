// Package frozen keeps what the start-ups of a function have read in directories of the host, so
// that each of them reads the same, whatever has become of the files, and so that it can be
// told whether they are still as they were.
//
// A [Record] holds questions, such as what a path leads to, and their answers. The
// first start-up that gets as far as it should makes it; later ones are answered from it, and
// add what nobody has asked before.
package frozen

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// Bounds on what a record keeps.
const (
	// MaxBytes is how many bytes of files and names, and MaxAnswers how many answers, a record
	// keeps. One that would have to keep more keeps nothing.
	MaxBytes   = 64 << 20
	MaxAnswers = 20_000
)

// Budget is where a record's bytes are reserved.
type Budget interface {
	Reserve(n int64) error
	Release(n int64)
}

// Record is what the start-ups of one version of a function have read. Safe for concurrent use.
type Record struct {
	budget  Budget
	bytes   int64 // that it may have
	answers int

	mu        sync.Mutex
	kept      *answers // nil: no start-up has got far enough yet
	recording bool     // one is under way that may
	tried     *answers // of the last that didn't; nil: there is none
	off       bool     // nothing is kept
	over      error    // why, if that is since it would be too much
	told      int      // how many answers those have been told of who watch
}

// New returns an empty record. Drop it at the end.
func New(budget Budget) *Record {
	return &Record{budget: budget, bytes: MaxBytes, answers: MaxAnswers}
}

// answers are what is known of the files.
type answers struct {
	record *Record
	mu     sync.RWMutex
	known  map[question]*answer
	files  map[fileID]*file // by what they were
	order  []question       // as they were asked
	bytes  int64
	gone   bool
}

// question is what a program can ask of a directory.
type question struct {
	mount string
	what  what
	flags vfs.OpenFlags // of open
	path  string        // relative to the mount
}

type what uint8

const (
	root what = iota
	lookup
	lookupFollow
	open
	link
	list
)

// answer is what there was.
type answer struct {
	host    string // directory of the mount
	errno   vfs.Errno
	stat    vfs.Stat
	file    *file // of open; nil: it is a directory
	editor  bool  // of root: the mount can be changed
	target  string
	entries []vfs.Entry
}

// file is the content of a file.
type file struct {
	stat vfs.Stat
	text []byte
	read time.Time
}

// fileID tells files, and their contents, apart.
type fileID struct {
	mount                   string
	device, inode           uint64
	size, modified, changed int64
}

func idOf(mount string, s vfs.Stat) fileID {
	return fileID{mount, s.Device, s.Inode, s.Size, s.Modified, s.Changed}
}

// Begin begins a start-up, which is to be ended. With ahead there is no call yet.
//
// Only one start-up at a time can be the first. It is not ok if one has to wait for that: it
// can't be made ahead now. What starts with a call while there is no record reads what there is, and so
// does all if nothing is kept; the start-up is nil then.
func (r *Record) Begin(ahead bool) (s *Startup, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.off:
		return nil, true
	case r.kept != nil:
		return &Startup{record: r, answers: r.kept}, true
	case !ahead:
		return nil, true
	case r.recording:
		return nil, false
	}
	r.recording = true
	r.tried.free()
	r.tried = nil
	fresh := &answers{record: r, known: make(map[question]*answer), files: make(map[fileID]*file)}
	return &Startup{record: r, answers: fresh, first: true}, true
}

// Over says why nothing is kept if that is since it would be too much; nil: it isn't.
func (r *Record) Over() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// Drop frees what is kept. From now on start-ups read what there is, those that go on included.
func (r *Record) Drop() { r.drop(nil) }

func (r *Record) drop(over error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.off {
		return
	}
	r.off, r.over = true, over
	r.kept.free()
	r.tried.free()
	r.kept, r.tried = nil, nil
}

// free gives back what a has of the budget. It may be nil.
func (a *answers) free() {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.gone {
		a.gone = true
		a.record.budget.Release(a.bytes)
	}
}

// find returns what is known.
func (a *answers) find(q question) *answer {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.known[q]
}

// Sizes of what is kept, beside names and contents.
const (
	answerSize = 256
	entrySize  = 40
)

// add keeps an answer unless another start-up has got one meanwhile, and returns the one that
// counts. The error says that there is no room.
func (a *answers) add(q question, n *answer) (*answer, error) {
	size := int64(answerSize + len(q.path) + len(n.target))
	for _, e := range n.entries {
		size += int64(entrySize + len(e.Name))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known := a.known[q]; known != nil {
		return known, nil
	}
	if n.file != nil {
		id := idOf(q.mount, n.file.stat)
		if have := a.files[id]; have != nil {
			n.file = have
		} else {
			size += int64(len(n.file.text))
			defer func() { a.files[id] = n.file }()
		}
	}
	switch {
	case a.gone:
		return n, nil // it is read by its start-up alone
	case len(a.known) >= a.record.answers:
		return nil, fmt.Errorf("it reads more than %d files and directories", a.record.answers)
	case size > a.record.bytes-a.bytes:
		return nil, tooManyBytes(a.record)
	}
	if err := a.record.budget.Reserve(size); err != nil {
		return nil, fmt.Errorf("keeping what it reads: %w", err)
	}
	a.bytes += size
	a.known[q] = n
	a.order = append(a.order, q)
	return n, nil
}

func tooManyBytes(r *Record) error {
	return fmt.Errorf("it reads more than %d bytes of files", r.bytes)
}

// room is how large a file may be that is read to be kept.
func (a *answers) room() int64 {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return max(0, a.record.bytes-a.bytes)
}

// all are the questions that have been asked so far, and their answers.
func (a *answers) all() ([]question, []*answer) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	order := a.order[:len(a.order):len(a.order)]
	found := make([]*answer, len(order))
	for i, q := range order {
		found[i] = a.known[q]
	}
	return order, found
}

// Startup is one start-up of a program, on its way to its first read. It is used by one goroutine.
type Startup struct {
	record  *Record
	answers *answers
	first   bool // it makes the record, if it gets far enough
	ended   bool // what it reads now is what there is
	mounts  []*mount
}

// Keep notes that the start-up has got as far as it should: what it has read is what later ones
// read. It tells whether anything is new to those who watch. No file of the host stays open.
func (s *Startup) Keep(ctx context.Context) (news bool) {
	for _, m := range s.mounts {
		_ = m.close(ctx) // it was only read
	}
	r := s.record
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.first {
		s.first, r.recording = false, false
		if r.off {
			s.answers.free()
		} else {
			r.kept = s.answers
		}
	}
	if r.off || r.kept != s.answers {
		return false
	}
	s.answers.mu.RLock()
	n := len(s.answers.known)
	s.answers.mu.RUnlock()
	news, r.told = n > r.told, n
	return news
}

// End ends the start-up: from now on its program reads what there is, also through what it has opened.
// One that was to be the first and has not been kept leaves what it has read for [Record.Dependencies]
// and [Record.Changed].
func (s *Startup) End() {
	s.ended = true
	if !s.first {
		return
	}
	s.first = false
	r := s.record
	r.mu.Lock()
	defer r.mu.Unlock()
	r.recording = false
	if r.off || r.kept != nil {
		s.answers.free()
	} else {
		r.tried = s.answers
	}
}

// overflow gives up keeping.
func (s *Startup) overflow(why error) {
	s.record.drop(why)
	s.End()
}
