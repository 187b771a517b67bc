//go:build unix

package vfs

import (
	"errors"
	"syscall"
)

// hostErrno translates an error number of the host.
func hostErrno(err error) (Errno, bool) {
	var host syscall.Errno
	if !errors.As(err, &host) {
		return 0, false
	}
	errno, ok := hostErrnos[host]
	return errno, ok
}

// A map, since the numbers differ between systems.
var hostErrnos = map[syscall.Errno]Errno{
	syscall.E2BIG:        E2BIG,
	syscall.EACCES:       EACCES,
	syscall.EAGAIN:       EAGAIN,
	syscall.EBADF:        EBADF,
	syscall.EBUSY:        EBUSY,
	syscall.ECONNABORTED: ECONNABORTED,
	syscall.ECONNREFUSED: ECONNREFUSED,
	syscall.ECONNRESET:   ECONNRESET,
	syscall.EDQUOT:       EDQUOT,
	syscall.EEXIST:       EEXIST,
	syscall.EFBIG:        EFBIG,
	syscall.EHOSTUNREACH: EHOSTUNREACH,
	syscall.EILSEQ:       EILSEQ,
	syscall.EINTR:        EINTR,
	syscall.EINVAL:       EINVAL,
	syscall.EIO:          EIO,
	syscall.EISDIR:       EISDIR,
	syscall.ELOOP:        ELOOP,
	// The process of the host has run out of descriptors, which to a guest is
	// the system.
	syscall.EMFILE:       ENFILE,
	syscall.EMLINK:       EMLINK,
	syscall.ENAMETOOLONG: ENAMETOOLONG,
	syscall.ENETDOWN:     ENETDOWN,
	syscall.ENETUNREACH:  ENETUNREACH,
	syscall.ENFILE:       ENFILE,
	syscall.ENODEV:       ENODEV,
	syscall.ENOENT:       ENOENT,
	syscall.ENOMEM:       ENOMEM,
	syscall.ENOSPC:       ENOSPC,
	syscall.ENOSYS:       ENOSYS,
	syscall.ENOTCONN:     ENOTCONN,
	syscall.ENOTDIR:      ENOTDIR,
	syscall.ENOTEMPTY:    ENOTEMPTY,
	syscall.ENOTSOCK:     ENOTSOCK,
	syscall.ENOTSUP:      ENOTSUP,
	syscall.ENOTTY:       ENOTTY,
	syscall.ENXIO:        ENXIO,
	syscall.EOVERFLOW:    EOVERFLOW,
	syscall.EPERM:        EPERM,
	syscall.EPIPE:        EPIPE,
	syscall.EROFS:        EROFS,
	syscall.ESPIPE:       ESPIPE,
	syscall.ESTALE:       ESTALE,
	syscall.ETIMEDOUT:    ETIMEDOUT,
	syscall.ETXTBSY:      ETXTBSY,
	syscall.EXDEV:        EXDEV,
}
