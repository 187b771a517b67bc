//go:build unix

package sockets

import (
	"net"
	"syscall"
)

// tryWrite writes as much of p as the system takes without waiting. Nobody else may be writing.
func tryWrite(conn net.Conn, p []byte) (n int, err error) {
	system, ok := conn.(syscall.Conn)
	if !ok {
		return 0, nil
	}
	raw, err := system.SyscallConn()
	if err != nil {
		return 0, err
	}
	errRaw := raw.Write(func(fd uintptr) bool {
		for {
			if n, err = syscall.Write(int(fd), p); err != syscall.EINTR {
				return true
			}
		}
	})
	switch {
	case errRaw != nil:
		return 0, errRaw
	case err == syscall.EAGAIN:
		return 0, nil
	case err != nil:
		return 0, err
	}
	return n, nil
}
