package watch

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// soon is how long a test waits for what must happen, on a very busy machine.
const soon = 60 * time.Second

// eager returns a notifier that hardly ever looks where the system tells, lest
// looking hides what's missed.
func eager() *notifier {
	seldom := time.Hour
	if !everyFolder {
		seldom = time.Second // Moved folders are only found by looking.
	}
	return &notifier{often: 20 * time.Millisecond, seldom: seldom}
}

// blind returns a notifier that the system refuses to tell anything.
func blind() *notifier {
	n := eager()
	n.refuse = func(string) error { return syscall.ENOSPC }
	return n
}

// until waits until what is said to be true is.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(soon); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// state tells everything about the files at path.
func state(path string) string {
	var b strings.Builder
	describe(&b, path, 0)
	return b.String()
}

func describe(b *strings.Builder, path string, depth int) {
	info, err := os.Stat(path)
	if err != nil || depth > 6 {
		fmt.Fprintf(b, "%s: nothing\n", path)
		return
	}
	if !info.IsDir() {
		text, _ := os.ReadFile(path)
		fmt.Fprintf(b, "%s: %v %v %q\n", path, info.Mode(), info.ModTime().UnixNano(), text)
		return
	}
	fmt.Fprintf(b, "%s: %v\n", path, info.Mode())
	entries, _ := os.ReadDir(path)
	for _, e := range entries {
		describe(b, filepath.Join(path, e.Name()), depth+1)
	}
}

// observer is what consumers are: it looks when it's told to.
type observer struct {
	*Watch
	path  string
	calls atomic.Int64
	last  atomic.Pointer[string]
}

func observe(n *notifier, path string, tree bool) *observer {
	o := &observer{path: path}
	look := func() {
		now := state(path)
		o.last.Store(&now)
	}
	o.Watch = n.watch(path, tree, func() {
		look()
		o.calls.Add(1)
	})
	if o.last.Load() == nil {
		look()
	}
	return o
}

// catchesUp waits until o has seen the files as they are.
func (o *observer) catchesUp(t *testing.T, after string) {
	t.Helper()
	now := state(o.path)
	until(t, "to be told after "+after, func() bool { return *o.last.Load() == now })
}

// world is a folder of a test and how to change it. Paths are relative to it.
type world struct {
	t   *testing.T
	dir string
}

func (w world) path(name string) string { return filepath.Join(w.dir, filepath.FromSlash(name)) }

func (w world) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w world) mkdir(name string)      { w.t.Helper(); w.do(os.MkdirAll(w.path(name), 0o755)) }
func (w world) remove(name string)     { w.t.Helper(); w.do(os.RemoveAll(w.path(name))) }
func (w world) rename(from, to string) { w.t.Helper(); w.do(os.Rename(w.path(from), w.path(to))) }
func (w world) write(name, text string) {
	w.t.Helper()
	w.mkdir(filepath.Dir(filepath.FromSlash(name)))
	w.do(os.WriteFile(w.path(name), []byte(text), 0o644))
}

// replace writes a file the way that nobody sees half of.
func (w world) replace(name, text string) {
	w.t.Helper()
	w.write(name+".new", text)
	w.rename(name+".new", name)
}

// link makes or switches a symbolic link. target isn't changed.
func (w world) link(target, name string) {
	w.t.Helper()
	w.mkdir(filepath.Dir(filepath.FromSlash(name)))
	if err := os.Symlink(filepath.FromSlash(target), w.path(name+".new")); err != nil {
		w.t.Skip(err) // Windows, without the privilege
	}
	w.rename(name+".new", name)
}

type step struct {
	name string
	do   func(w world)
}

var changes = []struct {
	name  string
	watch string
	tree  bool
	start func(w world)
	steps []step
}{
	{
		name: "file", watch: "in/a",
		start: func(w world) { w.write("in/a", "1") },
		steps: []step{
			{"writing", func(w world) { w.write("in/a", "2") }},
			{"appending", func(w world) {
				f, err := os.OpenFile(w.path("in/a"), os.O_APPEND|os.O_WRONLY, 0)
				w.do(err)
				_, err = f.WriteString("more")
				w.do(err)
				w.do(f.Close())
			}},
			{"replacing", func(w world) { w.replace("in/a", "3") }},
			{"replacing again", func(w world) { w.replace("in/a", "4") }},
			{"removing", func(w world) { w.remove("in/a") }},
			{"making", func(w world) { w.write("in/a", "5") }},
			{"touching", func(w world) { w.do(os.Chtimes(w.path("in/a"), time.Time{}, time.Unix(1e9, 0))) }},
			{"changing the mode", func(w world) { w.do(os.Chmod(w.path("in/a"), 0o444)) }},
			{"moving away", func(w world) { w.rename("in/a", "b") }},
			{"moving back", func(w world) { w.rename("b", "in/a") }},
			{"replacing by a folder", func(w world) { w.remove("in/a"); w.mkdir("in/a") }},
		},
	}, {
		name: "file that comes later", watch: "x/y/z/a",
		start: func(world) {},
		steps: []step{
			{"making all", func(w world) { w.write("x/y/z/a", "1") }},
			{"writing", func(w world) { w.write("x/y/z/a", "2") }},
			{"removing all", func(w world) { w.remove("x") }},
			{"making all again", func(w world) { w.write("x/y/z/a", "3") }},
			{"writing again", func(w world) { w.write("x/y/z/a", "4") }},
		},
	}, {
		name: "folder above a file", watch: "x/y/a",
		start: func(w world) { w.write("x/y/a", "1"); w.write("next/y/a", "other") },
		steps: []step{
			{"removing it and making it again", func(w world) { w.remove("x/y"); w.write("x/y/a", "2") }},
			{"writing", func(w world) { w.write("x/y/a", "3") }},
			{"moving the one above away", func(w world) { w.rename("x", "old") }},
			{"moving another there", func(w world) { w.rename("next", "x") }},
			{"writing to that", func(w world) { w.write("x/y/a", "4") }},
			{"exchanging them at once", func(w world) { w.rename("x", "next"); w.rename("old", "x") }},
			{"writing after that", func(w world) { w.write("x/y/a", "5") }},
			{"a file in its place", func(w world) { w.remove("x/y"); w.write("x/y", "6") }},
			{"a folder again", func(w world) { w.remove("x/y"); w.write("x/y/a", "7") }},
		},
	}, {
		name: "link to a file", watch: "in/a",
		start: func(w world) { w.write("1/a", "1"); w.write("2/a", "2"); w.link("../1/a", "in/a") },
		steps: []step{
			{"switching", func(w world) { w.link("../2/a", "in/a") }},
			{"writing to the target", func(w world) { w.write("2/a", "3") }},
			{"replacing the target", func(w world) { w.replace("2/a", "4") }},
			{"switching to nothing", func(w world) { w.link("../3/a", "in/a") }},
			{"making the target", func(w world) { w.write("3/a", "5") }},
			{"switching to an absolute one", func(w world) { w.link(w.path("1/a"), "in/a") }},
			{"writing to that", func(w world) { w.write("1/a", "6") }},
		},
	}, {
		name: "link to the current folder", watch: "current/bin/a",
		start: func(w world) {
			w.write("releases/1/bin/a", "1")
			w.write("releases/2/bin/a", "2")
			w.link("releases/1", "current")
		},
		steps: []step{
			{"switching", func(w world) { w.link("releases/2", "current") }},
			{"writing", func(w world) { w.write("releases/2/bin/a", "3") }},
			{"switching back", func(w world) { w.link("releases/1", "current") }},
			{"switching to a new one", func(w world) { w.write("releases/3/bin/a", "4"); w.link("releases/3", "current") }},
			{"removing that", func(w world) { w.remove("releases/3") }},
		},
	}, {
		name: "Kubernetes volume", watch: "etc/a",
		start: func(w world) {
			w.write("etc/..1/a", "1")
			w.link("..1", "etc/..data")
			w.link("..data/a", "etc/a")
		},
		steps: []step{
			{"an update", func(w world) { w.write("etc/..2/a", "2"); w.link("..2", "etc/..data"); w.remove("etc/..1") }},
			{"another", func(w world) { w.write("etc/..3/a", "3"); w.link("..3", "etc/..data"); w.remove("etc/..2") }},
		},
	}, {
		name: "links that go round", watch: "in/a",
		start: func(w world) { w.link("b", "in/a"); w.link("a", "in/b") },
		steps: []step{
			{"ending that", func(w world) { w.link("../x/../c", "in/b"); w.mkdir("x"); w.write("c", "1") }},
			{"writing", func(w world) { w.write("c", "2") }},
		},
	}, {
		name: "tree", watch: "in", tree: true,
		start: func(w world) { w.write("in/a", "1"); w.write("in/x/b", "1") },
		steps: []step{
			{"writing", func(w world) { w.write("in/a", "2") }},
			{"writing below", func(w world) { w.write("in/x/b", "2") }},
			{"a new file", func(w world) { w.write("in/x/c", "1") }},
			{"new folders with a file", func(w world) { w.write("in/y/1/2/3/4/d", "1") }},
			{"writing there", func(w world) { w.write("in/y/1/2/3/4/d", "2") }},
			{"renaming them", func(w world) { w.rename("in/y", "in/z") }},
			{"writing to renamed", func(w world) { w.write("in/z/1/2/3/4/d", "3") }},
			{"renaming one in between", func(w world) { w.rename("in/z/1/2", "in/z/1/two") }},
			{"writing below that", func(w world) { w.write("in/z/1/two/3/4/d", "4") }},
			{"moving them out", func(w world) { w.rename("in/z", "z") }},
			{"moving them in, changed", func(w world) { w.write("z/1/two/3/e", "1"); w.rename("z", "in/z") }},
			{"writing to returned", func(w world) { w.write("in/z/1/two/3/e", "2") }},
			{"exchanging two", func(w world) { w.rename("in/z", "in/t"); w.rename("in/x", "in/z"); w.rename("in/t", "in/x") }},
			{"writing to one", func(w world) { w.write("in/z/b", "5") }},
			{"writing to the other", func(w world) { w.write("in/x/1/two/3/4/d", "5") }},
			{"removing and making at once", func(w world) { w.remove("in/x"); w.write("in/x/1/two/3/4/d", "6") }},
			{"writing to the new one", func(w world) { w.write("in/x/1/two/3/4/d", "7") }},
			{"an empty folder", func(w world) { w.mkdir("in/e") }},
			// Which is likely to have the number of the one before.
			{"another in its place", func(w world) { w.remove("in/e"); w.mkdir("in/e"); w.write("in/a", "3") }},
			{"writing to that one", func(w world) { w.write("in/e/f", "1") }},
			{"removing all", func(w world) { w.remove("in") }},
			{"making all", func(w world) { w.write("in/x/y/a", "1") }},
			{"writing to all new", func(w world) { w.write("in/x/y/a", "2") }},
		},
	}, {
		name: "tree that's a link", watch: "current", tree: true,
		start: func(w world) {
			w.write("releases/1/x/a", "1")
			w.write("releases/2/x/a", "2")
			w.link("releases/1", "current")
		},
		steps: []step{
			{"switching", func(w world) { w.link("releases/2", "current") }},
			{"writing", func(w world) { w.write("releases/2/x/a", "3") }},
			{"writing a new one", func(w world) { w.write("releases/2/x/y/b", "1") }},
			{"switching back", func(w world) { w.link("releases/1", "current") }},
			{"writing back there", func(w world) { w.write("releases/1/x/a", "4") }},
		},
	}, {
		name: "links in a tree", watch: "in", tree: true,
		start: func(w world) {
			w.write("out/x/a", "1")
			w.write("files/b", "1")
			w.write("in/c", "1")
			w.link("../out", "in/1")
			w.link("../out", "in/2")
			w.link("../files/b", "in/b")
			w.link(".", "in/loop")
		},
		steps: []step{
			{"writing to a linked folder", func(w world) { w.write("out/x/a", "2") }},
			{"a folder in a linked folder", func(w world) { w.write("out/x/y/d", "1") }},
			{"writing to that", func(w world) { w.write("out/x/y/d", "2") }},
			{"writing to a linked file", func(w world) { w.write("files/b", "2") }},
			{"replacing a linked file", func(w world) { w.replace("files/b", "3") }},
			{"removing one of two links", func(w world) { w.remove("in/1") }},
			{"writing past the other", func(w world) { w.write("out/x/a", "3") }},
			{"switching that to nothing", func(w world) { w.link("../new", "in/2") }},
			{"making something there", func(w world) { w.write("new/x/e", "1") }},
			{"writing to that too", func(w world) { w.write("new/x/e", "2") }},
			{"exchanging what's linked to", func(w world) { w.rename("new", "old"); w.rename("out", "new") }},
			{"writing to the exchanged", func(w world) { w.write("new/x/a", "4") }},
		},
	}, {
		name: "Kubernetes volume as a tree", watch: "etc", tree: true,
		start: func(w world) {
			w.write("etc/..1/a", "1")
			w.link("..1", "etc/..data")
			w.link("..data/a", "etc/a")
		},
		steps: []step{
			{"an update", func(w world) { w.write("etc/..2/a", "2"); w.link("..2", "etc/..data"); w.remove("etc/..1") }},
			{"another", func(w world) { w.write("etc/..3/a", "3"); w.link("..3", "etc/..data"); w.remove("etc/..2") }},
		},
	},
}

func TestChanges(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name string
		make func() *notifier
	}{{"told", eager}, {"polling", blind}} {
		for _, c := range changes {
			t.Run(mode.name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				w := world{t, t.TempDir()}
				c.start(w)
				o := observe(mode.make(), w.path(c.watch), c.tree)
				defer o.Stop()
				if reason := o.Polling(); (reason != "") != (mode.name == "polling") {
					t.Fatalf("polling because of %q", reason)
				}
				for _, s := range c.steps {
					before := state(o.path)
					s.do(w)
					if state(o.path) == before {
						t.Fatalf("%s changed nothing", s.name)
					}
					o.catchesUp(t, s.name)
				}
			})
		}
	}
}

// TestRandomChanges does anything, in any order and at any time.
func TestRandomChanges(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := world{t, t.TempDir()}
			w.mkdir("in")
			w.mkdir("out")
			o := observe(eager(), w.path("in"), true)
			defer o.Stop()
			r := rand.New(rand.NewPCG(seed, 1))
			any := func() string {
				p := w.path([]string{"in", "in", "out"}[r.IntN(3)])
				for range 1 + r.IntN(3) {
					p = filepath.Join(p, string(rune('a'+r.IntN(3))))
				}
				return p
			}
			for round := range 25 {
				for i := range 1 + r.IntN(30) {
					// Most can't be done, as they would if others did them.
					switch p := any(); r.IntN(6) {
					case 0, 1:
						os.MkdirAll(p, 0o755)
					case 2:
						os.WriteFile(p, fmt.Append(nil, round, i), 0o644)
					case 3:
						os.Rename(p, any())
					case 4:
						os.RemoveAll(p)
					case 5:
						if runtime.GOOS != "windows" {
							os.Symlink(any(), p)
						}
					}
					if r.IntN(10) == 0 {
						time.Sleep(time.Duration(r.IntN(150)) * time.Millisecond)
					}
				}
				o.catchesUp(t, fmt.Sprint("round ", round))
			}
		})
	}
}

func TestNewFoldersRace(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	o := observe(eager(), w.dir, true)
	defer o.Stop()
	for i := range 300 {
		w.write(fmt.Sprintf("%d/a/b/c/f", i), "1")
		if i%20 == 0 {
			o.catchesUp(t, "a new file in new folders")
		}
	}
	o.catchesUp(t, "the last new file")
}

// TestFolderBeforeWatch has a folder made in a new one right before that's being
// watched, and wants it to be watched as well.
func TestFolderBeforeWatch(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	w.mkdir("in")
	n := eager()
	n.refuse = func(path string) error {
		if filepath.Base(path) == "new" {
			return os.MkdirAll(filepath.Join(path, "late"), 0o755)
		}
		return nil
	}
	o := observe(n, w.path("in"), true)
	defer o.Stop()
	w.mkdir("in/new")
	until(t, "the new folder to be watched", func() bool { return exists(w.path("in/new/late")) })
	o.catchesUp(t, "a new folder")
	until(t, "it to be quiet", func() bool { return n.knows("late") })
	w.write("in/new/late/a", "1")
	o.catchesUp(t, "writing to the late one")
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// knows says whether a folder of that name is watched.
func (n *notifier) knows(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for path := range n.byPath {
		if filepath.Base(path) == name {
			return true
		}
	}
	return false
}

func TestManyChangesAreFewCalls(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	w.write("a", "")
	o := observe(eager(), w.path("a"), false)
	defer o.Stop()
	start := time.Now()
	for i := range 1000 {
		w.write("a", fmt.Sprint(i))
	}
	o.catchesUp(t, "many changes")
	calls := o.calls.Load()
	if most := int64(time.Since(start)/quiet) + 1; calls > most {
		t.Errorf("got %d calls, want at most %d", calls, most)
	}
}

// TestBusyFolder changes a file all the time, so that it's never quiet.
func TestBusyFolder(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	o := observe(eager(), w.dir, true)
	defer o.Stop()
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				os.WriteFile(w.path("a"), fmt.Append(nil, time.Now()), 0o644)
				time.Sleep(time.Millisecond)
			}
		}
	})
	until(t, "to be told during changes", func() bool { return o.calls.Load() > 1 })
	close(stop)
	writer.Wait()
	o.catchesUp(t, "the last change")
}

func TestOtherFilesDontMatter(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	w.write("a", "1")
	n := eager()
	o := observe(n, w.path("a"), false)
	defer o.Stop()
	last := observe(n, w.path("last"), false)
	defer last.Stop()
	for i := range 1000 {
		w.write(fmt.Sprint("other", i), "1")
	}
	w.write("last", "1")
	last.catchesUp(t, "the last of many files") // Events come in order.
	if calls := o.calls.Load(); calls != 0 {
		t.Errorf("got %d calls for other files, want none", calls)
	}
	w.write("a", "2")
	o.catchesUp(t, "its own")
}

func TestOverflow(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	w.write("tree/a", "1")
	w.write("file", "1")
	n := eager()
	tree, file := observe(n, w.path("tree"), true), observe(n, w.path("file"), false)
	defer tree.Stop()
	defer file.Stop()
	n.watcher.Errors <- fsnotify.ErrEventOverflow
	for _, o := range []*observer{tree, file} {
		until(t, "to be told that events were lost", func() bool { return o.calls.Load() > 0 })
	}
	w.write("tree/x/y", "1")
	tree.catchesUp(t, "a change after that")
}

// TestLostEvents has more happen than the system keeps.
func TestLostEvents(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	var most int
	if _, scan := fmt.Sscan(string(text), &most); err != nil || scan != nil || most > 1<<17 {
		t.Skip("no such limit, or a high one")
	}
	w := world{t, t.TempDir()}
	w.mkdir("tree")
	n := eager()
	tree := observe(n, w.path("tree"), true)
	defer tree.Stop()
	n.mu.Lock() // No events are taken.
	a, b := w.path("tree/a"), w.path("tree/b")
	for i := 0; i < most+8192; i += 2 {
		// By turns, as the same event is only kept once.
		os.Symlink("nothing", a)
		os.Symlink("nothing", b)
		os.Remove(a)
		os.Remove(b)
	}
	w.write("tree/x/y/z", "1")
	n.mu.Unlock()
	tree.catchesUp(t, "events were lost")
	w.write("tree/x/y/z", "2")
	tree.catchesUp(t, "a change where they were")
}

func TestFolderThatCantBeWatched(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	w.write("tree/open/a", "1")
	w.write("tree/secret/a", "1")
	n := eager()
	n.refuse = func(path string) error {
		if filepath.Base(path) == "secret" {
			return fs.ErrPermission
		}
		return nil
	}
	o, other := observe(n, w.path("tree"), true), observe(n, w.path("tree/open"), true)
	defer o.Stop()
	defer other.Stop()
	if got, want := o.Polling(), "secret: permission denied"; !strings.Contains(got, "secret: ") {
		t.Errorf("got reason %q, want %q in it", got, want)
	}
	if got := other.Polling(); got != "" {
		t.Errorf("another watch polls because of %q", got)
	}
	for i := range 3 {
		w.write("tree/secret/a", fmt.Sprint("changed ", i))
		o.catchesUp(t, "a change where the system doesn't tell")
		w.write("tree/open/a", fmt.Sprint("changed ", i))
		o.catchesUp(t, "a change where it does")
		other.catchesUp(t, "a change of a part")
	}
}

// TestNoMoreWatches has a tree get only some of the watches it needs. It leaves
// them to others, and gets them all once they are there.
func TestNoMoreWatches(t *testing.T) {
	t.Parallel()
	for _, refusal := range []error{syscall.ENOSPC, errNone{syscall.EMFILE}} {
		t.Run(refusal.Error(), func(t *testing.T) {
			t.Parallel()
			w := world{t, t.TempDir()}
			for i := range 50 {
				w.write(fmt.Sprintf("tree/%d/a", i), "1")
			}
			var most, got atomic.Int64
			n := eager()
			n.seldom = 20 * time.Millisecond
			n.refuse = func(string) error {
				if got.Add(1) > most.Load() {
					return refusal
				}
				return nil
			}
			most.Store(30)
			o := observe(n, w.path("tree"), true)
			defer o.Stop()
			if o.Polling() == "" {
				t.Error("no reason for polling")
			}
			n.mu.Lock()
			if left := len(n.byPath); left != 0 {
				t.Errorf("keeps %d watches", left)
			}
			n.mu.Unlock()
			w.write("tree/new/a", "1")
			o.catchesUp(t, "a change without watches")
			most.Store(1e9)
			until(t, "to get watches", func() bool { return o.Polling() == "" })
			w.write("tree/new/a", "2")
			o.catchesUp(t, "a change with watches")
		})
	}
}

// TestSystemTellsNothing is about file systems that never do, though watching
// succeeds.
func TestSystemTellsNothing(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	w.write("tree/a", "1")
	n := eager()
	n.seldom = 50 * time.Millisecond
	o := observe(n, w.path("tree"), true)
	defer o.Stop()
	n.adding.Lock()
	for _, path := range n.watcher.WatchList() {
		n.watcher.Remove(path)
	}
	n.adding.Unlock()
	w.write("tree/x/b", "1")
	o.catchesUp(t, "a change that nobody told of")
	// Looking has had it watched again.
	n.adding.Lock()
	watched := n.watcher.WatchList()
	n.adding.Unlock()
	if !slices.ContainsFunc(watched, func(p string) bool { return filepath.Base(p) == "x" }) {
		t.Errorf("watched are %q, want the new folder among them", watched)
	}
}

// TestSamePlaces has several watches on the same folders, that end one by one.
func TestSamePlaces(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	w.write("in/x/a", "1")
	n := eager()
	all := []*observer{
		observe(n, w.path("in"), true), observe(n, w.path("in/x"), true), observe(n, w.path("in/x/a"), false),
		observe(n, w.path("in"), true), observe(n, w.path("in/x"), true), observe(n, w.path("in/x/a"), false),
	}
	for i, o := range all {
		w.rename("in/x", "in/y")
		w.rename("in/y", "in/x")
		w.replace("in/x/a", fmt.Sprint("a", i))
		for _, o := range all[i:] {
			o.catchesUp(t, "moving there and back")
		}
		w.remove("in/x")
		w.write("in/x/a", fmt.Sprint("b", i))
		for _, o := range all[i:] {
			o.catchesUp(t, "making it anew")
		}
		w.write("in/x/a", fmt.Sprint("c", i))
		for _, o := range all[i:] {
			o.catchesUp(t, "writing to the new one")
		}
		o.Stop()
	}
}

func TestStop(t *testing.T) {
	t.Parallel()
	t.Run("from within", func(t *testing.T) {
		t.Parallel()
		w := world{t, t.TempDir()}
		var watch atomic.Pointer[Watch]
		stopped := make(chan struct{})
		watch.Store(eager().watch(w.path("a"), false, func() {
			for watch.Load() == nil {
				runtime.Gosched()
			}
			watch.Load().Stop()
			watch.Load().Stop()
			close(stopped) // A second call would panic.
		}))
		w.write("a", "1")
		select {
		case <-stopped:
		case <-time.After(soon):
			t.Fatal("deadlock")
		}
		w.write("a", "2")
		watch.Load().Stop()
	})
	t.Run("waits for the call", func(t *testing.T) {
		t.Parallel()
		w := world{t, t.TempDir()}
		called, goOn := make(chan struct{}), make(chan struct{})
		var returned atomic.Bool
		watch := eager().watch(w.path("a"), false, func() {
			close(called)
			<-goOn
			time.Sleep(20 * time.Millisecond)
			returned.Store(true)
		})
		w.write("a", "1")
		<-called
		var stops sync.WaitGroup
		for range 3 {
			stops.Go(func() {
				watch.Stop()
				if !returned.Load() {
					t.Error("Stop returned before changed did")
				}
			})
		}
		close(goOn)
		stops.Wait()
	})
	t.Run("changed that ends its goroutine", func(t *testing.T) {
		t.Parallel()
		w := world{t, t.TempDir()}
		n := eager()
		n.watch(w.path("a"), false, runtime.Goexit)
		w.write("a", "1")
		until(t, "the watch to end", func() bool { return n.empty() })
	})
	t.Run("no call after it", func(t *testing.T) {
		t.Parallel()
		w := world{t, t.TempDir()}
		n := eager()
		other := observe(n, w.path("a"), false)
		defer other.Stop()
		for i := range 20 {
			var stopped atomic.Bool
			watch := n.watch(w.path("a"), false, func() {
				if stopped.Load() {
					t.Error("called after Stop")
				}
			})
			w.write("a", fmt.Sprint(i))
			time.Sleep(time.Duration(i) * quiet / 10)
			watch.Stop()
			stopped.Store(true)
		}
		other.catchesUp(t, "changes while others stopped")
	})
}

// empty says whether nothing is watched any more.
func (n *notifier) empty() bool {
	n.adding.Lock()
	defer n.adding.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.watcher == nil && len(n.watches) == 0 && len(n.byPath) == 0 && len(n.byID) == 0
}

// TestHammer makes and ends watches while everything changes.
func TestHammer(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	for i := range 4 {
		w.write(fmt.Sprintf("in/%d/x/a", i), "1")
	}
	n := eager()
	steady := observe(n, w.path("in"), true)
	var workers, writers sync.WaitGroup
	end := time.Now().Add(2 * time.Second)
	for k := range uint64(3) {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(k, 2))
			for time.Now().Before(end) {
				d := w.path(fmt.Sprintf("in/%d", r.IntN(4)))
				switch r.IntN(4) {
				case 0:
					os.RemoveAll(d)
				case 1:
					os.MkdirAll(filepath.Join(d, "x", "y"), 0o755)
				case 2:
					os.Rename(d, w.path(fmt.Sprintf("in/%d", r.IntN(4))))
				case 3:
					os.WriteFile(filepath.Join(d, "x", "a"), []byte{byte(r.Int())}, 0o644)
				}
				time.Sleep(time.Duration(r.IntN(1000)) * time.Microsecond)
			}
		})
	}
	for k := range uint64(6) {
		workers.Go(func() {
			r := rand.New(rand.NewPCG(k, 3))
			var watches []*Watch
			for time.Now().Before(end) {
				var calls int
				path := w.path([]string{"in", "in/0", "in/1/x", "in/2/x/a"}[r.IntN(4)])
				watches = append(watches, n.watch(path, r.IntN(2) == 0, func() { calls++ }))
				if len(watches) > 5 {
					watches[0].Polling()
					watches[0].Stop()
					watches = watches[1:]
				}
				time.Sleep(time.Duration(r.IntN(20)) * time.Millisecond)
			}
			for _, w := range watches {
				w.Stop()
			}
		})
	}
	writers.Wait()
	workers.Wait()
	steady.catchesUp(t, "all that")
	w.write("in/0/x/new/a", "1")
	steady.catchesUp(t, "one more")
	steady.Stop()
	until(t, "everything to be given back", n.empty)
}

// TestNothingIsLeft isn't parallel, as it counts what the process has.
func TestNothingIsLeft(t *testing.T) {
	w := world{t, t.TempDir()}
	for i := range 20 {
		w.write(fmt.Sprintf("in/%d/a", i), "1")
	}
	goroutines, files := runtime.NumGoroutine(), descriptors()
	for range 5 {
		var watches []*Watch
		for i := range 20 {
			watches = append(watches, File(w.path(fmt.Sprintf("in/%d/a", i)), func() {}), Tree(w.path("in"), func() {}))
		}
		w.replace("in/3/a", "2")
		for _, watch := range watches {
			watch.Stop()
		}
	}
	until(t, "goroutines and files to be as few as before", func() bool {
		return process.empty() && runtime.NumGoroutine() <= goroutines && descriptors() <= files
	})
}

// descriptors counts open files where that's easy.
func descriptors() int {
	entries, _ := os.ReadDir("/proc/self/fd")
	return len(entries)
}

// TestLookingIsBounded has looking take so long that it may not be done often.
func TestLookingIsBounded(t *testing.T) {
	t.Parallel()
	w := &Watch{notifier: &notifier{often: 2 * time.Second, seldom: 30 * time.Second}}
	for _, c := range []struct {
		refused bool
		cost    time.Duration
		want    time.Duration
	}{
		{false, time.Millisecond, 30 * time.Second},
		{true, time.Millisecond, 2 * time.Second},
		{true, 100 * time.Millisecond, 5 * time.Second},
		{false, time.Second, 50 * time.Second},
	} {
		w.view.refused, w.look.cost = c.refused, c.cost
		if got := w.look.due(w).Sub(w.look.done); got != c.want {
			t.Errorf("looks again after %v, want %v (%+v)", got, c.want, c)
		}
	}
}

// big makes a tree of 10,000 files in as many folders, or in one.
func big(b *testing.B, folders bool) string {
	w := world{dir: b.TempDir()}
	for i := range 10_000 {
		path := w.path(fmt.Sprintf("%d.wasm", i))
		if folders {
			path = w.path(fmt.Sprintf("%d/%d/a.wasm", i/100, i))
			os.MkdirAll(filepath.Dir(path), 0o755)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return w.dir
}

func BenchmarkTree(b *testing.B) {
	for _, c := range []struct {
		name    string
		folders bool
	}{{"one folder", false}, {"10000 folders", true}} {
		dir := big(b, c.folders)
		b.Run("start/"+c.name, func(b *testing.B) {
			for b.Loop() {
				n := eager()
				n.watch(dir, true, func() {}).Stop()
				b.StopTimer()
				for !n.empty() {
					time.Sleep(time.Millisecond)
				}
				b.StartTimer()
			}
		})
		b.Run("look/"+c.name, func(b *testing.B) {
			w := &Watch{paths: []string{dir}, tree: true}
			for b.Loop() {
				w.look.take(w)
			}
		})
		b.Run("change/"+c.name, func(b *testing.B) {
			n := eager()
			w := &Watch{notifier: n, paths: []string{dir}, tree: true, wake: make(chan struct{}, 1), done: make(chan struct{})}
			n.enter(w)
			w.distrust()
			w.setUp()
			root := n.byPath[dir]
			for b.Loop() {
				w.hear(root, true, false, true)
				w.setUp()
			}
			b.StopTimer()
			start := time.Now()
			w.leave()
			b.ReportMetric(float64(time.Since(start).Milliseconds()), "ms/stop")
		})
	}
}
