package gojinn

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// naps is a program that answers after so long.
func naps(d time.Duration, body string) []byte {
	g := newGuest(1)
	g.Data(512+16, "\x01") // the monotonic clock
	g.Data(512+24, string(binary.LittleEndian.AppendUint64(nil, uint64(d))))
	g.Main(code(num(512), num(600), num(1), num(700), wasmtest.Call(g.poll), drop,
		g.print(1, 1024, fmt.Sprintf(`{"body":%q}`, body)))...)
	return g.Bytes()
}

// subject is the function /fn of a handler of either kind, whose module may be changed.
type subject struct {
	*server
	t    *testing.T
	kind string
	path string // of its module file
	name string
}

// forBoth runs a test with a gojinn handler and a gojinn_dir handler whose options are these.
func forBoth(t *testing.T, options string, first []byte, test func(t *testing.T, s subject)) {
	for _, kind := range []string{"gojinn", "gojinn_dir"} {
		t.Run(kind, func(t *testing.T) {
			test(t, serveSubject(t, kind, options, functionDir(t, map[string][]byte{"fn.wasm": first})))
		})
	}
}

// subjectSite is a site with fn.wasm in a folder.
func subjectSite(kind, options, root string) string {
	if kind == "gojinn" {
		root = filepath.Join(root, "fn.wasm")
	}
	return "route {\nmetrics /metrics\n" + kind + " /fn* " + root + " {\n" + options + "\n}\nrespond next 404\n}"
}

func serveSubject(t *testing.T, kind, options, root string) subject {
	t.Helper()
	s := subject{t: t, kind: kind, path: filepath.Join(root, "fn.wasm"), name: "fn"}
	if kind == "gojinn_dir" {
		s.name = filepath.Base(root) + "/fn"
	}
	s.server = serve(t, subjectSite(kind, options, root))
	return s
}

// becomes waits until the function's answer is this.
func (s subject) becomes(body string) {
	s.t.Helper()
	eventually(s.t, "the answer is "+body, func() bool { return s.get("/fn").body == body })
}

// stays checks that the function's answer is still this, after looking at the file once more too.
func (s subject) stays(body string) {
	s.t.Helper()
	for range 2 {
		if got := s.get("/fn"); got.status != 200 || got.body != body {
			s.t.Errorf("got %d %q, want %q", got.status, got.body, body)
		}
		reloadAll(s.t)
	}
}

// info is what the admin API tells of the function.
func (s subject) info() (found functionInfo) {
	for _, h := range published.publishers() {
		h.show(func(f *function) {
			if f.name == s.name {
				found = f.info()
			}
		})
	}
	return found
}

// isRefused waits until the file is refused for the nth time, and checks where that can be seen.
func (s subject) isRefused(n int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("the file is refused %d times", n), func() bool { return len(refusals(s.t, s.name)) >= n })
	if got := s.info(); got.Error == "" || got.Since == nil {
		s.t.Errorf("the admin API says %+v", got)
	}
	results := reloadAll(s.t)
	if results[s.name] == nil {
		s.t.Errorf("looking again says %v", results)
	}
	if got := refusals(s.t, s.name); len(got) != n {
		s.t.Errorf("got log %q, want %d entries", got, n)
	}
	series := strings.TrimSuffix(s.name, "/fn")
	if got, want := grep(s.get("/metrics").body, `gojinn_module_changes_total{function="`+series+`",result="refused"}`), fmt.Sprintf(" %d\n", n); !strings.HasSuffix(got, want) {
		s.t.Errorf("got metric %q, want %q", got, want)
	}
}

// link makes path a symbolic link at once, whatever it was before.
func link(t *testing.T, target, path string) {
	t.Helper()
	if err := os.Symlink(target, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestLiveChanges(t *testing.T) {
	forBoth(t, "", says("1"), func(t *testing.T, s subject) {
		s.becomes("1")
		put(t, s.path, says("2"))
		s.becomes("2")

		// In place, in pieces.
		f, err := os.OpenFile(s.path, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		third := says("3")
		if _, err := f.Write(third[:len(third)/2]); err != nil {
			t.Fatal(err)
		}
		s.isRefused(1)
		s.stays("2")
		if _, err := f.Write(third[len(third)/2:]); err != nil {
			t.Fatal(err)
		}
		s.becomes("3")
		if got := s.info(); got.Error != "" || got.State == "failed" || got.SHA256 != engine.DigestOf(third).String() {
			t.Errorf("got %+v", got)
		}

		// The same size, in place: only the time differs, perhaps not even that.
		if err := os.WriteFile(s.path, says("4"), 0); err != nil {
			t.Fatal(err)
		}
		reloadAll(t)
		if err := os.WriteFile(s.path, says("5"), 0); err != nil {
			t.Fatal(err)
		}
		s.becomes("5")

		// What can't be served.
		refused := 1
		dir, pipe := filepath.Join(t.TempDir(), "dir"), filepath.Join(t.TempDir(), "pipe")
		makeDir(t, dir)
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		for name, change := range map[string]func(){
			"text":       func() { put(t, s.path, []byte("text")) },
			"other text": func() { put(t, s.path, []byte("other text")) },
			"empty":      func() { put(t, s.path, nil) },
			"a folder":   func() { link(t, dir, s.path) },
			"a pipe":     func() { link(t, pipe, s.path) },
			"nothing":    func() { link(t, "gone", s.path) },
			"itself":     func() { link(t, s.path, s.path) },
		} {
			change()
			refused++
			s.isRefused(refused)
			s.stays("5")
			if t.Failed() {
				t.Fatalf("after %s", name)
			}
		}

		// The one that serves all the time.
		put(t, s.path, says("5"))
		eventually(t, "the file is right again", func() bool { return s.info().Error == "" })
		put(t, s.path, says("6"))
		s.becomes("6")
		if got := len(refusals(t, s.name)); got != refused {
			t.Errorf("got %d log entries, want %d", got, refused)
		}

		// Gone, and back.
		if err := os.Remove(s.path); err != nil {
			t.Fatal(err)
		}
		if s.kind == "gojinn" {
			s.isRefused(refused + 1)
			s.stays("6")
		} else {
			s.becomes("next")
		}
		put(t, s.path, says("7"))
		s.becomes("7")
	})
}

func TestLiveLinks(t *testing.T) {
	for _, kind := range []string{"gojinn", "gojinn_dir"} {
		t.Run(kind, func(t *testing.T) {
			base := t.TempDir()
			for _, release := range []string{"1", "2", "3"} {
				put(t, filepath.Join(base, "releases", release, "fns", "fn.wasm"), says("release "+release))
			}
			link(t, "releases/1", filepath.Join(base, "current"))
			s := serveSubject(t, kind, "", filepath.Join(base, "current", "fns"))
			s.becomes("release 1")
			for range 2 {
				for _, release := range []string{"2", "1", "3"} {
					link(t, "releases/"+release, filepath.Join(base, "current"))
					s.becomes("release " + release)
				}
			}
			// The file itself.
			other := moduleFile(t, "other.wasm", says("other"))
			link(t, other, s.path)
			s.becomes("other")
			put(t, other, says("other's new"))
			s.becomes("other's new")
		})
	}
}

// TestLiveFolder: files come and go, also whole folders and what is in the way of others.
func TestLiveFolder(t *testing.T) {
	root := functionDir(t, map[string][]byte{"a.wasm": says("a"), "deep/er/b.wasm": says("b")})
	s := serve(t, "route {\ngojinn_dir "+root+"\nrespond next 404\n}")
	becomes := func(path, body string) {
		t.Helper()
		eventually(t, path+" is "+body, func() bool { return s.get(path).body == body })
	}
	becomes("/a", "a")
	put(t, filepath.Join(root, "new/[id].wasm"), says("new"))
	becomes("/new/x", "new")
	put(t, filepath.Join(root, "new/x.wasm"), says("x"))
	becomes("/new/x", "x")
	if err := os.Rename(filepath.Join(root, "new"), filepath.Join(root, "newer")); err != nil {
		t.Fatal(err)
	}
	becomes("/newer/x", "x")
	becomes("/new/x", "next")
	// Two for one route, and one again.
	put(t, filepath.Join(root, "a/index.wasm"), says("a's index"))
	eventually(t, "neither serves", func() bool { return s.get("/a").status == 503 })
	if err := os.Remove(filepath.Join(root, "a.wasm")); err != nil {
		t.Fatal(err)
	}
	becomes("/a", "a's index")
	// A folder that can't be read, as nobody knows what is in it.
	if err := os.Rename(filepath.Join(root, "deep"), filepath.Join(root, "_deep")); err != nil {
		t.Fatal(err)
	}
	becomes("/deep/er/b", "next")
	link(t, "_deep", filepath.Join(root, "deep"))
	becomes("/deep/er/b", "b")
	link(t, "gone", filepath.Join(root, "deep"))
	eventually(t, "what is below a broken link is out of order", func() bool { return s.get("/deep/new").status == 503 })
	if got := s.get("/deep/er/b"); got.body != "b" {
		t.Errorf("what was served from there: got %d %q", got.status, got.body)
	}
	link(t, "_deep", filepath.Join(root, "deep"))
	eventually(t, "it is in order again", func() bool { return s.get("/deep/new").status == 404 })
	becomes("/deep/er/b", "b")
	// The root itself.
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "that is noticed", func() bool { return len(entriesOf(t, "not looked at; what was served before goes on")) > 0 })
	if results := reloadAll(t); results["fns"] == nil {
		t.Errorf("looking again says %v", results)
	}
	if got := len(entriesOf(t, "not looked at; what was served before goes on")); got != 1 {
		t.Errorf("got %d log entries", got)
	}
	becomes("/a", "a's index")
	put(t, filepath.Join(root, "z.wasm"), says("z"))
	becomes("/z", "z")
	becomes("/a", "next")
}

// TestLiveCallsInFlight: a call ends with the version that it began with.
func TestLiveCallsInFlight(t *testing.T) {
	forBoth(t, "", naps(2*time.Second, "old"), func(t *testing.T, s subject) {
		answered := make(chan string)
		go func() { answered <- s.get("/fn").body }()
		eventually(t, "the call runs", func() bool { return s.info().Sandboxes.Running == 1 })
		put(t, s.path, says("new"))
		s.becomes("new")
		if err := os.Remove(s.path); err != nil {
			t.Fatal(err)
		}
		if s.kind == "gojinn_dir" {
			s.becomes("next")
		}
		if got := <-answered; got != "old" {
			t.Errorf("got %q", got)
		}
	})
}

// TestLiveBodiesInFlight: a function goes while the body of a request for it is on its way.
func TestLiveBodiesInFlight(t *testing.T) {
	s := serveSubject(t, "gojinn_dir", "", functionDir(t, map[string][]byte{"fn.wasm": says("old")}))
	s.becomes("old")
	body, write := io.Pipe()
	answered := make(chan reply)
	go func() { answered <- s.do("POST", "/fn", nil, body) }()
	if _, err := io.WriteString(write, "half "); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the request has come", func() bool {
		for _, h := range published.publishers() {
			if h.(*Directory).calls.Load() == 1 {
				return true
			}
		}
		return false
	})
	if err := os.Remove(s.path); err != nil {
		t.Fatal(err)
	}
	s.becomes("next")
	write.Close()
	if got := <-answered; got.body != "old" {
		t.Errorf("got %d %q", got.status, got.body)
	}
}

// TestLiveCheck: a changed module answers the check's request before it serves.
func TestLiveCheck(t *testing.T) {
	forBoth(t, "check /healthy?x=1\ntimeout 2s", answer(`{"status":503,"body":"the first"}`), func(t *testing.T, s subject) {
		if got := s.get("/fn"); got.status != 503 || got.body != "the first" {
			t.Errorf("the first version: got %d %q", got.status, got.body)
		}
		put(t, s.path, says("good"))
		s.becomes("good")
		for i, test := range []struct {
			name, want string
			wasm       []byte
		}{
			{"500", "status 500", answer(`{"status":500,"body":"bad"}`)},
			{"trap", "unreachable", traps()},
			{"no response", "check /healthy", answer("not a response")},
			{"no end", "deadline", spins()},
			{"exit", "exit", exits("", 1)},
		} {
			put(t, s.path, test.wasm)
			s.isRefused(i + 1)
			s.stays("good")
			if got := refusals(t, s.name)[i]; !strings.Contains(got, test.want) || !strings.Contains(got, "/healthy?x=1") {
				t.Errorf("%s: got log %q, want %q", test.name, got, test.want)
			}
		}
		put(t, s.path, answer(`{"status":499,"body":"below 500"}`))
		s.becomes("below 500")
		put(t, s.path, echoes())
		eventually(t, "the last one serves", func() bool { return s.get("/fn").header.Get("X-Guest") == "echo" })
	})
}

// TestLiveMemory: a module that starts with more memory than it may have is refused, as it would
// be in a new configuration.
func TestLiveMemory(t *testing.T) {
	forBoth(t, "memory 128KiB", says("1"), func(t *testing.T, s subject) {
		s.becomes("1")
		put(t, s.path, newFat())
		s.isRefused(1)
		s.stays("1")
	})
}

// client sends requests one after the other over a connection of its own until it is stopped, and
// returns what went wrong.
func client(stop <-chan struct{}, url string, good func(status int, body string) bool) error {
	own := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer own.CloseIdleConnections()
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		response, err := own.Get(url)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		if !good(response.StatusCode, string(body)) {
			return fmt.Errorf("got %d %.100q", response.StatusCode, body)
		}
	}
}

// clients runs some of them and returns how to end them, which tells what went wrong.
func clients(t *testing.T, n int, url string, good func(status int, body string) bool) (end func()) {
	stop, errs := make(chan struct{}), make(chan error, n)
	for range n {
		go func() { errs <- client(stop, url, good) }()
	}
	return func() {
		t.Helper()
		close(stop)
		for range n {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	}
}

// TestLiveUnderLoad: no client notices that versions come and go, good and bad ones.
func TestLiveUnderLoad(t *testing.T) {
	forBoth(t, "warm 1", says("version 0"), func(t *testing.T, s subject) {
		s.becomes("version 0")
		end := clients(t, 4, s.url+"/fn", func(status int, body string) bool {
			return status == 200 && strings.HasPrefix(body, "version ")
		})
		for i := range 50 {
			put(t, s.path, says(fmt.Sprint("version ", i+1)))
			if i%10 == 9 {
				put(t, s.path, []byte("bad"))
				reloadAll(t)
			} else if err := reloadAll(t)[s.name]; err != nil {
				t.Errorf("version %d: %v", i+1, err)
			}
		}
		end()
		put(t, s.path, says("version last"))
		s.becomes("version last")
		eventually(t, "those that were replaced are freed", func() bool {
			live.mu.RLock()
			defer live.mu.RUnlock()
			return len(live.versions[strings.TrimSuffix(s.name, "/fn")]) == 1
		})
	})
}

// TestLiveEverythingAtOnce: modules and configurations change at the same time, in every
// way, while all of it is looked at.
func TestLiveEverythingAtOnce(t *testing.T) {
	leaks(t, func(t *testing.T) {
		root := functionDir(t, map[string][]byte{"fn.wasm": says("version 0"), "still.wasm": says("still")})
		site := "route {\ngojinn /one " + filepath.Join(root, "still.wasm") + "\ngojinn_dir " + root + "\nrespond next 404\n}"
		s := serve(t, site)
		stop := make(chan struct{})
		var all sync.WaitGroup
		forever := func(do func(i int)) {
			all.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						do(i)
					}
				}
			})
		}
		for range 2 {
			forever(func(int) {
				reloadAll(t)
				time.Sleep(time.Millisecond)
			})
		}
		forever(func(int) {
			for _, h := range published.publishers() {
				h.show(func(f *function) { f.info() })
			}
			time.Sleep(time.Millisecond)
		})
		for path, want := range map[string]string{"/still": "still", "/one": "still", "/fn": ""} {
			forever(func(int) {
				if got := s.get(path); want != "" && (got.status != 200 || got.body != want) || got.status == 0 {
					t.Errorf("%s: got %d %q", path, got.status, got.body)
				}
			})
		}
		path := filepath.Join(root, "fn.wasm")
		forever(func(i int) {
			switch i % 5 {
			case 0:
				put(t, path, says(fmt.Sprint("version ", i)))
			case 1:
				put(t, path, []byte("bad"))
			case 2:
				os.Remove(path)
			case 3:
				put(t, path, says("always the same"))
			case 4:
				put(t, filepath.Join(root, "fn/index.wasm"), says("in the way"))
				time.Sleep(2 * time.Millisecond)
				os.RemoveAll(filepath.Join(root, "fn"))
			}
			time.Sleep(3 * time.Millisecond)
		})
		for range 8 {
			if err := s.load("", site); err != nil {
				t.Error(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		close(stop)
		all.Wait()
		put(t, path, says("version last"))
		eventually(t, "the last version serves", func() bool { return s.get("/fn").body == "version last" })
	})
}

// leaks runs a test twice, and checks that the second time leaves no goroutines and open files
// that the first did not.
func leaks(t *testing.T, test func(t *testing.T)) {
	count := func() (goroutines, files int) {
		oneShot.CloseIdleConnections()
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return runtime.NumGoroutine(), 0
		}
		return runtime.NumGoroutine(), len(entries)
	}
	t.Run("once", test)
	goroutines, files := count()
	t.Run("again", test)
	eventually(t, "nothing is left", func() bool {
		g, f := count()
		return g <= goroutines && f <= files
	})
}

// TestLiveEnds: whatever goes on with modules, a configuration can end at once.
func TestLiveEnds(t *testing.T) {
	for _, kind := range []string{"gojinn", "gojinn_dir"} {
		t.Run(kind, func(t *testing.T) {
			s := serveSubject(t, kind, "timeout off\ncheck /", functionDir(t, map[string][]byte{"fn.wasm": says("good")}))
			s.becomes("good")
			put(t, s.path, spins())
			trying := func() bool { // the new version's call is there, but no request
				live.mu.RLock()
				defer live.mu.RUnlock()
				for _, versions := range live.versions {
					for v := range versions {
						if v.Running() > 0 {
							return true
						}
					}
				}
				return false
			}
			eventually(t, "the new version is being tried out", trying)
			// As the admin API does, whose clients need not go.
			ended := make(chan struct{})
			go func() { reloadAll(t); close(ended) }()
			if got := s.info(); got.State == "failed" {
				t.Errorf("meanwhile: got %+v", got)
			}
			start := time.Now()
			if err := s.load("", "respond new"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > defaultTimeout/2 {
				t.Errorf("it took %s", took)
			}
			<-ended
			checkNothingLeft(t)
		})
	}
}

// TestLiveOldCallsEnd: calls of versions and functions that are gone end with the configuration's
// grace period too.
func TestLiveOldCallsEnd(t *testing.T) {
	for _, kind := range []string{"gojinn", "gojinn_dir"} {
		t.Run(kind, func(t *testing.T) {
			root := functionDir(t, map[string][]byte{"fn.wasm": spins()})
			s := serveSubject(t, kind, "timeout off", root)
			if err := s.load("grace_period 100ms", subjectSite(kind, "timeout off", root)); err != nil {
				t.Fatal(err)
			}
			status := make(chan int, 2)
			go func() { status <- s.get("/fn").status }()
			eventually(t, "the call runs", func() bool { return s.info().Sandboxes != nil && s.info().Sandboxes.Running == 1 })
			put(t, s.path, says("new"))
			reloadAll(t) // who asks before the new one serves waits as long
			s.becomes("new")
			if kind == "gojinn_dir" {
				if err := os.Remove(s.path); err != nil {
					t.Fatal(err)
				}
				s.becomes("next")
			}
			if err := s.load("", "respond new"); err != nil {
				t.Fatal(err)
			}
			if got := <-status; got != 503 {
				t.Errorf("got status %d, want 503", got)
			}
			checkNothingLeft(t)
		})
	}
}

// TestLiveSameBytes: a module whose file is gone is read from another with the same bytes.
func TestLiveSameBytes(t *testing.T) {
	root := functionDir(t, map[string][]byte{"a.wasm": says("same"), "b.wasm": says("same")})
	serve(t, "gojinn_dir "+root)
	digest := engine.DigestOf(says("same"))
	for _, gone := range []string{filepath.Join(root, "gone.wasm"), moduleFile(t, "other.wasm", says("other"))} {
		wasm, err := moduleSource(gone, digest)()
		if err != nil || engine.DigestOf(wasm) != digest {
			t.Errorf("got %d bytes, %v", len(wasm), err)
		}
	}
	if _, err := moduleSource(filepath.Join(root, "gone.wasm"), engine.DigestOf(nil))(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nobody has it: got %v", err)
	}
}

// TestLiveRetry: what can't be looked at is looked at again, ever more seldom, without being told.
func TestLiveRetry(t *testing.T) {
	h, err := provision(t, "", fmt.Sprintf(`{"module":%q}`, moduleFile(t, "fn.wasm", says("1"))))
	if err != nil {
		t.Fatal(err)
	}
	f := h.served
	planned := func() time.Duration {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.retry == nil {
			return 0
		}
		return f.delay
	}
	if err := os.Rename(f.path, f.path+".away"); err != nil {
		t.Fatal(err)
	}
	var delays []time.Duration
	for range 8 {
		if _, err := f.refresh(t.Context()); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
		delays = append(delays, planned())
	}
	if delays[0] != minDelay || delays[1] != 2*minDelay || delays[7] != maxDelay || !slices.IsSorted(delays) {
		t.Errorf("got %v", delays)
	}
	put(t, f.path, says("2"))
	if changed, err := f.refresh(t.Context()); !changed || err != nil || planned() != 0 {
		t.Errorf("got %v, %v, and another look in %s", changed, err, planned())
	}
	// Nobody watches this file: only the next look can see it.
	if err := os.Rename(f.path, f.path+".away"); err != nil {
		t.Fatal(err)
	}
	_, _ = f.refresh(t.Context())
	put(t, f.path, says("3"))
	eventually(t, "the file is looked at", func() bool {
		return f.current.Load().digest == engine.DigestOf(says("3"))
	})
	// One whose client goes is looked at once more, one that is closed is not.
	put(t, f.path, says("4"))
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if changed, err := f.refresh(gone); !changed && (err == nil || planned() == 0) {
		t.Errorf("got %v, and another look in %s", err, planned())
	}
	f.close()
	if planned() != 0 {
		t.Error("a function that is closed is looked at again")
	}
	if changed, err := f.refresh(t.Context()); changed || err != nil {
		t.Errorf("closed: got %v, %v", changed, err)
	}
}
