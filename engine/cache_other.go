//go:build !unix

package engine

import (
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
