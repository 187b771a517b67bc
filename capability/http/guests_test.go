package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
	"github.com/gojinn/gojinn/internal/units"
)

var guestEngine = sync.OnceValues(func() (*engine.Engine, error) { return engine.New(engine.Config{}) })

// guest makes a function of a module with the grant; the path of a folder for /app is for interpreters.
func guest(t testing.TB, module []byte, app string, args []string, lines ...*HTTP) *engine.Function {
	t.Helper()
	e, err := guestEngine()
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Compile(context.Background(), module)
	if err != nil {
		t.Fatal(err)
	}
	var grants engine.Grants
	for _, line := range lines {
		if err := line.Grant(&grants); err != nil {
			t.Fatal(err)
		}
	}
	if app != "" {
		if err := grants.Mount("/app", &vfs.HostDir{Path: app}); err != nil {
			t.Fatal(err)
		}
	}
	options := engine.Options{Grants: grants, Limits: engine.Limits{Memory: 512 << 20, Timeout: time.Minute, Files: 64}}
	for _, arg := range args {
		options.Args = append(options.Args, engine.Value{Fixed: arg})
	}
	f, err := p.Function(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestLanguages has programs that know nothing of us make requests with what their languages have for files.
func TestLanguages(t *testing.T) {
	t.Parallel()
	server := echoes(t)
	c := provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback})
	long := strings.Repeat("0123456789", 5_000)
	var in strings.Builder
	for _, body := range []string{"one", long, ""} {
		line, _ := json.Marshal(object{"method": "POST", "url": server.URL, "body": body})
		in.Write(append(line, '\n'))
	}
	in.WriteString("no request\n")
	for _, language := range []string{"go", "c", "rust", "python"} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			dir, app, args := filepath.Join("testdata", "guests", "ask-"+language), "", []string{"ask"}
			var module []byte
			if language == "python" {
				var err error
				if module, err = os.ReadFile(toolchaintest.Interpreter(t, "GOJINN_TEST_PYTHON")); err != nil {
					t.Fatal(err)
				}
				app, args = dir, []string{"python", "/app/ask.py"}
			} else {
				module = toolchaintest.Build(t, dir)
			}
			var out, log bytes.Buffer
			if _, err := guest(t, module, app, args, c).Run(guestContext(t), strings.NewReader(in.String()), &out, &log); err != nil {
				t.Fatalf("%v: %s", err, log.Bytes())
			}
			answers := json.NewDecoder(&out)
			for _, want := range []string{"one", long, "", "invalid"} {
				var a answer
				if err := answers.Decode(&a); err != nil || a.Body+a.Error != want {
					t.Errorf("got %d bytes, %s, %v, want %.10q…", len(a.Body), a.Error, err, want)
				}
			}
		})
	}
}

// writer is a function that takes what is written.
type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// TestPoll has a program wait for several answers at a time.
func TestPoll(t *testing.T) {
	t.Parallel()
	first := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			<-first
		}
		io.WriteString(w, r.URL.Path)
	}))
	t.Cleanup(server.Close)
	c := provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback})
	in := fmt.Sprintf("{\"url\":%q}\n{\"url\":%q}\n", server.URL+"/slow", server.URL+"/fast")
	var out, log bytes.Buffer
	f := guest(t, toolchaintest.Build(t, filepath.Join("testdata", "guests", "poll-c")), "", nil, c)
	seen := writer(func(p []byte) (int, error) {
		if out.Len() == 0 {
			close(first)
		}
		return out.Write(p)
	})
	if _, err := f.Run(guestContext(t), strings.NewReader(in), seen, &log); err != nil {
		t.Fatalf("%v: %s", err, log.Bytes())
	}
	answers := json.NewDecoder(&out)
	for _, want := range []string{"/fast", "/slow"} {
		var a answer
		if err := answers.Decode(&a); err != nil || a.Body != want {
			t.Errorf("got %+v, %v, want %s", a, err, want)
		}
	}
}

// TestRefusals: who watches a function learns of everything that it was refused.
func TestRefusals(t *testing.T) {
	t.Parallel()
	server := echoes(t)
	moved := httptest.NewServer(http.RedirectHandler("https://elsewhere.example/x", http.StatusFound))
	t.Cleanup(moved.Close)
	e, err := guestEngine()
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Compile(context.Background(), toolchaintest.Build(t, filepath.Join("testdata", "guests", "ask-c")))
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var got []engine.Refusal
	var grants engine.Grants
	grants.Watch(func(r engine.Refusal) { mu.Lock(); defer mu.Unlock(); got = append(got, r) })
	for _, line := range []HTTP{
		{Origins: []string{server.URL, moved.URL}, Methods: []string{"GET"}, Private: loopback, Follow: 1},
		{Origins: []string{"http://localhost:1"}},
	} {
		if err := provisioned(t, line).Grant(&grants); err != nil {
			t.Fatal(err)
		}
	}
	f, err := p.Function(engine.Options{Grants: grants, Limits: engine.Limits{Memory: 8 << 20, Timeout: time.Minute, Files: 4}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := strings.Join([]string{
		fmt.Sprintf(`{"url":%q,"method":"PUT"}`, server.URL), `{"url":"https://Other.example/path?secret"}`, fmt.Sprintf(`{"url":%q}`, moved.URL),
		`{"url":"http://localhost:1"}`, fmt.Sprintf(`{"url":%q}`, server.URL),
	}, "\n") + "\n"
	var out, log bytes.Buffer
	if _, err := f.Run(guestContext(t), strings.NewReader(in), &out, &log); err != nil {
		t.Fatalf("%v: %s", err, log.Bytes())
	}
	want := []engine.Refusal{
		{Kind: "http", What: server.URL, How: "PUT"},
		{Kind: "http", What: "https://other.example:443", How: "GET"},
		{Kind: "http", What: "https://elsewhere.example:443", How: "GET"},
		{Kind: "http", What: "http://localhost:1", How: "private 127.0.0.1"},
	}
	if len(got) == len(want) && got[3].How == "private ::1" {
		want[3].How = "private ::1" // whichever is tried first
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// TestCeiling: bodies count against the memory of all functions, and are given back.
func TestCeiling(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.RawQuery)
		w.Write(make([]byte, size))
	}))
	t.Cleanup(server.Close)
	e, err := engine.New(engine.Config{Memory: 8 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p, err := e.Compile(context.Background(), toolchaintest.Build(t, filepath.Join("testdata", "guests", "ask-c")))
	if err != nil {
		t.Fatal(err)
	}
	program := e.Budget().Used()
	var grants engine.Grants
	if err := provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback, MaxResponse: new(units.Size(units.Off))}).Grant(&grants); err != nil {
		t.Fatal(err)
	}
	f, err := p.Function(engine.Options{Grants: grants, Limits: engine.Limits{Memory: 2 << 20, Timeout: time.Minute, Files: 4}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := fmt.Sprintf("{\"url\":\"%[1]s?1000000\"}\n{\"url\":\"%[1]s?20000000\"}\n{\"url\":\"%[1]s?1000000\"}\n", server.URL)
	var out, log bytes.Buffer
	if _, err := f.Run(guestContext(t), strings.NewReader(in), &out, &log); err != nil {
		t.Fatalf("%v: %s", err, log.Bytes())
	}
	answers := json.NewDecoder(&out)
	for _, want := range []answer{{Status: 200, Body: strings.Repeat("\x00", 1_000_000)}, {Error: "overloaded"}, {Status: 200, Body: strings.Repeat("\x00", 1_000_000)}} {
		var a answer
		if err := answers.Decode(&a); err != nil || a.Body != want.Body || a.Error != want.Error {
			t.Errorf("got %d, %d bytes, %s, %v, want %d bytes, %s", a.Status, len(a.Body), a.Error, err, len(want.Body), want.Error)
		}
	}
	f.Close()
	wait(t, "memory is given back", func() bool { return e.Budget().Used() == program })
}
