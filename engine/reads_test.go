package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

// reader is a function whose program looks at files of a directory, which is mounted at /app, when
// it starts.
type reader struct {
	*engine.Function
	t     *testing.T
	dir   string
	looks []string
	news  atomic.Int32 // calls of Recorded
	over  atomic.Pointer[string]
}

func newReader(t *testing.T, dir string, change func(*engine.Options), looks ...string) *reader {
	t.Helper()
	r := &reader{t: t, dir: dir, looks: looks}
	var grants engine.Grants
	if err := grants.Mount("/app", &vfs.HostDir{Path: dir}); err != nil {
		t.Fatal(err)
	}
	options := engine.Options{
		Args:       fixed(append([]string{"guest"}, looks...)...),
		Grants:     grants,
		Limits:     engine.Limits{Timeout: time.Minute, Output: 64 << 10, Log: 1 << 20, Files: 64},
		Idle:       time.Hour,
		Recorded:   func() { r.news.Add(1) },
		Unrecorded: func(why string) { r.over.Store(&why) },
	}
	if change != nil {
		change(&options)
	}
	f, err := compileGuest(t, "frozen-go").Function(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	r.Function = f
	return r
}

// ask answers a call, and waits until the sandbox is ready for the next.
func (r *reader) ask(in string) (out, log, start string, err error) {
	var o, l bytes.Buffer
	receipt, err := r.Run(context.Background(), strings.NewReader(in), &o, &l)
	awaitParked(r.t, r.Function)
	return o.String(), l.String(), receipt.Start, err
}

func (r *reader) want(in, want, start string) {
	r.t.Helper()
	out, log, how, err := r.ask(in)
	if err != nil || out != want || start != "" && start != how {
		r.t.Errorf("%q: got %q, %v by %s, log %q, want %q by %s", in, out, err, how, log, want, start)
	}
}

// flood ends a call by the host, after which a sandbox is started anew.
func (r *reader) flood() {
	r.t.Helper()
	if _, _, _, err := r.ask("flood"); !errors.Is(err, engine.ErrOutput) {
		r.t.Errorf("got %v, want %v", err, engine.ErrOutput)
	}
}

func (r *reader) changed(want string) {
	r.t.Helper()
	if got, err := r.Changed(context.Background()); err != nil || got != want {
		r.t.Errorf("changed: got %q, %v, want %q", got, err, want)
	}
}

func write(t *testing.T, text string, path ...string) {
	t.Helper()
	name := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

// TestFrozenReads: what the first start-up ahead of a call has read is what all later ones read, whatever
// has become of it; after the first read of the input a program reads what there is.
func TestFrozenReads(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, "one", dir, "x")
	write(t, "", dir, "d", "a")
	if err := os.Symlink("x", filepath.Join(dir, "l")); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, dir, nil, "cat /app/x", "ls /app/d", "cat /app/none", "link /app/l", "cat /app/l", "cat /app/d/../x")
	const old = "one a no x one one"
	r.want("", old, engine.StartFresh)
	r.want("", old, engine.StartReset)
	if n := r.news.Load(); n != 1 {
		t.Errorf("was told %d times of what was read, want once", n)
	}
	r.want("", old, engine.StartSnapshot)
	r.changed("")

	write(t, "two", dir, "x")
	write(t, "", dir, "d", "b")
	write(t, "new", dir, "none")
	write(t, "y", dir, "y")
	if err := errors.Join(os.Remove(filepath.Join(dir, "l")), os.Symlink("y", filepath.Join(dir, "l"))); err != nil {
		t.Fatal(err)
	}
	r.want("now", old+" now: two a,b new y y two", engine.StartSnapshot)
	r.flood()
	r.want("now", old+" now: two a,b new y y two", engine.StartReset)
	r.want("", old, engine.StartSnapshot)

	// Several at once, so that sandboxes are made for calls.
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var out bytes.Buffer
			if receipt, err := r.Run(context.Background(), strings.NewReader("now"), &out, &out); err != nil || out.String() != old+" now: two a,b new y y two" {
				t.Errorf("got %q, %v by %s", &out, err, receipt.Start)
			}
		})
	}
	all.Wait()

	reads := r.Reads()
	for _, path := range []string{"", "/x", "/none", "/l"} {
		if !slices.Contains(reads.Paths, dir+path) {
			t.Errorf("%s is not among %q", path, reads.Paths)
		}
	}
	if !slices.Equal(reads.Folders, []string{dir + "/d"}) || reads.Bytes < 3 || reads.Answers < 6 {
		t.Errorf("got %+v", reads)
	}
}

// TestReadsChanged: what is a change of what start-ups have read, and what isn't.
func TestReadsChanged(t *testing.T) {
	t.Parallel()
	later := time.Now().Add(time.Hour)
	for _, test := range []struct {
		name   string
		change func(dir string) error
		want   string
	}{
		{"nothing", func(string) error { return nil }, ""},
		{"other content", func(dir string) error { return os.WriteFile(dir+"/x", []byte("two"), 0) }, "/app/x"},
		{"the same content", func(dir string) error { return os.WriteFile(dir+"/x", []byte("one"), 0) }, ""},
		{"touched", func(dir string) error { return os.Chtimes(dir+"/x", later, later) }, ""},
		{"touched what was only looked at", func(dir string) error { return os.Chtimes(dir+"/s", later, later) }, "/app/s"},
		{"renamed over", func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/y", []byte("two"), 0o666), os.Rename(dir+"/y", dir+"/x"))
		}, "/app/x"},
		{"renamed over with the same content", func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/y", []byte("one"), 0o666), os.Rename(dir+"/y", dir+"/x"))
		}, ""},
		{"removed", func(dir string) error { return os.Remove(dir + "/x") }, "/app/x"},
		{"became a directory", func(dir string) error { return errors.Join(os.Remove(dir+"/x"), os.Mkdir(dir+"/x", 0o777)) }, "/app/x"},
		{"appeared", func(dir string) error { return os.WriteFile(dir+"/none", nil, 0o666) }, "/app/none"},
		{"appeared with its directory", func(dir string) error {
			return errors.Join(os.Mkdir(dir+"/no", 0o777), os.WriteFile(dir+"/no/ne", nil, 0o666))
		}, "/app/no/ne"},
		{"something else appeared", func(dir string) error { return os.WriteFile(dir+"/other", nil, 0o666) }, ""},
		{"an entry", func(dir string) error { return os.WriteFile(dir+"/d/b", nil, 0o666) }, "/app/d"},
		{"an entry's content", func(dir string) error { return os.WriteFile(dir+"/d/a", []byte("other"), 0o666) }, ""},
		{"an entry removed", func(dir string) error { return os.Remove(dir + "/d/a") }, "/app/d"},
		{"the link", func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/y", []byte("two"), 0o666), os.Symlink("y", dir+"/m"), os.Rename(dir+"/m", dir+"/l"))
		}, "/app/l"},
		{"the link to the same content", func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/y", []byte("one"), 0o666), os.Symlink("y", dir+"/m"), os.Rename(dir+"/m", dir+"/l"))
		}, ""},
		{"all removed", os.RemoveAll, "/app/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, "one", dir, "x")
			write(t, "one", dir, "s")
			write(t, "", dir, "d", "a")
			if err := os.Symlink("x", filepath.Join(dir, "l")); err != nil {
				t.Fatal(err)
			}
			r := newReader(t, dir, nil, "cat /app/x", "cat /app/none", "cat /app/no/ne", "ls /app/d", "stat /app/s", "cat /app/l")
			r.ask("")
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			got, err := r.Changed(context.Background())
			if err != nil || (got == "") != (test.want == "") || !strings.HasPrefix(got, "/app/") && got != "" {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
			if test.want != "" && test.name != "all removed" && test.name != "became a directory" && got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestFirstStartFails: as long as no start-up has got to its first read, every call reads what there is,
// and when that is good the program is started ahead again.
func TestFirstStartFails(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, "broken", dir, "x")
	r := newReader(t, dir, nil, "cat /app/x")
	for range 3 {
		_, log, _, err := r.ask("")
		var exit *engine.ExitError
		if !errors.As(err, &exit) || exit.Code != 1 || log != "SyntaxError: /app/x says broken\n" {
			t.Errorf("got %v, log %q", err, log)
		}
	}
	write(t, "good", dir, "x")
	r.want("", "good", "")
	r.want("", "good", "")
	r.want("", "good", engine.StartSnapshot)
	write(t, "broken", dir, "x")
	for range 20 {
		r.flood()
		r.want("", "good", "")
	}
	r.changed("/app/x")
}

// TestStartAhead: a version can be tried before it serves, and says why it doesn't start.
func TestStartAhead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, "broken", dir, "x")
	bad := newReader(t, dir, nil, "cat /app/y", "cat /app/x")
	log, err := bad.StartAhead(context.Background())
	var exit *engine.ExitError
	if !errors.As(err, &exit) || string(log) != "SyntaxError: /app/x says broken\n" {
		t.Errorf("got %q, %v", log, err)
	}
	bad.changed("")
	if reads := bad.Reads(); !slices.Contains(reads.Paths, dir+"/x") || !slices.Contains(reads.Paths, dir+"/y") {
		t.Errorf("got %+v", reads)
	}
	write(t, "good", dir, "x")
	bad.changed("/app/x")

	for _, idle := range []time.Duration{0, time.Hour} {
		good := newReader(t, dir, func(o *engine.Options) { o.Idle = idle }, "cat /app/x")
		if log, err := good.StartAhead(context.Background()); err != nil || len(log) > 0 {
			t.Errorf("got %q, %v", log, err)
		}
		write(t, "bad", dir, "x")
		for range 3 {
			good.want("", "good", "")
		}
		good.changed("/app/x")
		write(t, "good", dir, "x")
	}
}

// TestTooMuchToKeep: a start-up that reads more than is kept is told of once, and reads what there is.
func TestTooMuchToKeep(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, "one", dir, "x")
	write(t, "big", dir, "big")
	if err := os.Truncate(filepath.Join(dir, "big"), 65<<20); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, dir, nil, "cat /app/x", "head /app/big")
	for _, text := range []string{"one", "one", "one"} {
		r.want("", text+" big", "")
	}
	write(t, "two", dir, "x")
	r.want("", "one big", engine.StartSnapshot) // as it was when its sandbox was started
	r.flood()
	r.want("", "two big", engine.StartReset)
	if why := r.over.Load(); why == nil || !strings.Contains(*why, "bytes of files") {
		t.Errorf("got %v", why)
	}
	if kind, why := r.StartKind(); kind != engine.StartSnapshot {
		t.Errorf("got %s, %s", kind, why)
	}
	if reads := r.Reads(); reads.Answers != 0 {
		t.Errorf("got %+v", reads)
	}
	r.changed("")
}

// TestFrozenHammer: while files change all the time, each version of a function answers with one
// state of them, and never fails.
func TestFrozenHammer(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	change := func(n int) { // both files at once
		next := filepath.Join(dir, fmt.Sprint("gen", n))
		write(t, fmt.Sprint(n), next, "a")
		write(t, fmt.Sprint(n), next, "b")
		link := filepath.Join(dir, "next")
		if err := errors.Join(os.Symlink(filepath.Base(next), link), os.Rename(link, filepath.Join(dir, "current"))); err != nil {
			t.Error(err)
		}
	}
	change(0)
	stop := make(chan struct{})
	var changing, asking sync.WaitGroup
	changing.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
				change(n)
			}
		}
	})
	for range 6 {
		r := newReader(t, dir, func(o *engine.Options) { o.Concurrency.Calls = 4 }, "cat /app/current/a", "cat /app/current/b")
		var err error
		for range 100 { // its files may change while it is tried
			if _, err = r.StartAhead(context.Background()); err == nil {
				break
			}
		}
		if err != nil || r.Reads().Answers == 0 {
			t.Errorf("got %v, %+v", err, r.Reads())
			continue
		}
		var first atomic.Pointer[string]
		for range 4 {
			asking.Go(func() {
				for n := range 40 {
					in := ""
					if n%7 == 3 {
						in = "flood"
					}
					var out bytes.Buffer
					receipt, err := r.Run(context.Background(), strings.NewReader(in), &out, &out)
					if in == "flood" {
						if !errors.Is(err, engine.ErrOutput) {
							t.Errorf("got %v", err)
						}
						continue
					}
					got := out.String()
					first.CompareAndSwap(nil, &got)
					if a, b, ok := strings.Cut(got, " "); err != nil || !ok || a != b || got != *first.Load() {
						t.Errorf("got %q, %v by %s, want %q", got, err, receipt.Start, *first.Load())
					}
				}
			})
		}
		asking.Wait()
	}
	close(stop)
	changing.Wait()
}
