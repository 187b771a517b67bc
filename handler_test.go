package gojinn

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRequestAndResponse(t *testing.T) {
	s := serve(t, "gojinn "+moduleFile(t, "echo.wasm", echoes()))
	got := s.do("POST", "/a%20b/c?x=1&x=2&y", http.Header{"X-One": {"1"}, "Content-Type": {"text/plain"}}, strings.NewReader("hällo"))
	if got.status != 200 || got.header.Get("X-Guest") != "echo" {
		t.Fatalf("got %+v", got)
	}
	if ct := got.header.Get("Content-Type"); ct != "text/plain; charset=utf-8" {
		t.Errorf("got Content-Type %q", ct)
	}
	r := echoed(t, got.body)
	for _, check := range []struct{ name, got, want string }{
		{"method", r.Method, "POST"},
		{"uri", r.URI, "/a%20b/c?x=1&x=2&y"},
		{"original_uri", r.OriginalURI, "/a%20b/c?x=1&x=2&y"},
		{"path", r.Path, "/a b/c"},
		{"scheme", r.Scheme, "http"},
		{"host", r.Host, s.addr},
		{"proto", r.Proto, "HTTP/1.1"},
		{"remote_addr", r.RemoteAddr, "127.0.0.1"},
		{"query x", strings.Join(r.Query["x"], ","), "1,2"},
		{"header", strings.Join(r.Headers["X-One"], ","), "1"},
		{"body", *r.Body, "hällo"},
		{"traceparent", r.Traceparent, ""},
	} {
		if check.got != check.want {
			t.Errorf("%s: got %q, want %q", check.name, check.got, check.want)
		}
	}
	if len(r.ID) != 36 {
		t.Errorf("id: got %q, want a UUID", r.ID)
	}
}

func TestRequestAfterRewrites(t *testing.T) {
	s := serve(t, `
		rewrite /old* /new?from=old
		handle_path /prefix/* {
			gojinn `+moduleFile(t, "echo.wasm", echoes())+`
		}
		gojinn `+moduleFile(t, "echo.wasm", echoes()))
	tests := []struct{ path, uri, original string }{
		{"/old/thing?x=1", "/new?from=old", "/old/thing?x=1"},
		{"/prefix/a?b", "/a?b", "/prefix/a?b"},
		{"/plain", "/plain", "/plain"},
	}
	for _, test := range tests {
		r := echoed(t, s.get(test.path).body)
		if r.URI != test.uri || r.OriginalURI != test.original {
			t.Errorf("%s: got uri %q and original_uri %q, want %q and %q", test.path, r.URI, r.OriginalURI, test.uri, test.original)
		}
	}
}

func TestTrustedProxies(t *testing.T) {
	site := "gojinn " + moduleFile(t, "echo.wasm", echoes())
	forwarded := http.Header{"X-Forwarded-For": {"203.0.113.9"}}
	for global, want := range map[string]string{
		"": "127.0.0.1",
		"servers {\ntrusted_proxies static 127.0.0.0/8\n}": "203.0.113.9",
	} {
		t.Run(want, func(t *testing.T) {
			s := serveWith(t, global, site)
			if r := echoed(t, s.do("GET", "/", forwarded, nil).body); r.RemoteAddr != want {
				t.Errorf("with %q: got %q, want %q", global, r.RemoteAddr, want)
			}
		})
	}
}

func TestTraceparent(t *testing.T) {
	s := serve(t, "gojinn "+moduleFile(t, "echo.wasm", echoes()))
	const valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for sent, want := range map[string]string{
		valid:               valid,
		"":                  "",
		"00-0-0-0":          "",
		valid + "-and-more": "",
		`00-"`:              "",
	} {
		header := http.Header{}
		if sent != "" {
			header.Set("Traceparent", sent)
		}
		if r := echoed(t, s.do("GET", "/", header, nil).body); r.Traceparent != want {
			t.Errorf("sent %q: got %q, want %q", sent, r.Traceparent, want)
		}
	}
}

// secret is what no client may ever see: something a guest wrote.
const secret = "SECRET-OF-THE-GUEST"

// TestEndings has a program for each way in which a call can end.
func TestEndings(t *testing.T) {
	tests := []struct {
		name    string
		wasm    []byte
		options string
		status  int
		reason  string
		logged  string // in the entry about the call; "" for none
	}{
		{"answered", answer(`{"status":201,"body":"made"}`), "", 201, "ok", ""},
		{"endless loop", spins(), "timeout 200ms", 504, "timeout", "deadline exceeded"},
		{"endless loop on fuel", spins(), "fuel 1000000", 504, "fuel", "fuel exhausted"},
		{"unreachable", traps(), "", 502, "trap", "unreachable"},
		{"recursion without a bottom", recurses(), "", 502, "stack", "call stack exhausted"},
		{"memory bomb", grows(), "memory 1MiB", 502, "memory", "memory limit reached"},
		{"exit 3", exits(secret, 3), "", 502, "exit", "exit code 3"},
		{"flood of output", floods(), "max_response 1MiB", 502, "response_too_large", "output limit reached"},
		{"nothing", answer(""), "", 502, "bad_response", "the function wrote no response"},
		{"garbage", answer(secret), "", 502, "bad_response", secret},
		{"two values", answer(`{"body":"` + secret + `"}{}`), "", 502, "bad_response", secret},
		{"half a value", answer(`{"body":"` + secret), "", 502, "bad_response", "decoding response"},
		{"twice the same member", answer(`{"status":200,"status":200}`), "", 502, "bad_response", "second member"},
		{"status 0", answer(`{"status":0}`), "", 502, "bad_response", "status"},
		{"status 42", answer(`{"status":42}`), "", 502, "bad_response", "status"},
		{"status 99", answer(`{"status":99}`), "", 502, "bad_response", "status"},
		{"status 101", answer(`{"status":101}`), "", 502, "bad_response", "status"},
		{"status 600", answer(`{"status":600}`), "", 502, "bad_response", "status"},
		{"status 1000", answer(`{"status":1000}`), "", 502, "bad_response", "status"},
		{"status as text", answer(`{"status":"200"}`), "", 502, "bad_response", "status"},
		{"status 1e9", answer(`{"status":1e9}`), "", 502, "bad_response", "status"},
		{"line end in a header's name", answer(`{"headers":{"A\r\nB":"` + secret + `"}}`), "", 502, "bad_response", "field name"},
		{"line end in a header's value", answer(`{"headers":{"A":"b\r\nSet-Cookie: c"}}`), "", 502, "bad_response", "headers.A"},
		{"space in a header's name", answer(`{"headers":{"A B":"c"}}`), "", 502, "bad_response", "field name"},
		{"not UTF-8", answer("{\"body\":\"\xff\"}"), "", 502, "bad_response", "decoding response"},
	}
	var site strings.Builder
	for i, test := range tests {
		fmt.Fprintf(&site, "gojinn /%d %s {\n name f%d\n %s\n}\n", i, moduleFile(t, "fn.wasm", test.wasm), i, test.options)
	}
	site.WriteString("respond /other alive\n")
	site.WriteString(`handle_errors {
		respond "{http.error.status_code} {http.gojinn.reason} {http.error.message}"
	}`)
	s := serve(t, site.String())
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			logBuffer.reset()
			stop := watchCollector(t)
			got := s.get(fmt.Sprintf("/%d", i))
			stop()
			if got.status != test.status {
				t.Errorf("got status %d, want %d", got.status, test.status)
			}
			if strings.Contains(fmt.Sprint(got), secret) {
				t.Errorf("the client sees guest text: %+v", got)
			}
			want := fmt.Sprintf("%d %s function f%d: %s", test.status, test.reason, i, test.reason)
			if test.reason != "ok" && got.body != want {
				t.Errorf("got body %q, want %q", got.body, want)
			}
			entries := logBuffer.find(t, "call failed")
			if test.logged == "" {
				if len(entries) != 0 {
					t.Errorf("got entries %v, want none", entries)
				}
				return
			}
			if len(entries) != 1 {
				t.Fatalf("got %d entries, want 1", len(entries))
			}
			entry := entries[0]
			if entry["level"] != "error" || entry["reason"] != test.reason || entry["function"] != fmt.Sprintf("f%d", i) ||
				!strings.Contains(entry["error"].(string), test.logged) || len(entry["request_id"].(string)) != 36 {
				t.Errorf("got entry %v, want one with %q", entry, test.logged)
			}
		})
	}
	if got := s.get("/other"); got.body != "alive" {
		t.Errorf("another route: got %+v", got)
	}
}

// watchCollector fails the test if the garbage collector is held up before
// stop is called: a collection takes much longer than it does now. A guest that can't be
// interrupted holds one up for good.
func watchCollector(t *testing.T) (stop func()) {
	collect := func() time.Duration {
		start := time.Now()
		runtime.GC()
		return time.Since(start)
	}
	bound := 5*time.Second + 5*collect()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			if took := collect(); took > bound {
				t.Errorf("a collection took %s, want at most %s", took, bound)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() { cancel(); done.Wait() }
}

// TestLiveness: functions that never end hold up nothing else, even when there
// is but one processor. Unmetered, each of these waits would be theirs: half a
// minute. The bound is wide because one processor is shared by all that runs on
// this machine.
func TestLiveness(t *testing.T) {
	const bound = 10 * time.Second
	s := serve(t, lines(
		"gojinn /spin "+moduleFile(t, "spin.wasm", spins())+" {\n timeout 30s\n}",
		"gojinn /flood "+moduleFile(t, "flood.wasm", floods())+" {\n max_response off\n timeout 30s\n}",
		"gojinn /recurse "+moduleFile(t, "recurse.wasm", recurses()),
		"gojinn /fine "+moduleFile(t, "fine.wasm", answer(`{"body":"fine"}`)),
		"respond /other alive",
	))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	ctx, leave := context.WithCancel(t.Context())
	var clients sync.WaitGroup
	for _, path := range []string{"/spin", "/spin", "/flood"} {
		clients.Go(func() {
			r, _ := http.NewRequestWithContext(ctx, "GET", s.url+path, nil)
			if response, err := oneShot.Do(r); err == nil {
				response.Body.Close()
			}
		})
	}
	eventually(t, "they run", func() bool { return runningCalls("spin") == 2 })
	within := func(what string, do func()) {
		start := time.Now()
		do()
		if took := time.Since(start); took > bound {
			t.Errorf("%s took %s", what, took)
		}
	}
	for path, want := range map[string]string{"/other": "alive", "/fine": "fine", "/recurse": ""} {
		within("a collection", runtime.GC)
		within(path, func() {
			if got := s.get(path); got.body != want {
				t.Errorf("%s: got %+v", path, got)
			}
		})
	}
	if got := runningCalls("spin"); got != 2 {
		t.Errorf("got %d functions that spin, want 2 still", got)
	}
	within("the end", func() { leave(); clients.Wait() })
}

func TestResponseHeaders(t *testing.T) {
	s := serve(t, "gojinn "+moduleFile(t, "fn.wasm", answer(
		`{"headers":{"Content-Length":"3","Transfer-Encoding":"chunked","Connection":"close","Set-Cookie":["a=1","b=2"],"Content-Type":"text/html"},"body":"<p>long</p>"}`)))
	got := s.get("/")
	if got.body != "<p>long</p>" || got.header.Get("Content-Length") != "11" || got.header.Get("Connection") != "" ||
		strings.Join(got.header["Set-Cookie"], ";") != "a=1;b=2" || got.header.Get("Content-Type") != "text/html" {
		t.Errorf("got %+v", got)
	}
}

func TestRequestLimit(t *testing.T) {
	echo := moduleFile(t, "echo.wasm", echoes())
	s := serve(t, lines(
		"gojinn /small "+echo+" {\n max_request 1KiB\n}",
		"gojinn /none "+echo+" {\n max_request 0\n}",
		"gojinn /off "+echo+" {\n max_request off\n}",
		"gojinn /default "+echo,
		"handle_errors {\n respond \"{http.error.status_code} {http.gojinn.reason}\"\n}",
	))
	chunked := func(n int64) io.Reader { return struct{ io.Reader }{io.LimitReader(letters{}, n)} } // of no known length
	counted := func(n int64) io.Reader { return strings.NewReader(strings.Repeat("x", int(n))) }
	tests := []struct {
		name, path string
		body       io.Reader
		size       int64
		refused    bool
	}{
		{"at the limit, announced", "/small", counted(1024), 1024, false},
		{"at the limit, not announced", "/small", chunked(1024), 1024, false},
		{"over the limit, announced", "/small", counted(1025), 0, true},
		{"over the limit, not announced", "/small", chunked(1025), 0, true},
		{"far over the limit, not announced", "/small", chunked(200_000), 0, true},
		{"limit 0 without a body", "/none", nil, 0, false},
		{"limit 0, announced", "/none", counted(1), 0, true},
		{"limit 0, not announced", "/none", chunked(1), 0, true},
		{"no limit", "/off", counted(9 << 20), 9 << 20, false},
		{"below the default limit", "/default", counted(1 << 20), 1 << 20, false},
		{"at the default limit, not announced", "/default", chunked(8 << 20), 8 << 20, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if test.size > 1<<20 {
				// The echo is twice as large as the response may be: what is
				// shown is that it is this limit, not the request's, that counts.
				if got := s.do("POST", test.path, nil, test.body); got.body != "502 response_too_large" {
					t.Errorf("got %+v", got)
				}
				return
			}
			got := s.do("POST", test.path, nil, test.body)
			if test.refused {
				if got.status != 413 || got.body != "413 request_too_large" {
					t.Errorf("got %d %q, want 413", got.status, got.body)
				}
				return
			}
			if got.status != 200 {
				t.Fatalf("got %d %.200q", got.status, got.body)
			}
			var size int64
			if body := echoed(t, got.body).Body; body != nil {
				size = int64(len(*body))
			}
			if size != test.size {
				t.Errorf("got a body of %d bytes, want %d", size, test.size)
			}
		})
	}
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

// TestAnnouncedTooLarge: a body that is announced to be too large is refused
// before any of it has been sent.
func TestAnnouncedTooLarge(t *testing.T) {
	s := serve(t, "gojinn "+moduleFile(t, "echo.wasm", echoes()))
	got := s.raw("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 8388609\r\nExpect: 100-continue\r\n\r\n")
	if !strings.HasPrefix(got, "HTTP/1.1 413 ") {
		t.Errorf("got %q", got)
	}
}

func TestManyHeaders(t *testing.T) {
	site := "gojinn " + moduleFile(t, "echo.wasm", echoes())
	many := http.Header{}
	for i := range 10_000 {
		many.Set(fmt.Sprintf("X-%d", i), "v")
	}
	t.Run("too many for Caddy", func(t *testing.T) {
		if got := serve(t, site).do("GET", "/", many, nil); got.status != 431 {
			t.Errorf("got %d", got.status)
		}
	})
	t.Run("allowed", func(t *testing.T) {
		s := serveWith(t, "servers {\n max_header_size 1MB\n}", site)
		if got := len(echoed(t, s.do("GET", "/", many, nil).body).Headers); got < 10_000 {
			t.Errorf("got %d headers", got)
		}
	})
}

func TestOddRequests(t *testing.T) {
	s := serve(t, lines(
		"gojinn /nocontent "+moduleFile(t, "nocontent.wasm", answer(`{"status":204,"body":"dropped"}`)),
		"gojinn "+moduleFile(t, "echo.wasm", echoes()),
	))
	t.Run("204", func(t *testing.T) {
		if got := s.get("/nocontent"); got.status != 204 || got.body != "" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("HEAD", func(t *testing.T) {
		got := s.do("HEAD", "/", nil, nil)
		if got.status != 200 || got.body != "" || got.header.Get("X-Guest") != "echo" || got.header.Get("Content-Length") == "" {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("OPTIONS", func(t *testing.T) {
		if r := echoed(t, s.do("OPTIONS", "/x", nil, nil).body); r.Method != "OPTIONS" || r.URI != "/x" {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("OPTIONS *", func(t *testing.T) {
		// Go's server answers it itself; it never gets to a handler.
		got := s.raw("OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("HTTP/1.0", func(t *testing.T) {
		got := s.raw("GET /old HTTP/1.0\r\n\r\n")
		head, body, _ := strings.Cut(got, "\r\n\r\n")
		if r := echoed(t, body); r.Proto != "HTTP/1.0" || r.URI != "/old" || !strings.HasPrefix(head, "HTTP/1.0 200 ") {
			t.Errorf("got %q", got)
		}
	})
	t.Run("body that is not UTF-8", func(t *testing.T) {
		r := echoed(t, s.do("POST", "/", nil, strings.NewReader("\xff\x00")).body)
		if r.Body != nil || string(r.BodyBase64) != "\xff\x00" {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("GET with a body", func(t *testing.T) {
		if r := echoed(t, s.do("GET", "/", nil, strings.NewReader("b")).body); *r.Body != "b" {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("broken chunks", func(t *testing.T) {
		got := s.raw("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("got %q", got)
		}
	})
}

// TestClientLeaves: a client that goes away ends what it asked for, be it in
// the middle of its request or while the function runs.
func TestClientLeaves(t *testing.T) {
	s := serve(t, lines(
		"metrics /metrics",
		"gojinn /spin "+moduleFile(t, "spin.wasm", spins())+" {\n timeout off\n}",
		"gojinn /echo "+moduleFile(t, "echo.wasm", echoes()),
	))
	t.Run("while the function runs", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		r, err := http.NewRequestWithContext(ctx, "GET", s.url+"/spin", nil)
		if err != nil {
			t.Fatal(err)
		}
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			_, _ = oneShot.Do(r)
		}()
		eventually(t, "the function runs", func() bool {
			return strings.Contains(s.get("/metrics").body, `gojinn_sandboxes{function="spin",state="running"} 1`)
		})
		cancel()
		<-gone
		eventually(t, "the call is canceled", func() bool {
			return strings.Contains(s.get("/metrics").body, `gojinn_requests_total{function="spin",reason="canceled"} 1`)
		})
	})
	t.Run("in the middle of its request", func(t *testing.T) {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf"); err != nil {
			t.Fatal(err)
		}
		conn.Close()
		eventually(t, "the request is given up", func() bool {
			return strings.Contains(s.get("/metrics").body, `gojinn_requests_total{function="echo",reason="canceled"} 1`)
		})
	})
}

// TestSlowSender: a client that takes its time with its body holds neither a
// sandbox nor a turn.
func TestSlowSender(t *testing.T) {
	s := serve(t, "gojinn "+moduleFile(t, "echo.wasm", echoes())+" {\n concurrency 1 queue 0\n timeout 5s\n}")
	body, sender := io.Pipe()
	slow := make(chan reply)
	go func() {
		r, _ := http.NewRequest("POST", s.url+"/slow", body)
		slow <- s.send(oneShot, r)
	}()
	for i := range 10 {
		if _, err := sender.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if got := s.get("/quick"); got.status != 200 {
			t.Errorf("request %d beside it: got %d", i, got.status)
		}
	}
	sender.Close()
	if got := <-slow; got.status != 200 || len(*echoed(t, got.body).Body) != 10 {
		t.Errorf("the slow one: got %+v", got)
	}
}

// TestSlowSenderTimesOut: Caddy's own limit on reading a body is what ends it.
func TestSlowSenderTimesOut(t *testing.T) {
	s := serveWith(t, "servers {\n timeouts {\n read_body 200ms\n }\n}", lines(
		"gojinn "+moduleFile(t, "echo.wasm", echoes()),
		"handle_errors {\n respond \"{http.error.status_code} {http.gojinn.reason}\"\n}"))
	got := s.raw("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
	if !strings.HasPrefix(got, "HTTP/1.1 408 ") || !strings.HasSuffix(got, "408 canceled") {
		t.Errorf("got %q", got)
	}
}

// TestConcurrency: one call runs, one waits, and the others are refused.
func TestConcurrency(t *testing.T) {
	s := serve(t, lines(
		"metrics /metrics",
		"gojinn "+moduleFile(t, "spin.wasm", spins())+" {\n timeout 8s\n concurrency 1 queue 1 wait 3s\n}"))
	first, others := make(chan reply), make(chan reply)
	go func() { first <- s.get("/") }()
	eventually(t, "the first runs", func() bool {
		return strings.Contains(s.get("/metrics").body, `gojinn_sandboxes{function="spin",state="running"} 1`)
	})
	// Of three more, two are refused at once and one when its wait is over.
	var waited []time.Duration
	start := time.Now()
	for range 3 {
		go func() { others <- s.get("/") }()
	}
	for range 3 {
		if got := <-others; got.status != 503 || got.header.Get("Retry-After") != "1" {
			t.Errorf("got %+v", got)
		}
		waited = append(waited, time.Since(start))
	}
	if waited[1] >= 3*time.Second || waited[2] < 3*time.Second {
		t.Errorf("the refusals came after %s, want two at once and one after three seconds", waited)
	}
	if got := <-first; got.status != 504 {
		t.Errorf("the first: got %+v", got)
	}
}

// TestCeiling: what is over the memory that all functions share is refused
// with 503, and comes back when it is free again.
func TestCeiling(t *testing.T) {
	s := serveWith(t, "gojinn {\n memory 1MiB\n}", lines(
		"gojinn /body "+moduleFile(t, "echo.wasm", echoes())+" {\n max_request off\n max_response off\n}",
		"gojinn /grow "+moduleFile(t, "grow.wasm", grows()),
		"gojinn /flood "+moduleFile(t, "flood.wasm", floods())+" {\n max_response off\n}",
		"handle_errors {\n respond \"{http.error.status_code} {http.gojinn.reason}\"\n}"))
	for range 3 {
		for path, body := range map[string]int{"/body": 700_000, "/grow": 0, "/flood": 0} {
			got := s.do("POST", path, nil, strings.NewReader(strings.Repeat("x", body)))
			if got.body != "503 overloaded" || got.header.Get("Retry-After") != "1" {
				t.Errorf("%s: got %d %q", path, got.status, got.body)
			}
		}
		if got := s.do("POST", "/body", nil, strings.NewReader("small")); got.status != 200 {
			t.Errorf("a small one: got %d %q", got.status, got.body)
		}
	}
}

// TestPlaceholders: a receipt of each call is there for whoever logs it.
func TestPlaceholders(t *testing.T) {
	s := serve(t, lines(
		"log",
		"log_append function {http.gojinn.function}",
		"log_append reason {http.gojinn.reason}",
		"log_append start {http.gojinn.start}",
		"log_append memory {http.gojinn.memory}",
		"log_append fuel {http.gojinn.fuel}",
		"log_append ran {http.gojinn.duration}",
		"log_append queue {http.gojinn.queue}",
		"gojinn /ok "+moduleFile(t, "ok.wasm", answer("{}")),
		"gojinn /trap "+moduleFile(t, "trap.wasm", traps()),
		"gojinn /big "+moduleFile(t, "big.wasm", answer("{}"))+" {\n max_request 0\n}",
	))
	for _, test := range []struct {
		path, want string
		runs       bool
	}{
		{"/ok", "ok ok fresh 65536", true},
		{"/trap", "trap trap fresh 65536", true},
		{"/big", "big request_too_large  0", false},
	} {
		logBuffer.reset()
		s.do("POST", test.path, nil, strings.NewReader("x"))
		found := 0
		for _, entry := range logBuffer.entries(t) {
			if entry["logger"] != "http.log.access" {
				continue
			}
			found++
			if got := fmt.Sprintf("%v %v %v %v", entry["function"], entry["reason"], entry["start"], entry["memory"]); got != test.want {
				t.Errorf("%s: got %q, want %q", test.path, got, test.want)
			}
			fuel, ran := entry["fuel"].(float64), entry["ran"].(float64)
			if (fuel > 0) != (test.path == "/ok") || (ran > 0) != test.runs || entry["queue"].(float64) < 0 {
				t.Errorf("%s: got fuel %v, duration %v, queue %v", test.path, fuel, ran, entry["queue"])
			}
		}
		if found != 1 {
			t.Errorf("%s: got %d access log entries, want 1", test.path, found)
		}
	}
}

// TestAborted: when the response can't be sent to its end, the connection is
// cut, so that nobody takes a part for the whole.
func TestAborted(t *testing.T) {
	s := serve(t, lines(
		"metrics /metrics",
		"gojinn "+moduleFile(t, "large.wasm", answer(`{"body":"`+strings.Repeat("x", 7<<20)+`"}`))+" {\n memory 16MiB\n}",
	))
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	eventually(t, "the response is given up", func() bool {
		return strings.Contains(s.get("/metrics").body, `gojinn_requests_total{function="large",reason="canceled"} 1`)
	})
}
