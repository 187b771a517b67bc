package vfs

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
)

// Errno is an error number of preview 1 (typenames.witx, $errno). 0 is success
// and never an error value.
type Errno uint16

// The error numbers of preview 1, by their POSIX names.
const (
	Success Errno = iota
	E2BIG
	EACCES
	EADDRINUSE
	EADDRNOTAVAIL
	EAFNOSUPPORT
	EAGAIN
	EALREADY
	EBADF
	EBADMSG
	EBUSY
	ECANCELED
	ECHILD
	ECONNABORTED
	ECONNREFUSED
	ECONNRESET
	EDEADLK
	EDESTADDRREQ
	EDOM
	EDQUOT
	EEXIST
	EFAULT
	EFBIG
	EHOSTUNREACH
	EIDRM
	EILSEQ
	EINPROGRESS
	EINTR
	EINVAL
	EIO
	EISCONN
	EISDIR
	ELOOP
	EMFILE
	EMLINK
	EMSGSIZE
	EMULTIHOP
	ENAMETOOLONG
	ENETDOWN
	ENETRESET
	ENETUNREACH
	ENFILE
	ENOBUFS
	ENODEV
	ENOENT
	ENOEXEC
	ENOLCK
	ENOLINK
	ENOMEM
	ENOMSG
	ENOPROTOOPT
	ENOSPC
	ENOSYS
	ENOTCONN
	ENOTDIR
	ENOTEMPTY
	ENOTRECOVERABLE
	ENOTSOCK
	ENOTSUP
	ENOTTY
	ENXIO
	EOVERFLOW
	EOWNERDEAD
	EPERM
	EPIPE
	EPROTO
	EPROTONOSUPPORT
	EPROTOTYPE
	ERANGE
	EROFS
	ESPIPE
	ESRCH
	ESTALE
	ETIMEDOUT
	ETXTBSY
	EXDEV
	ENOTCAPABLE
)

var errnoNames = [...]string{
	"success", "E2BIG", "EACCES", "EADDRINUSE", "EADDRNOTAVAIL", "EAFNOSUPPORT", "EAGAIN", "EALREADY",
	"EBADF", "EBADMSG", "EBUSY", "ECANCELED", "ECHILD", "ECONNABORTED", "ECONNREFUSED", "ECONNRESET",
	"EDEADLK", "EDESTADDRREQ", "EDOM", "EDQUOT", "EEXIST", "EFAULT", "EFBIG", "EHOSTUNREACH",
	"EIDRM", "EILSEQ", "EINPROGRESS", "EINTR", "EINVAL", "EIO", "EISCONN", "EISDIR",
	"ELOOP", "EMFILE", "EMLINK", "EMSGSIZE", "EMULTIHOP", "ENAMETOOLONG", "ENETDOWN", "ENETRESET",
	"ENETUNREACH", "ENFILE", "ENOBUFS", "ENODEV", "ENOENT", "ENOEXEC", "ENOLCK", "ENOLINK",
	"ENOMEM", "ENOMSG", "ENOPROTOOPT", "ENOSPC", "ENOSYS", "ENOTCONN", "ENOTDIR", "ENOTEMPTY",
	"ENOTRECOVERABLE", "ENOTSOCK", "ENOTSUP", "ENOTTY", "ENXIO", "EOVERFLOW", "EOWNERDEAD", "EPERM",
	"EPIPE", "EPROTO", "EPROTONOSUPPORT", "EPROTOTYPE", "ERANGE", "EROFS", "ESPIPE", "ESRCH",
	"ESTALE", "ETIMEDOUT", "ETXTBSY", "EXDEV", "ENOTCAPABLE",
}

// Error returns the POSIX name of the number.
func (e Errno) Error() string {
	if int(e) < len(errnoNames) {
		return errnoNames[e]
	}
	return "errno " + strconv.Itoa(int(e))
}

// Is makes errors.Is(e, fs.ErrNotExist) and its like true for the numbers they
// stand for, so that a file tree can be used as io/fs users expect.
func (e Errno) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e == ENOENT
	case fs.ErrExist:
		return e == EEXIST || e == ENOTEMPTY
	case fs.ErrPermission:
		return e == EPERM || e == EACCES || e == EROFS || e == ENOTCAPABLE
	case fs.ErrInvalid:
		return e == EINVAL
	}
	return false
}

// ErrnoOf returns the number for an error: its own where err is or wraps an
// Errno or an error number of the host, the closest one for the errors of io,
// io/fs and context, EIO for anything else, Success for nil and io.EOF.
func ErrnoOf(err error) Errno {
	if err == nil || err == io.EOF {
		return Success
	}
	var errno Errno
	if errors.As(err, &errno) {
		return errno
	}
	if errno, ok := hostErrno(err); ok {
		return errno
	}
	for _, known := range wellKnownErrors {
		if errors.Is(err, known.err) {
			return known.errno
		}
	}
	return EIO
}

var wellKnownErrors = []struct {
	err   error
	errno Errno
}{
	{io.EOF, Success},
	{fs.ErrNotExist, ENOENT},
	{fs.ErrExist, EEXIST},
	{fs.ErrPermission, EACCES},
	{fs.ErrInvalid, EINVAL},
	{fs.ErrClosed, EBADF},
	{context.Canceled, ECANCELED},
	{context.DeadlineExceeded, ETIMEDOUT},
	{os.ErrDeadlineExceeded, ETIMEDOUT},
	{errors.ErrUnsupported, ENOTSUP},
	{io.ErrClosedPipe, EPIPE},
}
