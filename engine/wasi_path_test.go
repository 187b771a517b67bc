package engine

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine/vfs"
)

func TestPathOpen(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		path   string
		lookup uint64
		open   uint64
		base   rights
		flags  uint64
		want   errno
		size   int // of w/file afterwards
	}{
		{"read", "w/file", 0, 0, rightFDRead, 0, 0, 4},
		{"without rights", "w/file", 0, 0, 0, 0, 0, 4},
		{"every right", "w/file", 0, 0, math.MaxUint64, 0, 0, 4},
		{"create", "w/new", 0, oCreate, rightFDRead | rightFDWrite, 0, 0, 4},
		{"create what is there", "w/file", 0, oCreate, rightFDRead | rightFDWrite, 0, 0, 4},
		{"create exclusively", "w/new", 0, oCreate | oExclusive, rightFDWrite, 0, 0, 4},
		{"create exclusively what is there", "w/file", 0, oCreate | oExclusive, rightFDWrite, 0, vfs.EEXIST, 4},
		{"create exclusively a link", "w/link", 1, oCreate | oExclusive, rightFDWrite, 0, vfs.EEXIST, 4},
		{"truncate", "w/file", 0, oTruncate, rightFDWrite, 0, 0, 0},
		{"truncate a directory", "w/dir", 0, oTruncate, rightFDWrite, 0, vfs.EISDIR, 4},
		{"missing", "w/none", 0, 0, rightFDRead, 0, vfs.ENOENT, 4},
		{"missing parent", "w/none/new", 0, oCreate, rightFDWrite, 0, vfs.ENOENT, 4},
		{"file as parent", "w/file/new", 0, oCreate, rightFDWrite, 0, vfs.ENOTDIR, 4},
		{"directory", "w/dir", 0, 0, rightFDRead, 0, 0, 4},
		{"directory as such", "w/dir", 0, oDirectory, math.MaxUint64, 0, 0, 4},
		{"directory with slashes", "w/dir///", 0, 0, rightFDRead, 0, 0, 4},
		{"directory for writing", "w/dir", 0, 0, rightFDWrite, 0, vfs.EISDIR, 4},
		{"create a directory", "w/new", 0, oCreate | oDirectory, rightFDWrite, 0, vfs.EINVAL, 4},
		{"file as directory", "w/file", 0, oDirectory, rightFDRead, 0, vfs.ENOTDIR, 4},
		{"file with a slash", "w/file/", 0, 0, rightFDRead, 0, vfs.ENOTDIR, 4},
		{"new file with a slash", "w/new/", 0, oCreate, rightFDWrite, 0, vfs.EISDIR, 4},
		{"link", "w/link", 1, 0, rightFDRead, 0, 0, 4},
		{"link not followed", "w/link", 0, 0, rightFDRead, 0, vfs.ELOOP, 4},
		{"link in the middle", "w/dirlink/inner", 0, 0, rightFDRead, 0, 0, 4},
		{"link with a slash", "w/dirlink/", 0, 0, rightFDRead, 0, 0, 4},
		{"through a link and back", "w/dirlink/../file", 0, 0, rightFDRead, 0, 0, 4},
		{"create through a dangling link", "w/dangling", 1, oCreate, rightFDWrite, 0, 0, 4},
		{"loop", "w/loop", 1, 0, rightFDRead, 0, vfs.ELOOP, 4},
		{"dots", "w/./dir//.//../file", 0, 0, rightFDRead, 0, 0, 4},
		{"back to the tree", "w/dir/../../dev/null", 0, 0, rightFDRead, 0, 0, 4},
		{"above the root", "w/../..", 0, 0, rightFDRead, 0, vfs.EPERM, 4},
		{"absolute", "/w/file", 0, 0, rightFDRead, 0, vfs.EPERM, 4},
		{"absolute, of the host", "/etc/passwd", 0, 0, rightFDRead, 0, vfs.EPERM, 4},
		{"empty", "", 0, 0, rightFDRead, 0, vfs.ENOENT, 4},
		{"NUL", "w/file\x00", 0, 0, rightFDRead, 0, vfs.EINVAL, 4},
		{"not UTF-8", "w/\xff", 0, 0, rightFDRead, 0, vfs.ENOENT, 4},
		{"long component", "w/" + strings.Repeat("x", 256), 0, 0, rightFDRead, 0, vfs.ENAMETOOLONG, 4},
		{"long path", strings.Repeat("w/../", 1000), 0, 0, rightFDRead, 0, vfs.ENAMETOOLONG, 4},
		{"append", "w/file", 0, 0, rightFDWrite, uint64(flagAppend), 0, 4},
		{"unknown open flag", "w/file", 0, 16, rightFDRead, 0, vfs.EINVAL, 4},
		{"unknown descriptor flag", "w/file", 0, 0, rightFDRead, 32, vfs.EINVAL, 4},
		{"unknown lookup flag", "w/file", 2, 0, rightFDRead, 0, vfs.EINVAL, 4},
		{"read-only", "r/file", 0, 0, rightFDRead, 0, 0, 4},
		{"read-only for writing", "r/file", 0, 0, rightFDWrite, 0, vfs.EROFS, 4},
		{"read-only, create", "r/new", 0, oCreate, rightFDRead, 0, vfs.EROFS, 4},
		{"read-only, create what is there", "r/file", 0, oCreate, rightFDRead, 0, vfs.EROFS, 4},
		{"read-only, truncate", "r/file", 0, oTruncate, rightFDRead, 0, vfs.EROFS, 4},
		{"in the tree itself, create", "new", 0, oCreate, rightFDWrite, 0, vfs.EROFS, 4},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g, dir := workspace(t)
			for name, make := range map[string]func(string) error{
				"file":      func(p string) error { return os.WriteFile(p, []byte("text"), 0o666) },
				"dir":       func(p string) error { return os.Mkdir(p, 0o777) },
				"dir/inner": func(p string) error { return os.WriteFile(p, nil, 0o666) },
				"link":      func(p string) error { return os.Symlink("file", p) },
				"dirlink":   func(p string) error { return os.Symlink("dir", p) },
				"dangling":  func(p string) error { return os.Symlink("made", p) },
				"loop":      func(p string) error { return os.Symlink("loop", p) },
			} {
				_ = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777)
				if err := make(filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
					t.Fatal(err)
				}
			}
			at, n := g.path(test.path)
			g.want(test.want, "path_open", 3, test.lookup, at, n, test.open, uint64(test.base), uint64(rightsAll), test.flags, atResult)
			if info, err := os.Stat(filepath.Join(dir, "file")); err != nil || info.Size() != int64(test.size) {
				t.Errorf("got %v, %v, want a file of %d bytes", info, err, test.size)
			}
			if got, want := g.files.open, map[bool]int{true: 5, false: 4}[test.want == 0]; got != want {
				t.Errorf("got %d descriptors, want %d", got, want)
			}
		})
	}
}

func TestPathFaults(t *testing.T) {
	t.Parallel()
	g, _ := workspace(t)
	at, n := g.path("w/new")
	for _, test := range []struct {
		name string
		want errno
		f    string
		args []uint64
	}{
		{"path outside", vfs.EFAULT, "path_open", []uint64{3, 0, outside, 2, oCreate, readWrite, 0, 0, atResult}},
		{"path wraps around", vfs.EFAULT, "path_open", []uint64{3, 0, at, math.MaxUint32, oCreate, readWrite, 0, 0, atResult}},
		{"result outside", vfs.EFAULT, "path_open", []uint64{3, 0, at, n, oCreate, readWrite, 0, 0, outside}},
		{"not a directory", vfs.ENOTDIR, "path_open", []uint64{1, 0, at, n, oCreate, readWrite, 0, 0, atResult}},
		{"not open", vfs.EBADF, "path_open", []uint64{9, 0, at, n, oCreate, readWrite, 0, 0, atResult}},
		{"directory, path outside", vfs.EFAULT, "path_create_directory", []uint64{3, outside, 2}},
		{"stat, result outside", vfs.EFAULT, "path_filestat_get", []uint64{3, 0, at, n, outside}},
		{"stat, flags", vfs.EINVAL, "path_filestat_get", []uint64{3, 2, at, n, atResult}},
		{"rename, second path outside", vfs.EFAULT, "path_rename", []uint64{3, at, n, 3, outside, 2}},
		{"rename, second not a directory", vfs.ENOTDIR, "path_rename", []uint64{3, at, n, 0, at, n}},
		{"link, second path outside", vfs.EFAULT, "path_link", []uint64{3, 0, at, n, 3, outside, 2}},
		{"link, following", vfs.EINVAL, "path_link", []uint64{3, 1, at, n, 3, at, n}},
		{"symlink, target outside", vfs.EFAULT, "path_symlink", []uint64{outside, 2, 3, at, n}},
		{"symlink, long target", vfs.ENAMETOOLONG, "path_symlink", []uint64{atVectors, 5000, 3, at, n}},
		{"readlink, buffer outside", vfs.EFAULT, "path_readlink", []uint64{3, at, n, outside, 2, atResult}},
		{"readlink, result outside", vfs.EFAULT, "path_readlink", []uint64{3, at, n, atData, 2, outside}},
		{"times, flags", vfs.EINVAL, "path_filestat_set_times", []uint64{3, 0, at, n, 0, 0, 16}},
	} {
		t.Log(test.name)
		g.want(test.want, test.f, test.args...)
	}
	g.want(vfs.ENOENT, "path_filestat_get", 3, 0, at, n, atResult) // nothing was made
}

func TestPathFunctions(t *testing.T) {
	t.Parallel()
	g, dir := workspace(t)
	do := func(want errno, f, path string) {
		t.Helper()
		at, n := g.path(path)
		g.want(want, f, 3, at, n)
	}
	two := func(want errno, f, path, path2 string) {
		t.Helper()
		at, n := g.path(path)
		at2, n2 := g.path2(path2)
		switch f {
		case "path_rename":
			g.want(want, f, 3, at, n, 3, at2, n2)
		case "path_link":
			g.want(want, f, 3, 0, at, n, 3, at2, n2)
		case "path_symlink":
			g.want(want, f, at, n, 3, at2, n2)
		}
	}
	kind := func(path string, follow uint64, want vfs.FileType) {
		t.Helper()
		at, n := g.path(path)
		g.want(0, "path_filestat_get", 3, follow, at, n, atResult)
		if got := vfs.FileType(g.mem[atResult+16]); got != want {
			t.Errorf("%s: got type %d, want %d", path, got, want)
		}
	}

	do(0, "path_create_directory", "w/dir")
	do(vfs.EEXIST, "path_create_directory", "w/dir")
	do(0, "path_create_directory", "w/dir/sub/")
	do(vfs.ENOENT, "path_create_directory", "w/none/sub")
	do(vfs.EEXIST, "path_create_directory", "w")
	do(vfs.EROFS, "path_create_directory", "r/new")
	do(vfs.EROFS, "path_create_directory", "new")
	kind("w/dir/sub", 0, vfs.TypeDirectory)

	do(vfs.ENOTEMPTY, "path_remove_directory", "w/dir")
	do(0, "path_remove_directory", "w/dir/sub/")
	do(vfs.EISDIR, "path_unlink_file", "w/dir")
	do(vfs.EBUSY, "path_remove_directory", "w")
	do(vfs.EBUSY, "path_remove_directory", "dev")
	do(vfs.EBUSY, "path_unlink_file", "dev/null")
	do(vfs.EROFS, "path_remove_directory", "r/dir")

	g.openPath("w/file", oCreate, readWrite, 0)
	do(vfs.ENOTDIR, "path_remove_directory", "w/file")
	do(vfs.ENOTDIR, "path_unlink_file", "w/file/")
	two(0, "path_link", "w/file", "w/hard")
	two(vfs.EEXIST, "path_link", "w/file", "w/hard")
	two(vfs.EXDEV, "path_link", "w/file", "r/hard2")
	two(vfs.ENOENT, "path_link", "w/none", "w/hard2")
	two(vfs.EPERM, "path_link", "w/dir", "w/hard2")
	two(vfs.ENOENT, "path_link", "w/file", "w/hard2/")
	kind("w/hard", 0, vfs.TypeRegular)
	if links := g.u64(atResult + 24); links != 2 {
		t.Errorf("got %d links, want 2", links)
	}

	two(0, "path_symlink", "file", "w/soft")
	kind("w/soft", 0, vfs.TypeSymlink)
	kind("w/soft", 1, vfs.TypeRegular)
	two(vfs.EEXIST, "path_symlink", "file", "w/soft")
	two(vfs.EPERM, "path_symlink", "/etc/passwd", "w/soft2")
	two(vfs.EPERM, "path_symlink", "dir/../../x", "w/soft2")
	two(vfs.ENOENT, "path_symlink", "file", "w/soft2/")
	two(vfs.EROFS, "path_symlink", "file", "r/soft2")
	two(vfs.EEXIST, "path_symlink", "file", "w")
	at, n := g.path("w/soft")
	g.want(0, "path_readlink", 3, at, n, atData, 100, atResult)
	if got := string(g.mem[atData : atData+g.u32(atResult)]); got != "file" {
		t.Errorf("got %q, want file", got)
	}
	g.want(0, "path_readlink", 3, at, n, atData, 2, atResult)
	if got := g.u32(atResult); got != 2 {
		t.Errorf("got %d bytes in a buffer of 2", got)
	}
	at, n = g.path("w/file")
	g.want(vfs.EINVAL, "path_readlink", 3, at, n, atData, 100, atResult)
	at, n = g.path("dev")
	g.want(vfs.EINVAL, "path_readlink", 3, at, n, atData, 100, atResult)

	at, n = g.path("w/soft")
	g.want(0, "path_filestat_set_times", 3, 1, at, n, 3e9, 4e9, setAccessed|setModified)
	g.want(0, "path_filestat_set_times", 3, 0, at, n, 5e9, 6e9, setAccessed|setModified)
	for path, want := range map[string]uint64{"w/file": 4e9, "w/soft": 6e9} {
		kind(path, 0, map[string]vfs.FileType{"w/file": vfs.TypeRegular, "w/soft": vfs.TypeSymlink}[path])
		if got := g.u64(atResult + 48); got != want {
			t.Errorf("%s: got modified at %d, want %d", path, got, want)
		}
	}
	at, n = g.path("r/file")
	g.want(vfs.EROFS, "path_filestat_set_times", 3, 1, at, n, 3e9, 4e9, setAccessed|setModified)

	two(0, "path_rename", "w/hard", "w/dir/moved")
	two(vfs.ENOENT, "path_rename", "w/hard", "w/dir/moved")
	two(0, "path_rename", "w/dir/moved", "w/file") // two names of one file: both stay
	two(0, "path_rename", "w/file", "w/dir/file")
	two(vfs.ENOTEMPTY, "path_rename", "w/dir/file", "w/dir") // Linux's word for an ancestor
	two(vfs.ENOTDIR, "path_rename", "w/dir/file/", "w/x")
	two(vfs.ENOTDIR, "path_rename", "w/dir/file", "w/x/")
	two(vfs.EXDEV, "path_rename", "w/dir/file", "w/../r/file")
	two(vfs.EBUSY, "path_rename", "w", "x")
	two(vfs.EBUSY, "path_rename", "w/dir", "r")
	two(vfs.EROFS, "path_rename", "r/dir", "r/x")
	two(vfs.EXDEV, "path_rename", "w/dir", "x")
	do(0, "path_create_directory", "w/empty")
	two(vfs.EISDIR, "path_rename", "w/dir/file", "w/empty")
	two(0, "path_rename", "w/dir/", "w/empty/")
	do(0, "path_create_directory", "w/dir2")
	two(vfs.ENOTEMPTY, "path_rename", "w/dir2", "w/empty")
	two(vfs.ENOTDIR, "path_rename", "w/dir2", "w/empty/file")
	two(vfs.EINVAL, "path_rename", "w/empty", "w/empty/sub")

	do(0, "path_unlink_file", "w/soft")
	do(vfs.ENOENT, "path_unlink_file", "w/soft")
	var left []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"dir2", "empty"}; err != nil || !slices.Equal(left, want) {
		t.Errorf("got %q, %v, want %q", left, err, want)
	}
}

// readdir calls fd_readdir once and returns the whole entries, whether the
// buffer was full, and the cookie behind the last whole entry.
func (g *guestProcess) readdir(fd uint64, size uint32, cookie uint64) (names []string, full bool, next uint64) {
	g.t.Helper()
	g.want(0, "fd_readdir", fd, atData, uint64(size), cookie, atResult)
	used := g.u32(atResult)
	next = cookie
	for b := g.mem[atData : atData+used]; len(b) >= 24; {
		n := le.Uint32(b[16:])
		if len(b) < 24+int(n) {
			break
		}
		names = append(names, string(b[24:24+n]))
		next = le.Uint64(b)
		b = b[24+n:]
	}
	return names, used == size, next
}

func (g *guestProcess) readdirAll(fd uint64, size uint32) []string {
	g.t.Helper()
	var all []string
	for cookie := uint64(0); ; {
		names, full, next := g.readdir(fd, size, cookie)
		all = append(all, names...)
		if !full {
			return all
		}
		if next == cookie {
			size *= 2 // not even one
		}
		cookie = next
	}
}

func TestReaddir(t *testing.T) {
	t.Parallel()
	g, dir := workspace(t)
	const files = 1000
	want := []string{".", ".."}
	for i := range files {
		name := fmt.Sprintf("file%03d%s", i, strings.Repeat("x", i%200))
		want = append(want, name)
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	fd := g.openPath("w", oDirectory, readOnly, 0)
	var first []string
	for _, size := range []uint32{1, 23, 24, 100, 1000, 4096, 32768} {
		got := g.readdirAll(fd, size)
		if first == nil {
			first = slices.Clone(got)
		}
		if !slices.Equal(got, first) {
			t.Errorf("with a buffer of %d: another order", size)
		}
		if got[0] != "." || got[1] != ".." {
			t.Errorf("with a buffer of %d: got %q first", size, got[:2])
		}
		if sorted := slices.Sorted(slices.Values(got)); !slices.Equal(sorted, want) {
			t.Errorf("with a buffer of %d: got %d names, want %d", size, len(got), len(want))
		}
	}
	// Any cookie can be gone back to.
	for _, cookie := range []uint64{500, 3, 999, 1, 0, 1001} {
		if names, _, _ := g.readdir(fd, 1000, cookie); names[0] != first[cookie] {
			t.Errorf("cookie %d: got %q, want %q", cookie, names[0], first[cookie])
		}
	}
	for _, cookie := range []uint64{files + 2, 1 << 40, math.MaxUint64 - 1, math.MaxUint64} {
		if names, full, _ := g.readdir(fd, 1000, cookie); len(names) > 0 || full {
			t.Errorf("cookie %d: got %q, want the end", cookie, names)
		}
	}
	if n := cap(g.files.get(uint32(fd)).entries.window); n > 2*listingWindow {
		t.Errorf("got a window of %d entries, want at most %d", n, 2*listingWindow)
	}
	// A removed entry hides no other one.
	seen := map[string]bool{}
	for cookie := uint64(0); ; {
		names, full, next := g.readdir(fd, 1000, cookie)
		for _, name := range names {
			if seen[name] = true; len(name) > 2 {
				at, n := g.path(name)
				g.want(0, "path_unlink_file", fd, at, n)
			}
		}
		if !full {
			break
		}
		cookie = next
	}
	if len(seen) != files+2 {
		t.Errorf("got %d names while removing them, want %d", len(seen), files+2)
	}
	if got := g.readdirAll(fd, 100); len(got) != 2 {
		t.Errorf("after removing all: got %q", got)
	}
	g.want(vfs.EFAULT, "fd_readdir", fd, outside, 2, 0, atResult)
	g.want(vfs.EFAULT, "fd_readdir", fd, atData, 2, 0, outside)
	g.want(0, "fd_readdir", fd, atData, 0, 0, atResult)
}

func TestReaddirEntries(t *testing.T) {
	t.Parallel()
	g, dir := workspace(t)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	at, n := g.path("w/file")
	g.want(0, "path_filestat_get", 3, 0, at, n, atResult)
	inode := g.u64(atResult + 8)
	at, n = g.path("w")
	g.want(0, "path_open", 3, 0, at, n, oDirectory, uint64(rightFDWrite|rightFDReaddir), 0, 0, atResult)
	fd := uint64(g.u32(atResult)) // also without the right to read
	g.want(0, "fd_readdir", fd, atData, 1000, 2, atResult)
	b := g.mem[atData:]
	if next, ino, n, kind := le.Uint64(b), le.Uint64(b[8:]), le.Uint32(b[16:]), b[20]; next != 3 || ino != inode || n != 4 || kind != byte(vfs.TypeRegular) {
		t.Errorf("got next %d, inode %d, length %d, type %d, want 3, %d, 4, %d", next, ino, n, kind, inode, vfs.TypeRegular)
	}
	if got := g.readdirAll(3, 1000); !slices.Equal(got, []string{".", "..", "dev", "r", "w"}) {
		t.Errorf("got %q in the root", got)
	}
}
