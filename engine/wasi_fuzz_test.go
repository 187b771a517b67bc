package engine

import (
	"bytes"
	"context"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// script is a hostile guest: bytes that say what to call with which arguments.
type script []byte

func (s *script) next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

// argument is a small number, a place in memory, an extreme or anything at all.
func (s *script) argument(wide bool) uint64 {
	extremes := []uint64{0, 1, math.MaxInt32, 1 << 31, math.MaxUint32, math.MaxInt64, 1 << 63, math.MaxUint64, 64<<10 - 1, 64 << 10, 64<<10 - 8, 1e9}
	var v uint64
	switch b := s.next(); {
	case b < 96:
		v = uint64(b % 16)
	case b < 176:
		v = uint64(b) * 211 // up to a bit more than half of memory
	case b < 224:
		v = extremes[int(b)%len(extremes)]
	default:
		for range 4 {
			v = v<<8 | uint64(s.next())
		}
	}
	if !wide {
		v &= math.MaxUint32
	}
	return v
}

// play runs a script until it ends or the call does.
func (s script) play(g *guestProcess, names []string) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(ended); !ok {
				panic(r)
			}
		}
	}()
	for len(s) > 0 {
		f := preview1[names[int(s.next())%len(names)]]
		args := make(arguments, len(f.params))
		for i, p := range f.params {
			args[i] = s.argument(p == preview1["fd_seek"].params[1])
		}
		g.sandbox.charge(f.cost)
		f.call(g.process, args)
	}
}

// wall is how much lies on each side of the memory of walled.
const wall = 4096

// walled returns guest memory between two walls that nothing may write to.
func walled() (all []byte, mem guestMemory) {
	all = bytes.Repeat([]byte{0xa5}, wall+64<<10+wall)
	mem = all[wall : wall+64<<10]
	clear(mem)
	return all, mem
}

func intact(all []byte) bool {
	return bytes.Count(all[:wall], []byte{0xa5}) == wall && bytes.Count(all[len(all)-wall:], []byte{0xa5}) == wall
}

func FuzzWASI(f *testing.F) {
	f.Add([]byte{}, []byte("w/file"))
	f.Add([]byte("\x01\x02\x03"), []byte("w/../../etc/passwd\x00w/link\x00"))
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		b := make([]byte, 400)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		f.Add(b, []byte("w/file\x00\x00w/dir/file\x00r/file\x00dev/null"))
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for name := range preview1 {
			if !yield(name) {
				return
			}
		}
	})
	f.Fuzz(func(t *testing.T, program, memory []byte) {
		if len(program) > 4096 {
			return
		}
		outside := t.TempDir()
		inside := filepath.Join(outside, "inside")
		if err := os.MkdirAll(filepath.Join(inside, "dir"), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(inside, "file"), []byte("content"), 0o666); err != nil {
			t.Fatal(err)
		}
		open := hostDescriptors()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		g := newProcess(t, ctx, strings.NewReader("some input"), map[string]vfs.FS{
			"/w": &vfs.HostDir{Path: inside, Writable: true}, "/r": &vfs.HostDir{Path: inside}, "/net": echoes{},
		})
		g.args, g.env = []string{"a", "b"}, []string{"C=d"}
		all, mem := walled()
		for at := 0; at < len(mem); at += 211 { // where arguments will point
			copy(mem[at:], memory)
		}
		g.mem = mem
		script(program).play(g, names)

		if !intact(all) || &g.mem[0] != &all[wall] {
			t.Error("written outside of memory")
		}
		if g.files.open > standardDescriptors+8 || len(g.files.slots) > standardDescriptors+8 {
			t.Errorf("got %d open descriptors", g.files.open)
		}
		_ = g.finish(true) // a file that was made too large can't always be closed without an error
		if now := hostDescriptors(); now > open {
			t.Errorf("got %d descriptors of the host after the call, %d before", now, open)
		}
		if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
			t.Errorf("got %v, %v in the directory around the jail", entries, err)
		}
	})
}

// hostDescriptors counts what this process has open; 0 where it can't.
func hostDescriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// counted is a mount that counts what is open in it. Files of the name "fails"
// can't be committed.
type counted struct {
	mu                                 sync.Mutex
	roots, files, committed, discarded int
}

func (c *counted) Root(context.Context) (vfs.Directory, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.roots++
	return &countedDir{counted: c}, nil
}

type countedDir struct {
	echoes
	*counted
}

func (d *countedDir) Close(context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.roots--
	return nil
}

func (d *countedDir) Open(_ context.Context, name string, _ vfs.OpenFlags) (vfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.files++
	return &countedFile{counted: d.counted, fails: name == "fails"}, nil
}

type countedFile struct {
	stdio
	*counted
	fails bool
}

func (f *countedFile) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files--
	f.committed++
	if f.fails {
		return vfs.ENOSPC
	}
	return nil
}

func (f *countedFile) Discard() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.files--
	f.discarded++
}

// Whatever guests do with their descriptors, nothing stays open after a call.
func TestDescriptorHammer(t *testing.T) {
	t.Parallel()
	mount := new(counted)
	var guests sync.WaitGroup
	for seed := range uint64(4) {
		guests.Go(func() {
			r := rand.New(rand.NewPCG(seed, 2))
			for range 200 {
				g := newProcess(t, t.Context(), nil, map[string]vfs.FS{"/m": mount})
				for range r.IntN(200) {
					fd, other := r.Uint64N(14), r.Uint64N(14)
					switch r.IntN(4) {
					case 0, 1:
						at, n := g.path("m/file")
						e := g.call("path_open", 3, 0, at, n, 0, readWrite, 0, 0, atResult)
						if room := g.files.open < 12; e != 0 && room && g.files.get(3) != nil && g.files.get(3).preopen {
							t.Errorf("got %v with %d open", e, g.files.open)
						}
					case 2:
						g.call("fd_close", fd)
					case 3:
						g.call("fd_renumber", fd, other)
					}
					checkTable(t, &g.files)
				}
				if err := g.finish(r.IntN(2) == 0); err != nil {
					t.Error(err)
				}
				checkTable(t, &g.files)
				if g.files.open != 0 {
					t.Errorf("got %d open after the call", g.files.open)
				}
			}
		})
	}
	guests.Wait()
	if mount.roots != 0 || mount.files != 0 {
		t.Errorf("got %d roots and %d files open, want none", mount.roots, mount.files)
	}
	if mount.committed == 0 || mount.discarded == 0 {
		t.Errorf("got %d committed and %d discarded, want some of both", mount.committed, mount.discarded)
	}
}

func checkTable(t *testing.T, files *descriptors) {
	t.Helper()
	open := 0
	for _, d := range files.slots {
		if d != nil {
			open++
		}
	}
	if open != files.open || open > files.limit || len(files.slots) > files.limit {
		t.Errorf("got %d descriptors on %d places, counted %d, limit %d", open, len(files.slots), files.open, files.limit)
	}
}

// Files left open are committed when a call succeeds and discarded when not; a
// commit that fails is an error of the call, and of fd_close.
func TestCommitAtTheEnd(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                 string
		path                 string
		commit               bool
		committed, discarded int
		want                 bool // an error
	}{
		{"succeeded", "m/file", true, 1, 0, false},
		{"failed", "m/file", false, 0, 1, false},
		{"succeeded, commit fails", "m/fails", true, 1, 0, true},
		{"failed, commit would have failed", "m/fails", false, 0, 1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			mount := new(counted)
			g := newProcess(t, t.Context(), nil, map[string]vfs.FS{"/m": mount})
			g.openPath(test.path, 0, readWrite, 0)
			if err := g.finish(test.commit); (err != nil) != test.want {
				t.Errorf("got %v, want an error: %v", err, test.want)
			}
			if mount.committed != test.committed || mount.discarded != test.discarded || mount.files != 0 {
				t.Errorf("got %d committed, %d discarded, %d open", mount.committed, mount.discarded, mount.files)
			}
		})
	}
	g := newProcess(t, t.Context(), nil, map[string]vfs.FS{"/m": new(counted)})
	fd := g.openPath("m/fails", 0, readWrite, 0)
	g.want(vfs.ENOSPC, "fd_close", fd)
	g.want(vfs.EBADF, "fd_close", fd)
}

// A long path costs by its length, many small calls by their number.
func TestCallsAreCharged(t *testing.T) {
	t.Parallel()
	g, _ := workspace(t)
	cost := func(f func()) int64 {
		before := g.sandbox.(*overseer).charged
		f()
		return g.sandbox.(*overseer).charged - before
	}
	lookup := func(path string) func() {
		return func() {
			at, n := g.path(path)
			g.call("path_filestat_get", 3, 0, at, n, atResult)
		}
	}
	if short, long := cost(lookup("w")), cost(lookup("w"+strings.Repeat("/x/..", 800))); long < short+4000 {
		t.Errorf("got %d for a short and %d for a long path", short, long)
	}
	if got := cost(func() { g.writeTo(1, strings.Repeat("x", 32<<10)) }); got < 4096 {
		t.Errorf("got %d for writing 32 KiB", got)
	}
	for name, f := range preview1 {
		if f.cost <= 0 && name != "proc_exit" {
			t.Errorf("%s is free", name)
		}
	}
}

func BenchmarkHostCalls(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 4096), 0o666); err != nil {
		b.Fatal(err)
	}
	g := newProcess(b, b.Context(), nil, map[string]vfs.FS{"/w": &vfs.HostDir{Path: dir, Writable: true}})
	fd := g.openPath("w/file", 0, readWrite, 0)
	at, n := g.path("w/file")
	for _, bench := range []struct {
		name string
		call func()
	}{
		{"clock_time_get", func() { g.call("clock_time_get", 1, 1, atResult) }},
		{"fd_read", func() { g.call("fd_pread", fd, atVectors, 1, 0, atResult) }},
		{"path_filestat_get", func() { g.call("path_filestat_get", 3, 1, at, n, atResult) }},
		{"path_open", func() {
			g.call("path_open", 3, 1, at, n, 0, readOnly, 0, 0, atResult)
			g.call("fd_close", uint64(g.u32(atResult)))
		}},
		{"path_missing", func() { g.call("path_filestat_get", 3, 1, at+1, 3, atResult) }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			g.vectors([2]uint32{atData, 4096})
			b.ReportAllocs()
			for b.Loop() {
				bench.call()
			}
		})
	}
}
