//go:build unix

package gojinn

import (
	"io/fs"
	"syscall"
	"time"
)

// openNonblocking lets opening a pipe return at once.
const openNonblocking = syscall.O_NONBLOCK

// systemState is what the system adds to a file's state: which file it is, and when it
// was last changed, which nobody can set, unlike the time of its contents: archives do.
type systemState struct {
	device, inode uint64
	changed       time.Time
}

func systemStateOf(info fs.FileInfo) systemState {
	s := info.Sys().(*syscall.Stat_t)
	return systemState{uint64(s.Dev), uint64(s.Ino), changedAt(s)}
}
