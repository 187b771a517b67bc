package tmp

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

// rootOf returns the root of a new tree, closed when the test ends.
func rootOf(t testing.TB, fs vfs.FS) *rootDirectory {
	t.Helper()
	d, err := fs.Root(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return d.(*rootDirectory)
}

// limited gives a tree a budget, as that of a call is.
func limited(d *rootDirectory, limit int64) *engine.Budget {
	b := engine.NewBudget(limit)
	s := &d.tree.space
	s.budget = b
	b.Take(s.reserved)
	return b
}

func open(t testing.TB, d vfs.Directory, name string, flags vfs.OpenFlags) *file {
	t.Helper()
	f, err := d.Open(context.Background(), name, flags)
	if err != nil {
		t.Fatalf("opening %s: %v", name, err)
	}
	return f.(*file)
}

func put(t testing.TB, d vfs.Directory, name, text string) {
	t.Helper()
	f := open(t, d, name, vfs.Write|vfs.Create)
	if n, err := f.WriteAt(context.Background(), []byte(text), 0); n != len(text) || err != nil {
		t.Fatalf("writing %s: got %d, %v", name, n, err)
	}
	if err := f.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func listed(t testing.TB, d vfs.Directory) (all []string) {
	t.Helper()
	l, err := d.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	entries := make([]vfs.Entry, 7)
	for {
		n, err := l.Next(context.Background(), entries)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return all
		}
		for _, e := range entries[:n] {
			all = append(all, e.Name)
		}
	}
}

// TestCallsAreApart: each call finds the directory empty, before and after others have ended.
func TestCallsAreApart(t *testing.T) {
	t.Parallel()
	fs := newScratch("/tmp", 1<<20)
	one, other := rootOf(t, fs), rootOf(t, fs)
	put(t, one, "secret", "what no other call may see")
	if got := listed(t, other); len(got) != 0 {
		t.Errorf("got %q, want nothing", got)
	}
	if _, err := other.Lookup(t.Context(), "secret", true); err != vfs.ENOENT {
		t.Errorf("got %v, want ENOENT", err)
	}
	if err := other.Rename(t.Context(), "x", one, "y"); err != vfs.EXDEV {
		t.Errorf("from one call into another: got %v, want EXDEV", err)
	}
	after, err := fs.Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, after, "secret", "x")
	if err := after.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := listed(t, rootOf(t, fs)); len(got) != 0 {
		t.Errorf("after the call: got %q, want nothing", got)
	}
}

// TestNothingLeftInPages: what a call has not written reads as zeros, though the memory was used
// by another.
func TestNothingLeftInPages(t *testing.T) {
	t.Parallel()
	fs := newScratch("/tmp", 8<<20)
	secret := bytes.Repeat([]byte("secret"), 100_000)
	for _, free := range []string{"close", "unlink", "truncate", "overwrite"} {
		for range 3 {
			first, err := fs.Root(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			put(t, first, "f", string(secret))
			switch free {
			case "unlink":
				err = first.(vfs.Editor).Unlink(t.Context(), "f")
			case "truncate", "overwrite":
				f := open(t, first, "f", vfs.Read|vfs.Write)
				if free == "truncate" {
					err = f.Truncate(t.Context(), 5)
				} else {
					err = open(t, first, "f", vfs.Write|vfs.Truncate).Close(t.Context())
				}
				_ = f.Truncate(t.Context(), int64(len(secret)))
				p := make([]byte, len(secret))
				n, _ := f.ReadAt(t.Context(), p, 5)
				if n != len(p)-5 || len(bytes.Trim(p[:n], "\x00")) > 0 {
					t.Errorf("%s: %d bytes read, not all of them zero", free, n)
				}
				_ = f.Close(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := first.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			second := rootOf(t, fs)
			f := open(t, second, "f", vfs.Read|vfs.Write|vfs.Create)
			for at := int64(0); at < 1<<20; at += pageSize {
				if _, err := f.WriteAt(t.Context(), []byte{'x'}, at+100); err != nil {
					t.Fatal(err)
				}
			}
			p := make([]byte, 1<<20)
			n, _ := f.ReadAt(t.Context(), p, 0)
			if rest := bytes.Trim(bytes.ReplaceAll(p[:n], []byte("x"), nil), "\x00"); len(rest) > 0 {
				t.Fatalf("%s: found %.20q of another call", free, rest)
			}
			_ = f.Close(t.Context())
		}
	}
}

func TestFull(t *testing.T) {
	t.Parallel()
	const size = 256 << 10
	for _, test := range []struct {
		name string
		fill func(d *rootDirectory, i int) error
	}{
		{"one file", func(d *rootDirectory, i int) error {
			f := open(t, d, "f", vfs.Write|vfs.Create)
			defer f.Close(t.Context())
			p := make([]byte, 10_000)
			n, _, err := f.Append(t.Context(), p)
			if err == nil && n < len(p) {
				t.Errorf("got %d of %d bytes written, and no error", n, len(p))
			}
			return err
		}},
		{"holes", func(d *rootDirectory, i int) error {
			f := open(t, d, "f", vfs.Write|vfs.Create)
			defer f.Close(t.Context())
			_, err := f.WriteAt(t.Context(), []byte("x"), int64(i)<<40)
			return err
		}},
		{"files", func(d *rootDirectory, i int) error {
			f, err := d.Open(t.Context(), fmt.Sprint(i), vfs.Write|vfs.Create)
			if err == nil {
				err = f.Close(t.Context())
			}
			return err
		}},
		{"directories", func(d *rootDirectory, i int) error { return d.Mkdir(t.Context(), fmt.Sprint(i)) }},
		{"links", func(d *rootDirectory, i int) error {
			return d.Symlink(t.Context(), strings.Repeat("x", 1000), fmt.Sprint(i))
		}},
		{"names of one file", func(d *rootDirectory, i int) error {
			if i == 0 {
				put(t, d, "0", "")
				return nil
			}
			return d.Link(t.Context(), "0", d, fmt.Sprint(i))
		}},
		{"unlinked files", func(d *rootDirectory, i int) error {
			f, err := d.Open(t.Context(), "f", vfs.Write|vfs.Create)
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = f.Close(context.Background()) })
			_, _, err = f.(*file).Append(t.Context(), []byte("x"))
			if err == nil {
				err = d.Unlink(t.Context(), "f")
			}
			return err
		}},
		{"longer names", func(d *rootDirectory, i int) error {
			put(t, d, fmt.Sprint(i), "")
			return d.Rename(t.Context(), fmt.Sprint(i), d, fmt.Sprintf("%d%s", i, strings.Repeat("x", 240)))
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := rootOf(t, newScratch("/", size))
			budget := limited(d, 0)
			var err error
			i := 0
			for ; err == nil && i < size; i++ {
				if test.name == "longer names" && d.tree.space.limit-d.tree.space.used < 600 {
					break
				}
				err = test.fill(d, i)
			}
			if test.name != "longer names" && err != vfs.ENOSPC {
				t.Errorf("after %d: got %v, want ENOSPC", i, err)
			}
			if i < 10 {
				t.Errorf("got room for %d only", i)
			}
			if used := d.tree.space.used; used > size || used < size-6000 {
				t.Errorf("%d bytes are in use, want about %d", used, size)
			}
			if got := budget.Used(); got != d.tree.space.reserved || got < d.tree.space.used || got > size {
				t.Errorf("%d bytes are reserved, for %d in use", got, d.tree.space.used)
			}
			for _, name := range listed(t, d) {
				if stat, _ := d.Lookup(t.Context(), name, false); stat.Type == vfs.TypeDirectory {
					err = d.Rmdir(t.Context(), name)
				} else {
					err = d.Unlink(t.Context(), name)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if used := d.tree.space.used; test.name != "unlinked files" && used != costInode+costDirectory {
				t.Errorf("emptied, %d bytes are in use", used)
			}
			if test.name != "unlinked files" && budget.Used() > 5*chunk {
				t.Errorf("emptied, %d bytes are reserved", budget.Used())
			}
		})
	}
}

// TestUnlinkedFileStays: until it is closed; then its space is there again.
func TestUnlinkedFileStays(t *testing.T) {
	t.Parallel()
	d := rootOf(t, newScratch("/", 1<<20))
	before := d.tree.space.used
	put(t, d, "f", "content")
	f := open(t, d, "f", vfs.Read)
	if err := d.Unlink(t.Context(), "f"); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 20)
	if n, err := f.ReadAt(t.Context(), p, 0); string(p[:n]) != "content" || err != nil {
		t.Errorf("got %q, %v", p[:n], err)
	}
	if s, _ := f.Stat(t.Context()); s.Links != 0 {
		t.Errorf("got %d links, want none", s.Links)
	}
	if d.tree.space.used == before {
		t.Error("it takes no space")
	}
	if err := f.Close(t.Context()); err != nil || d.tree.space.used != before {
		t.Errorf("closed: got %v and %d bytes in use, want %d", err, d.tree.space.used, before)
	}
}

// TestBudget: what is shared by all functions bounds it too, and is given back by the end of
// the call.
func TestBudget(t *testing.T) {
	t.Parallel()
	d, err := newScratch("/", 1<<20).Root(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	budget := limited(d.(*rootDirectory), 100_000)
	f := open(t, d, "f", vfs.Write|vfs.Create)
	n, err := f.WriteAt(t.Context(), make([]byte, 1<<20), 0)
	if err != vfs.ENOSPC || n < 80_000 || n > 100_000 {
		t.Errorf("got %d, %v, want all but the bookkeeping of 100,000, and ENOSPC", n, err)
	}
	if used := budget.Used(); used > 100_000 {
		t.Errorf("%d bytes are reserved", used)
	}
	if err := f.Truncate(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if used := budget.Used(); used > 5*chunk {
		t.Errorf("emptied, %d bytes are reserved", used)
	}
	put(t, d, "g", strings.Repeat("x", 50_000))
	_ = f.Close(t.Context())
	if err := d.Close(t.Context()); err != nil || budget.Used() != 0 {
		t.Errorf("at the end: got %v and %d bytes reserved", err, budget.Used())
	}

	full := engine.NewBudget(1)
	s := space{limit: 1 << 20, budget: full}
	if err := s.take(2); err != vfs.ENOSPC {
		t.Errorf("got %v, want ENOSPC", err)
	}
}

// TestHeap: what is counted is at least what there is in memory, whatever a guest fills
// its space with, and also if it makes and removes things all the time.
func TestHeap(t *testing.T) {
	const size = 8 << 20
	heap := func() int64 {
		runtime.GC()
		runtime.GC() // pools keep things for one more
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	ctx := t.Context()
	for _, test := range []struct {
		name string
		fill func(d *rootDirectory, i int) error
	}{
		{"empty files", func(d *rootDirectory, i int) error {
			f, err := d.Open(ctx, fmt.Sprintf("%x", i), vfs.Write|vfs.Create)
			if err != nil {
				return err
			}
			return f.Close(ctx)
		}},
		{"directories", func(d *rootDirectory, i int) error { return d.Mkdir(ctx, fmt.Sprintf("%x", i)) }},
		{"directories with one file", func(d *rootDirectory, i int) error {
			name := fmt.Sprintf("%x", i)
			if err := d.Mkdir(ctx, name); err != nil {
				return err
			}
			return d.Symlink(ctx, "x", name+"/x")
		}},
		{"directories that were full", func(d *rootDirectory, i int) error {
			name := fmt.Sprintf("%x", i)
			if err := d.Mkdir(ctx, name); err != nil {
				return err
			}
			for j := range 40 {
				if err := d.Symlink(ctx, "x", fmt.Sprintf("%s/%x", name, j)); err != nil {
					return err
				}
			}
			for j := range 40 {
				if err := d.Unlink(ctx, fmt.Sprintf("%s/%x", name, j)); err != nil {
					return err
				}
			}
			return nil
		}},
		{"names behind long paths", func(d *rootDirectory, i int) error {
			if i == 0 {
				if err := d.Mkdir(ctx, "dir"); err != nil {
					return err
				}
			}
			return d.Symlink(ctx, "x", strings.Repeat("dir/../", 500)+fmt.Sprintf("%x", i))
		}},
		{"one byte here and there", func(d *rootDirectory, i int) error {
			f, err := d.Open(ctx, "f", vfs.Write|vfs.Create)
			if err != nil {
				return err
			}
			defer f.Close(ctx)
			_, err = f.(*file).WriteAt(ctx, []byte{1}, math.MaxInt64/4-int64(i)*blockSize)
			return err
		}},
		{"files that were long", func(d *rootDirectory, i int) error {
			f, err := d.Open(ctx, fmt.Sprintf("%x", i), vfs.Write|vfs.Create)
			if err != nil {
				return err
			}
			defer f.Close(ctx)
			for j := range int64(100) {
				if _, err := f.(*file).WriteAt(ctx, []byte{1}, j*blockSize); err != nil {
					return err
				}
			}
			return f.(*file).Truncate(ctx, 1)
		}},
	} {
		before := heap()
		d := rootOf(t, newScratch("/", size))
		var err error
		for i := 0; err == nil && i < 20_000_000; i++ {
			err = test.fill(d, i)
		}
		if err != vfs.ENOSPC {
			t.Errorf("%s: got %v, want ENOSPC", test.name, err)
		}
		grown := heap() - before
		t.Logf("%s: %.0f %% of what is counted", test.name, 100*float64(grown)/float64(d.tree.space.used))
		if grown > size+1<<20 {
			t.Errorf("%s: %d bytes of memory for %d", test.name, grown, size)
		}
		runtime.KeepAlive(d)
	}
}

// TestListing: what stays is listed exactly once, whatever comes and goes meanwhile.
func TestListing(t *testing.T) {
	t.Parallel()
	d := rootOf(t, newScratch("/", 1<<20))
	for i := range 200 {
		put(t, d, fmt.Sprint("stays", i), "")
		put(t, d, fmt.Sprint("goes", i), "")
	}
	l, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := make(map[string]int)
	entries := make([]vfs.Entry, 10)
	for round := 0; ; round++ {
		n, err := l.Next(t.Context(), entries)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break
		}
		for _, e := range entries[:n] {
			seen[e.Name]++
		}
		for i := range 200 {
			if i%20 == round%20 {
				_ = d.Unlink(t.Context(), fmt.Sprint("goes", i)) // perhaps again
			}
		}
		put(t, d, "new", "")
		if err := d.Rename(t.Context(), "new", d, fmt.Sprint("stays", round)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 200 {
		if n := seen[fmt.Sprint("stays", i)]; n != 1 {
			t.Errorf("stays%d is listed %d times", i, n)
		}
		if n := seen[fmt.Sprint("goes", i)]; n > 1 {
			t.Errorf("goes%d is listed %d times", i, n)
		}
	}
}

// TestDeep: trees may be deeper than any path is long, and nothing takes longer for it than it
// may.
func TestDeep(t *testing.T) {
	t.Parallel()
	root := rootOf(t, newScratch("/", 64<<20))
	here := vfs.Directory(root)
	const depth = 3 * maxDepth
	for range depth {
		if err := here.(vfs.Editor).Mkdir(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
		next, err := here.Open(t.Context(), "d", vfs.Read)
		if err != nil {
			t.Fatal(err)
		}
		if here != vfs.Directory(root) {
			_ = here.Close(t.Context())
		}
		here = next.(vfs.Directory)
	}
	if err := root.Mkdir(t.Context(), "e"); err != nil {
		t.Fatal(err)
	}
	if err := root.Rename(t.Context(), "e", here, "e"); err != vfs.ENAMETOOLONG {
		t.Errorf("moving a directory there: got %v, want ENAMETOOLONG", err)
	}
	put(t, root, "f", "x")
	if err := root.Rename(t.Context(), "f", here, "f"); err != nil {
		t.Errorf("moving a file there: got %v", err)
	}
	if err := root.Rename(t.Context(), "d", here, "d"); err == nil {
		t.Error("a directory was moved into itself")
	}
	_ = here.Close(t.Context())
}

func TestLinks(t *testing.T) {
	t.Parallel()
	d := rootOf(t, newScratch("/", 1<<20))
	for name, target := range map[string]string{
		"up": "..", "out": "a/../../b", "absolute": "/tmp/f", "loop": "loop", "dir/up": "../f", "dir/out": "../../f",
		"slash": "dir/", "fileslash": "f/", "dangling": "none", "long": strings.Repeat("x", 300),
	} {
		if strings.HasPrefix(name, "dir/") {
			_ = d.Mkdir(t.Context(), "dir")
		}
		if err := d.Symlink(t.Context(), target, name); err != nil {
			t.Fatal(err)
		}
	}
	put(t, d, "f", "x")
	_ = d.Mkdir(t.Context(), "a")
	for i := range 10 {
		target := fmt.Sprint("chain", i+1)
		if i == 9 {
			target = "f"
		}
		if err := d.Symlink(t.Context(), target, fmt.Sprint("chain", i)); err != nil {
			t.Fatal(err)
		}
	}
	sub, err := d.Open(t.Context(), "dir", vfs.Read)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close(t.Context())
	for _, test := range []struct {
		from vfs.Directory
		name string
		want error
	}{
		{d, "up", vfs.EPERM}, {d, "out", vfs.EPERM}, {d, "absolute", vfs.EPERM}, {d, "loop", vfs.ELOOP},
		{d, "dir/up", nil}, {d, "dir/out", vfs.EPERM}, {d, "slash", nil}, {d, "slash/up", nil}, {d, "fileslash", vfs.ENOTDIR},
		{d, "dangling", vfs.ENOENT}, {d, "chain2", nil}, {d, "chain1", vfs.ELOOP}, {d, "f/x", vfs.ENOTDIR},
		{sub.(vfs.Directory), "up", vfs.EPERM}, // out of the directory, though not of the mount
	} {
		if _, err := test.from.Lookup(t.Context(), test.name, true); err != test.want {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
	}
	if _, err := d.Open(t.Context(), "long", vfs.Write|vfs.Create); err != vfs.ENAMETOOLONG {
		t.Errorf("a name too long by a link: got %v", err)
	}
	put(t, d, "dangling", "made")
	if s, err := d.Lookup(t.Context(), "none", false); err != nil || s.Size != 4 {
		t.Errorf("through a dangling link: got %+v, %v", s, err)
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	d := rootOf(t, newScratch("/", 1<<20))
	put(t, d, "f", "x")
	old := time.Unix(1000, 7)
	f := open(t, d, "f", vfs.Read|vfs.Write)
	defer f.Close(t.Context())
	stat := func() vfs.Stat {
		s, err := f.Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if err := f.SetTimes(t.Context(), old, old); err != nil {
		t.Fatal(err)
	}
	if s := stat(); s.Accessed != old.UnixNano() || s.Modified != old.UnixNano() || s.Changed <= old.UnixNano() {
		t.Errorf("got %+v, want both set", s)
	}
	if err := f.SetTimes(t.Context(), time.Time{}, old.Add(1)); err != nil {
		t.Fatal(err)
	}
	if s := stat(); s.Accessed != old.UnixNano() || s.Modified != old.UnixNano()+1 {
		t.Errorf("got %+v, want one set", s)
	}
	_, _ = f.ReadAt(t.Context(), make([]byte, 1), 0)
	if s := stat(); s.Modified != old.UnixNano()+1 {
		t.Errorf("reading has changed it: %+v", s)
	}
	_, _ = f.WriteAt(t.Context(), []byte("y"), 0)
	if s := stat(); s.Modified <= old.UnixNano()+1 {
		t.Errorf("writing has not changed it: %+v", s)
	}
	if err := d.SetTimesOf(t.Context(), ".", true, old, old); err != nil {
		t.Fatal(err)
	}
	put(t, d, "g", "")
	if s, _ := d.Stat(t.Context()); s.Modified == old.UnixNano() {
		t.Error("a new name has not changed the directory")
	}
}

// TestRemovedDirectory: one that is open stays, empty.
func TestRemovedDirectory(t *testing.T) {
	t.Parallel()
	d := rootOf(t, newScratch("/", 1<<20))
	_ = d.Mkdir(t.Context(), "d")
	f, err := d.Open(t.Context(), "d", vfs.Read)
	if err != nil {
		t.Fatal(err)
	}
	sub := f.(*directory)
	if err := d.Rmdir(t.Context(), "d"); err != nil {
		t.Fatal(err)
	}
	put(t, d, "f", "")
	_, errOpen := sub.Open(t.Context(), "x", vfs.Write|vfs.Create)
	for what, err := range map[string]error{
		"open": errOpen, "mkdir": sub.Mkdir(t.Context(), "x"), "symlink": sub.Symlink(t.Context(), "x", "x"),
		"rename": d.Rename(t.Context(), "f", sub, "f"), "link": d.Link(t.Context(), "f", sub, "f"),
	} {
		if err != vfs.ENOENT {
			t.Errorf("%s: got %v, want ENOENT", what, err)
		}
	}
	if got := listed(t, sub); len(got) != 0 {
		t.Errorf("got %q in it", got)
	}
	used := d.tree.space.used
	if err := sub.Close(t.Context()); err != nil || d.tree.space.used != used-costInode-costDirectory {
		t.Errorf("closed: got %v, %d bytes in use, before %d", err, d.tree.space.used, used)
	}
}

func TestEdges(t *testing.T) {
	t.Parallel()
	d := rootOf(t, newScratch("/", 1<<20))
	f := open(t, d, "f", vfs.Read|vfs.Write|vfs.Create)
	defer f.Close(t.Context())
	if _, err := f.WriteAt(t.Context(), []byte("xy"), math.MaxInt64-1); err != vfs.EFBIG {
		t.Errorf("behind the last position: got %v, want EFBIG", err)
	}
	if n, err := f.WriteAt(t.Context(), []byte("x"), math.MaxInt64-1); n != 1 || err != nil {
		t.Errorf("at the last position: got %d, %v", n, err)
	}
	if s, _ := f.Stat(t.Context()); s.Size != math.MaxInt64 {
		t.Errorf("got size %d", s.Size)
	}
	p := make([]byte, 9000)
	p[0], p[8999] = 1, 1
	if n, err := f.ReadAt(t.Context(), p, 1<<50); n != 9000 || err != nil || len(bytes.Trim(p, "\x00")) > 0 {
		t.Errorf("in a hole: got %d, %v", n, err)
	}
	for _, err := range []error{
		func() error { _, err := f.ReadAt(t.Context(), p, -1); return err }(),
		func() error { _, err := f.WriteAt(t.Context(), p, -1); return err }(),
		f.Truncate(t.Context(), -1),
	} {
		if err != vfs.EINVAL {
			t.Errorf("a negative position: got %v, want EINVAL", err)
		}
	}
	if err := f.Truncate(t.Context(), math.MaxInt64); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"rmdir .":   d.Rmdir(t.Context(), "."),
		"rename .":  d.Rename(t.Context(), ".", d, "x"),
		"rename to": d.Rename(t.Context(), "f", d, "."),
		"mkdir .":   d.Mkdir(t.Context(), "."),
	} {
		if err == nil {
			t.Errorf("%s: got no error", what)
		}
	}
}

// BenchmarkSmallFile is what a call pays that writes one small file.
func BenchmarkSmallFile(b *testing.B) {
	fs := newScratch("/tmp", defaultSize)
	ctx := context.Background()
	text := []byte("hello")
	b.ReportAllocs()
	for b.Loop() {
		d, err := fs.Root(ctx)
		if err != nil {
			b.Fatal(err)
		}
		f, err := d.Open(ctx, "f", vfs.Write|vfs.Create)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = f.(*file).WriteAt(ctx, text, 0)
		_ = f.Close(ctx)
		_ = d.Close(ctx)
	}
}

// BenchmarkWrite writes and empties a file of 4 MiB.
func BenchmarkWrite(b *testing.B) {
	d := rootOf(b, newScratch("/tmp", defaultSize))
	f := open(b, d, "f", vfs.Write|vfs.Create)
	defer f.Close(context.Background())
	p := make([]byte, 4<<20)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := f.WriteAt(context.Background(), p, 0); n != len(p) || err != nil {
			b.Fatal(n, err)
		}
		_ = f.Truncate(context.Background(), 0)
	}
}
