package vfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"testing"
)

func TestErrnoNumbers(t *testing.T) {
	t.Parallel()
	// Spot checks against typenames.witx; the rest counts up in between.
	for errno, want := range map[Errno]struct {
		number uint16
		name   string
	}{
		Success: {0, "success"}, E2BIG: {1, "E2BIG"}, EAGAIN: {6, "EAGAIN"}, EBADF: {8, "EBADF"},
		EEXIST: {20, "EEXIST"}, EFAULT: {21, "EFAULT"}, EINVAL: {28, "EINVAL"}, EIO: {29, "EIO"},
		EISDIR: {31, "EISDIR"}, ENOENT: {44, "ENOENT"}, ENOSYS: {52, "ENOSYS"}, ENOTDIR: {54, "ENOTDIR"},
		ENOTSOCK: {57, "ENOTSOCK"}, EPERM: {63, "EPERM"}, EROFS: {69, "EROFS"}, ESPIPE: {70, "ESPIPE"},
		EXDEV: {75, "EXDEV"}, ENOTCAPABLE: {76, "ENOTCAPABLE"},
	} {
		if uint16(errno) != want.number || errno.Error() != want.name {
			t.Errorf("got %d %q, want %d %q", errno, errno.Error(), want.number, want.name)
		}
	}
	if got, want := len(errnoNames), int(ENOTCAPABLE)+1; got != want {
		t.Errorf("got %d names, want %d", got, want)
	}
	if got, want := Errno(1000).Error(), "errno 1000"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestErrnoOf(t *testing.T) {
	t.Parallel()
	_, notExist := os.Open("testdata/does/not/exist")
	for _, test := range []struct {
		name string
		err  error
		want Errno
	}{
		{"nil", nil, Success},
		{"end of file", io.EOF, Success},
		{"wrapped end of file", fmt.Errorf("reading: %w", io.EOF), Success},
		{"errno", EXDEV, EXDEV},
		{"wrapped errno", fmt.Errorf("opening: %w", EROFS), EROFS},
		{"host", notExist, ENOENT},
		{"exists", fs.ErrExist, EEXIST},
		{"permission", fs.ErrPermission, EACCES},
		{"closed", os.ErrClosed, EBADF},
		{"canceled", context.Canceled, ECANCELED},
		{"deadline", context.DeadlineExceeded, ETIMEDOUT},
		{"unsupported", errors.ErrUnsupported, ENOTSUP},
		{"unknown", errors.New("something else"), EIO},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := ErrnoOf(test.err); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestErrnoIs(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		errno  Errno
		target error
		want   bool
	}{
		{ENOENT, fs.ErrNotExist, true},
		{EEXIST, fs.ErrExist, true},
		{EROFS, fs.ErrPermission, true},
		{EINVAL, fs.ErrInvalid, true},
		{EIO, fs.ErrNotExist, false},
		{EIO, io.EOF, false},
	} {
		if got := errors.Is(test.errno, test.target); got != test.want {
			t.Errorf("errors.Is(%v, %v): got %v, want %v", test.errno, test.target, got, test.want)
		}
	}
}
