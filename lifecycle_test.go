package gojinn

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func TestReload(t *testing.T) {
	one, two := moduleFile(t, "fn.wasm", answer(`{"body":"one"}`)), moduleFile(t, "fn.wasm", answer(`{"body":"two"}`))
	s := serve(t, "metrics /metrics\ngojinn "+one)
	for i, module := range []string{one, two, two, one} {
		if err := s.load("", "metrics /metrics\ngojinn "+module); err != nil {
			t.Fatal(err)
		}
		want := "one"
		if module == two {
			want = "two"
		}
		if got := s.get("/"); got.body != want {
			t.Errorf("after reload %d: got %q, want %q", i, got.body, want)
		}
		if got := countEngines(); got != 1 {
			t.Errorf("after reload %d: got %d engines, want 1", i, got)
		}
	}
	// Counters go on counting; they are not those of the last configuration only.
	if got := s.get("/metrics").body; !strings.Contains(got, `gojinn_requests_total{function="fn",reason="ok"} 4`) {
		t.Errorf("got\n%s", grep(got, "gojinn_requests_total"))
	}
	// A function that is gone takes its series with it.
	if err := s.load("", "metrics /metrics\nrespond ok"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the series are gone", func() bool { return grep(s.get("/metrics").body, `function="fn"`) == "" })
}

func countEngines() (n int) {
	engines.Range(func(any, any) bool { n++; return true })
	return n
}

func grep(text, pattern string) string {
	var found strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, pattern) {
			found.WriteString(line)
		}
	}
	return found.String()
}

// TestRefusedReload: a configuration that is refused, at whatever position,
// leaves the running one as it was.
func TestRefusedReload(t *testing.T) {
	good := moduleFile(t, "good.wasm", answer(`{"body":"good"}`))
	site := "metrics /metrics\ngojinn " + good
	s := serve(t, site)
	bad := moduleFile(t, "bad.wasm", []byte("bad"))
	for name, refused := range map[string]string{
		"module":                   "gojinn " + bad,
		"module after a good one":  "gojinn /a " + good + "\ngojinn /b " + bad,
		"capability":               "gojinn /a " + good + "\ngojinn /b " + good + " {\n allow refusing grant\n}",
		"another handler's":        "gojinn /a " + good + "\ntemplates {\n between only-one\n}",
		"another site's":           site + "\n}\nhttp://:" + s.port + " {\n bind 127.0.0.1\nrespond /x x",
		"memory over the function": "gojinn " + moduleFile(t, "fat.wasm", newFat()) + " {\n memory 64KiB\n}",
	} {
		t.Run(name, func(t *testing.T) {
			err := s.load("", refused)
			if name != "another site's" && name != "another handler's" && err == nil {
				t.Fatal("it was not refused")
			}
			if err == nil { // a configuration that turned out to be good
				if err := s.load("", site); err != nil {
					t.Fatal(err)
				}
			}
			if got := s.get("/"); got.body != "good" {
				t.Errorf("got %+v", got)
			}
			if got := grep(s.get("/metrics").body, "gojinn_programs{state=\"loaded\"}"); got != "gojinn_programs{state=\"loaded\"} 1\n" {
				t.Errorf("got %q", got)
			}
			if got := countEngines(); got != 1 {
				t.Errorf("got %d engines, want 1", got)
			}
		})
	}
	// A port that is taken is noticed when everything is provisioned already.
	config, err := adapt("{\nadmin off\npersist_config off\nauto_https off\n}\nhttp://:" + s.port + " {\nbind 203.0.113.1\ngojinn " + good + "\n}")
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err == nil {
		t.Fatal("an address that is not ours was not refused")
	}
	if got := s.get("/"); got.body != "good" {
		t.Errorf("after a refused start: got %+v", got)
	}
}

// TestValidate: caddy validate compiles, and does nothing else.
func TestValidate(t *testing.T) {
	dir := t.TempDir()
	cache := filepath.Join(dir, "cache")
	// Run, this program would never end.
	config, err := adapt("{\nadmin off\npersist_config off\nauto_https off\nlog default {\noutput discard\n}\ngojinn {\ncache_dir " + cache + "\n}\n}\n" +
		"http://:1 {\ngojinn " + moduleFile(t, "spin.wasm", spins()) + "\n}")
	if err != nil {
		t.Fatal(err)
	}
	var c *caddy.Config
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(c); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(cache)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the cache directory: got %v, %v", info, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("written beside the cache directory: got %v, %v", entries, err)
	}
	engines.Range(func(key, _ any) bool {
		if key.(engineKey).cacheDir == cache {
			t.Error("the engine is left")
		}
		return true
	})
}

// TestGracefulStop: a running call may end in its own time, within the grace
// period.
func TestGracefulStop(t *testing.T) {
	s := serve(t, "respond ok")
	site := "gojinn /spin " + moduleFile(t, "spin.wasm", spins()) + " {\n timeout 1s\n}"
	for _, test := range []struct {
		name, grace string
		within      time.Duration
		status      int
	}{
		{"within the grace period", "30s", 20 * time.Second, 504},
		{"beyond the grace period", "100ms", 900 * time.Millisecond, 503},
	} {
		t.Run(test.name, func(t *testing.T) {
			// A later option replaces the one of the test configuration.
			if err := s.load("grace_period "+test.grace, site); err != nil {
				t.Fatal(err)
			}
			done := make(chan int)
			go func() { done <- s.get("/spin").status }()
			eventually(t, "the call runs", func() bool { return runningCalls("spin") == 1 })
			start := time.Now()
			if err := s.load("", "respond new"); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > test.within {
				t.Errorf("the reload took %s", took)
			}
			if got := <-done; got != test.status {
				t.Errorf("got status %d, want %d", got, test.status)
			}
			if got := s.get("/"); got.body != "new" {
				t.Errorf("got %+v", got)
			}
			if got := runningCalls("spin"); got != 0 {
				t.Errorf("got %d running calls, want none", got)
			}
		})
	}
}

// TestExit: a process that is told to end lets its calls end within the grace
// period, and ends them after it.
func TestExit(t *testing.T) {
	for _, test := range []struct {
		name, grace, timeout string
		status               int
	}{
		{"within the grace period", "1m", "1s", 504},
		{"beyond the grace period", "200ms", "1m", 0}, // 503 or nothing: the process ends too
	} {
		t.Run(test.name, func(t *testing.T) {
			s := &server{t: t, addr: freeAddr(t)}
			_, s.port, _ = net.SplitHostPort(s.addr)
			s.url = "http://" + s.addr
			config := moduleFile(t, "Caddyfile", []byte("{\nadmin off\npersist_config off\nauto_https off\ngrace_period "+test.grace+"\n}\n"+
				"http://:"+s.port+" {\nbind 127.0.0.1\nmetrics /metrics\n"+
				"gojinn /spin "+moduleFile(t, "spin.wasm", spins())+" {\ntimeout "+test.timeout+"\n}\n}\n"))
			var log bytes.Buffer
			child := exec.CommandContext(t.Context(), os.Args[0], "run", "--config", config, "--adapter", "caddyfile")
			child.Env = append(os.Environ(), runAsCaddy+"=1")
			child.Stderr = &log
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- child.Wait() }()
			ready := func() bool {
				conn, err := net.Dial("tcp", s.addr)
				if err == nil {
					conn.Close()
				}
				return err == nil
			}
			eventually(t, "the process listens", ready)
			status := make(chan int)
			go func() {
				response, err := oneShot.Get(s.url + "/spin")
				if err != nil {
					status <- 0
					return
				}
				response.Body.Close()
				status <- response.StatusCode
			}()
			eventually(t, "the call runs", func() bool {
				return strings.Contains(s.get("/metrics").body, `gojinn_sandboxes{function="spin",state="running"} 1`)
			})
			if err := child.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if got := <-status; got != test.status && (test.status != 0 || got != 503) {
				t.Errorf("got status %d, want %d", got, test.status)
			}
			select {
			case err := <-ended:
				if err != nil {
					t.Errorf("the process ended with %v\n%s", err, &log)
				}
			case <-time.After(20 * time.Second):
				t.Errorf("the process does not end\n%s", &log)
			}
		})
	}
}

func runningCalls(name string) (n int) {
	live.mu.RLock()
	defer live.mu.RUnlock()
	for f := range live.versions[name] {
		n += f.Running()
	}
	return n
}

// TestReloadUnderLoad: no request that gets through notices that configurations
// come and go.
func TestReloadUnderLoad(t *testing.T) {
	module := moduleFile(t, "fn.wasm", answer(`{"body":"good"}`))
	s := serve(t, "gojinn "+module)
	stop, failed := make(chan struct{}), make(chan string, 100)
	for range 4 {
		go func() {
			var problem string
			for problem == "" {
				select {
				case <-stop:
					failed <- ""
					return
				default:
				}
				response, err := oneShot.Get(s.url)
				if err != nil {
					continue // a connection that Caddy cut with its listener
				}
				if response.StatusCode != 200 {
					problem = response.Status
				}
				response.Body.Close()
			}
			failed <- problem
		}()
	}
	for range 10 {
		if err := s.load("", "gojinn "+module); err != nil {
			t.Fatal(err)
		}
		if err := s.load("", "gojinn "+module+" {\n allow refusing grant\n}"); err == nil {
			t.Fatal("a bad configuration was not refused")
		}
	}
	close(stop)
	for range 4 {
		if problem := <-failed; problem != "" {
			t.Error(problem)
		}
	}
}

// TestReplacedConfigurationRests: a configuration that has been replaced keeps no sandboxes while it
// waits for late requests, however many there are of it.
func TestReplacedConfigurationRests(t *testing.T) {
	site := "gojinn " + moduleFile(t, "fn.wasm", answer(`{"body":"good"}`)) + " {\n warm 5\n}"
	s := serve(t, site)
	parked := func() (n int) {
		live.mu.RLock()
		defer live.mu.RUnlock()
		for v := range live.versions["fn"] {
			_, _, p := v.Sandboxes()
			n += p
		}
		return n
	}
	for range 20 {
		eventually(t, "sandboxes are kept warm", func() bool { return parked() == 5 })
		if err := s.load("", site); err != nil {
			t.Fatal(err)
		}
		if got := parked(); got > 5 {
			t.Fatalf("got %d sandboxes, want those of one configuration, 5", got)
		}
	}
}
