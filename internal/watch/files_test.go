package watch

import (
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestFiles: one watch follows many paths and the entries of some folders, and nothing else.
func TestFiles(t *testing.T) {
	t.Parallel()
	for _, mode := range []struct {
		name string
		make func() *notifier
	}{{"told", eager}, {"looking", blind}} {
		t.Run(mode.name, func(t *testing.T) {
			t.Parallel()
			w := world{t, t.TempDir()}
			for _, dir := range []string{"app/list/sub", "rel/1", "rel/2"} {
				w.mkdir(dir)
			}
			w.write("app/a", "1")
			w.write("app/list/x", "1")
			w.write("rel/1/c", "1")
			w.write("rel/2/c", "2")
			w.link("rel/1", "current")
			var calls atomic.Int64
			n := mode.make()
			all := n.all([]string{w.path("app/a"), w.path("app/none"), w.path("no/ne"), w.dir + "/current/c", w.dir + "/current/../2/d"},
				false, []string{w.path("app/list"), w.path("later")}, func() { calls.Add(1) })
			defer all.Stop()
			for _, step := range []struct {
				name   string
				change func()
			}{
				{"writing", func() { w.write("app/a", "2") }},
				{"renaming over", func() { w.replace("app/a", "3") }},
				{"making what was not there", func() { w.write("app/none", "1") }},
				{"making a folder and what was not there", func() { w.mkdir("no"); w.write("no/ne", "1") }},
				{"writing to that", func() { w.write("no/ne", "22") }},
				{"switching a link", func() { w.link("rel/2", "current") }},
				{"writing behind the link", func() { w.write("rel/2/c", "33") }},
				{"making what is beside where the link leads", func() { w.write("rel/2/d", "1") }},
				{"a new entry", func() { w.write("app/list/y", "1") }},
				{"removing an entry", func() { w.remove("app/list/x") }},
				{"replacing an entry by a folder", func() { w.remove("app/list/y"); w.mkdir("app/list/y") }},
				{"making a folder that is listed", func() { w.mkdir("later") }},
				{"its first entry", func() { w.write("later/x", "1") }},
				{"removing all", func() { w.remove("app") }},
			} {
				before := calls.Load()
				step.change()
				until(t, "to be told after "+step.name, func() bool { return calls.Load() > before })
				// What still comes of this step must not be taken for the next one's.
				for last := int64(-1); last != calls.Load(); {
					last = calls.Load()
					time.Sleep(4 * quiet)
				}
			}
			if reason := all.Polling(); (reason == "") != (mode.name == "told") {
				t.Errorf("got %q", reason)
			}
		})
	}
}

// TestFilesOnly: what nobody asked for is not told.
func TestFilesOnly(t *testing.T) {
	t.Parallel()
	w := world{t, t.TempDir()}
	w.mkdir("list/sub")
	w.write("a", "1")
	w.write("list/x", "1")
	n := eager()
	var calls atomic.Int64
	all := n.all([]string{w.path("a")}, false, []string{w.path("list")}, func() { calls.Add(1) })
	defer all.Stop()
	last := observe(n, w.path("last"), false)
	defer last.Stop()
	for range 100 {
		w.write("other", "1")
		w.write("list/sub/y", "1")
		f, err := os.OpenFile(w.path("list/x"), os.O_APPEND|os.O_WRONLY, 0)
		w.do(err)
		_, err = f.WriteString(strings.Repeat("x", 10))
		w.do(err)
		w.do(f.Close())
	}
	w.write("last", "1")
	last.catchesUp(t, "the last of many files")
	if n := calls.Load(); n != 0 {
		t.Errorf("got %d calls, want none", n)
	}
}
