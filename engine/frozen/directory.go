package frozen

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// mount is a mount as one start-up uses it.
type mount struct {
	startup *Startup
	path    string
	fs      vfs.Ahead
	root    vfs.Directory // of what there is; nil: nobody has needed it
}

// Root opens the root of a mount. What the start-up reads through it is kept, or has been.
func (s *Startup) Root(ctx context.Context, guestPath string, fs vfs.Ahead) (vfs.Directory, error) {
	m := &mount{startup: s, path: guestPath, fs: fs}
	s.mounts = append(s.mounts, m)
	a, err := m.ask(ctx, question{what: root, path: "."})
	if err == nil {
		err = a.err()
	}
	if err != nil {
		return nil, errors.Join(err, m.close(ctx))
	}
	d := &directory{mount: m, path: "."}
	if a.editor {
		return &editor{d}, nil
	}
	return d, nil
}

// now returns the root of what there is now.
func (m *mount) now(ctx context.Context) (vfs.Directory, error) {
	if m.root == nil {
		root, err := m.fs.Root(ctx)
		if err != nil {
			return nil, err
		}
		m.root = root
	}
	return m.root, nil
}

func (m *mount) close(ctx context.Context) error {
	if m.root == nil {
		return nil
	}
	root := m.root
	m.root = nil
	return root.Close(ctx)
}

// ask answers a question from the record, or else by looking, and keeps that. The error is one
// of looking that says nothing about the files.
func (m *mount) ask(ctx context.Context, q question) (*answer, error) {
	s := m.startup
	q.mount = m.path
	if s.ended {
		a, _, err := m.look(ctx, q, -1)
		return a, err
	}
	if a := s.answers.find(q); a != nil {
		return a, nil
	}
	a, whole, err := m.look(ctx, q, s.answers.room())
	if err != nil {
		return nil, err
	}
	if !whole {
		s.overflow(tooManyBytes(s.record))
		a, _, err = m.look(ctx, q, -1)
		return a, err
	}
	kept, err := s.answers.add(q, a)
	if err != nil {
		s.overflow(err)
		return a, nil
	}
	return kept, nil
}

// err is the error of an answer.
func (a *answer) err() error {
	if a.errno != 0 {
		return a.errno
	}
	return nil
}

// lasting tells errors that are about the files from those that may be others at another try.
func lasting(err error) (vfs.Errno, bool) {
	switch errno := vfs.ErrnoOf(err); errno {
	case vfs.ENOENT, vfs.ENOTDIR, vfs.EISDIR, vfs.ELOOP, vfs.EACCES, vfs.EPERM, vfs.EINVAL, vfs.ENAMETOOLONG, vfs.EROFS:
		return errno, true
	}
	return 0, false
}

// look answers a question by what there is now. Of a file no more than room is read: it is not whole then.
func (m *mount) look(ctx context.Context, q question, room int64) (a *answer, whole bool, err error) {
	a = &answer{host: m.fs.Host()}
	whole = true
	d, err := m.now(ctx)
	if err == nil {
		switch q.what {
		case root:
			_, a.editor = d.(vfs.Editor)
		case lookup, lookupFollow:
			a.stat, err = d.Lookup(ctx, q.path, q.what == lookupFollow)
		case open:
			whole, err = a.open(ctx, d, q, room)
		case link:
			if reader, ok := d.(vfs.LinkReader); ok {
				a.target, err = reader.Readlink(ctx, q.path)
			} else {
				err = vfs.EINVAL
			}
		case list:
			err = a.list(ctx, d, q)
		}
	}
	if err != nil {
		errno, ok := lasting(err)
		if !ok {
			return nil, true, err
		}
		a.errno = errno
	}
	return a, whole, nil
}

func (a *answer) open(ctx context.Context, d vfs.Directory, q question, room int64) (whole bool, err error) {
	f, err := d.Open(ctx, q.path, vfs.Read|q.flags)
	if err != nil {
		return true, err
	}
	if _, ok := f.(vfs.Directory); ok {
		return true, f.Close(ctx)
	}
	a.file = new(file)
	whole, err = a.file.fill(ctx, f, room)
	return whole, errors.Join(err, f.Close(ctx))
}

// fill reads what is in from.
func (f *file) fill(ctx context.Context, from vfs.File, room int64) (whole bool, err error) {
	f.read = time.Now()
	if f.stat, err = from.Stat(ctx); err != nil {
		return true, err
	}
	reader, ok := from.(vfs.ReaderAt)
	if !ok {
		return true, vfs.EINVAL
	}
	if f.stat.Size > room {
		return false, nil
	}
	f.text = make([]byte, f.stat.Size+1) // one more, to see whether it has grown
	n, err := reader.ReadAt(ctx, f.text, 0)
	if err != nil && err != io.EOF {
		return true, err
	}
	if int64(n) > f.stat.Size {
		n = int(f.stat.Size) // it grows just now; whoever watches will see that
	}
	f.text = f.text[:n]
	f.stat.Size = int64(n)
	return true, nil
}

func (a *answer) list(ctx context.Context, d vfs.Directory, q question) (err error) {
	of := d
	if q.path != "." {
		f, err := d.Open(ctx, q.path, vfs.Read|vfs.OnlyDirectory)
		if err != nil {
			return err
		}
		defer f.Close(ctx)
		of = f.(vfs.Directory)
	}
	lister, err := of.List(ctx)
	if err != nil {
		return err
	}
	defer lister.Close()
	page := make([]vfs.Entry, 128)
	for {
		n, err := lister.Next(ctx, page)
		if err != nil || n == 0 {
			return err
		}
		a.entries = append(a.entries, page[:n]...)
	}
}

// directory is a directory of a mount, by its path there.
type directory struct {
	mount *mount
	path  string
}

// join is the path of a name in d.
func (d *directory) join(name string) string {
	switch {
	case name == ".":
		return d.path
	case d.path == ".":
		return name
	}
	return d.path + "/" + name
}

func (d *directory) Stat(ctx context.Context) (vfs.Stat, error) { return d.Lookup(ctx, ".", true) }

// Close closes what the start-up has opened of the mount, if d is its root, which is closed after
// all others.
func (d *directory) Close(ctx context.Context) error {
	if d.path != "." {
		return nil
	}
	return d.mount.close(ctx)
}

// Sync has nothing to do: nothing has been changed.
func (d *directory) Sync(context.Context, bool) error { return nil }

func (d *directory) Lookup(ctx context.Context, name string, follow bool) (vfs.Stat, error) {
	q := question{what: lookup, path: d.join(name)}
	if follow {
		q.what = lookupFollow
	}
	a, err := d.mount.ask(ctx, q)
	if err != nil {
		return vfs.Stat{}, err
	}
	return a.stat, a.err()
}

func (d *directory) Readlink(ctx context.Context, name string) (string, error) {
	a, err := d.mount.ask(ctx, question{what: link, path: d.join(name)})
	if err != nil {
		return "", err
	}
	return a.target, a.err()
}

func (d *directory) Open(ctx context.Context, name string, flags vfs.OpenFlags) (vfs.File, error) {
	path := d.join(name)
	if flags&vfs.Changing != 0 && !d.mount.editable(ctx) {
		return nil, vfs.EROFS
	}
	if flags&vfs.Changing != 0 || d.mount.startup.ended {
		root, err := d.change(ctx)
		if err != nil {
			return nil, err
		}
		return root.Open(ctx, path, flags)
	}
	a, err := d.mount.ask(ctx, question{what: open, flags: flags & (vfs.OnlyDirectory | vfs.NoFollow), path: path})
	if err == nil {
		err = a.err()
	}
	if err != nil {
		return nil, err
	}
	below := &directory{d.mount, path}
	switch {
	case d.mount.startup.ended && (a.file == nil || a.file.text == nil): // it has just become too much
		return d.Open(ctx, name, flags)
	case a.file != nil:
		return &openFile{below, a.file}, nil
	case d.mount.editable(ctx):
		return &editor{below}, nil
	}
	return below, nil
}

// editable tells whether the mount can be changed.
func (m *mount) editable(ctx context.Context) bool {
	a, err := m.ask(ctx, question{what: root, path: "."})
	return err == nil && a.editor
}

func (d *directory) List(ctx context.Context) (vfs.Lister, error) {
	a, err := d.mount.ask(ctx, question{what: list, path: d.path})
	if err == nil {
		err = a.err()
	}
	if err != nil {
		return nil, err
	}
	return &lister{a.entries}, nil
}

type lister struct{ left []vfs.Entry }

func (l *lister) Next(_ context.Context, entries []vfs.Entry) (int, error) {
	n := copy(entries, l.left)
	l.left = l.left[n:]
	return n, nil
}

func (l *lister) Close() error { return nil }

// change is called before something is changed, which ends the start-up: the program reads what it
// has written. It returns the root of what there is.
func (d *directory) change(ctx context.Context) (vfs.Directory, error) {
	d.mount.startup.End()
	return d.mount.now(ctx)
}

// editor is a directory of a mount that can be changed.
type editor struct{ *directory }

func (e *editor) edit(ctx context.Context) (vfs.Editor, error) {
	root, err := e.change(ctx)
	if err != nil {
		return nil, err
	}
	if root, ok := root.(vfs.Editor); ok {
		return root, nil
	}
	return nil, vfs.EROFS
}

func (e *editor) Mkdir(ctx context.Context, name string) error {
	root, err := e.edit(ctx)
	if err != nil {
		return err
	}
	return root.Mkdir(ctx, e.join(name))
}

func (e *editor) Unlink(ctx context.Context, name string) error {
	root, err := e.edit(ctx)
	if err != nil {
		return err
	}
	return root.Unlink(ctx, e.join(name))
}

func (e *editor) Rmdir(ctx context.Context, name string) error {
	root, err := e.edit(ctx)
	if err != nil {
		return err
	}
	return root.Rmdir(ctx, e.join(name))
}

// goal is the directory of what there is for to, and newName in it.
func (e *editor) goal(to vfs.Directory, root vfs.Directory, newName string) (vfs.Directory, string) {
	if to, ok := to.(*editor); ok && to.mount.path == e.mount.path {
		return root, to.join(newName)
	}
	return to, newName
}

func (e *editor) Rename(ctx context.Context, name string, to vfs.Directory, newName string) error {
	root, err := e.edit(ctx)
	if err != nil {
		return err
	}
	to, newName = e.goal(to, root, newName)
	return root.Rename(ctx, e.join(name), to, newName)
}

func (e *editor) Link(ctx context.Context, name string, to vfs.Directory, newName string) error {
	root, err := e.edit(ctx)
	if err != nil {
		return err
	}
	to, newName = e.goal(to, root, newName)
	return root.Link(ctx, e.join(name), to, newName)
}

func (e *editor) Symlink(ctx context.Context, target, name string) error {
	root, err := e.edit(ctx)
	if err != nil {
		return err
	}
	return root.Symlink(ctx, target, e.join(name))
}

func (e *editor) SetTimesOf(ctx context.Context, name string, follow bool, accessed, modified time.Time) error {
	root, err := e.edit(ctx)
	if err != nil {
		return err
	}
	return root.SetTimesOf(ctx, e.join(name), follow, accessed, modified)
}

// openFile is a file that was opened by a start-up: its content stays.
type openFile struct {
	at   *directory
	file *file
}

func (f *openFile) Stat(context.Context) (vfs.Stat, error) { return f.file.stat, nil }

func (f *openFile) Close(context.Context) error { return nil }

func (f *openFile) ReadAt(_ context.Context, p []byte, offset int64) (int, error) {
	if offset < 0 || offset >= int64(len(f.file.text)) {
		return 0, nil
	}
	return copy(p, f.file.text[offset:]), nil
}

func (f *openFile) Sync(context.Context, bool) error { return nil }

// SetTimes sets the times of what is there now by the name that was opened.
func (f *openFile) SetTimes(ctx context.Context, accessed, modified time.Time) error {
	if !f.at.mount.editable(ctx) {
		return vfs.EROFS
	}
	return (&editor{f.at}).SetTimesOf(ctx, ".", true, accessed, modified)
}

var (
	_ vfs.Editor     = (*editor)(nil)
	_ vfs.LinkReader = (*directory)(nil)
	_ vfs.Syncer     = (*directory)(nil)
	_ vfs.ReaderAt   = (*openFile)(nil)
	_ vfs.Syncer     = (*openFile)(nil)
	_ vfs.TimeSetter = (*openFile)(nil)
)
