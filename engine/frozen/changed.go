package frozen

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// Dependencies are what has to be watched to see whether something a start-up read has changed.
type Dependencies struct {
	// Paths of the host, sorted. What is there, or that nothing is, has been seen.
	Paths []string
	// Folders of the host, sorted, whose entries have been listed. They are not among Paths.
	Folders []string
	// Answers is how many questions were asked, and Bytes what the answers take.
	Answers int
	Bytes   int64
}

// current are the answers that start-ups get; or, if there are none, that the last got that failed.
// nil: none has asked.
func (r *Record) current() *answers {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cmp.Or(r.kept, r.tried)
}

// Dependencies returns what the record depends on.
func (r *Record) Dependencies() (d Dependencies) {
	a := r.current()
	if a == nil {
		return d
	}
	questions, found := a.all()
	paths, folders := make(map[string]bool), make(map[string]bool)
	for i, q := range questions {
		host := found[i].host
		if q.path != "." {
			host = strings.TrimSuffix(host, "/") + "/" + q.path // not cleaned: .. may follow a link
		}
		if q.what == list {
			folders[host] = true
		} else {
			paths[host] = true
		}
	}
	for f := range folders {
		delete(paths, f)
	}
	d.Paths, d.Folders = sorted(paths), sorted(folders)
	d.Answers, d.Bytes = len(questions), a.bytes
	return d
}

func sorted(set map[string]bool) []string {
	var all []string
	for s := range set {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

// Changed compares the record with what there is now, and returns a guest path that leads to
// something else, or an empty string. A file that has been read is another if its content is, one that has
// only been looked at if its size or time of modification is; a directory, if it was listed, if its
// entries have other names or types. The error is one of looking.
//
// fs returns what is mounted at a guest path.
func (r *Record) Changed(ctx context.Context, fs func(guestPath string) vfs.Ahead) (path string, err error) {
	if a := r.current(); a != nil {
		return a.changed(ctx, fs)
	}
	return "", nil
}

// Changed is [Record.Changed] for a start-up that makes the record: it may have read some files as they were
// before, and others as they were after a change. Of others it says that nothing has.
func (s *Startup) Changed(ctx context.Context, fs func(guestPath string) vfs.Ahead) (path string, err error) {
	if s.first {
		return s.answers.changed(ctx, fs)
	}
	return "", nil
}

func (a *answers) changed(ctx context.Context, fs func(guestPath string) vfs.Ahead) (path string, err error) {
	mounts := make(map[string]*mount)
	defer func() {
		for _, m := range mounts {
			err = errors.Join(err, m.close(ctx))
		}
	}()
	questions, found := a.all()
	read := make(map[question]bool) // lookups of files whose content is known
	for i, q := range questions {
		if q.what == open && found[i].file != nil {
			read[question{mount: q.mount, what: lookup, path: q.path}] = true
			read[question{mount: q.mount, what: lookupFollow, path: q.path}] = true
		}
	}
	for i, q := range questions {
		if err := ctx.Err(); err != nil {
			return "", context.Cause(ctx)
		}
		m := mounts[q.mount]
		if m == nil {
			m = &mount{path: q.mount, fs: fs(q.mount)}
			mounts[q.mount] = m
		}
		same, err := m.same(ctx, q, found[i], read[q])
		if err != nil {
			return "", err
		}
		if !same {
			return q.mount + "/" + strings.TrimPrefix(q.path, "."), nil
		}
	}
	return "", nil
}

// settled is how long before it was read a file must have been written for its times to tell it from
// what is written to it next: file systems count time in steps of up to two seconds.
const settled = 3 * time.Second

// same tells whether a question has the same answer now. With read the content is compared elsewhere.
func (m *mount) same(ctx context.Context, q question, was *answer, read bool) (bool, error) {
	if q.what == open && was.file != nil {
		question := question{what: lookupFollow, path: q.path}
		if q.flags&vfs.NoFollow != 0 {
			question.what = lookup
		}
		now, _, err := m.look(ctx, question, 0)
		if err != nil {
			return false, err
		}
		old := was.file.stat
		if now.errno != 0 || now.stat.Type != old.Type || now.stat.Size != old.Size {
			return false, nil
		}
		last := time.Unix(0, max(old.Modified, old.Changed))
		if idOf("", now.stat) == idOf("", old) && was.file.read.Sub(last) > settled {
			return true, nil
		}
	}
	room := int64(0)
	if was.file != nil {
		room = was.file.stat.Size
	}
	now, whole, err := m.look(ctx, q, room)
	switch {
	case err != nil:
		return false, err
	case now.errno != was.errno, !whole:
		return false, nil
	case now.errno != 0:
		return true, nil
	}
	switch q.what {
	case root:
		return now.editor == was.editor, nil
	case lookup, lookupFollow:
		return sameStat(was.stat, now.stat, read), nil
	case open:
		if was.file == nil || now.file == nil {
			return was.file == nil && now.file == nil, nil
		}
		return bytes.Equal(now.file.text, was.file.text), nil
	case link:
		return now.target == was.target, nil
	}
	return sameEntries(was.entries, now.entries), nil
}

func sameStat(was, now vfs.Stat, read bool) bool {
	switch {
	case was.Type != now.Type:
		return false
	case was.Type == vfs.TypeDirectory:
		return true
	}
	return was.Size == now.Size && (read || was.Modified == now.Modified)
}

// sameEntries ignores order.
func sameEntries(was, now []vfs.Entry) bool {
	if len(was) != len(now) {
		return false
	}
	types := make(map[string]vfs.FileType, len(was))
	for _, e := range was {
		types[e.Name] = e.Type
	}
	for _, e := range now {
		if t, ok := types[e.Name]; !ok || t != e.Type {
			return false
		}
	}
	return true
}
