//go:build unix

package engine

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// checkPrivate refuses a folder that another user owns or can write to or
// read: compiled code is trusted as it is found.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if owner := info.Sys().(*syscall.Stat_t).Uid; int(owner) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user %d, not to user %d, who runs this process", dir, owner, os.Geteuid())
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %#o and is open to other users; want 0700", dir, mode)
	}
	return nil
}

// checkOwn refuses a file that is not a regular one of this process's user, or
// that others can write to.
func checkOwn(info os.FileInfo) error {
	switch {
	case !info.Mode().IsRegular():
		return errors.New("not a regular file")
	case int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid():
		return fmt.Errorf("belongs to user %d, not to user %d, who runs this process", info.Sys().(*syscall.Stat_t).Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("has mode %#o and can be written by other users", info.Mode().Perm())
	}
	return nil
}
