package gojinn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

func TestMain(m *testing.M) {
	lateness = 200 * time.Millisecond
	if os.Getenv(runAsCaddy) != "" {
		caddycmd.Main() // with this process's arguments; it exits
	}
	// Nothing that Caddy keeps may come from or go to the user's own folders.
	home, err := os.MkdirTemp("", "gojinn-test-")
	if err != nil {
		panic(err)
	}
	keepGoCaches()
	for _, name := range []string{"HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"} {
		os.Setenv(name, home)
	}
	code := m.Run()
	os.RemoveAll(home)
	os.Exit(code)
}

// keepGoCaches lets the Go command find its caches when HOME is another.
func keepGoCaches() {
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH"} {
		if value, err := exec.Command("go", "env", name).Output(); err == nil {
			os.Setenv(name, strings.TrimSpace(string(value)))
		}
	}
}

// runAsCaddy is the variable that makes the test program the caddy command, for
// tests of how a whole process ends.
const runAsCaddy = "GOJINN_TEST_RUN_AS_CADDY"

// logBuffer is where Caddy's log goes in server tests.
var logBuffer testLog

type testLog struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *testLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (*testLog) Close() error { return nil }

func (l *testLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf.Reset()
}

// entries are the log's entries so far, each a JSON object.
func (l *testLog) entries(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var entries []map[string]any
	for line := range bytes.Lines(l.buf.Bytes()) {
		var entry map[string]any
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		entries = append(entries, entry)
	}
	return entries
}

// find returns the entries of our handler's logger with this message.
func (l *testLog) find(t *testing.T, message string) []map[string]any {
	t.Helper()
	var found []map[string]any
	for _, entry := range l.entries(t) {
		if entry["logger"] == "http.handlers.gojinn" && entry["msg"] == message {
			found = append(found, entry)
		}
	}
	return found
}

// bufferWriter is the log output "gojinn_test" of the configurations here.
type bufferWriter struct{}

func init() { caddy.RegisterModule(new(bufferWriter)) }

func (*bufferWriter) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.logging.writers.gojinn_test", New: func() caddy.Module { return new(bufferWriter) }}
}
func (*bufferWriter) UnmarshalCaddyfile(d *caddyfile.Dispenser) error { d.Next(); return nil }
func (*bufferWriter) String() string                                  { return "gojinn_test" }
func (*bufferWriter) WriterKey() string                               { return "gojinn_test" }
func (*bufferWriter) OpenWriter() (io.WriteCloser, error)             { return &logBuffer, nil }

// server is the process's Caddy, running a configuration. Only one test at a
// time can have it, so those that do are not parallel.
type server struct {
	t          *testing.T
	addr, port string
	url        string
}

// serve runs Caddy with a site of these directives on a free port, until the
// test ends.
func serve(t *testing.T, site string) *server {
	t.Helper()
	return serveWith(t, "", site)
}

// serveWith is serve with further global options.
func serveWith(t *testing.T, global, site string) *server {
	t.Helper()
	s := &server{t: t, addr: freeAddr(t)}
	s.url = "http://" + s.addr
	_, s.port, _ = net.SplitHostPort(s.addr)
	logBuffer.reset()
	if err := s.load(global, site); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		checkNothingLeft(t)
	})
	return s
}

// load replaces the running configuration. global are further global options.
// Listeners are replaced with it: a connection made right after may be one that
// the kernel had given to the old listener, and lost. get tries again.
func (s *server) load(global, site string) error {
	config, err := adapt(fmt.Sprintf(`{
		admin off
		persist_config off
		auto_https off
		grace_period 10s
		log {
			output gojinn_test
			format json
			level DEBUG
		}
		%s
	}
	http://:%s {
		bind 127.0.0.1
		%s
	}`, global, s.port, site))
	if err != nil {
		return err
	}
	return caddy.Load(config, true)
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// checkNothingLeft fails the test if an engine, a function or a series of
// metrics outlives the configuration it was made for.
func checkNothingLeft(t *testing.T) {
	t.Helper()
	eventually(t, "engines and functions are released", func() bool {
		live.mu.RLock()
		defer live.mu.RUnlock()
		return countEngines() == 0 && len(live.versions) == 0 && len(live.series) == 0
	})
}

// reply is what a client sees.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request. It may be called from any goroutine: what fails is a reply
// without a status.
func (s *server) do(method, path string, header http.Header, body io.Reader) reply {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		s.t.Error(err)
		return reply{}
	}
	for name, values := range header {
		r.Header[name] = values
	}
	return s.send(oneShot, r)
}

// oneShot has a connection for each request: none is left to be cut by a reload.
var oneShot = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func (s *server) send(client *http.Client, r *http.Request) reply {
	s.t.Helper()
	response, err := doAgain(client, r)
	if err != nil {
		s.t.Error(err)
		return reply{}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Error(err)
		return reply{}
	}
	return reply{response.StatusCode, response.Header, string(body)}
}

// doAgain sends a request without a body again if its connection is lost: when
// Caddy replaces a listener, the kernel drops the connections that the old one
// has not accepted yet.
func doAgain(client *http.Client, r *http.Request) (*http.Response, error) {
	for try := 0; ; try++ {
		response, err := client.Do(r)
		lost := errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
		if !lost || r.Method != http.MethodGet || try == 5 {
			return response, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (s *server) get(path string) reply {
	s.t.Helper()
	return s.do(http.MethodGet, path, nil, nil)
}

// raw sends bytes over a connection of their own and returns all that comes.
func (s *server) raw(request string) string {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		s.t.Fatal(err)
	}
	out, err := io.ReadAll(conn)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(out)
}

// eventually waits for something that another goroutine does.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func lines(text ...string) string { return strings.Join(text, "\n") }
