package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine/vfs"
)

// TestNothingGranted: to a program that is granted nothing, every path that a grant could have made
// and every path of the host is absent in the same way, whether the host has it or not, and
// there are no descriptors but its own.
func TestNothingGranted(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), nil, map[string]vfs.FS{snapshotPath: snapshotDevice})
	if got := g.readdirAll(rootDescriptor, 4096); !slices.Equal(got, []string{".", "..", "dev"}) {
		t.Errorf("the root has %q, want dev only", got)
	}
	dev := g.openPath("dev", oDirectory, readOnly, 0)
	if got := g.readdirAll(dev, 4096); !slices.Equal(got, []string{".", "..", "null", "snapshot", "urandom"}) {
		t.Errorf("/dev has %q", got)
	}
	g.want(vfs.Success, "fd_close", dev)
	for fd := uint64(standardDescriptors); fd < 64; fd++ {
		g.want(vfs.EBADF, "fd_fdstat_get", fd, atResult)
		g.want(vfs.EBADF, "fd_prestat_get", fd, atResult)
	}
	for _, path := range []string{
		"net", "net/http", "net/tcp", "net/tcp/localhost:22", "net/tls/localhost:443", "kv", "kv/default", "kv/default/.do", "tmp",
		"etc", "etc/passwd", "etc/shadow", "proc/self/environ", "proc/self/fd/1", "root", "home", "no such thing", "dev/tty", "dev/mem", "dev/fd/1",
	} {
		at, length := g.path(path)
		for _, flags := range []uint64{0, oDirectory, oTruncate} {
			g.want(vfs.ENOENT, "path_open", rootDescriptor, 1, at, length, flags, readOnly, 0, 0, atResult)
			g.want(vfs.ENOENT, "path_open", rootDescriptor, 0, at, length, flags, readWrite, 0, 0, atResult)
		}
		g.want(vfs.ENOENT, "path_filestat_get", rootDescriptor, 1, at, length, atResult)
		g.want(vfs.ENOENT, "path_readlink", rootDescriptor, at, length, atData, 64, atResult)
		g.want(vfs.ENOENT, "path_unlink_file", rootDescriptor, at, length)
		g.want(vfs.ENOENT, "path_remove_directory", rootDescriptor, at, length)
		making := vfs.EROFS
		if parent, _, ok := strings.Cut(path, "/"); ok && (parent != "dev" || strings.Count(path, "/") > 1) {
			making = vfs.ENOENT // in a directory that is absent
		}
		g.want(making, "path_open", rootDescriptor, 0, at, length, oCreate, readWrite, 0, 0, atResult)
		g.want(making, "path_create_directory", rootDescriptor, at, length)
	}
}
