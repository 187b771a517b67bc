// Package interpreters tests the launchers of guest/python, guest/ruby, guest/js and guest/php: programs in
// these languages in the WASI builds of their interpreters, which .ci/install-interpreters fetches.
package interpreters

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// modulePath returns where a language's interpreter is. Without it the test is skipped.
func modulePath(tb testing.TB, language string) string {
	tb.Helper()
	return toolchaintest.Interpreter(tb, "GOJINN_TEST_"+strings.ToUpper(language))
}

// shared is the engine of all tests, which compile each interpreter once. It lives as long as the test
// process, its code longer: compiling an interpreter takes 5 to 15 seconds.
var shared = sync.OnceValues(func() (*engine.Engine, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	return engine.New(engine.Config{CacheDir: filepath.Join(cache, "gojinn-interpreters"), CacheSize: 1 << 30})
})

// programs has a sync.OnceValues for each interpreter that was asked for, under its language. Nobody
// empties it.
var programs sync.Map

// interpreter returns a language's interpreter.
func interpreter(tb testing.TB, language string) *engine.Program {
	tb.Helper()
	path := modulePath(tb, language)
	once, _ := programs.LoadOrStore(language, sync.OnceValues(func() (*engine.Program, error) {
		module, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		e, err := shared()
		if err != nil {
			return nil, err
		}
		return e.Compile(context.Background(), module)
	}))
	program, err := once.(func() (*engine.Program, error))()
	if err != nil {
		tb.Fatal(err)
	}
	return program
}

// A program is what an interpreter is to run.
type program struct {
	language string
	dir      string   // mounted at /app
	args     []string // the first is the interpreter's name
	env      map[string]string
	snapshot engine.Snapshot
	grant    func(*engine.Grants) error // what else it may use
	timeout  time.Duration              // default 1 minute
}

// A function is a program that answers calls.
type function struct {
	*engine.Function

	mu        sync.Mutex
	kind, why string
	told      chan struct{} // closed when they are known
}

// settled returns how the function's sandboxes get ready, and why, once one has been made.
func (f *function) settled(tb testing.TB) (kind, why string) {
	tb.Helper()
	select {
	case <-f.told:
	case <-time.After(time.Minute):
		tb.Fatal("how it starts isn't settled")
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.kind, f.why
}

// launch makes a function, closed when the test ends.
func launch(tb testing.TB, p program) *function {
	tb.Helper()
	f := &function{told: make(chan struct{})}
	var grants engine.Grants
	if err := grants.Mount("/app", &vfs.HostDir{Path: p.dir}); err != nil {
		tb.Fatal(err)
	}
	for name, value := range p.env {
		if err := grants.Env(name, engine.Value{Fixed: value}); err != nil {
			tb.Fatal(err)
		}
	}
	if p.grant != nil {
		if err := p.grant(&grants); err != nil {
			tb.Fatal(err)
		}
	}
	if p.timeout == 0 {
		p.timeout = time.Minute
	}
	options := engine.Options{
		Grants:      grants,
		Limits:      engine.Limits{Timeout: p.timeout, Memory: 256 << 20, Output: 64 << 20, Log: 64 << 10, Files: 64},
		Concurrency: engine.Concurrency{Calls: 2, Queue: 100, Wait: time.Minute},
		Idle:        time.Minute,
		Snapshot:    p.snapshot,
		Settled: func(kind, why string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.kind == "" {
				close(f.told)
			}
			f.kind, f.why = kind, why
		},
	}
	for _, arg := range p.args {
		options.Args = append(options.Args, engine.Value{Fixed: arg})
	}
	var err error
	if f.Function, err = interpreter(tb, p.language).Function(options); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return f
}

// An object is JSON.
type object map[string]any

// request is a request object of the json contract with these members changed.
func request(members object) object {
	r := object{
		"id": "7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3", "method": "GET", "uri": "/", "original_uri": "/", "scheme": "http",
		"host": "example.com", "proto": "HTTP/1.1", "path": "/", "query": object{}, "remote_addr": "203.0.113.9",
		"headers": object{}, "body": "",
	}
	maps.Copy(r, members)
	return r
}

// A response is what a function answered.
type response struct {
	Status  int
	Headers map[string]any
	Body    string // decoded, if it was body_base64
	Log     string // what it wrote to its standard error
	Receipt engine.Receipt
}

// header returns the first value of a field, spelled as it was answered.
func (r *response) header(name string) string {
	switch v := r.Headers[name].(type) {
	case string:
		return v
	case []any:
		if len(v) > 0 {
			return fmt.Sprint(v[0])
		}
	}
	return ""
}

// run calls a function, which must not fail.
func run(tb testing.TB, f *function, request object) *response {
	tb.Helper()
	r, err := try(tb, f, request)
	if err != nil {
		tb.Fatalf("%v: %s", err, r.Log)
	}
	return r
}

// try calls a function with a request of the json contract.
func try(tb testing.TB, f *function, request object) (*response, error) {
	tb.Helper()
	in, err := json.Marshal(request)
	if err != nil {
		tb.Fatal(err)
	}
	var out, log bytes.Buffer
	receipt, err := f.Run(tb.Context(), bytes.NewReader(in), &out, &log)
	r := &response{Status: 200, Log: log.String(), Receipt: receipt}
	if err != nil {
		return r, err
	}
	var answer struct {
		Status     *int
		Headers    map[string]any
		Body       *string
		BodyBase64 *string `json:"body_base64"`
	}
	decoder := json.NewDecoder(&out)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&answer); err != nil {
		return r, fmt.Errorf("the answer is not understood: %w", err)
	}
	if decoder.More() {
		return r, errors.New("there is something behind the answer")
	}
	if answer.Status != nil {
		r.Status = *answer.Status
	}
	r.Headers = answer.Headers
	switch {
	case answer.Body != nil && answer.BodyBase64 != nil:
		return r, errors.New("the answer has two bodies")
	case answer.Body != nil:
		r.Body = *answer.Body
	case answer.BodyBase64 != nil:
		body, err := base64.StdEncoding.DecodeString(*answer.BodyBase64)
		if err != nil {
			return r, err
		}
		r.Body = string(body)
	}
	return r, nil
}

// folder returns a folder with these files, each given by its name and its text.
func folder(tb testing.TB, namesAndTexts ...string) string {
	tb.Helper()
	dir := tb.TempDir()
	for i := 0; i+1 < len(namesAndTexts); i += 2 {
		path := filepath.Join(dir, filepath.FromSlash(namesAndTexts[i]))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(namesAndTexts[i+1]), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// site serves a program, given by its arguments and its folder, with these options, by Caddy, until the test ends.
func site(t *testing.T, language, args, dir, options string) (address string) {
	t.Helper()
	module := modulePath(t, language)
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	text := fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %s
	log {
		level ERROR
	}
	gojinn {
		cache_dir %s
		store default memory
	}
}
http://%s {
	gojinn %s {
		args %s
		timeout 1m
		memory 256MiB
		allow dir %s /app
%s
	}
}
`, data, filepath.Join(cache, "gojinn-interpreters"), address, module, args, dir, options)
	load(t, text)
	return address
}

// load runs Caddy with a Caddyfile until the test ends. Only one test at a time can have Caddy.
func load(t *testing.T, caddyfile string) {
	t.Helper()
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
}

// checks asks a program for a page that reports what isn't as it should be.
func checks(t *testing.T, address string) {
	t.Helper()
	client := http.Client{Timeout: time.Minute}
	r, err := client.Get("http://" + address + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	if text, err := io.ReadAll(r.Body); err != nil || r.StatusCode != 200 || string(text) != "done\n" {
		t.Errorf("got %d %q, %v", r.StatusCode, text, err)
	}
}
