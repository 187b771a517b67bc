//go:build unix

package toolchain

import "syscall"

// alive tells whether a process exists; one that waits to be reaped does.
func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }
