package sockets

import (
	"errors"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/gojinn/gojinn/engine/vfs"
)

// systemError puts preview 1's number in the place of those of Windows Sockets.
func systemError(err error) error {
	var number syscall.Errno
	if !errors.As(err, &number) {
		return err
	}
	switch number {
	case windows.WSAEACCES:
		return vfs.EACCES
	case windows.WSAEADDRNOTAVAIL:
		return vfs.EADDRNOTAVAIL
	case windows.WSAENETDOWN:
		return vfs.ENETDOWN
	case windows.WSAENETUNREACH:
		return vfs.ENETUNREACH
	case windows.WSAECONNABORTED:
		return vfs.ECONNABORTED
	case windows.WSAECONNRESET:
		return vfs.ECONNRESET
	case windows.WSAENOBUFS:
		return vfs.ENOBUFS
	case windows.WSAETIMEDOUT:
		return vfs.ETIMEDOUT
	case windows.WSAECONNREFUSED:
		return vfs.ECONNREFUSED
	case windows.WSAEHOSTUNREACH:
		return vfs.EHOSTUNREACH
	}
	return err
}
