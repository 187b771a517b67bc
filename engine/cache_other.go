//go:build !unix

package engine

import (
	"errors"
	"fmt"
	"os"
)

// checkPrivate can only tell a folder from something else here: permissions
// are those of the folder's access control list, which Go doesn't show.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a folder", dir)
	}
	return nil
}

// checkOwn refuses what is not a regular file.
func checkOwn(info os.FileInfo) error {
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	return nil
}
