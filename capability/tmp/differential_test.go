//go:build linux

package tmp

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// side is a file system under comparison, as a call sees it.
type side struct {
	root *vfs.Dir
	open []vfs.File // nil: closed
}

func newSide(t *testing.T, fs vfs.FS) *side {
	t.Helper()
	tree := new(vfs.Tree)
	if err := tree.Mount("/", fs); err != nil {
		t.Fatal(err)
	}
	view := tree.View()
	s := &side{root: view.Root(), open: make([]vfs.File, 6)}
	t.Cleanup(func() {
		for _, f := range s.open {
			if f != nil {
				if err := f.Close(context.Background()); err != nil {
					t.Errorf("closing: %v", err)
				}
			}
		}
		if err := view.Close(context.Background()); err != nil {
			t.Errorf("closing the view: %v", err)
		}
	})
	return s
}

// dir is an open directory of the side, or its root.
func (s *side) dir(slot int) *vfs.Dir {
	if d, ok := s.open[slot].(*vfs.Dir); ok {
		return d
	}
	return s.root
}

// random makes up what to do; both sides are given the same.
type random struct{ *rand.Rand }

var words = []string{"a", "b", "c", "d"}

func (r random) path() string {
	n := 1 + r.IntN(3)
	parts := make([]string, n)
	for i := range parts {
		parts[i] = words[r.IntN(len(words))]
		if i > 0 && i < n-1 && r.IntN(6) == 0 {
			parts[i] = ".."
		}
	}
	path := strings.Join(parts, "/")
	if r.IntN(12) == 0 {
		path += "/"
	}
	return path
}

func (r random) flags() vfs.OpenFlags {
	flags := []vfs.OpenFlags{vfs.Read, vfs.Write, vfs.Read | vfs.Write}[r.IntN(3)]
	for _, f := range []vfs.OpenFlags{vfs.Create, vfs.Create, vfs.Exclusive, vfs.Truncate, vfs.OnlyDirectory, vfs.NoFollow} {
		if r.IntN(4) == 0 {
			flags |= f
		}
	}
	if flags&vfs.OnlyDirectory != 0 {
		return flags&^(vfs.Changing|vfs.Exclusive) | vfs.Read
	}
	if flags&vfs.Create == 0 {
		flags &^= vfs.Exclusive
	}
	if flags&vfs.Exclusive != 0 {
		flags |= vfs.NoFollow // the host's directories follow a link first, for its errors
	}
	return flags
}

func (r random) bytes() []byte {
	p := make([]byte, 1+r.IntN(3*pageSize))
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

func (r random) offset() int64 {
	switch r.IntN(4) {
	case 0:
		return 0
	case 1:
		return int64(r.IntN(5)) * blockSize / 2
	}
	return int64(r.IntN(5 * pageSize))
}

// step does one thing and says what came of it.
func (s *side) step(ctx context.Context, r random) string {
	slot, other := r.IntN(len(s.open)), r.IntN(len(s.open))
	path, path2 := r.path(), r.path()
	dir, dir2 := s.dir(slot), s.dir(other)
	said := func(what string, err error) string {
		return fmt.Sprintf("%s %d %s %d %s: %v", what, slot, path, other, path2, vfs.ErrnoOf(err))
	}
	switch r.IntN(16) {
	case 0, 1, 2:
		flags := r.flags()
		f, err := s.root.Open(ctx, path, flags)
		if err == nil {
			if s.open[slot] != nil {
				_ = s.open[slot].Close(ctx)
			}
			s.open[slot] = f
		}
		return said(fmt.Sprintf("open %b", flags), err)
	case 3:
		return said("mkdir", dir.Mkdir(ctx, path))
	case 4:
		return said("unlink", dir.Unlink(ctx, path))
	case 5:
		return said("rmdir", dir.Rmdir(ctx, path))
	case 6, 7:
		return said("rename", dir.Rename(ctx, path, dir2, path2))
	case 8:
		return said("link", dir.Link(ctx, path, dir2, path2))
	case 9:
		target := strings.ReplaceAll(path2, "..", "a") // what has ".." may not be made on the host
		return said("symlink", dir.Symlink(ctx, target, path))
	case 10:
		target, err := dir.Readlink(ctx, path)
		return said("readlink", err) + " " + target
	case 11:
		follow := r.IntN(2) == 0
		stat, err := dir.Lookup(ctx, path, follow)
		return said("lookup", err) + shown(stat)
	case 12:
		at := time.Unix(int64(r.IntN(1e9)), int64(r.IntN(1e9)))
		return said("times", dir.SetTimesOf(ctx, path, r.IntN(2) == 0, at, at.Add(time.Second)))
	case 13:
		if s.open[slot] == nil {
			return ""
		}
		err := s.open[slot].Close(ctx)
		s.open[slot] = nil
		return said("close", err)
	}
	return s.use(ctx, r, slot)
}

// shown is what of a description has to be the same.
func shown(s vfs.Stat) string {
	if s.Type == vfs.TypeDirectory {
		return " directory"
	}
	return fmt.Sprintf(" type %d size %d links %d", s.Type, s.Size, s.Links)
}

// use reads or changes an open file.
func (s *side) use(ctx context.Context, r random, slot int) string {
	p, offset, what := r.bytes(), r.offset(), r.IntN(6)
	f, ok := s.open[slot].(interface {
		vfs.File
		vfs.ReaderAt
		vfs.WriterAt
		vfs.Appender
		vfs.Truncater
	})
	if !ok {
		return ""
	}
	switch what {
	case 0, 1:
		n, err := f.WriteAt(ctx, p, offset)
		return fmt.Sprint("write ", slot, offset, n, vfs.ErrnoOf(err))
	case 2:
		n, err := f.ReadAt(ctx, p, offset)
		return fmt.Sprint("read ", slot, offset, n, vfs.ErrnoOf(err), p[:n])
	case 3:
		n, end, err := f.Append(ctx, p)
		if err != nil {
			end = 0
		}
		return fmt.Sprint("append ", slot, n, end, vfs.ErrnoOf(err))
	case 4:
		return fmt.Sprint("truncate ", slot, offset, vfs.ErrnoOf(f.Truncate(ctx, offset)))
	}
	stat, err := f.Stat(ctx)
	return fmt.Sprint("stat ", slot, shown(stat), vfs.ErrnoOf(err))
}

// everything is what there is below a directory, with content.
func (s *side) everything(ctx context.Context, t *testing.T, path string) (all []string) {
	t.Helper()
	f, err := s.root.Open(ctx, path, vfs.Read|vfs.OnlyDirectory)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(ctx)
	l, err := f.(*vfs.Dir).List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	entries := make([]vfs.Entry, 3)
	for {
		n, err := l.Next(ctx, entries)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			slices.Sort(all)
			return all
		}
		for _, e := range entries[:n] {
			name := filepath.Join(path, e.Name)
			stat, err := s.root.Lookup(ctx, name, false)
			if err != nil || stat.Type != e.Type || stat.Inode != e.Inode {
				t.Errorf("%s: got %+v, %v, the listing has %+v", name, stat, err, e)
			}
			line := name + shown(stat)
			switch e.Type {
			case vfs.TypeDirectory:
				all = append(all, s.everything(ctx, t, name)...)
			case vfs.TypeSymlink:
				target, err := s.root.Readlink(ctx, name)
				line += fmt.Sprint(" -> ", target, err)
			case vfs.TypeRegular:
				line += s.content(ctx, t, name)
			}
			all = append(all, line)
		}
	}
}

func (s *side) content(ctx context.Context, t *testing.T, name string) string {
	t.Helper()
	f, err := s.root.Open(ctx, name, vfs.Read)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close(ctx)
	p := make([]byte, 4*blockSize)
	n, err := f.(vfs.ReaderAt).ReadAt(ctx, p, 0)
	if vfs.ErrnoOf(err) != vfs.Success {
		t.Fatal(err)
	}
	return fmt.Sprint(" ", vfs.ErrnoOf(err), " ", len(p[:n]), hash(p[:n]))
}

func hash(p []byte) (h uint64) {
	for _, b := range p {
		h = h*1099511628211 + uint64(b)
	}
	return h
}

// compare does the same random things in a directory of the host and in one in memory.
func compare(t *testing.T, seed uint64, steps int) {
	t.Helper()
	ctx := t.Context()
	host := newSide(t, &vfs.HostDir{Path: t.TempDir(), Writable: true})
	memory := newSide(t, newScratch("/", 1<<30))
	for i := range steps {
		got := memory.step(ctx, random{rand.New(rand.NewPCG(seed, uint64(i)))})
		want := host.step(ctx, random{rand.New(rand.NewPCG(seed, uint64(i)))})
		if got != want {
			t.Fatalf("seed %d, step %d: got\n%.300s\nwant\n%.300s", seed, i, got, want)
		}
		if i%64 == 63 {
			if got, want := memory.everything(ctx, t, "."), host.everything(ctx, t, "."); !slices.Equal(got, want) {
				t.Fatalf("seed %d, step %d: got\n%s\nwant\n%s", seed, i, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
}

// TestLikeTheHost: what programs do with files has the same result in memory as on a disk.
func TestLikeTheHost(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			compare(t, seed, 600)
		})
	}
}

func FuzzLikeTheHost(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { compare(t, seed, 300) })
}
