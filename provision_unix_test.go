//go:build unix

package gojinn

import (
	"path/filepath"
	"syscall"
	"testing"
)

// TestProvisionSpecialFiles: a module that is no file would be waited for, or
// never end.
func TestProvisionSpecialFiles(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe.wasm")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{pipe, "/dev/zero"} {
		_, err := provision(t, "", `{"module":"`+module+`"}`)
		checkConfigError(t, err, module, "is not a regular file")
	}
}
