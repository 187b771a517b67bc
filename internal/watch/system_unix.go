//go:build unix

package watch

import (
	"io/fs"
	"os"
	"syscall"
)

// identity tells files from each other as long as they exist. Numbers are given
// to others afterwards.
type identity struct {
	device, inode uint64
	path          string // where the system gives no numbers
}

func identityOf(path string, info fs.FileInfo) identity {
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return identity{device: uint64(stat.Dev), inode: uint64(stat.Ino)}
	}
	return identity{path: path}
}

// open opens a folder to read its entries, without waiting for anyone if it has
// become a pipe.
func open(folder string) (*os.File, error) {
	return os.OpenFile(folder, os.O_RDONLY|syscall.O_NONBLOCK, 0)
}
