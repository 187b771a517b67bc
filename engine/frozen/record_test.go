package frozen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gojinn/gojinn/engine/vfs"
)

// purse is a budget of so many bytes.
type purse struct{ left atomic.Int64 }

var errPoor = errors.New("no money")

func (p *purse) Reserve(n int64) error {
	if p.left.Add(-n) < 0 {
		p.left.Add(n)
		return errPoor
	}
	return nil
}

func (p *purse) Release(n int64) { p.left.Add(n) }

const wealth = 1 << 40

func newRecord(t testing.TB) (*Record, *purse) {
	p := new(purse)
	p.left.Store(wealth)
	r := New(p)
	t.Cleanup(func() {
		r.Drop()
		if left := p.left.Load(); left != wealth {
			t.Errorf("%d bytes have not been given back", wealth-left)
		}
	})
	return r, p
}

// reading reads a path as a program does.
func reading(t testing.TB, d vfs.Directory, path string) string {
	t.Helper()
	f, err := d.Open(t.Context(), path, vfs.Read)
	if err != nil {
		return vfs.ErrnoOf(err).Error()
	}
	defer f.Close(t.Context())
	if dir, ok := f.(vfs.Directory); ok {
		l, err := dir.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		var names []string
		for entries := make([]vfs.Entry, 2); ; {
			n, err := l.Next(t.Context(), entries)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				return strings.Join(names, ",")
			}
			for _, e := range entries[:n] {
				names = append(names, e.Name)
			}
		}
	}
	stat, err := f.Stat(t.Context())
	text := make([]byte, 100)
	n, errRead := f.(vfs.ReaderAt).ReadAt(t.Context(), text, 0)
	if errRead == io.EOF {
		errRead = nil
	}
	if err != nil || errRead != nil || stat.Size != int64(n) {
		t.Errorf("%s: %d bytes of %d, %v, %v", path, n, stat.Size, err, errRead)
	}
	return string(text[:n])
}

func begin(t testing.TB, r *Record, dir string, ahead bool) (*Startup, vfs.Directory) {
	t.Helper()
	s, ok := r.Begin(ahead)
	if !ok || s == nil {
		t.Fatalf("got %v, %v", s, ok)
	}
	d, err := s.Root(t.Context(), "/app", &vfs.HostDir{Path: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close(context.Background()) })
	return s, d
}

func write(t testing.TB, text string, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestOneIsFirst: only one start-up makes the record; those with a call don't wait for it, and one that fails
// leaves what it has read to be watched.
func TestOneIsFirst(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, "1", dir, "a")
	r, _ := newRecord(t)
	first, d := begin(t, r, dir, true)
	if _, ok := r.Begin(true); ok {
		t.Error("two are the first")
	}
	if s, ok := r.Begin(false); s != nil || !ok {
		t.Errorf("with a call: got %v, %v", s, ok)
	}
	reading(t, d, "a")
	first.End()
	if got := r.Dependencies(); len(got.Paths) != 2 {
		t.Errorf("got %+v", got)
	}
	write(t, "22", dir, "a")
	second, d := begin(t, r, dir, true)
	if got := reading(t, d, "a"); got != "22" {
		t.Errorf("the second first reads %q", got)
	}
	if !second.Keep(t.Context()) || second.Keep(t.Context()) {
		t.Error("what is new is told once")
	}
	write(t, "333", dir, "a")
	third, d3 := begin(t, r, dir, false)
	if got := reading(t, d3, "a"); got != "22" {
		t.Errorf("a later one reads %q", got)
	}
	if got := reading(t, d3, "new"); got != vfs.ENOENT.Error() || !third.Keep(t.Context()) {
		t.Errorf("got %q, or it was not told", got)
	}
	third.End()
	for _, d := range []vfs.Directory{d3, d} {
		if got := reading(t, d, "a"); d == d3 && got != "333" || d != d3 && got != "22" {
			t.Errorf("after the end it reads %q", got)
		}
	}
}

// TestBounds: what is too much, or more than there is room for, is not kept, and then nothing is.
func TestBounds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		set  func(*Record, *purse)
		want string
	}{
		{"bytes", func(r *Record, _ *purse) { r.bytes = 2000 }, "more than 2000 bytes"},
		{"answers", func(r *Record, _ *purse) { r.answers = 5 }, "more than 5 files"},
		{"budget", func(_ *Record, p *purse) { p.left.Add(2000 - wealth) }, errPoor.Error()},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			r, p := newRecord(t)
			before := p.left.Load()
			test.set(r, p)
			taken := before - p.left.Load()
			defer func() { p.left.Add(taken) }()
			s, d := begin(t, r, dir, true)
			for i := range 30 {
				name := fmt.Sprint(i)
				write(t, name, dir, name)
				if got := reading(t, d, name); got != name {
					t.Errorf("got %q, want %q", got, name)
				}
			}
			if over := r.Over(); over == nil || !strings.Contains(over.Error(), test.want) {
				t.Errorf("got %v", over)
			}
			write(t, "other", dir, "1")
			if got := reading(t, d, "1"); got != "other" {
				t.Errorf("got %q", got)
			}
			if s.Keep(t.Context()); r.Dependencies().Answers != 0 {
				t.Errorf("got %+v", r.Dependencies())
			}
			if again, ok := r.Begin(true); again != nil || !ok {
				t.Errorf("got %v, %v", again, ok)
			}
		})
	}
}

// TestEditorAhead: a mount that can be changed is read in the same way, and changing something ends
// the start-up.
func TestEditorAhead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, "1", dir, "a")
	r, _ := newRecord(t)
	for range 2 {
		s, ok := r.Begin(true)
		if !ok {
			t.Fatal("it can't begin")
		}
		d, err := s.Root(t.Context(), "", &vfs.HostDir{Path: dir, Writable: true})
		if err != nil {
			t.Fatal(err)
		}
		if got := reading(t, d, "a"); got != "1" {
			t.Errorf("got %q", got)
		}
		s.Keep(t.Context())
		e := d.(vfs.Editor)
		sub := filepath.Join(dir, "sub")
		if err := e.Mkdir(t.Context(), "sub"); err != nil {
			t.Error(err)
		}
		write(t, "2", dir, "a")
		if got := reading(t, d, "a") + reading(t, d, "."); got != "2a,sub" && got != "2sub,a" {
			t.Errorf("got %q", got)
		}
		if err := errors.Join(e.Rename(t.Context(), "a", d, "sub/b"), e.Rename(t.Context(), "sub/b", d, "a"), d.Close(t.Context()), os.Remove(sub)); err != nil {
			t.Error(err)
		}
		write(t, "1", dir, "a")
	}
}

// TestRecordHammer: start-ups, comparisons and the end at the same time.
func TestRecordHammer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 20 {
		write(t, fmt.Sprint(i), dir, fmt.Sprint(i))
	}
	for range 20 {
		r, _ := newRecord(t)
		s, d := begin(t, r, dir, true)
		reading(t, d, "0")
		s.Keep(t.Context())
		var all sync.WaitGroup
		for g := range 6 {
			all.Go(func() {
				s, ok := r.Begin(true)
				if !ok || s == nil {
					return // it has been dropped
				}
				fs := &vfs.HostDir{Path: dir}
				d, err := s.Root(t.Context(), "/app", fs)
				if err != nil {
					t.Error(err)
					return
				}
				defer d.Close(t.Context())
				for i := range 20 {
					if want, got := fmt.Sprint(i), reading(t, d, fmt.Sprint(i)); got != want {
						t.Errorf("got %q, want %q", got, want)
					}
				}
				s.Keep(t.Context())
				if path, err := r.Changed(t.Context(), func(string) vfs.Ahead { return fs }); path != "" || err != nil {
					t.Errorf("got %q, %v", path, err)
				}
				r.Dependencies()
				if g == 5 {
					r.Drop()
				}
				s.End()
			})
		}
		all.Wait()
	}
}

// BenchmarkStartup is what an interpreter's start-up reads: 300 files of 8 KB, as many that are not there, and 30
// directories.
func BenchmarkStartup(b *testing.B) {
	dir := b.TempDir()
	for i := range 30 {
		if err := os.Mkdir(filepath.Join(dir, fmt.Sprint("d", i)), 0o777); err != nil {
			b.Fatal(err)
		}
		for j := range 10 {
			write(b, strings.Repeat("x", 8<<10), dir, fmt.Sprint("d", i), fmt.Sprint(j))
		}
	}
	fs := &vfs.HostDir{Path: dir}
	buffer := make([]byte, 8<<10)
	read := func(d vfs.Directory) {
		for i := range 30 {
			sub := fmt.Sprint("d", i)
			_, _ = d.Lookup(b.Context(), sub, true)
			for j := range 10 {
				_, _ = d.Lookup(b.Context(), fmt.Sprint(sub, "/none", j), true)
				f, err := d.Open(b.Context(), fmt.Sprint(sub, "/", j), vfs.Read)
				if err != nil {
					b.Fatal(err)
				}
				_, _ = f.(vfs.ReaderAt).ReadAt(b.Context(), buffer, 0)
				f.Close(b.Context())
			}
		}
	}
	b.Run("live", func(b *testing.B) {
		for b.Loop() {
			d, err := fs.Root(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			read(d)
			d.Close(b.Context())
		}
	})
	r, _ := newRecord(b)
	s, d := begin(b, r, dir, true)
	read(d)
	s.Keep(b.Context())
	b.Run("frozen", func(b *testing.B) {
		for b.Loop() {
			s, _ := r.Begin(true)
			d, err := s.Root(b.Context(), "/app", fs)
			if err != nil {
				b.Fatal(err)
			}
			read(d)
		}
	})
	b.Run("changed", func(b *testing.B) {
		for b.Loop() {
			if path, err := r.Changed(b.Context(), func(string) vfs.Ahead { return fs }); path != "" || err != nil {
				b.Fatal(path, err)
			}
		}
	})
}
