// Package guestgo tests the SDK for functions in Go, guest/go, as it is used: a program that
// was written with it answers requests to Caddy.
package guestgo

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// serve runs Caddy with testdata/app, which may use the origin and the address, until the
// test ends. It returns where.
func serve(t *testing.T, origin string, addresses ...string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	module := filepath.Join(dir, "app.wasm")
	if err := os.WriteFile(module, toolchaintest.Build(t, filepath.Join("testdata", "app")), 0o600); err != nil {
		t.Fatal(err)
	}
	at := closedAddress(t)
	text := fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %q
	log {
		output file %q
		level INFO
	}
	gojinn {
		cache_dir %q
		store default memory
	}
}
http://%s {
	gojinn /* %q {
		timeout 1m
		allow kv test
		allow http %s {
			private 127.0.0.1
		}
		allow tcp %s {
			private 127.0.0.1
		}
	}
}
`, dir, filepath.Join(dir, "log"), filepath.Join(dir, "cache"), at, module, origin, strings.Join(addresses, " "))
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
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
		if log, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && t.Failed() && testing.Verbose() {
			t.Logf("%s", log)
		}
	})
	return "http://" + at
}

// closedAddress is one where nobody listens.
func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// upstream is the server that functions make requests to.
func upstream(t *testing.T) *httptest.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/text", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Answer", "42")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s", r.Method, strings.TrimSuffix(r.RequestURI, "#fragment"))
	})
	mux.HandleFunc("HEAD /text", func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Content-Length", "9") })
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d %s %s", r.Method, r.RequestURI, r.ContentLength, r.Header.Get("Content-Type"), body)
	})
	mux.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n)
	})
	mux.HandleFunc("/large", func(w http.ResponseWriter, r *http.Request) { w.Write(make([]byte, 3<<20)) })
	mux.Handle("/moved", http.RedirectHandler("/text", http.StatusFound))
	end := make(chan struct{})
	mux.HandleFunc("/never", func(w http.ResponseWriter, r *http.Request) { wait(r, end) })
	mux.HandleFunc("/half", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		wait(r, end)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(end) })
	return server
}

func wait(r *http.Request, end chan struct{}) {
	select {
	case <-r.Context().Done():
	case <-end:
	}
}

// listen runs a TCP server.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return l.Addr().String()
}

func TestApp(t *testing.T) {
	server := upstream(t)
	echo := listen(t, func(conn net.Conn) { io.Copy(conn, conn) })
	silent := listen(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	closed := closedAddress(t)
	at := serve(t, server.URL, echo, silent, closed)
	host := strings.TrimPrefix(at, "http://")
	long := strings.Repeat("0123456789\n\"é", 100_000)
	for _, test := range []struct {
		method, uri, body string
		status            int
		want              string
	}{
		{"GET", "/hello/Ada", "", 200, "hello, Ada\n"},
		{"GET", "/hello/a%2Fb", "", 200, "hello, a/b\n"},
		{"POST", "/hello/Ada", "", 405, "Method Not Allowed\n"},
		{"GET", "/none", "", 404, "404 page not found\n"},
		{"HEAD", "/hello/Ada", "", 200, ""},
		{"POST", "/echo", "text", 200, "text"},
		{"POST", "/echo", "", 200, ""},
		{"POST", "/echo", "\x00\xff", 200, "\x00\xff"},
		{"POST", "/echo", long, 200, long},
		{"GET", "/about?q=a&q=b", "", 200, fmt.Sprintf(`[36,"/about?q=a\u0026q=b","/about?q=a\u0026q=b",%q,"127.0.0.1:0",false,["a","b"]]`+"\n", host)},
		{"GET", "/panic", "", 502, ""},
		{"GET", "/abort", "", 502, ""},
		{"GET", "/kv", "", 200, "ok"},
		{"GET", "/fetch?url=" + url.QueryEscape(server.URL), "", 200, "ok"},
		{"GET", "/upload?url=" + url.QueryEscape(server.URL), "", 200, "ok"},
		{"GET", "/cancel?url=" + url.QueryEscape(server.URL), "", 200, "ok"},
		{"GET", "/refused", "", 200, "ok"},
		{"GET", "/dial?address=" + echo, "", 200, "ok"},
		{"GET", "/silent?address=" + silent, "", 200, "ok"},
		{"GET", "/unreachable?address=" + closed, "", 200, "ok"},
	} {
		t.Run(test.method+" "+test.uri[:min(len(test.uri), 20)], func(t *testing.T) {
			for range 2 { // the second time in a sandbox that was taken back
				response, body := ask(t, test.method, at+test.uri, test.body)
				if response.StatusCode != test.status || body != test.want {
					t.Fatalf("got %d %.300q, want %d %.300q", response.StatusCode, body, test.status, test.want)
				}
				if served := response.Header.Get("X-Served"); test.status < 500 && served != "2" {
					t.Errorf("it has answered %s requests, want 2: Warm's and this", served)
				}
			}
		})
	}
	// No two requests draw the same numbers.
	drawn := make(map[string]bool)
	for range 50 {
		_, numbers := ask(t, "GET", at+"/random", "")
		for _, number := range strings.SplitN(numbers, " ", 2) {
			if drawn[number] {
				t.Errorf("%s was drawn before", number)
			}
			drawn[number] = true
		}
	}
}

func ask(t *testing.T, method, target, body string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}
