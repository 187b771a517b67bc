//go:build unix

package routes

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Nobody writes to these pipes: whoever opens one for reading waits forever.
func TestScanSpecialFiles(t *testing.T) {
	t.Parallel()
	root := folderOf(t, "a.wasm", "l.wasm -> pipe", "null.wasm -> /dev/null")
	for _, name := range []string{"pipe", "p.wasm", "a", "[id].wasm"} {
		must(t, syscall.Mkfifo(filepath.Join(root, name), 0o600))
	}
	// Socket paths are short, so not in the test's folder.
	dir, err := os.MkdirTemp("", "")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	must(t, err)
	defer l.Close()
	must(t, os.Symlink(filepath.Join(dir, "s"), filepath.Join(root, "s.wasm")))

	check(t, root, []string{"a.wasm /a"}, []string{
		"[id].wasm /[id] | a pipe", "l.wasm /l | a pipe", "null.wasm /null | a device", "p.wasm /p | a pipe", "s.wasm /s | a socket",
	})
}

// A folder that has become a pipe since its parent was read must not hang us.
func TestScanFolderBecomesPipe(t *testing.T) {
	t.Parallel()
	root := folderOf(t, "x.wasm")
	must(t, syscall.Mkfifo(filepath.Join(root, "d"), 0o600))
	s := scan{root: root, left: maxSize}
	s.below([]folder{{path: "d", route: "/d", depth: 1}}, nil)
	if len(s.files) != 0 || len(s.problems) != 1 || s.problems[0].Route != "/d" {
		t.Errorf("got %v, %v, want a problem with /d", s.files, s.problems)
	}
}
