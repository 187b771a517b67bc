//go:build !wasip1

package gojinn

import (
	"net"
	"os"
)

// openFile opens a file, if there is one: elsewhere than in a function there is none.
func openFile(path string) (*os.File, error) { return os.OpenFile(path, os.O_RDWR, 0) }

// writable is for files, of which there are none.
func writable(net.Conn) error { return nil }
