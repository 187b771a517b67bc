package gojinn

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// forReaders runs a test with a function, of either kind, whose program looks at files of app when it starts:
// see engine/testdata/guests/frozen-go.
func forReaders(t *testing.T, options string, looks []string, first map[string]string, test func(t *testing.T, s subject, app string)) {
	module := toolchaintest.Build(t, filepath.Join("engine", "testdata", "guests", "frozen-go"))
	for _, kind := range []string{"gojinn", "gojinn_dir"} {
		t.Run(kind, func(t *testing.T) {
			app := t.TempDir()
			for name, text := range first {
				put(t, filepath.Join(app, name), []byte(text))
			}
			args := "args json"
			for _, look := range looks {
				args += fmt.Sprintf(" %q", look)
			}
			test(t, serveSubject(t, kind, lines(args, "allow dir "+app+" /app", "max_response 64KiB", options), functionDir(t, map[string][]byte{"fn.wasm": module})), app)
		})
	}
}

// parks waits until a sandbox is ready whose start-up has been kept.
func (s subject) parks() {
	s.t.Helper()
	eventually(s.t, "a sandbox is ready", func() bool {
		found := s.info()
		return found.Sandboxes != nil && found.Sandboxes.Parked > 0 && found.Start == "snapshot"
	})
}

// flood ends a call so that its sandbox has to be started anew.
func (s subject) flood() {
	s.t.Helper()
	if got := s.get("/fn?flood"); got.status != http.StatusBadGateway {
		s.t.Errorf("got %d %q, want 502", got.status, got.body)
	}
}

// TestReadsChange: a function whose start-up has read files answers with what they are, soon after they have
// changed; broken ones leave the version before in its place.
func TestReadsChange(t *testing.T) {
	looks := []string{"cat /app/x", "cat /app/none", "ls /app/list"}
	first := map[string]string{"x": "one", "list/a": ""}
	forReaders(t, "", looks, first, func(t *testing.T, s subject, app string) {
		s.becomes("one no a")
		s.parks()
		put(t, app+"/x", []byte("two"))
		s.becomes("two no a")
		put(t, app+"/x.new", []byte("three"))
		if err := os.Rename(app+"/x.new", app+"/x"); err != nil {
			t.Fatal(err)
		}
		s.becomes("three no a")
		put(t, app+"/none", []byte("yes"))
		s.becomes("three yes a")
		put(t, app+"/list/b", nil)
		s.becomes("three yes a,b")

		changes := len(entriesOf(t, "module changed"))
		later := time.Now().Add(time.Hour)
		if err := os.Chtimes(app+"/x", later, later); err != nil {
			t.Fatal(err)
		}
		put(t, app+"/list/b", []byte("what is in an entry doesn't count"))
		s.stays("three yes a,b")
		if got := len(entriesOf(t, "module changed")); got != changes {
			t.Errorf("got %d more versions after touching, want none", got-changes)
		}

		put(t, app+"/x", []byte("broken"))
		s.isRefused(1)
		if got := s.info().Error; !strings.Contains(got, "SyntaxError: /app/x says broken") {
			t.Errorf("got error %q", got)
		}
		if got := entriesOf(t, "SyntaxError: /app/x says broken"); len(got) != 1 {
			t.Errorf("the program's own message is logged %d times, want once", len(got))
		}
		for range 20 {
			s.flood()
			s.stays("three yes a,b")
		}
		if got := refusals(t, s.name); len(got) != 1 {
			t.Errorf("got log %q", got)
		}
		put(t, app+"/x", []byte("three"))
		eventually(t, "it is in order again", func() bool { return s.info().Error == "" })
		s.stays("three yes a,b")
		put(t, app+"/x", []byte("four"))
		s.becomes("four yes a,b")
	})
}

// TestFirstReadsBroken: a program whose first start fails is an error for its clients, says why in the log, and
// is served as soon as its files are right.
func TestFirstReadsBroken(t *testing.T) {
	forReaders(t, "", []string{"cat /app/x"}, map[string]string{"x": "broken"}, func(t *testing.T, s subject, app string) {
		for range 3 {
			got := s.get("/fn")
			if got.status != http.StatusBadGateway || strings.Contains(got.body, "Syntax") {
				t.Errorf("got %d %q", got.status, got.body)
			}
		}
		if got := entriesOf(t, "SyntaxError: /app/x says broken"); len(got) != 3 {
			t.Errorf("the program's own message is logged %d times, want 3", len(got))
		}
		if got := entriesOf(t, "call failed"); len(got) != 3 || got[0]["reason"] != "exit" {
			t.Errorf("got log %v", got)
		}
		put(t, app+"/x", []byte("good"))
		s.becomes("good")
		s.parks()
		put(t, app+"/x", []byte("better"))
		s.becomes("better")
	})
}

// TestReadsChangeUnderLoad: while files change, also to broken ones, and calls are ended by the host, every
// answer is one of those there were, and none fails.
func TestReadsChangeUnderLoad(t *testing.T) {
	looks := []string{"cat /app/current/a", "cat /app/current/b"}
	first := map[string]string{"0/a": "0", "0/b": "0"}
	forReaders(t, "", looks, first, func(t *testing.T, s subject, app string) {
		link(t, "0", app+"/current")
		s.becomes("0 0")
		s.parks()
		const last = 10
		var done atomic.Bool
		var asked atomic.Int64
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for n := 0; !done.Load(); n++ {
					asked.Add(1)
					if n%5 == 4 {
						s.flood()
						continue
					}
					got := s.get("/fn")
					a, b, ok := strings.Cut(got.body, " ")
					if got.status != http.StatusOK || !ok || a != b {
						t.Errorf("got %d %q", got.status, got.body)
					}
				}
			})
		}
		for n := 1; n <= last; n++ {
			dir := filepath.Join(app, fmt.Sprint(n))
			text := fmt.Sprint(n)
			if n%3 == 0 {
				text = "broken"
			}
			put(t, dir+"/a", []byte(text))
			put(t, dir+"/b", []byte(text))
			link(t, fmt.Sprint(n), app+"/current")
			time.Sleep(50 * time.Millisecond)
		}
		s.becomes(fmt.Sprint(last, " ", last))
		done.Store(true)
		all.Wait()
		t.Logf("%d requests", asked.Load())
	})
}
