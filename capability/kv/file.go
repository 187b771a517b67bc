package kv

import (
	"context"
	"io"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/stores"
)

// file is an open key: the value as it was when it was opened, or a private copy that
// replaces it when the file is closed. The copy counts against the memory that all calls
// share.
type file struct {
	*grant
	key    string
	flags  vfs.OpenFlags
	budget *engine.Budget

	modified time.Time
	value    []byte // as read and written here
	shared   bool   // value belongs to the store: it is copied before it is changed
	reserved int64  // of the budget
	found    bool   // the key was there when the file was opened
	changed  bool   // the value is to be written
	// appended is how much of the end of value was appended, while nothing but that was done:
	// then it is added to what the key has in the end; -1: the value is to replace it.
	appended int
	failed   error // of a write: what is there is not all that should be
}

// open opens the file of a key.
func (g *grant) open(ctx context.Context, key string, flags vfs.OpenFlags) (vfs.File, error) {
	f := &file{grant: g, key: key, flags: flags, budget: engine.BudgetOf(ctx), shared: true, appended: -1}
	if err := f.load(ctx); err != nil {
		return nil, err
	}
	if flags&vfs.Write == 0 && !f.changed {
		return &readFile{f}, nil
	}
	return f, nil
}

// load finds out what is there, as far as it matters.
func (f *file) load(ctx context.Context) error {
	create, truncate := f.flags&vfs.Create != 0, f.flags&vfs.Truncate != 0
	exclusive := create && f.flags&vfs.Exclusive != 0
	if !create || !truncate || exclusive {
		item, err := f.store.Get(ctx, f.namespace, f.key)
		switch err := f.errno(ctx, err); {
		case err == nil && exclusive:
			return vfs.EEXIST
		case err == nil:
			f.value, f.modified, f.found = item.Value, item.Modified, true
		case err != vfs.ENOENT || !create:
			return err
		}
	}
	if truncate {
		f.value = nil
	}
	f.changed = truncate || !f.found
	if f.flags&vfs.Append != 0 && !truncate && !exclusive {
		f.appended = 0
	}
	return f.reserve(int64(len(f.value)))
}

// reserve makes what is reserved n bytes.
func (f *file) reserve(n int64) error {
	if n > f.reserved {
		if err := f.budget.Reserve(n - f.reserved); err != nil {
			return vfs.ENOMEM
		}
	} else {
		f.budget.Release(f.reserved - n)
	}
	f.reserved = n
	return nil
}

// own makes value a private one with room for n bytes.
func (f *file) own(n int) error {
	if !f.shared && n <= cap(f.value) {
		return nil
	}
	room := max(n, len(f.value))
	if n > len(f.value) { // grows, and likely will again
		room = int(min(max(int64(room), int64(len(f.value))*2, 512), max(f.maxValue, int64(room))))
	}
	// Both are there while one is copied to the other.
	held := f.reserved
	if err := f.reserve(held + int64(room)); err != nil {
		return err
	}
	f.value = append(make([]byte, 0, room), f.value...)
	f.shared = false
	return f.reserve(int64(room))
}

// Stat describes the file as it is here.
func (f *file) Stat(context.Context) (vfs.Stat, error) {
	if f.changed {
		f.modified = time.Now()
	}
	return f.stat(f.key, len(f.value), f.modified), nil
}

// ReadAt reads the value as it is here.
func (f *file) ReadAt(_ context.Context, p []byte, offset int64) (int, error) {
	if offset >= int64(len(f.value)) {
		return 0, io.EOF
	}
	return copy(p, f.value[offset:]), nil
}

// WriteAt writes to the private copy.
func (f *file) WriteAt(_ context.Context, p []byte, offset int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	f.appended = -1
	return f.write(p, offset)
}

// Append adds to the private copy, or to what the key has when the file is closed.
func (f *file) Append(_ context.Context, p []byte) (n int, end int64, err error) {
	end = int64(len(f.value))
	if len(p) == 0 {
		return 0, end, nil
	}
	if n, err = f.write(p, end); err != nil {
		return 0, 0, err
	}
	if f.appended >= 0 {
		f.appended += n
	}
	return n, end + int64(n), nil
}

// write writes all of p or nothing. A value of which a part couldn't be written never becomes
// the key's.
func (f *file) write(p []byte, offset int64) (int, error) {
	if offset > f.maxValue-int64(len(p)) {
		f.failed = vfs.EFBIG
		return 0, f.failed
	}
	end := int(offset) + len(p)
	if err := f.own(max(end, len(f.value))); err != nil {
		f.failed = err
		return 0, err
	}
	f.extend(end)
	copy(f.value[offset:], p)
	f.changed = true
	return len(p), nil
}

// extend makes the value at least n bytes long, for which there is room.
func (f *file) extend(n int) {
	if old := len(f.value); n > old {
		f.value = f.value[:n]
		clear(f.value[old:]) // it may have been longer before
	}
}

// Truncate sets the size of the private copy.
func (f *file) Truncate(_ context.Context, size int64) error {
	if size > f.maxValue && size > int64(len(f.value)) {
		return vfs.EFBIG
	}
	n := int(size)
	if err := f.own(max(n, len(f.value))); err != nil {
		return err
	}
	f.extend(n)
	f.value = f.value[:n]
	f.changed, f.appended = true, -1
	return nil
}

// Sync has nothing to do: what is not closed is not to be seen, on the disk either.
func (f *file) Sync(context.Context, bool) error { return nil }

// SetTimes is refused: when a value was written is the store's to say.
func (f *file) SetTimes(context.Context, time.Time, time.Time) error { return vfs.EPERM }

// Close writes what was changed, in one step. It is the key's value from then on, or the error
// says why it isn't.
func (f *file) Close(ctx context.Context) error {
	defer f.Discard()
	switch {
	case f.failed != nil:
		return f.failed
	case !f.changed:
		return nil
	}
	return f.errno(ctx, f.commit(ctx))
}

func (f *file) commit(ctx context.Context) error {
	// The store may keep these after a call that is cut off: they are not changed any more.
	value, expires := f.value, f.expires(0)
	whole := f.flags&vfs.Truncate != 0 || !f.shared
	switch {
	case f.flags&vfs.Create != 0 && f.flags&vfs.Exclusive != 0:
		return f.update(ctx, func(old *stores.Item) (*stores.Item, error) {
			if old != nil {
				return nil, vfs.EEXIST
			}
			return &stores.Item{Value: value, Expires: expires}, nil
		})
	case f.appended >= 0 && (f.appended > 0 || !f.found):
		return f.append(ctx, value[len(value)-f.appended:], expires)
	case whole:
		_, err := f.store.Put(ctx, f.namespace, f.key, value, expires)
		return err
	}
	// It was only made.
	return f.update(ctx, func(old *stores.Item) (*stores.Item, error) {
		if old != nil {
			return old, nil
		}
		return &stores.Item{Expires: expires}, nil
	})
}

func (f *file) append(ctx context.Context, tail []byte, expires time.Time) error {
	maxValue := f.maxValue
	return f.update(ctx, func(old *stores.Item) (*stores.Item, error) {
		switch {
		case old == nil:
			return &stores.Item{Value: tail, Expires: expires}, nil
		case len(tail) == 0:
			return old, nil
		case int64(len(old.Value)) > maxValue-int64(len(tail)):
			return nil, vfs.EFBIG
		}
		value := make([]byte, 0, len(old.Value)+len(tail))
		return &stores.Item{Value: append(append(value, old.Value...), tail...), Expires: old.Expires}, nil
	})
}

func (f *file) update(ctx context.Context, edit stores.Edit) error {
	_, err := f.store.Update(ctx, f.namespace, f.key, edit)
	return err
}

// Discard gives up what was written.
func (f *file) Discard() {
	f.value, f.shared, f.changed, f.failed = nil, true, false, nil
	_ = f.reserve(0) // giving back has no error
}

// readFile is a file that can only be read.
type readFile struct{ f *file }

// Stat describes the file as it was when it was opened.
func (r *readFile) Stat(ctx context.Context) (vfs.Stat, error) { return r.f.Stat(ctx) }

// ReadAt reads the value as it was when the file was opened.
func (r *readFile) ReadAt(ctx context.Context, p []byte, offset int64) (int, error) {
	return r.f.ReadAt(ctx, p, offset)
}

// Sync has nothing to do.
func (r *readFile) Sync(context.Context, bool) error { return nil }

// SetTimes is refused, as for all files of a namespace.
func (r *readFile) SetTimes(context.Context, time.Time, time.Time) error {
	if r.f.readOnly {
		return vfs.EROFS
	}
	return vfs.EPERM
}

// Close gives up the value.
func (r *readFile) Close(context.Context) error {
	r.f.Discard()
	return nil
}

var (
	_ vfs.ReaderAt   = (*file)(nil)
	_ vfs.WriterAt   = (*file)(nil)
	_ vfs.Appender   = (*file)(nil)
	_ vfs.Truncater  = (*file)(nil)
	_ vfs.Syncer     = (*file)(nil)
	_ vfs.TimeSetter = (*file)(nil)
	_ vfs.Discarder  = (*file)(nil)
	_ vfs.ReaderAt   = (*readFile)(nil)
	_ vfs.Syncer     = (*readFile)(nil)
	_ vfs.TimeSetter = (*readFile)(nil)
)
