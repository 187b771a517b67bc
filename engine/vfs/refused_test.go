package vfs

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestRefused: who wants to know is told what the tree doesn't have or can't change, and nothing of
// what only a mount doesn't have.
func TestRefused(t *testing.T) {
	t.Parallel()
	data := hostTree(t, map[string]string{"file": "x", "dir/": ""})
	built := NewTree()
	for path, fs := range map[string]FS{
		"/ro": &HostDir{Path: data}, "/rw": &HostDir{Path: data, Writable: true}, "/deep/in/rw": &HostDir{Path: data, Writable: true},
	} {
		if err := built.Mount(path, fs); err != nil {
			t.Fatal(err)
		}
	}
	view := built.View()
	defer view.Close(t.Context())
	var got []string
	view.Refused = func(path string, change bool) { got = append(got, fmt.Sprintf("%s %t", path, change)) }
	root := view.Root()
	in := func(path string) *Dir {
		f, err := root.Open(t.Context(), path, Read)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close(t.Context()) })
		return f.(*Dir)
	}
	opening := func(d *Dir, path string, flags OpenFlags) func() error {
		return func() error {
			f, err := d.Open(t.Context(), path, flags)
			if err == nil {
				err = f.Close(t.Context())
			}
			return err
		}
	}
	lookup := func(path string) func() error {
		return func() error { _, err := root.Lookup(t.Context(), path, true); return err }
	}
	deep, ro := in("deep"), in("ro/dir")
	for _, test := range []struct {
		name string
		do   func() error
		want []string
	}{
		{"read", opening(root, "etc/passwd", Read), []string{"/etc/passwd false"}},
		{"write", opening(root, "tmp/x", Write|Create), []string{"/tmp/x true"}},
		{"a directory", opening(root, "etc/ssl", Read|OnlyDirectory), []string{"/etc/ssl/ false"}},
		{"make at the root", opening(root, "x", Write|Create), []string{"/x true"}},
		{"look", lookup("etc//./x/../y/"), []string{"/etc/y/ false"}},
		{"beside a device", lookup("dev/tty"), []string{"/dev/tty false"}},
		{"on the way to a mount", opening(deep, "in/other", Read), []string{"/deep/in/other false"}},
		{"there", lookup("ro/file"), nil},
		{"not in a mount", lookup("ro/none"), nil},
		{"not in a mount on the way", lookup("deep/in/rw/none/x"), nil},
		{"nothing", lookup(""), nil},
		{"too long", lookup("x\x00"), nil},
		{"out of the tree", lookup("../x"), nil},
		{"change what is read-only", opening(root, "ro/file", Write), []string{"/ro/file true"}},
		{"in an open directory", opening(ro, "new", Write|Create), []string{"/ro/dir/new true"}},
		{"change", opening(root, "rw/new", Write|Create), nil},
		{"mkdir", func() error { return root.Mkdir(t.Context(), "ro/new") }, []string{"/ro/new true"}},
		{"mkdir nowhere", func() error { return root.Mkdir(t.Context(), "a/b") }, []string{"/a/b true"}},
		{"unlink", func() error { return root.Unlink(t.Context(), "ro/file") }, []string{"/ro/file true"}},
		{"rmdir", func() error { return root.Rmdir(t.Context(), "ro/dir") }, []string{"/ro/dir true"}},
		{"rename", func() error { return root.Rename(t.Context(), "ro/file", ro, "x") }, []string{"/ro/file true", "/ro/dir/x true"}},
		{"rename out of a mount", func() error { return root.Rename(t.Context(), "rw/file", root, "none/x") }, []string{"/none/x true"}},
		{"link", func() error { return root.Link(t.Context(), "none", root, "rw/x") }, []string{"/none true"}},
		{"symlink", func() error { return root.Symlink(t.Context(), "x", "ro/x") }, []string{"/ro/x true"}},
		{"readlink", func() error { _, err := root.Readlink(t.Context(), "proc/self/exe"); return err }, []string{"/proc/self/exe false"}},
		{"times", func() error { return root.SetTimesOf(t.Context(), "ro/file", true, time.Unix(1, 0), time.Time{}) }, []string{"/ro/file true"}},
	} {
		got = nil
		err := test.do()
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: told of %q, want %q (%v)", test.name, got, test.want, err)
		}
	}
	view.Refused = nil
	if err := lookup("etc")(); err != ENOENT {
		t.Errorf("got %v, want ENOENT", err)
	}
}
