package gojinn

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gojinn/gojinn/internal/wasmtest"
)

// functionDir makes a folder of modules, named fns.
func functionDir(t *testing.T, modules map[string][]byte) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "fns")
	makeDir(t, root)
	for name, wasm := range modules {
		put(t, filepath.Join(root, name), wasm)
	}
	return root
}

func makeDir(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
}

// put replaces a module at once, as programs that care do. Its folder is made.
func put(t *testing.T, path string, wasm []byte) {
	t.Helper()
	makeDir(t, filepath.Dir(path))
	if err := os.WriteFile(path+".new", wasm, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// says is a program that answers with this body.
func says(body string) []byte { return answer(fmt.Sprintf(`{"body":%q}`, body)) }

// entriesOf are the entries with this message of any of our loggers.
func entriesOf(t *testing.T, message string) (found []map[string]any) {
	t.Helper()
	for _, entry := range logBuffer.entries(t) {
		if entry["msg"] == message && strings.HasPrefix(fmt.Sprint(entry["logger"]), "http.handlers.gojinn") {
			found = append(found, entry)
		}
	}
	return found
}

// refusals are the log's entries about refused modules of a function.
func refusals(t *testing.T, function string) (errors []string) {
	t.Helper()
	for _, entry := range logBuffer.entries(t) {
		if message := fmt.Sprint(entry["msg"]); strings.Contains(message, "refused") && entry["function"] == function {
			errors = append(errors, fmt.Sprint(entry["error"]))
		}
	}
	return errors
}

func TestDirectoryRoutes(t *testing.T) {
	modules := map[string][]byte{"index.wasm": says("/")}
	for _, route := range []string{
		"a", "a/b", "a/b/index", "c/index", "c/[id]", "c/[id]/d", "c/x", "c/[...rest]", "only/[...rest]", "[any]/deep",
		"with space/ü", "50%", "%2F", "x..y", "UPPER",
	} {
		if route != "a/b/index" {
			modules[route+".wasm"] = says("/" + route)
		}
	}
	s := serve(t, "route {\ngojinn_dir "+functionDir(t, modules)+"\nrespond next 404\n}")
	for path, want := range map[string]string{
		"/":                    "/",
		"/nothing":             "/",
		"/a":                   "/a",
		"/a/":                  "/a",
		"//a":                  "/a",
		"/a/x":                 "/a",
		"/a/b":                 "/a/b",
		"/a//b/c":              "/a/b",
		"/c":                   "/c/index",
		"/c/x":                 "/c/x",
		"/c/y":                 "/c/[id]",
		"/c/y/z":               "/c/[id]",
		"/c/y/d":               "/c/[id]/d",
		"/only/1/2":            "/only/[...rest]",
		"/only":                "/",
		"/q/deep/er":           "/[any]/deep",
		"/a/deep":              "/a",
		"/with%20space/%C3%BC": "/with space/ü",
		"/50%25":               "/50%",
		"/%252F":               "/%2F",
		"/x..y":                "/x..y",
		"/upper":               "/",
		"/a%2Fb":               "/",
		"/c/%5B":               "/c/[id]",
		"/a?b=/c":              "/a",
	} {
		if got := s.get(path); got.status != 200 || got.body != want {
			t.Errorf("%s: got %d %q, want %q", path, got.status, got.body, want)
		}
	}
	// What may mean another path to whoever guards a part of the site is served by nobody.
	for _, path := range []string{"/a/../c", "/a/%2e%2e/c", "/c/..%2fa", "/./a", "/c/%2e", `/c/..%5ca`} {
		got := s.raw("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 404 ") || !strings.HasSuffix(got, "next") {
			t.Errorf("%s: got %q, want the next handler", path, got)
		}
	}
}

// routed is what of a request concerns folders.
type routed struct {
	Path, URI, Route string
	OriginalURI      string `json:"original_uri"`
	Params           map[string]string
}

func routedTo(t *testing.T, got reply) (r routed) {
	t.Helper()
	raw, err := hex.DecodeString(got.body)
	if err == nil {
		err = json.Unmarshal(raw, &r)
	}
	if err != nil {
		t.Fatalf("%v in %d %.100q", err, got.status, got.body)
	}
	return r
}

func TestDirectoryParams(t *testing.T) {
	root := functionDir(t, map[string][]byte{
		"users/[id].wasm": echoes(), "users/[id]/posts/[post].wasm": echoes(), "files/[...rest].wasm": echoes(), "plain.wasm": echoes(), "[ü]/x.wasm": echoes(),
	})
	s := serve(t, "handle_path /api/* {\ngojinn_dir "+root+"\n}\nroute {\ngojinn_dir "+root+"\nrespond next 404\n}")
	for _, test := range []struct {
		path, route string
		params      map[string]string
	}{
		{"/users/42", "/users/[id]", map[string]string{"id": "42"}},
		{"/users/a%20b%2Fc%22%00", "/users/[id]", map[string]string{"id": "a b/c\"\x00"}},
		{"/users/%ff", "/users/[id]", map[string]string{"id": "ÿ"}},
		{"/users/1/posts/2/more", "/users/[id]/posts/[post]", map[string]string{"id": "1", "post": "2"}},
		{"/files/a//b%2Fc/d/", "/files/[...rest]", map[string]string{"rest": "a/b/c/d"}},
		{"/%C3%A4/x", "/[ü]/x", map[string]string{"ü": "ä"}},
		{"/plain", "/plain", nil},
		{"/api/users/4%2F2", "/users/[id]", map[string]string{"id": "4/2"}},
	} {
		r := routedTo(t, s.get(test.path))
		if r.Route != test.route || !maps.Equal(r.Params, test.params) {
			t.Errorf("%s: got route %q and %q, want %q and %q", test.path, r.Route, r.Params, test.route, test.params)
		}
		if r.OriginalURI != test.path || r.URI != strings.TrimPrefix(test.path, "/api") {
			t.Errorf("%s: got uri %q and original_uri %q", test.path, r.URI, r.OriginalURI)
		}
	}
	for _, path := range []string{"/users", "/files", "/nothing"} {
		if got := s.get(path); got.status != 404 || got.body != "next" {
			t.Errorf("%s: got %d %q", path, got.status, got.body)
		}
	}
}

// listsAll is a program that writes its arguments and variables to its standard error.
func listsAll() []byte {
	g := guest{Module: wasmtest.New(1)}
	const wasi = "wasi_snapshot_preview1"
	var imports [4]uint32
	for i, name := range []string{"args_sizes_get", "args_get", "environ_sizes_get", "environ_get"} {
		imports[i] = g.Import(wasi, name, i32s(2), i32s(1))
	}
	g.write = g.Import(wasi, "fd_write", i32s(4), i32s(1))
	g.Main(code(
		num(100), num(104), wasmtest.Call(imports[0]), drop,
		num(200), num(4096), wasmtest.Call(imports[1]), drop,
		num(108), num(112), wasmtest.Call(imports[2]), drop,
		num(200), num(4096), load(104), add, wasmtest.Call(imports[3]), drop,
		g.transfer(g.write, 2, 4096, load(104), load(112), add),
		g.print(1, 64, "{}"),
	)...)
	return g.Bytes()
}

// TestDirectoryGrants: what all may, and what some may besides or instead.
func TestDirectoryGrants(t *testing.T) {
	t.Setenv("GOJINN_TEST", "from the environment")
	root := functionDir(t, map[string][]byte{"all.wasm": listsAll(), "more/index.wasm": listsAll(), "[less].wasm": listsAll(), "other.wasm": listsAll()})
	s := serve(t, lines("gojinn_dir "+root+" {",
		"args {env.GOJINN_TEST}",
		"allow env A 1",
		"function /more {", "allow env B {query.b}", "args x", "}",
		"function /[less] {", "allow none", "}",
		"function /other {", "allow none", "allow env C 3", "name renamed", "}",
		"}"))
	for path, want := range map[string]string{
		"/all":      `all\x00from the environment\x00A=1\x00`,
		"/more?b=2": `index\x00x\x00A=1\x00B=2\x00`,
		"/x":        `[less]\x00from the environment\x00`,
		"/other":    `other\x00from the environment\x00C=3\x00`,
	} {
		s.get(path)
		if len(entriesOf(t, want)) != 1 {
			t.Errorf("%s: missing %q in %v", path, want, logBuffer.entries(t))
		}
	}
}

// TestDirectoryOptions: the folder's options are those of all its functions, and a function's
// own replace them.
func TestDirectoryOptions(t *testing.T) {
	root := functionDir(t, map[string][]byte{"small.wasm": echoes(), "big.wasm": echoes(), "[id].wasm": echoes(), "named.wasm": echoes()})
	s := serve(t, lines(
		"metrics /metrics",
		"log",
		"log_append function {http.gojinn.function}",
		"gojinn_dir "+root+" {",
		" max_request 10",
		" function /big {", "  max_request 20", " }",
		" function /[id] {", "  max_request 0", " }",
		" function /named {", "  name other", " }",
		" function /nowhere {", "  fuel 1", " }",
		"}"))
	for _, test := range []struct {
		path, function string
		bytes, status  int
	}{
		{"/small", "fns/small", 10, 200}, {"/small", "fns/small", 11, 413},
		{"/big", "fns/big", 20, 200}, {"/big", "fns/big", 21, 413},
		{"/x", "fns/[id]", 0, 200}, {"/x", "fns/[id]", 1, 413},
		{"/named", "other", 10, 200}, {"/named", "other", 11, 413},
	} {
		if got := s.do("POST", test.path, nil, strings.NewReader(strings.Repeat("x", test.bytes))); got.status != test.status {
			t.Errorf("%s with %d bytes: got %d, want %d", test.path, test.bytes, got.status, test.status)
		}
		want := fmt.Sprintf("%s %d", test.function, test.status)
		eventually(t, "an access log entry with "+want, func() bool {
			for _, entry := range logBuffer.entries(t) {
				if fmt.Sprint(entry["function"], " ", entry["status"]) == want {
					return true
				}
			}
			return false
		})
	}
	// One function to metrics, however many files.
	got := grep(s.get("/metrics").body, "gojinn_requests_total{")
	want := lines(`gojinn_requests_total{function="fns",reason="ok"} 4`, `gojinn_requests_total{function="fns",reason="request_too_large"} 4`, "")
	if got != want {
		t.Errorf("got %s", got)
	}
	if entries := entriesOf(t, "no file has this route"); len(entries) != 1 || entries[0]["route"] != "/nowhere" {
		t.Errorf("options without a file: got %v", entries)
	}
}

func TestDirectoryMetricsPerFunction(t *testing.T) {
	root := functionDir(t, map[string][]byte{"a.wasm": says("a"), "b.wasm": says("b"), "bad.wasm": []byte("bad")})
	s := serveWith(t, "gojinn {\nmetrics per_function\n}", "metrics /metrics\ngojinn_dir "+root+" {\nfunction /b {\nname bee\n}\n}")
	for _, path := range []string{"/a", "/b", "/b", "/bad"} {
		s.get(path)
	}
	eventually(t, "bad.wasm is refused", func() bool { return len(refusals(t, "fns/bad")) > 0 })
	got := s.get("/metrics").body
	for _, want := range []string{
		`gojinn_requests_total{function="fns/a",reason="ok"} 1`,
		`gojinn_requests_total{function="bee",reason="ok"} 2`,
		`gojinn_requests_total{function="fns/bad",reason="load"} 1`,
		`gojinn_module_changes_total{function="fns/bad",result="refused"} 1`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("missing %s in\n%s", want, grep(got, "gojinn_"))
		}
	}
	// They go with the function.
	if err := os.Remove(filepath.Join(root, "bad.wasm")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the series of a file that is gone go", func() bool { return grep(s.get("/metrics").body, `"fns/bad"`) == "" })
}

// TestDirectoryNames: folders of the same name, and functions that are given the same one, are told
// apart.
func TestDirectoryNames(t *testing.T) {
	one := functionDir(t, map[string][]byte{"a.wasm": says("a"), "b.wasm": says("b")})
	two := functionDir(t, map[string][]byte{"a.wasm": says("a")})
	serve(t, lines("gojinn_dir /1/* "+one+" {", "function /a {", "name x", "}", "function /b {", "name x", "}", "}", "gojinn_dir "+two))
	names := make(map[string]int)
	for _, h := range published.publishers() {
		h.show(func(f *function) { names[f.name]++ })
	}
	if want := map[string]int{"x": 1, "x#2": 1, "fns#2/a": 1}; !maps.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
}

// TestDirectoryProblems: what can't be served is answered with 503 and logged, and keeps nothing
// else from being served.
func TestDirectoryProblems(t *testing.T) {
	root := functionDir(t, map[string][]byte{
		"good.wasm":      says("good"),
		"text.wasm":      []byte("this is text"),
		"half.wasm":      says("half")[:40],
		"empty.wasm":     nil,
		"fat.wasm":       newFat(),
		"two.wasm":       says("two"),
		"two/index.wasm": says("two"),
		"two/below.wasm": says("below"),
		"up/x.wasm":      says("x"),
		"[bad.wasm":      says("bad name"),
	})
	makeDir(t, filepath.Join(root, "folder.wasm"))
	if err := syscall.Mkfifo(filepath.Join(root, "pipe.wasm"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"broken.wasm": "gone", "loop.wasm": "loop.wasm", "up/loop": "..", "strange.wasm": "/dev/null"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	deep := strings.Repeat("/d", 100)
	put(t, filepath.Join(root, deep, "x.wasm"), says("deep"))
	blocked := filepath.Join(root, "noentry.wasm")
	put(t, blocked, says("noentry"))
	if err := os.Chmod(blocked, 0); err != nil {
		t.Fatal(err)
	}
	s := serve(t, "route {\nmetrics /metrics\ngojinn_dir "+root+" {\nmemory 64KiB\n}\nrespond next 404\n}")
	bad := []string{"text", "half", "empty", "fat", "two", "folder", "pipe", "broken", "loop", "strange"}
	if os.Getuid() != 0 { // who may read everything
		bad = append(bad, "noentry")
	}
	check := func() {
		t.Helper()
		for _, name := range bad {
			for _, path := range []string{"/" + name, "/" + name + "/x"} {
				got := s.get(path)
				if got.status != http.StatusServiceUnavailable || got.header.Get("Retry-After") == "" {
					t.Errorf("%s: got %d %v", path, got.status, got.header)
				}
			}
		}
		for path, want := range map[string]string{"/good": "good", "/two/below": "below", "/up/x": "x", deep + "/x": "deep"} {
			if got := s.get(path); got.status != 200 || got.body != want {
				t.Errorf("%s: got %d %q", path, got.status, got.body)
			}
		}
		for _, path := range []string{"/up/loop/good", "/[bad", "/" + strings.Repeat("d/", 99)} {
			if got := s.get(path); got.status != 404 {
				t.Errorf("%s: got %d", path, got.status)
			}
		}
	}
	check()
	for _, name := range bad {
		eventually(t, name+" is logged as refused", func() bool { return len(refusals(t, "fns/"+name)) > 0 })
	}
	if got := len(entriesOf(t, "not served")); got != 2 {
		t.Errorf("got %d log entries about what is nobody's route, want 2: %v", got, entriesOf(t, "not served"))
	}
	for _, entry := range entriesOf(t, "call failed") {
		if entry["reason"] != "load" {
			t.Errorf("got reason %v", entry["reason"])
		}
	}
	// Looking again is no news.
	count := func() (n int) {
		for _, entry := range logBuffer.entries(t) {
			if entry["msg"] == "not served" || strings.HasPrefix(fmt.Sprint(entry["msg"]), "module refused") {
				n++
			}
		}
		return n
	}
	before := count()
	for range 3 {
		reloadAll(t)
	}
	if after := count(); after != before {
		t.Errorf("got %d entries for looking again", after-before)
	}
	// Out of order no more.
	for _, name := range bad {
		if err := os.RemoveAll(filepath.Join(root, name+".wasm")); err != nil {
			t.Fatal(err)
		}
		if name != "two" {
			put(t, filepath.Join(root, name+".wasm"), says(name))
		}
	}
	reloadAll(t)
	for _, name := range bad {
		if got := s.get("/" + name); got.body != name {
			t.Errorf("/%s: got %d %q after it has been put right", name, got.status, got.body)
		}
	}
}

// reloadAll has all that serves look at its files, as the admin API does.
func reloadAll(t *testing.T) map[string]error {
	t.Helper()
	results := make(map[string]error)
	r, err := http.NewRequestWithContext(t.Context(), "POST", "http://localhost/gojinn/functions/reload", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range published.publishers() {
		h.reload(r, func(name string, err error) { results[name] = err })
	}
	return results
}

func TestDirectoryRefused(t *testing.T) {
	root := functionDir(t, map[string][]byte{"a.wasm": says("a")})
	quoted, _ := json.Marshal(root)
	wrap := func(handler string) []byte {
		return []byte(`{"admin":{"disabled":true,"config":{"persist":false}},"logging":{"logs":{"default":{"writer":{"output":"discard"}}}},
			"apps":{"http":{"servers":{"s":{"listen":["127.0.0.1:1"],"routes":[{"handle":[` + handler + `]}]}}}}}`)
	}
	for _, test := range []struct{ name, handler, want string }{
		{"good", `{"handler":"gojinn_dir","root":` + string(quoted) + `}`, ""},
		{"no root", `{"handler":"gojinn_dir"}`, "no path"},
		{"missing root", `{"handler":"gojinn_dir","root":"/does/not/exist"}`, "no such file"},
		{"a file as root", `{"handler":"gojinn_dir","root":"` + moduleFile(t, "x.wasm", says("x")) + `"}`, "not a directory"},
		{"unknown key", `{"handler":"gojinn_dir","root":` + string(quoted) + `,"rooot":1}`, "rooot"},
		{"unknown key of a function", `{"handler":"gojinn_dir","root":` + string(quoted) + `,"functions":[{"route":"/a","fule":1}]}`, "fule"},
		{"a bad route", `{"handler":"gojinn_dir","root":` + string(quoted) + `,"functions":[{"route":"a"}]}`, "slash"},
		{"a route twice", `{"handler":"gojinn_dir","root":` + string(quoted) + `,"functions":[{"route":"/a"},{"route":"/a"}]}`, "twice"},
		{"a bad option", `{"handler":"gojinn_dir","root":` + string(quoted) + `,"timeout":"0s"}`, "timeout"},
		{"a bad option of a function", `{"handler":"gojinn_dir","root":` + string(quoted) + `,"functions":[{"route":"/a","memory":"1"}]}`, "memory"},
		{"a bad argument", `{"handler":"gojinn_dir","root":` + string(quoted) + `,"args":["{file./does/not/exist}"]}`, "args"},
		{"a bad grant", `{"handler":"gojinn_dir","root":` + string(quoted) + `,"allow":[{"capability":"refusing","at":"grant"}]}`, "allow"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var config *caddy.Config
			if err := json.Unmarshal(wrap(test.handler), &config); err != nil {
				t.Fatal(err)
			}
			err := caddy.Validate(config)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			checkNothingLeft(t)
		})
	}
}
