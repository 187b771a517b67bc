package gojinn

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// cgiProgram is the module of testdata/guests/cgi-c, with this name.
func cgiProgram(t *testing.T, name string) string {
	t.Helper()
	return moduleFile(t, name, toolchaintest.Build(t, filepath.Join("testdata", "guests", "cgi-c")))
}

// told is what testdata/guests/cgi-c answers: its variables and what it has read.
func told(t *testing.T, r reply) (variables map[string]string, body string) {
	t.Helper()
	if r.status != 200 {
		t.Fatalf("got %d %q", r.status, r.body)
	}
	list, body, _ := strings.Cut(r.body, "\n\n")
	variables = make(map[string]string)
	for line := range strings.SplitSeq(list, "\n") {
		name, value, _ := strings.Cut(line, "=")
		if _, twice := variables[name]; twice {
			t.Errorf("%s is there twice", name)
		}
		variables[name] = value
	}
	return variables, body
}

// check compares some variables; "-" is one that is not there.
func checkVariables(t *testing.T, got map[string]string, want ...string) {
	t.Helper()
	for i := 0; i+1 < len(want); i += 2 {
		value, ok := got[want[i]]
		if !ok {
			value = "-"
		}
		if value != want[i+1] {
			t.Errorf("%s is %q, want %q", want[i], value, want[i+1])
		}
	}
}

// TestCGIProgram runs a C program that knows nothing but CGI.
func TestCGIProgram(t *testing.T) {
	program := cgiProgram(t, "old.wasm")
	folder := t.TempDir()
	for _, name := range []string{"tool.wasm", "users/[id].wasm", "rest/[...all].wasm", "index.wasm"} {
		copyFile(t, program, filepath.Join(folder, filepath.FromSlash(name)))
	}
	s := serve(t, lines(
		"handle_path /app* {\ngojinn "+program+" {\ncontract cgi\nallow env GREETING hello\nallow env REMOTE_USER operator\n}\n}",
		"handle_path /dir/* {\ngojinn_dir "+folder+" {\ncontract cgi\n}\n}",
		"gojinn "+program+" {\ncontract cgi\n}"))

	v, body := told(t, s.do("POST", "/app/a%20b/c?x=1&y", http.Header{
		"Content-Type": {"text/plain"}, "Cookie": {"a=1", "b=2"}, "Proxy": {"http://evil"}, "X_real_ip": {"1.2.3.4"}, "Authorization": {"Basic eDp5"},
	}, strings.NewReader("hello\x00world")))
	if body != "hello\x00world" {
		t.Errorf("the body is %q", body)
	}
	checkVariables(t, v,
		"GATEWAY_INTERFACE", "CGI/1.1", "REQUEST_METHOD", "POST", "SCRIPT_NAME", "/app", "PATH_INFO", "/a b/c", "QUERY_STRING", "x=1&y",
		"REQUEST_URI", "/app/a%20b/c?x=1&y", "CONTENT_LENGTH", "11", "CONTENT_TYPE", "text/plain", "SERVER_PROTOCOL", "HTTP/1.1",
		"SERVER_NAME", "127.0.0.1", "SERVER_PORT", s.port, "REMOTE_ADDR", "127.0.0.1", "HTTP_COOKIE", "a=1; b=2", "HTTP_PROXY", "-", "HTTP_X_REAL_IP", "-",
		"HTTP_AUTHORIZATION", "-", "AUTH_TYPE", "-", "GREETING", "hello", "REMOTE_USER", "operator", "SCRIPT_FILENAME", "-", "DOCUMENT_ROOT", "-")
	if !strings.HasPrefix(v["SERVER_SOFTWARE"], "Caddy/") || len(v["REQUEST_ID"]) != 36 {
		t.Errorf("SERVER_SOFTWARE %q, REQUEST_ID %q", v["SERVER_SOFTWARE"], v["REQUEST_ID"])
	}
	for path, want := range map[string][2]string{
		"/":                   {"", "/"},
		"/x/y":                {"", "/x/y"},
		"/app/":               {"/app", "/"},
		"/app":                {"/app", "/"},
		"//app/x":             {"/app", "/x"},
		"/dir/tool":           {"/dir/tool", "-"},
		"/dir/tool/":          {"/dir/tool", "/"},
		"/dir/tool/a%2Fb/c":   {"/dir/tool", "/a/b/c"},
		"/dir/users/4%202":    {"/dir/users/4 2", "-"},
		"/dir/users/42/posts": {"/dir/users/42", "/posts"},
		"/dir/rest/a/b":       {"/dir/rest", "/a/b"},
		"/dir/other":          {"/dir", "/other"},
	} {
		v, _ := told(t, s.get(path))
		checkVariables(t, v, "SCRIPT_NAME", want[0], "PATH_INFO", want[1])
	}
	// The route is the first thing that a path must have; without NUL, whose end no program sees.
	if got := s.get("/a%00b"); got.status != 400 {
		t.Errorf("a NUL: got %+v", got)
	}
	eventually(t, "the start kind is late", func() bool {
		s.get("/")
		return slices.ContainsFunc(logBuffer.find(t, "start"), func(e map[string]any) bool { return e["kind"] == "late" })
	})
}

// TestCGIUnknownLength: a program is told how long a body is, whatever the client has said.
func TestCGIUnknownLength(t *testing.T) {
	program := cgiProgram(t, "c.wasm")
	s, protocols := serveProtocols(t, lines(
		"gojinn /small "+program+" {\ncontract cgi\nmax_request 10\n}",
		"gojinn /off "+program+" {\ncontract cgi\nmax_request off\n}",
		"gojinn "+program+" {\ncontract cgi\n}"))
	for _, protocol := range protocols {
		t.Run(protocol.name, func(t *testing.T) {
			ask := func(path string, size int) reply {
				r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+path, io.MultiReader(strings.NewReader(strings.Repeat("x", size))))
				if err != nil {
					t.Fatal(err)
				}
				return s.send(protocol.client, r)
			}
			for _, size := range []int{1, 7, 1 << 20} {
				if v, body := told(t, ask("/", size)); v["CONTENT_LENGTH"] != strconv.Itoa(size) || len(body) != size {
					t.Errorf("CONTENT_LENGTH %s, %d bytes, want %d", v["CONTENT_LENGTH"], len(body), size)
				}
			}
			v, body := told(t, ask("/", 0))
			if checkVariables(t, v, "CONTENT_LENGTH", "-"); body != "" {
				t.Errorf("got %q", body)
			}
			if v, _ := told(t, ask("/small", 10)); v["CONTENT_LENGTH"] != "10" {
				t.Errorf("at the limit: CONTENT_LENGTH %s", v["CONTENT_LENGTH"])
			}
			if got := ask("/small", 11); got.status != 413 {
				t.Errorf("over the limit: got %+v", got)
			}
		})
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", s.url+"/off", io.LimitReader(endless{}, maxHeldBody+1))
	if err != nil {
		t.Fatal(err)
	}
	if got := s.send(protocols[1].client, r); got.status != 411 {
		t.Errorf("more than is held: got %+v", got)
	}
}

// endless is a body without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestCGIParks: a program that asks for its environment after it has read shares its start-up, and still has
// its own variables for every request.
func TestCGIParks(t *testing.T) {
	module := moduleFile(t, "parks.wasm", toolchaintest.Build(t, filepath.Join("testdata", "guests", "cgi-parks-c")))
	s := serve(t, "gojinn "+module+" {\ncontract cgi\n}")
	first := s.do("POST", "/0", nil, strings.NewReader("body"))
	if !strings.HasPrefix(first.body, "/0 4 ") {
		t.Fatalf("got %+v", first)
	}
	calls := 0
	eventually(t, "the start kind is snapshot", func() bool {
		calls++
		path := fmt.Sprintf("/%d", calls)
		if got := s.do("POST", path, nil, strings.NewReader("body")); got.body != path+strings.TrimPrefix(first.body, "/0") {
			t.Fatalf("got %+v", got)
		}
		return slices.ContainsFunc(logBuffer.find(t, "start"), func(e map[string]any) bool { return e["kind"] == "snapshot" })
	})
}

// TestCGIResponses: what a client sees of what a program writes, over each version of HTTP.
func TestCGIResponses(t *testing.T) {
	program := cgiProgram(t, "c.wasm")
	type row struct {
		name, out    string
		status       int
		field, value string
		body         string
	}
	rows := []row{
		{"document", "Content-Type: text/html\nSet-Cookie: a=1\nSet-Cookie: b=2\n\n<p>", 200, "Content-Type", "text/html", "<p>"},
		{"crlf", "Status: 404 Not here\r\nContent-Type: text/html\r\n\r\n<p>", 404, "Content-Type", "text/html", "<p>"},
		{"status", "Status: 204\n\n", 204, "Content-Type", "", ""},
		{"untyped", "Status: 201\nX-A: b\n\n", 201, "X-A", "b", ""},
		{"untypedbody", "Status: 201\n\nbody", 502, "X-A", "", ""},
		{"untypedfields", "Status: 201\nContent-Length: 4\nSet-Cookie: a=1\nCache-Control: max-age=9\n\nbody", 502, "X-A", "", ""},
		{"notmodified", "Status: 304\nEtag: \"a\"\n\nbody", 304, "Etag", `"a"`, ""},
		{"client", "Location: https://example.com/\n\nnobody's", 302, "Location", "https://example.com/", ""},
		{"clientdoc", "Status: 303\nLocation: /x\nContent-Type: text/plain\n\nthere", 303, "Location", "/x", "there"},
		{"clientcookie", "Location: /x\nSet-Cookie: a=1\n\n", 302, "Set-Cookie", "a=1", ""},
		{"length", "Content-Type: text/plain\nContent-Length: 3\n\nabc", 200, "Content-Length", "3", "abc"},
		{"more", "Content-Type: text/plain\nContent-Length: 3\n\nabcdef", 200, "Content-Length", "3", "abc"},
		{"local", "Location: /here?x=1\n\n", 200, "X-Here", "yes", "GET /here?x=1 "},
		{"localbody", "Location: /here?x=2\n\nnobody's", 200, "X-Here", "yes", "GET /here?x=2 "},
		{"localagain", "Location: /local\n\n", 200, "X-Here", "yes", "GET /here?x=1 "},
		{"localcgi", "Location: /c/a?b\n\n", 200, "X-Left", "nothing", "*"},
		{"localloop", "Location: /localloop\n\n", 508, "X-Here", "", ""},
		{"localnowhere", "Location: /error\n\n", 418, "X-Here", "", ""},
		{"nothing", "", 502, "X-A", "", ""},
		{"text", "Hello", 502, "X-A", "", ""},
		{"unended", "Content-Type: text/html\n", 502, "X-A", "", ""},
		{"folded", "Content-Type: text/html\n X-A: b\n\n", 502, "X-A", "", ""},
		{"twice", "Status: 200\nStatus: 200\nContent-Type: text/html\n\n", 502, "X-A", "", ""},
		{"nph-document", "HTTP/1.1 203 Mine\r\nContent-Type: text/html\r\nX-A: b\r\n\r\n<p>", 203, "X-A", "b", "<p>"},
		{"nph-local", "HTTP/1.1 302 Mine\r\nLocation: /here\r\n\r\n", 302, "Location", "/here", ""},
		{"nph-fields", "Content-Type: text/html\r\n\r\n<p>", 502, "X-A", "", ""},
	}
	var site []string
	for _, row := range rows {
		site = append(site, fmt.Sprintf("gojinn /%s %s {\ncontract cgi\n}", row.name, moduleFile(t, row.name+".wasm", answer(row.out))))
	}
	site = append(site,
		"route /here {\nheader X-Here yes\nrespond \"{method} {uri} {http.request.header.Content-Type}\"\n}",
		"error /error 418",
		"gojinn /exits "+moduleFile(t, "exits.wasm", exits("oh", 3))+" {\ncontract cgi\n}",
		"handle_path /c/* {\ngojinn "+program+" {\ncontract cgi\n}\n}")
	s, protocols := serveProtocols(t, lines(site...))
	for _, protocol := range protocols {
		t.Run(protocol.name, func(t *testing.T) {
			ask := func(method, path, body string) reply {
				r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				if body != "" {
					r.Header.Set("Content-Type", "text/plain")
				}
				client := *protocol.client
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				return s.send(&client, r)
			}
			for _, row := range rows {
				for _, method := range []string{"GET", "POST", "HEAD"} {
					body := ""
					if method == "POST" {
						body = "a form"
					}
					got := ask(method, "/"+row.name, body)
					status := row.status
					if strings.HasPrefix(row.name, "untyped") && method == "HEAD" {
						status = 201 // nobody sees that there is a body
					}
					if got.status != status || got.header.Get(row.field) != row.value && status < 500 {
						t.Errorf("%s %s: got %d %q", method, row.name, got.status, got.header)
					}
					want := row.body
					if method == "HEAD" {
						want = ""
					}
					if got.body != want && row.body != "*" {
						t.Errorf("%s %s: the body is %q, want %q", method, row.name, got.body, want)
					}
				}
			}
			if got := ask("GET", "/document", ""); len(got.header.Values("Set-Cookie")) != 2 {
				t.Errorf("got %q", got.header)
			}
			// Nothing of an answer that is refused is in the error's.
			if got := ask("GET", "/untypedfields", ""); got.header.Get("Set-Cookie") != "" || got.header.Get("Cache-Control") != "" {
				t.Errorf("got %q", got.header)
			}
			v, _ := told(t, ask("POST", "/localcgi", "a form"))
			checkVariables(t, v, "REQUEST_METHOD", "GET", "SCRIPT_NAME", "/c", "PATH_INFO", "/a", "QUERY_STRING", "b",
				"REQUEST_URI", "/c/a?b", "CONTENT_LENGTH", "-", "CONTENT_TYPE", "-")
			if got := ask("GET", "/exits", ""); got.status != 502 || got.body != "" {
				t.Errorf("exit code 3: got %+v", got)
			}
			if got := ask("GET", "/c/?fails", ""); got.status != 500 || !strings.Contains(got.body, "QUERY_STRING=fails") {
				t.Errorf("a program that says that it has failed: got %+v", got)
			}
			if v, body := told(t, ask("POST", "/c/", strings.Repeat("x", 1<<20))); len(body) != 1<<20 || v["CONTENT_LENGTH"] != "1048576" {
				t.Errorf("CONTENT_LENGTH %s, %d bytes", v["CONTENT_LENGTH"], len(body))
			}
		})
	}
}

// TestCGICut: a client is not left in the belief that an answer is whole.
func TestCGICut(t *testing.T) {
	s, protocols := serveProtocols(t, lines(
		"gojinn /short "+moduleFile(t, "short.wasm", answer("Content-Type: text/plain\nContent-Length: 9\n\nabc"))+" {\ncontract cgi\n}",
		"gojinn /none "+moduleFile(t, "none.wasm", answer("Content-Type: text/plain\nContent-Length: 9\n\n"))+" {\ncontract cgi\n}",
		"gojinn /c "+cgiProgram(t, "c.wasm")+" {\ncontract cgi\n}"))
	for _, protocol := range protocols {
		for _, path := range []string{"/short", "/none", "/c?exit=3"} {
			response, err := protocol.client.Get(s.url + path)
			if err == nil {
				_, err = io.ReadAll(response.Body)
				response.Body.Close()
			}
			if err == nil {
				t.Errorf("%s %s: the client sees no error", protocol.name, path)
			}
		}
		if response, err := protocol.client.Head(s.url + "/none"); err != nil || response.StatusCode != 200 || response.ContentLength != 9 {
			t.Errorf("%s HEAD: got %v, %v", protocol.name, response, err)
		}
	}
	for _, reason := range []string{"bad_response", "exit"} {
		eventually(t, reason, func() bool {
			return slices.ContainsFunc(logBuffer.find(t, "call failed"), func(e map[string]any) bool { return e["reason"] == reason })
		})
	}
}

// TestCGIIdle: what is dropped is no byte that goes.
func TestCGIIdle(t *testing.T) {
	long := times(100, prints("x"), sleeps(100*time.Millisecond))
	s := serve(t, lines(
		"respond /here here",
		"gojinn /more "+moduleFile(t, "more.wasm", steps(prints("Content-Type: text/plain\nContent-Length: 2\n\nok"), long))+" {\ncontract cgi\ntimeout off\nidle_timeout 1s\n}",
		"gojinn /local "+moduleFile(t, "local.wasm", steps(prints("Location: /here\n\n"), long))+" {\ncontract cgi\ntimeout off\nidle_timeout 1s\n}"))
	if got := s.get("/local"); got.status != 504 {
		t.Errorf("got %+v", got)
	}
	logBuffer.reset()
	stays := &http.Transport{} // has its answer, and keeps the connection
	defer stays.CloseIdleConnections()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+"/more", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.send(&http.Client{Transport: stays}, r); got.status != 200 || got.body != "ok" {
		t.Errorf("got %+v", got)
	}
	eventually(t, "the call is ended", func() bool {
		return slices.ContainsFunc(logBuffer.find(t, "call failed"), func(e map[string]any) bool { return e["reason"] == "timeout" })
	})
}

// TestCGIUnbuffered: what a program has written is on its way when it waits.
func TestCGIUnbuffered(t *testing.T) {
	for _, name := range []string{"nph-talks.wasm", "talks.wasm"} {
		head := "Content-Type: text/plain\n\n"
		if strings.HasPrefix(name, "nph-") {
			head = "HTTP/1.1 200 OK\n" + head
		}
		g := newGuest(1)
		g.Main(code(g.print(1, 1024, head+"first"), g.transfer(g.read, 0, 4096, num(6)), g.print(1, 2048, "second"))...)
		s := serve(t, "gojinn "+moduleFile(t, name, g.Bytes())+" {\ncontract cgi\n}")
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: %s\r\nContent-Length: 6\r\n\r\n", s.addr)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		first := make([]byte, 5)
		if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "first" {
			t.Fatalf("%s: got %q, %v", name, first, err)
		}
		io.WriteString(conn, "go on!")
		rest, err := io.ReadAll(response.Body)
		if err != nil || string(rest) != "second" {
			t.Errorf("%s: got %q, %v", name, rest, err)
		}
	}
}
