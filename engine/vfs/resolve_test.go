package vfs

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		from   string // the directory the path is relative to
		path   string
		want   error
		mount  string // the mount it leads into; "": the tree's own
		inside string // the name the mount is asked for
	}{
		{"mount", ".", "a", nil, "/a", "."},
		{"in a mount", ".", "a/x", nil, "/a", "x"},
		{"deep in a mount", ".", "a/x/y/z", nil, "/a", "x/y/z"},
		{"slashes and dots", ".", "./a//./x/.//y/.", nil, "/a", "x/y"},
		{"slash at the end", ".", "a/x/", nil, "/a", "x"},
		{"root", ".", ".", nil, "", ""},
		{"root with slash", ".", "./", nil, "", ""},
		{"way to a mount", ".", "way", nil, "", ""},
		{"mount behind it", ".", "way/to/b/x", nil, "/way/to/b", "x"},
		{"mount in a mount", ".", "a/in/x", nil, "/a/in", "x"},
		{"beside it", ".", "a/inn/x", nil, "/a", "inn/x"},
		{"way to a mount in a mount", ".", "a/deep", nil, "/a", "deep"},
		{"beside that mount", ".", "a/deep/x", nil, "/a", "deep/x"},
		{"that mount", ".", "a/deep/in/x", nil, "/a/deep/in", "x"},

		{"up in a mount is the mount's business", ".", "a/x/../y", nil, "/a", "x/../y"},
		{"several times", ".", "a/x/y/../../z", nil, "/a", "x/y/../../z"},
		{"up to the mount's root", ".", "a/x/..", nil, "/a", "x/.."},
		{"out of a mount", ".", "a/..", nil, "", ""},
		{"out and into another", ".", "a/x/../../way/to/b/y", nil, "/way/to/b", "y"},
		{"out of a mount in a mount", ".", "a/in/x/../../y", nil, "/a", "y"},
		{"out of it to where it began", ".", "a/x/../in/../y", nil, "/a", "x/../y"},
		{"into a mount past a component taken back", ".", "a/x/../in/y", nil, "/a/in", "y"},
		{"up in the tree", ".", "way/to/../../a", nil, "/a", "."},

		{"above the root", ".", "..", EPERM, "", ""},
		{"above it from inside", ".", "a/../..", EPERM, "", ""},
		{"above it and back", ".", "a/../../a", EPERM, "", ""},
		{"absolute", ".", "/a", EPERM, "", ""},
		{"absolute root", ".", "/", EPERM, "", ""},
		{"above a directory", "a/x", "..", EPERM, "", ""},
		{"above a directory and back", "a/x", "../x", EPERM, "", ""},
		{"above a directory from inside", "a/x", "y/../../z", EPERM, "", ""},
		{"above a mount", "a", "../way", EPERM, "", ""},
		{"in a directory", "a/x", "y/../z", nil, "/a", "y/../z"},
		{"mount in a directory", "a", "in/x", nil, "/a/in", "x"},
		{"mount in a way", "way", "to/b", nil, "/way/to/b", "."},

		{"empty", ".", "", ENOENT, "", ""},
		{"NUL", ".", "a/x\x00y", EINVAL, "", ""},
		{"nothing there", ".", "none/x", ENOENT, "", ""},
		{"back from nothing", ".", "none/..", ENOENT, "", ""},
		{"longest component", ".", "a/" + strings.Repeat("x", MaxName), nil, "/a", strings.Repeat("x", MaxName)},
		{"longer", ".", "a/" + strings.Repeat("x", MaxName+1), ENAMETOOLONG, "", ""},
		{"longest path", ".", "a" + strings.Repeat("/", MaxPath-1), nil, "/a", "."},
		{"longer", ".", "a" + strings.Repeat("/", MaxPath), ENAMETOOLONG, "", ""},
		{"as many components as fit", ".", "a" + strings.Repeat("/x", MaxPath/2), nil, "/a", strings.Repeat("x/", MaxPath/2-1) + "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			mounts := map[string]FS{}
			for _, at := range []string{"/a", "/a/in", "/a/deep/in", "/way/to/b"} {
				mounts[at] = new(recorder)
			}
			dir := tree(t, mounts)
			if test.from != "." {
				f, err := dir.Open(t.Context(), test.from, Read)
				if err != nil {
					t.Fatal(err)
				}
				dir = f.(*Dir)
				defer dir.Close(t.Context())
			}
			got, err := dir.resolve(t.Context(), test.path)
			if !errors.Is(err, test.want) && err != test.want {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			if err != nil {
				return
			}
			mount, inside := "", ""
			if got.base != nil {
				inside = got.name()
				for at, fs := range mounts {
					if got.mount.fs == fs {
						mount = at
					}
				}
			}
			if mount != test.mount || inside != test.inside {
				t.Errorf("got %q in %q, want %q in %q", inside, mount, test.inside, test.mount)
			}
		})
	}
}

// FuzzResolve compares resolve with a lexical oracle and checks what mounts are
// promised about names.
func FuzzResolve(f *testing.F) {
	for _, seed := range []string{
		"a", "a/x/../y", "a/../../b", "a/in/../x/../../way/to/b", "/etc/passwd", "../..", "a//./x/", "way/..", "a/deep/in/..",
		"\x00", "a/..\\..", "a/%2e%2e/x", "a/\xff", strings.Repeat("a/../", 500), strings.Repeat("../", 500), strings.Repeat("x", 300),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, p string) {
		mounts := map[string]FS{}
		for _, at := range []string{"/a", "/a/in", "/a/deep/in", "/way/to/b"} {
			mounts[at] = new(recorder)
		}
		dir := tree(t, mounts)
		got, err := dir.resolve(t.Context(), p)
		leaves := strings.HasPrefix(p, "/") || climbs(p)
		if leaves && err == nil {
			t.Fatalf("%q leaves the root and was resolved to %q", p, got.name())
		}
		if !leaves && err == EPERM {
			t.Fatalf("%q stays in the root and was refused", p)
		}
		if err == nil && got.base != nil {
			checkName(t, got.name())
			// Where the path is lexically is where it leads.
			lexical := path.Join("/", p)
			at := mountPath(mounts, got.mount.fs)
			if want := path.Join(at, got.name()); want != lexical {
				t.Errorf("%q leads to %q, want %q", p, want, lexical)
			}
		}
		for _, fs := range mounts {
			for _, name := range fs.(*recorder).names {
				checkName(t, name)
			}
		}
		// No method takes a path that resolve does not.
		for _, err := range everyMethod(t.Context(), dir, p) {
			if leaves && err == nil {
				t.Errorf("%q leaves the root and was not refused", p)
			}
		}
	})
}

// climbs says whether a relative path ever is above where it began.
func climbs(p string) bool {
	depth := 0
	for _, c := range strings.Split(p, "/") {
		switch c {
		case "", ".":
		case "..":
			if depth--; depth < 0 {
				return true
			}
		default:
			depth++
		}
	}
	return false
}

func mountPath(mounts map[string]FS, fs FS) string {
	for at, mounted := range mounts {
		if mounted == fs {
			return at
		}
	}
	return "?"
}

// checkName checks what [Directory] promises.
func checkName(t *testing.T, name string) {
	t.Helper()
	if name == "." {
		return
	}
	parts := strings.Split(name, "/")
	if len(name) > MaxPath || strings.Contains(name, "\x00") || slices.Contains(parts, "") || slices.Contains(parts, ".") || climbs(name) {
		t.Errorf("a mount was given the name %q", name)
	}
}

func everyMethod(ctx context.Context, d *Dir, p string) []error {
	_, open := d.Open(ctx, p, Read)
	_, lookup := d.Lookup(ctx, p, true)
	_, readlink := d.Readlink(ctx, p)
	return []error{
		open, lookup, readlink, d.Mkdir(ctx, p), d.Unlink(ctx, p), d.Rmdir(ctx, p), d.Symlink(ctx, "x", p),
		d.Rename(ctx, p, d, "a/y"), d.Rename(ctx, "a/y", d, p), d.Link(ctx, p, d, "a/y"), d.Link(ctx, "a/y", d, p),
	}
}
