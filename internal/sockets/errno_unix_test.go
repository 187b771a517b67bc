//go:build !windows

package sockets

import "syscall"

const refusedErrno = syscall.ECONNREFUSED
