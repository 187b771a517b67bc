package vfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// tree builds a tree from mounts and returns its root as one call sees it.
func tree(t testing.TB, mounts map[string]FS) *Dir {
	t.Helper()
	built := new(Tree)
	for guestPath, fs := range mounts {
		if err := built.Mount(guestPath, fs); err != nil {
			t.Fatal(err)
		}
	}
	view := built.View()
	t.Cleanup(func() {
		if err := view.Close(context.Background()); err != nil {
			t.Errorf("closing the view: %v", err)
		}
	})
	return view.Root()
}

// hostTree makes a directory of the host with the given content. Names that end
// in "/" are directories, content that begins with "-> " is a link's target.
func hostTree(t testing.TB, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	names := make([]string, 0, len(content))
	for name := range content {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := makeFile(filepath.Join(dir, name), strings.HasSuffix(name, "/"), content[name]); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func makeFile(path string, dir bool, content string) error {
	if dir {
		return os.MkdirAll(path, 0o777)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	if target, ok := strings.CutPrefix(content, "-> "); ok {
		return os.Symlink(target, path)
	}
	return os.WriteFile(path, []byte(content), 0o666)
}

// read returns the content of a file.
func read(t testing.TB, dir *Dir, path string) (string, error) {
	t.Helper()
	f, err := dir.Open(t.Context(), path, Read)
	if err != nil {
		return "", err
	}
	defer f.Close(t.Context())
	reader, ok := f.(ReaderAt)
	if !ok {
		return fmt.Sprintf("%T", f), nil
	}
	p := make([]byte, 1000)
	n, err := reader.ReadAt(t.Context(), p, 0)
	if ErrnoOf(err) != Success {
		return "", err
	}
	return string(p[:n]), nil
}

// list returns the names in a directory, sorted, read in pages of the given
// size, with "/" after those of directories and "@" after those of links.
func list(t testing.TB, dir *Dir, path string, page int) ([]string, error) {
	t.Helper()
	f, err := dir.Open(t.Context(), path, Read|OnlyDirectory)
	if err != nil {
		return nil, err
	}
	defer f.Close(t.Context())
	l, err := f.(*Dir).List(t.Context())
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var names []string
	for entries := make([]Entry, page); ; {
		n, err := l.Next(t.Context(), entries)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			slices.Sort(names)
			return names, nil
		}
		for _, e := range entries[:n] {
			names = append(names, e.Name+map[FileType]string{TypeDirectory: "/", TypeSymlink: "@"}[e.Type])
		}
	}
}

func TestMount(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, path string
		want       string // in the error; "": none
	}{
		{"root", "/", ""},
		{"one level", "/data", ""},
		{"inside another", "/taken/by/me", ""},
		{"above another", "/deep", ""},
		{"strange but allowed", "/with space/…/.hidden", ""},
		{"taken", "/taken", "something is mounted there already"},
		{"relative", "data", "absolute path"},
		{"empty", "", "absolute path"},
		{"slash at the end", "/data/", "no slash at its end"},
		{"double slash", "/a//b", "no empty"},
		{"dot", "/a/./b", "no empty"},
		{"dot dot", "/a/../b", "no empty"},
		{"above the root", "/..", "no empty"},
		{"NUL", "/a\x00b", "EINVAL"},
		{"long component", "/" + strings.Repeat("x", MaxName+1), "ENAMETOOLONG"},
		{"long path", strings.Repeat("/x", MaxPath), "ENAMETOOLONG"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			tree := new(Tree)
			if err := tree.Mount("/taken", Null); err != nil {
				t.Fatal(err)
			}
			if err := tree.Mount("/deep/er", Null); err != nil {
				t.Fatal(err)
			}
			err := tree.Mount(test.path, Null)
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

func TestListing(t *testing.T) {
	t.Parallel()
	top := &HostDir{Path: hostTree(t, map[string]string{"file": "", "dir/": "", "over/lay": "hidden", "link": "-> file"})}
	inner := &HostDir{Path: hostTree(t, map[string]string{"inner": ""})}
	for _, test := range []struct {
		name   string
		mounts map[string]FS
		path   string
		want   []string
	}{
		{"empty tree", nil, ".", nil},
		{"a mount", map[string]FS{"/m": top}, "m", []string{"dir/", "file", "link@", "over/"}},
		{"mounted at the root", map[string]FS{"/": inner}, ".", []string{"inner"}},
		{"mount points", map[string]FS{"/a": inner, "/b": inner, "/c/d/e": inner}, ".", []string{"a/", "b/", "c/"}},
		{"ways to mount points", map[string]FS{"/c/d/e": inner, "/c/f": Null}, "c", []string{"d/", "f"}},
		{"mount point among entries", map[string]FS{"/": top, "/m": inner}, ".", []string{"dir/", "file", "link@", "m/", "over/"}},
		{"mount point over a directory", map[string]FS{"/": top, "/over": inner}, ".", []string{"dir/", "file", "link@", "over/"}},
		{"inside it", map[string]FS{"/": top, "/over": inner}, "over", []string{"inner"}},
		{"mount point in a directory of a mount", map[string]FS{"/": top, "/over/m": inner}, "over", []string{"lay", "m/"}},
		{"mount point where a mount has nothing", map[string]FS{"/": top, "/new/m": inner}, "new", []string{"m/"}},
		{"mount point behind a file of a mount", map[string]FS{"/": top, "/file/m": inner}, "file", []string{"m/"}},
		{"mount that can't be opened", map[string]FS{"/gone": &HostDir{Path: "/does/not/exist"}}, ".", []string{"gone"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, page := range []int{1, 2, 100} {
				got, err := list(t, tree(t, test.mounts), test.path, page)
				if err != nil || !slices.Equal(got, test.want) {
					t.Errorf("in pages of %d: got %q, %v, want %q", page, got, err, test.want)
				}
			}
		})
	}
}

// recorder is a mount that notes how it is used.
type recorder struct {
	opened, closed int
	names          []string
}

func (r *recorder) Root(context.Context) (Directory, error) {
	r.opened++
	return &recorderDir{r}, nil
}

type recorderDir struct {
	*recorder
}

func (r *recorderDir) Stat(context.Context) (Stat, error) { return Stat{Type: TypeDirectory}, nil }

func (r *recorderDir) Close(context.Context) error {
	r.closed++
	return nil
}

func (r *recorderDir) Open(_ context.Context, name string, _ OpenFlags) (File, error) {
	r.names = append(r.names, name)
	r.opened++
	return &recorderDir{r.recorder}, nil
}

func (r *recorderDir) Lookup(_ context.Context, name string, _ bool) (Stat, error) {
	r.names = append(r.names, name)
	return Stat{Type: TypeDirectory}, nil
}

func (r *recorderDir) List(context.Context) (Lister, error) { return nil, ENOTSUP }

func TestMountsAreOpenedWhenUsed(t *testing.T) {
	t.Parallel()
	var used, unused recorder
	built := NewTree()
	for path, fs := range map[string]FS{"/used": &used, "/unused": &unused} {
		if err := built.Mount(path, fs); err != nil {
			t.Fatal(err)
		}
	}
	view := built.View()
	root := view.Root()
	for range 3 {
		if _, err := root.Lookup(t.Context(), "used/x", true); err != nil {
			t.Fatal(err)
		}
	}
	f, err := root.Open(t.Context(), "used/x", Read)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second is harmless
		if err := f.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := view.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if used.opened != 2 || used.closed != 2 || unused.opened != 0 {
		t.Errorf("got %d opened and %d closed of the used, %d opened of the unused mount, want 2, 2, 0",
			used.opened, used.closed, unused.opened)
	}
	if _, err := root.Lookup(t.Context(), "dev/null", true); err != nil {
		t.Errorf("the tree is usable by the next view: %v", err)
	}
}

func TestDevices(t *testing.T) {
	t.Parallel()
	root := NewTree().View().Root()
	for _, test := range []struct {
		path string
		read bool
	}{{"dev/null", false}, {"dev/urandom", true}} {
		f, err := root.Open(t.Context(), test.path, Read|Write|Create|Truncate)
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 64)
		n, err := f.(Reader).Read(t.Context(), p)
		if want := map[bool]int{true: 64}[test.read]; n != want || err != nil {
			t.Errorf("reading %s: got %d, %v, want %d", test.path, n, err, want)
		}
		if test.read && strings.Count(string(p), "\x00") > 8 {
			t.Errorf("reading %s: got %x, want something random", test.path, p)
		}
		if n, err := f.(Writer).Write(t.Context(), p); n != len(p) || err != nil {
			t.Errorf("writing %s: got %d, %v, want %d", test.path, n, err, len(p))
		}
		if stat, err := f.Stat(t.Context()); stat.Type != TypeCharacterDevice || err != nil {
			t.Errorf("%s: got type %d, %v, want %d", test.path, stat.Type, err, TypeCharacterDevice)
		}
		if err := f.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	for _, test := range []struct {
		path  string
		flags OpenFlags
		want  Errno
	}{
		{"dev/null/x", Read, ENOTDIR},
		{"dev/null/", Read, ENOTDIR},
		{"dev/null", Read | OnlyDirectory, ENOTDIR},
		{"dev/null", Write | Create | Exclusive, EEXIST},
		{"dev/zero", Read, ENOENT},
		{"dev/zero", Write | Create, EROFS},
		{"dev", Write, EISDIR},
		{"dev", Read | Create | Exclusive, EEXIST},
	} {
		if _, err := root.Open(t.Context(), test.path, test.flags); err != test.want {
			t.Errorf("opening %s with flags %b: got %v, want %v", test.path, test.flags, err, test.want)
		}
	}
}
