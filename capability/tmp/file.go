package tmp

import (
	"context"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// file is an open file.
type file struct {
	handle
	flags vfs.OpenFlags
}

// may is EBADF if the file was not opened for that.
func (f *file) may(what vfs.OpenFlags) error {
	if f.flags&what == 0 {
		return vfs.EBADF
	}
	return nil
}

// ReadAt reads from an offset on.
func (f *file) ReadAt(_ context.Context, p []byte, offset int64) (int, error) {
	if err := f.may(vfs.Read); err != nil {
		return 0, err
	}
	if offset < 0 {
		return 0, vfs.EINVAL
	}
	return f.node.content.readAt(p, offset), nil
}

// WriteAt writes from an offset on; what is between it and the end takes no space.
func (f *file) WriteAt(_ context.Context, p []byte, offset int64) (int, error) {
	if err := f.may(vfs.Write); err != nil {
		return 0, err
	}
	if offset < 0 {
		return 0, vfs.EINVAL
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.node.content.writeAt(&f.tree.space, p, offset)
	if n > 0 {
		f.node.touch(time.Now().UnixNano())
	}
	return n, err
}

// Append writes at the end.
func (f *file) Append(ctx context.Context, p []byte) (n int, end int64, err error) {
	n, err = f.WriteAt(ctx, p, f.node.content.size)
	return n, f.node.content.size, err
}

// Truncate sets the size.
func (f *file) Truncate(_ context.Context, size int64) error {
	if size < 0 || f.may(vfs.Write) != nil {
		return vfs.EINVAL
	}
	f.node.content.truncate(&f.tree.space, size)
	f.node.touch(time.Now().UnixNano())
	return nil
}

var (
	_ vfs.ReaderAt   = (*file)(nil)
	_ vfs.WriterAt   = (*file)(nil)
	_ vfs.Appender   = (*file)(nil)
	_ vfs.Truncater  = (*file)(nil)
	_ vfs.TimeSetter = (*file)(nil)
	_ vfs.Syncer     = (*file)(nil)
)
