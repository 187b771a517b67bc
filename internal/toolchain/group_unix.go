//go:build unix

package toolchain

import (
	"os/exec"
	"syscall"
)

// killGroup puts cmd into a process group of its own and lets cancellation kill
// all of it: compilers start linkers, cargo starts compilers.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
