//go:build !unix

package postgrestest

import "syscall"

// credential does nothing where root is not a user.
func credential(_, _ int) *syscall.SysProcAttr { return nil }

func ids(*syscall.SysProcAttr) (uid, gid int, ok bool) { return 0, 0, false }
