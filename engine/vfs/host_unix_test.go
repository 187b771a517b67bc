//go:build unix

package vfs

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What is neither file nor directory must not be opened: a FIFO would hang the
// thread, a device may do anything.
func TestSpecialFiles(t *testing.T) {
	t.Parallel()
	_, inside := jail(t, map[string]string{"tofifo": "-> fifo"})
	if err := syscall.Mkfifo(filepath.Join(inside, "fifo"), 0o666); err != nil {
		t.Fatal(err)
	}
	// A socket's path is limited to some 100 bytes.
	short, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(short)
	l, err := net.Listen("unix", filepath.Join(short, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := tree(t, map[string]FS{
		"/j":    &HostDir{Path: inside, Writable: true},
		"/s":    &HostDir{Path: short, Writable: true},
		"/host": &HostDir{Path: "/dev"},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, name := range []string{"j/fifo", "j/tofifo", "s/socket", "host/null", "host/zero", "host/tty"} {
			for _, flags := range []OpenFlags{Read, Write, Read | Write, Read | Create, Write | Truncate} {
				want := error(EACCES)
				if strings.HasPrefix(name, "host") && flags&Changing != 0 {
					want = EROFS
				}
				if f, err := dir.Open(context.Background(), name, flags); err != want {
					t.Errorf("opening %s with %b: got %v, %v, want %v", name, flags, f, err, want)
				}
			}
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("opening hangs")
	}
	for name, want := range map[string]FileType{
		"j/fifo": TypeUnknown, "s/socket": TypeSocketStream, "host/null": TypeCharacterDevice, "j/tofifo": TypeSymlink,
	} {
		if stat, err := dir.Lookup(t.Context(), name, false); stat.Type != want || err != nil {
			t.Errorf("%s: got type %d, %v, want %d", name, stat.Type, err, want)
		}
	}
	if err := dir.Unlink(t.Context(), "j/fifo"); err != nil { // removing is not opening
		t.Error(err)
	}
}
