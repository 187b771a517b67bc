//go:build unix

package gojinn

import (
	"io/fs"
	"syscall"
)

// openNonblocking lets opening a pipe return at once.
const openNonblocking = syscall.O_NONBLOCK

// systemState is what the system adds to a file's state: which file it is.
type systemState struct{ device, inode uint64 }

func systemStateOf(info fs.FileInfo) systemState {
	s := info.Sys().(*syscall.Stat_t)
	return systemState{uint64(s.Dev), uint64(s.Ino)}
}
