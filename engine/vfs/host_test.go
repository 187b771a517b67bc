package vfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const secret = "what no guest may see"

// jail makes a directory with a neighbour that must stay out of reach, and
// returns both: outside/secret, outside/jail/….
func jail(t testing.TB, content map[string]string) (outside, inside string) {
	t.Helper()
	all := map[string]string{"secret": secret, "dir/secret": secret, "jail/": ""}
	for name, text := range content {
		all["jail/"+name] = text
	}
	outside = hostTree(t, all)
	return outside, filepath.Join(outside, "jail")
}

func TestEscapes(t *testing.T) {
	t.Parallel()
	outside, inside := jail(t, map[string]string{
		"file": "own", "dir/file": "own", "dir/sub/": "",
		"up": "-> ..", "up2": "-> dir/../..", "secret": "-> ../secret", "deep": "-> dir/sub/../../../secret",
		"etc": "-> /etc", "passwd": "-> /etc/passwd", "chain": "-> chain2", "chain2": "-> secret",
		"dir/up": "-> ../up", "fine": "-> dir/file", "dir/fine": "-> ../file", "loop": "-> loop2", "loop2": "-> loop",
	})
	if err := os.Symlink(filepath.Join(inside, "file"), filepath.Join(inside, "absolute")); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		path string
		want error  // nil: readable
		text string // of the file
	}{
		{"j/file", nil, "own"},
		{"j/fine", nil, "own"},
		{"j/dir/fine", nil, "own"},
		{"j/dir/../file", nil, "own"},
		{"j/dir/sub/../../fine", nil, "own"},
		{"j/absolute", EPERM, ""}, // absolute links aren't followed, wherever they lead
		{"j/up/secret", EPERM, ""},
		{"j/up2/secret", EPERM, ""},
		{"j/up/jail/file", EPERM, ""},
		{"j/secret", EPERM, ""},
		{"j/deep", EPERM, ""},
		{"j/chain", EPERM, ""},
		{"j/etc/passwd", EPERM, ""},
		{"j/passwd", EPERM, ""},
		{"j/dir/up/secret", EPERM, ""},
		{"j/up", EPERM, ""},
		{"j/etc", EPERM, ""},
		{"j/fine/../../../secret", EPERM, ""},
		{"j/../secret", ENOENT, ""},
		{"j/loop", ELOOP, ""},
	} {
		for _, writable := range []bool{true, false} {
			dir := tree(t, map[string]FS{"/j": &HostDir{Path: inside, Writable: writable}})
			if got, err := read(t, dir, test.path); err != test.want || got != test.text {
				t.Errorf("%s: got %q, %v, want %q, %v", test.path, got, err, test.text, test.want)
			}
			if test.want == nil || test.want == ENOENT {
				continue
			}
			if _, err := dir.Lookup(t.Context(), test.path, true); err != test.want {
				t.Errorf("looking up %s: got %v, want %v", test.path, err, test.want)
			}
			for _, name := range []string{test.path, test.path + "/new"} {
				if f, err := dir.Open(t.Context(), name, Write|Create|Truncate); err == nil {
					f.Close(t.Context())
					t.Errorf("opened %s for writing", name)
				}
			}
			for what, err := range map[string]error{
				"mkdir":       dir.Mkdir(t.Context(), test.path+"/new"),
				"unlink":      dir.Unlink(t.Context(), test.path+"/secret"),
				"rmdir":       dir.Rmdir(t.Context(), test.path+"/dir"),
				"rename from": dir.Rename(t.Context(), test.path+"/secret", dir, "j/stolen"),
				"rename to":   dir.Rename(t.Context(), "j/file", dir, test.path+"/new"),
				"link from":   dir.Link(t.Context(), test.path+"/secret", dir, "j/stolen"),
				"link to":     dir.Link(t.Context(), "j/file", dir, test.path+"/new"),
				"symlink":     dir.Symlink(t.Context(), "x", test.path+"/new"),
				"times":       dir.SetTimesOf(t.Context(), test.path+"/secret", true, time.Unix(1, 0), time.Unix(1, 0)),
			} {
				if err == nil {
					t.Errorf("%s through %s succeeded", what, test.path)
				}
			}
		}
	}
	for name, want := range map[string]string{"secret": secret, "dir/secret": secret, "jail/file": "own"} {
		if got, err := os.ReadFile(filepath.Join(outside, name)); string(got) != want || err != nil {
			t.Errorf("on the host, %s: got %q, %v", name, got, err)
		}
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 3 {
		t.Errorf("on the host: got %v, %v, want dir, jail and secret", entries, err)
	}
}

// A link that a guest made stays harmless whatever it is moved to, also to
// programs of the host that follow it without a jail.
func TestGuestLinksStayInside(t *testing.T) {
	t.Parallel()
	_, inside := jail(t, map[string]string{"a/b/c/": "", "file": "own"})
	dir := tree(t, map[string]FS{"/": &HostDir{Path: inside, Writable: true}})
	for _, test := range []struct {
		target string
		want   error
	}{
		{"file", nil}, {"x/y/z", nil}, {"./file", nil}, {"..file", nil}, {"...", nil},
		{"/etc/passwd", EPERM}, {"/", EPERM}, {"//etc", EPERM},
		{"..", EPERM}, {"../x", EPERM}, {"x/../y", EPERM}, {"x/..", EPERM},
		{"", ENOENT}, {"x\x00y", EINVAL}, {strings.Repeat("x/", MaxPath/2+1), ENAMETOOLONG},
	} {
		err := dir.Symlink(t.Context(), test.target, "a/b/c/link")
		if err != test.want {
			t.Errorf("%q: got %v, want %v", test.target, err, test.want)
		}
		if err != nil {
			continue
		}
		if got, err := dir.Readlink(t.Context(), "a/b/c/link"); got != test.target || err != nil {
			t.Errorf("%q: read back %q, %v", test.target, got, err)
		}
		if err := dir.Unlink(t.Context(), "a/b/c/link"); err != nil {
			t.Error(err)
		}
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	_, inside := jail(t, map[string]string{"file": "own", "dir/": "", "link": "-> file"})
	before := snapshot(t, inside)
	dir := tree(t, map[string]FS{"/ro": &HostDir{Path: inside}})
	for _, flags := range []OpenFlags{Write, Read | Write, Append, Create, Create | Exclusive, Truncate, Read | Truncate} {
		for _, name := range []string{"ro/file", "ro/new", "ro/dir", "ro/link", "ro/dir/new"} {
			if _, err := dir.Open(t.Context(), name, flags); err != EROFS {
				t.Errorf("opening %s with %b: got %v, want EROFS", name, flags, err)
			}
		}
	}
	now := time.Now()
	for what, err := range map[string]error{
		"mkdir":         dir.Mkdir(t.Context(), "ro/new"),
		"unlink":        dir.Unlink(t.Context(), "ro/file"),
		"rmdir":         dir.Rmdir(t.Context(), "ro/dir"),
		"rename":        dir.Rename(t.Context(), "ro/file", dir, "ro/new"),
		"link":          dir.Link(t.Context(), "ro/file", dir, "ro/new"),
		"symlink":       dir.Symlink(t.Context(), "file", "ro/new"),
		"times":         dir.SetTimesOf(t.Context(), "ro/file", true, now, now),
		"times of link": dir.SetTimesOf(t.Context(), "ro/link", false, now, now),
		"times of root": dir.SetTimesOf(t.Context(), "ro", false, now, now),
	} {
		if err != EROFS {
			t.Errorf("%s: got %v, want EROFS", what, err)
		}
	}
	sub, err := dir.Open(t.Context(), "ro/dir", Read)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close(t.Context())
	if err := sub.(*Dir).Mkdir(t.Context(), "new"); err != EROFS {
		t.Errorf("mkdir in an open directory: got %v, want EROFS", err)
	}
	if err := sub.(*Dir).SetTimes(t.Context(), now, now); err != EROFS {
		t.Errorf("times of an open directory: got %v, want EROFS", err)
	}
	// A file opened for reading can't be changed either.
	f, err := dir.Open(t.Context(), "ro/file", Read)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(t.Context())
	if err := f.(TimeSetter).SetTimes(t.Context(), now, now); err != EROFS {
		t.Errorf("times of an open file: got %v, want EROFS", err)
	}
	for _, can := range []bool{is[WriterAt](f), is[Appender](f), is[Truncater](f), is[Writer](f)} {
		if can {
			t.Errorf("%T can be changed", f)
		}
	}
	if after := snapshot(t, inside); !slices.Equal(before, after) {
		t.Errorf("got  %v\nwant %v", after, before)
	}
}

func is[T any](v any) bool {
	_, ok := v.(T)
	return ok
}

// snapshot lists a directory with all that a guest must not change.
func snapshot(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			all = append(all, fmt.Sprint(path, info.Size(), info.Mode(), info.ModTime()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Others swap a directory for a link to the outside, as fast as they can, while
// guests do everything they can think of with it.
func TestLinkSwapRace(t *testing.T) {
	t.Parallel()
	outside, inside := jail(t, map[string]string{"real/secret": "own", "real/sub/secret": "own", "file": "own"})
	if err := os.Symlink("..", filepath.Join(inside, "evil")); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	var swapping sync.WaitGroup
	swapping.Go(func() {
		at, real, evil := filepath.Join(inside, "swap"), filepath.Join(inside, "real"), filepath.Join(inside, "evil")
		for {
			select {
			case <-stop:
				return
			default:
			}
			for _, from := range []string{real, evil} {
				_ = os.Rename(from, at)
				runtime.Gosched()
				_ = os.Rename(at, from)
			}
		}
	})
	var guests sync.WaitGroup
	deadline := time.Now().Add(time.Second)
	for range 4 {
		guests.Go(func() {
			for i := 0; time.Now().Before(deadline); i++ {
				attack(t, &HostDir{Path: inside, Writable: true}, i)
			}
		})
	}
	guests.Wait()
	close(stop)
	swapping.Wait()
	for name, want := range map[string]string{"secret": secret, "dir/secret": secret} {
		if got, err := os.ReadFile(filepath.Join(outside, name)); string(got) != want || err != nil {
			t.Errorf("on the host, %s: got %q, %v", name, got, err)
		}
	}
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 3 {
		t.Errorf("on the host: got %v, %v, want dir, jail and secret", entries, err)
	}
	if info, err := os.Stat(filepath.Join(outside, "secret")); err != nil || info.ModTime().Unix() == 1 {
		t.Errorf("on the host: got %v, %v, want the times unchanged", info, err)
	}
}

// attack is one call of a guest that wants out through "swap", which is a
// directory at one moment and a link to the outside at the next. Errors are
// expected, success outside is not.
func attack(t *testing.T, fs FS, i int) {
	ctx := context.Background()
	built := new(Tree)
	if err := built.Mount("/j", fs); err != nil {
		t.Error(err)
	}
	view := built.View()
	defer view.Close(ctx)
	dir := view.Root()
	for _, name := range []string{"j/swap/secret", "j/swap/sub/../secret", "j/swap/dir/secret"} {
		if f, err := dir.Open(ctx, name, Read); err == nil {
			p := make([]byte, 100)
			n, _ := f.(ReaderAt).ReadAt(ctx, p, 0)
			if string(p[:n]) == secret {
				t.Errorf("read %s of the outside", name)
			}
			f.Close(ctx)
		}
	}
	if f, err := dir.Open(ctx, "j/swap", Read); err == nil {
		if d, ok := f.(*Dir); ok {
			if stat, err := d.Lookup(ctx, "jail", false); err == nil {
				t.Errorf("got a handle on the outside: it has the jail in it, %v", stat)
			}
		}
		f.Close(ctx)
	}
	new := fmt.Sprintf("j/swap/new%d", i%3)
	if f, err := dir.Open(ctx, new, Write|Create|Truncate); err == nil {
		f.Close(ctx)
	}
	_ = dir.Mkdir(ctx, new)
	_ = dir.Symlink(ctx, "x", new)
	_ = dir.Link(ctx, "j/file", dir, new)
	_ = dir.Rename(ctx, new, dir, "j/swap/sub/new")
	_ = dir.Link(ctx, "j/swap/dir/secret", dir, "j/stolen")
	_ = dir.Rename(ctx, "j/swap/dir", dir, "j/stolen")
	_ = dir.SetTimesOf(ctx, "j/swap/secret", i%2 == 0, time.Unix(1, 0), time.Unix(1, 0))
	_ = dir.Unlink(ctx, "j/swap/dir/secret")
	_ = dir.Unlink(ctx, new)
	_ = dir.Rmdir(ctx, new)
	if got, err := read(t, dir, "j/stolen"); err == nil && got == secret {
		t.Error("linked or moved something from the outside")
	}
}

// Calls that append to one file at the same time lose nothing.
func TestConcurrentAppend(t *testing.T) {
	t.Parallel()
	_, inside := jail(t, nil)
	fs := &HostDir{Path: inside, Writable: true}
	const writers, lines = 8, 200
	var all sync.WaitGroup
	for w := range writers {
		all.Go(func() {
			ctx := context.Background()
			root, err := fs.Root(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			defer root.Close(ctx)
			f, err := root.Open(ctx, "log", Write|Append|Create)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close(ctx)
			for i := range lines {
				line := fmt.Sprintf("%d-%d\n", w, i)
				if n, end, err := f.(Appender).Append(ctx, []byte(line)); n != len(line) || end < int64(n) || err != nil {
					t.Errorf("got %d, %d, %v", n, end, err)
				}
			}
		})
	}
	all.Wait()
	got, err := os.ReadFile(filepath.Join(inside, "log"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(got)) {
		seen[line] = true
	}
	if len(seen) != writers*lines {
		t.Errorf("got %d lines, want %d", len(seen), writers*lines)
	}
}

// What a call opened is closed with it, whatever it did.
func TestNoDescriptorsLeft(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("counts descriptors in /proc")
	}
	_, inside := jail(t, map[string]string{"dir/file": "own", "link": "-> /etc"})
	fs := &HostDir{Path: inside, Writable: true}
	before := hostDescriptors(t)
	for i := range 100 {
		built := new(Tree)
		if err := errors.Join(built.Mount("/j", fs), built.Mount("/j/dir/in", fs), built.Mount("/gone", &HostDir{Path: "/does/not/exist"})); err != nil {
			t.Fatal(err)
		}
		view := built.View()
		dir := view.Root()
		for _, name := range []string{"j", "j/dir", "j/dir/file", "j/dir/in/dir", "j/link", "gone/x", "j/none", "."} {
			f, err := dir.Open(t.Context(), name, Read)
			if err != nil {
				continue
			}
			if d, ok := f.(*Dir); ok {
				_, _ = d.Lookup(t.Context(), "file", true)
				if l, err := d.List(t.Context()); err == nil {
					_, _ = l.Next(t.Context(), make([]Entry, 1))
					l.Close()
				}
			}
			if err := f.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		_ = dir.Rename(t.Context(), "j/dir/file", dir, fmt.Sprintf("j/dir/%d", i))
		_ = dir.Rename(t.Context(), fmt.Sprintf("j/dir/%d", i), dir, "j/dir/file")
		_ = dir.Link(t.Context(), "j/dir/file", dir, "j/link/x")
		if err := view.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if after := hostDescriptors(t); after > before {
		t.Errorf("got %d descriptors, want %d as before", after, before)
	}
}

func hostDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// An open directory stays the same one when it is renamed.
func TestDirectoriesAreHandles(t *testing.T) {
	t.Parallel()
	_, inside := jail(t, map[string]string{"a/file": "in a", "b/": ""})
	dir := tree(t, map[string]FS{"/j": &HostDir{Path: inside, Writable: true}})
	open := func(name string) *Dir {
		f, err := dir.Open(t.Context(), name, Read)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close(context.Background()) })
		return f.(*Dir)
	}
	a, b := open("j/a"), open("j/b")
	if err := dir.Rename(t.Context(), "j/a", dir, "j/moved"); err != nil {
		t.Fatal(err)
	}
	if got, err := read(t, a, "file"); got != "in a" || err != nil {
		t.Errorf("got %q, %v, want the file of the directory that was moved", got, err)
	}
	if _, err := read(t, dir, "j/a/file"); err != ENOENT {
		t.Errorf("got %v, want ENOENT", err)
	}
	if err := dir.Symlink(t.Context(), "b", "j/link"); err != nil {
		t.Fatal(err)
	}
	err := a.Rename(t.Context(), "file", b, "file")
	if want := betweenHandles; err != want {
		t.Errorf("renaming from one open directory to another: got %v, want %v", err, want)
	}
	if err := b.Rename(t.Context(), "none", dir, "j/none"); err != ENOENT && err != EXDEV {
		t.Errorf("got %v, want ENOENT", err)
	}
}

func TestManyEntries(t *testing.T) {
	t.Parallel()
	_, inside := jail(t, nil)
	var want []string
	for i := range 3000 {
		name := fmt.Sprintf("%04d-%s", i, strings.Repeat("x", i%100))
		want = append(want, name)
		if err := os.WriteFile(filepath.Join(inside, name), nil, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	dir := tree(t, map[string]FS{"/": &HostDir{Path: inside}})
	for _, page := range []int{1, 7, 128, 5000} {
		if got, err := list(t, dir, ".", page); err != nil || !slices.Equal(got, want) {
			t.Errorf("in pages of %d: got %d, %v, want %d", page, len(got), err, len(want))
		}
	}
}

func TestHostDirThatIsNone(t *testing.T) {
	t.Parallel()
	_, inside := jail(t, map[string]string{"file": ""})
	for path, want := range map[string]error{
		filepath.Join(inside, "none"): ENOENT,
		filepath.Join(inside, "file"): ENOTDIR,
		"":                            ENOENT,
	} {
		_, err := tree(t, map[string]FS{"/j": &HostDir{Path: path}}).Lookup(t.Context(), "j/x", true)
		if err != want {
			t.Errorf("%q: got %v, want %v", path, err, want)
		}
	}
}
