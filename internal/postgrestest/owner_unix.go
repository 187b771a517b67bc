//go:build unix

package postgrestest

import "syscall"

// credential says that a process is to run as another user.
func credential(uid, gid int) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func ids(owner *syscall.SysProcAttr) (uid, gid int, ok bool) {
	if owner == nil {
		return 0, 0, false
	}
	return int(owner.Credential.Uid), int(owner.Credential.Gid), true
}
