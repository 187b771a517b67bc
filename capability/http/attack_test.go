package http

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/egress"
	"github.com/gojinn/gojinn/internal/egress/egresstest"
	"github.com/gojinn/gojinn/internal/units"
)

// TestRefusedRequests has what guests try to reach what they may not. Nothing of it connects.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	var connected atomic.Int64
	l := listenCounting(t, &connected)
	port := l[strings.LastIndexByte(l, ':'):]
	names := map[string][]string{
		"allowed.test": {"127.0.0.1"}, "a.below.test": {"127.0.0.1"}, "mapped.test": {"::ffff:127.0.0.1"}, "nat64.test": {"64:ff9b::7f00:1"},
		"metadata.test": {"169.254.169.254"}, "private.test": {"10.0.0.1"}, "six.test": {"2002:7f00:1::"}, "zero.test": {"0.0.0.0"}, "v6.test": {"::1"},
	}
	var origins []string
	for name := range names {
		origins = append(origins, "http://"+name+port, "https://"+name+port)
	}
	origins = append(origins, "http://*.below.test"+port, "http://127.0.0.1"+port, "http://localhost"+port, "http://[::1]"+port, "http://[64:ff9b::7f00:1]"+port, "http://169.254.169.254")
	m := mountOf(provisioned(t, HTTP{Origins: origins, resolver: egresstest.Fixed(names)}))
	for _, test := range []struct{ name, url, want string }{
		// Addresses that aren't allowed, whoever leads there.
		{"loopback by name", "http://allowed.test" + port, "refused"},
		{"loopback by name, TLS", "https://allowed.test" + port, "refused"},
		{"loopback by address", "http://127.0.0.1" + port, "refused"},
		{"loopback in IPv6", "http://[::1]" + port, "refused"},
		{"loopback in IPv6 by name", "http://v6.test" + port, "refused"},
		{"localhost", "http://localhost" + port, "refused"},
		{"a name below", "http://a.below.test" + port, "refused"},
		{"mapped in the DNS", "http://mapped.test" + port, "refused"},
		{"NAT64 in the DNS", "http://nat64.test" + port, "refused"},
		{"NAT64 address", "http://[64:ff9b::127.0.0.1]" + port, "refused"},
		{"6to4 in the DNS", "http://six.test" + port, "refused"},
		{"metadata", "http://169.254.169.254/latest/meta-data", "refused"},
		{"metadata by name", "http://metadata.test" + port, "refused"},
		{"private by name", "http://private.test" + port, "refused"},
		{"the unspecified address", "http://zero.test" + port, "refused"},
		// Origins that aren't listed.
		{"another host", "http://other.test" + port, "refused"},
		{"another port", "http://allowed.test:1", "refused"},
		{"no port", "http://allowed.test", "refused"},
		{"another scheme", "https://127.0.0.1" + port, "refused"},
		{"what is not below", "http://below.test" + port, "refused"},
		{"what ends alike", "http://notbelow.test" + port, "refused"},
		{"longer", "http://allowed.test.evil.test" + port, "refused"},
		// Ways to write the same that others might read differently.
		{"octal", "http://0177.0.0.1" + port, "invalid"},
		{"decimal", "http://2130706433" + port, "invalid"},
		{"hexadecimal", "http://0x7f.0.0.1" + port, "invalid"},
		{"hexadecimal number", "http://0x7f000001" + port, "invalid"},
		{"short", "http://127.1" + port, "invalid"},
		{"mapped", "http://[::ffff:127.0.0.1]" + port, "invalid"},
		{"mapped in hexadecimal", "http://[::ffff:7f00:1]" + port, "invalid"},
		{"zone", "http://[fe80::1%25lo]" + port, "invalid"},
		{"trailing dot", "http://allowed.test." + port, "invalid"},
		{"localhost with a dot", "http://localhost." + port, "invalid"},
		{"other alphabet", "http://ällowed.test" + port, "invalid"},
		{"full-width digits", "http://１２７.0.0.1" + port, "invalid"},
		{"circled letters", "http://ⓐllowed.test" + port, "invalid"},
		{"percent-encoded host", "http://%61llowed.test" + port, "invalid"},
		{"user", "http://allowed.test" + port + "@evil.test", "invalid"},
		{"password", "http://u:p@allowed.test" + port, "invalid"},
		{"empty user", "http://@allowed.test" + port, "invalid"},
		{"backslash", `http://evil.test\\@allowed.test` + port, "invalid"},
		{"backslash for a slash", `http:\\\\allowed.test` + port, "invalid"},
		{"no slashes", "http:allowed.test" + port, "invalid"},
		{"no scheme", "//allowed.test" + port, "invalid"},
		{"relative", "/x", "invalid"},
		{"file", "file:///etc/passwd", "invalid"},
		{"gopher", "gopher://allowed.test" + port, "invalid"},
		{"unix", "unix:///var/run/docker.sock", "invalid"},
		{"space in the host", "http://allowed.test x" + port, "invalid"},
		{"space in the path", "http://allowed.test" + port + "/ HTTP/1.1", "invalid"},
		{"line end in the path", "http://allowed.test" + port + `/\r\nX: y`, "invalid"},
		{"line end in the host", `http://allowed.test\r\nX: y` + port, "invalid"},
		{"NUL", `http://allowed.test\u0000.evil.test` + port, "invalid"},
		{"port 0", "http://allowed.test:0", "invalid"},
		{"port with a sign", "http://allowed.test:+80", "invalid"},
		{"port too large", "http://allowed.test:65616", "invalid"},
		{"empty port", "http://allowed.test:", "invalid"},
		{"two ports", "http://allowed.test:80" + port, "invalid"},
		{"no host", "http:///x", "invalid"},
		{"too long", "http://allowed.test" + port + "/" + strings.Repeat("x", maxURL), "invalid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := ask(guestContext(t), t, m, `{"url":"`+test.url+`"}`)
			if a.Error != test.want || a.Reason == "" || a.Status != 0 {
				t.Errorf("got %+v, want %s", a, test.want)
			}
			if strings.Contains(a.Reason, "10.0.0.1") || strings.Contains(a.Reason, "64:ff9b::7f00") && !strings.Contains(test.url, "64:ff9b") {
				t.Errorf("the reason tells where the name leads: %s", a.Reason)
			}
		})
	}
	if got := connected.Load(); got != 0 {
		t.Errorf("got %d connections, want none", got)
	}
}

// listenCounting counts connections to loopback.
func listenCounting(t *testing.T, connected *atomic.Int64) (address string) {
	t.Helper()
	return raw(t, func(conn net.Conn) { connected.Add(1) })
}

// raw is a server that does what it likes with connections.
func raw(t testing.TB, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	var mu sync.Mutex
	conns := make(map[net.Conn]bool)
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[conn] = true
			mu.Unlock()
			serving.Go(func() { defer conn.Close(); serve(conn) })
		}
	})
	return l.Addr().String()
}

// TestInvalidRequests has what is no request.
func TestInvalidRequests(t *testing.T) {
	t.Parallel()
	var connected atomic.Int64
	address := listenCounting(t, &connected)
	m := mountOf(provisioned(t, HTTP{Origins: []string{"http://" + address}, Private: loopback}))
	with := func(members string) string { return `{"url":"http://` + address + `",` + members + `}` }
	header := func(name, value string) string {
		text, _ := json.Marshal(object{name: value})
		return with(`"headers":` + string(text))
	}
	many := strings.Repeat(`"a",`, maxFields) + `"a"`
	for _, test := range []struct{ name, line string }{
		{"nothing", `x`},
		{"a list", `[]`},
		{"empty", `{}`},
		{"two", `{}{}`},
		{"more behind", with(`"body":""`) + "x"},
		{"cut", `{"url":"http://`},
		{"comma at the end", with(`"body":"",`)},
		{"no comma", with(`"body":"" "method":"GET"`)},
		{"no colon", with(`"body" ""`)},
		{"unknown member", with(`"Method":"GET"`)},
		{"member twice", with(`"method":"GET","method":"GET"`)},
		{"member twice, escaped", with(`"method":"GET","\u006dethod":"GET"`)},
		{"two bodies", with(`"body":"","body_base64":""`)},
		{"number for a string", with(`"body":1`)},
		{"null", with(`"body":null`)},
		{"bad base64", with(`"body_base64":"x"`)},
		{"base64 with line ends", with(`"body_base64":"AA\nAA"`)},
		{"base64 with bits behind", with(`"body_base64":"AB=="`)},
		{"bad escape", with(`"body":"\x"`)},
		{"half a surrogate pair", with(`"body":"\ud83d"`)},
		{"other half", with(`"body":"\\\ude00\u0020"`)},
		{"surrogates the wrong way", with(`"body":"\ude00\ud83d"`)},
		{"control character", with("\"body\":\"\t\"")},
		{"not UTF-8", with("\"body\":\"\xff\"")},
		{"CONNECT", with(`"method":"CONNECT"`)},
		{"connect", with(`"method":"connect"`)},
		{"empty method", with(`"method":""`)},
		{"method with a space", with(`"method":"GET /x"`)},
		{"method with a line end", with(`"method":"GET\r\n"`)},
		{"long method", with(`"method":"` + strings.Repeat("M", maxMethod+1) + `"`)},
		{"line end in a value", header("X", "a\r\nY: b")},
		{"newline in a value", header("X", "a\nb")},
		{"carriage return in a value", header("X", "a\rb")},
		{"NUL in a value", header("X", "a\x00b")},
		{"space around a value", header("X", " a")},
		{"line end in a name", header("X\r\nY", "a")},
		{"space in a name", header("X Y", "a")},
		{"colon in a name", header(":authority", "a")},
		{"empty name", header("", "a")},
		{"name that is not ASCII", header("Ä", "a")},
		{"large value", header("X", strings.Repeat("x", maxFieldsBytes+1))},
		{"large value, escaped", with(`"headers":{"X":"` + strings.Repeat(`\u0078`, maxFieldsBytes+1) + `"}`)},
		{"large name", header(strings.Repeat("x", maxFieldsBytes), "x")},
		{"many values", with(`"headers":{"X":[` + many + `]}`)},
		{"list in a list", with(`"headers":{"X":[["a"]]}`)},
		{"headers that are a list", with(`"headers":[]`)},
		{"stream that is no boolean", with(`"stream":"true"`)},
		{"deep", strings.Repeat(`{"headers":`, 10_000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			if a := ask(guestContext(t), t, m, test.line); a.Error != "invalid" || a.Reason == "" || len(a.Reason) > 1000 {
				t.Errorf("got %+v, want invalid", a)
			}
		})
	}
	if got := connected.Load(); got != 0 {
		t.Errorf("got %d connections, want none", got)
	}

	// One that says that a body follows is answered when the body has been written.
	f, ctx := open(m), guestContext(t)
	defer f.Close(ctx)
	send(ctx, t, f, with(`"stream":true,"method":"CONNECT"`)+"\n"+strings.Repeat("x", 1<<20))
	if text, err := receive(ctx, f); err != nil || !strings.HasPrefix(text, `{"error":"invalid"`) {
		t.Errorf("streamed: got %s, %v", text, err)
	}
}

// TestRebinding: a name that leads to an allowed address when it is first asked for, and elsewhere from then on, is
// refused when it leads elsewhere; also where a redirect asks again.
func TestRebinding(t *testing.T) {
	t.Parallel()
	var target atomic.Int64
	address := raw(t, func(conn net.Conn) {
		// Each answer closes its connection, so that the next request makes another.
		http.ReadRequest(bufio.NewReader(conn))
		io.WriteString(conn, "HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		target.Add(1)
	})
	port := address[strings.LastIndexByte(address, ':'):]
	var asked atomic.Int64
	resolver := egresstest.Resolver(func(string) []netip.Addr {
		if asked.Add(1) <= 2 { // A and AAAA
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
		return []netip.Addr{netip.MustParseAddr("127.0.0.2")}
	})
	m := mountOf(provisioned(t, HTTP{Origins: []string{"http://rebinding.test" + port}, Private: []string{"127.0.0.1"}, Follow: 5, resolver: resolver}))
	if a := ask(guestContext(t), t, m, object{"url": "http://rebinding.test" + port}); a.Error != "refused" || target.Load() != 1 {
		t.Errorf("got %+v after %d requests, want the second one refused", a, target.Load())
	}
}

// TestPools: a connection that one grant allows is not used by a request of another, although both are to the same origin.
func TestPools(t *testing.T) {
	t.Parallel()
	server := echoes(t)
	private := provisioned(t, HTTP{Origins: []string{server.URL}, Methods: []string{"GET"}, Private: loopback})
	public := provisioned(t, HTTP{Origins: []string{server.URL}})
	for _, test := range []struct {
		name, method, want string
		m                  *mount
	}{
		{"with the grant", "GET", "", mountOf(private, public)},
		{"a method of the other grant", "POST", "refused", mountOf(private, public)},
		{"another function", "GET", "refused", mountOf(public)},
		{"the first that fits decides", "GET", "refused", mountOf(public, private)},
		{"with the grant again", "GET", "", mountOf(private)},
	} {
		if a := ask(guestContext(t), t, test.m, object{"method": test.method, "url": server.URL}); a.Error != test.want {
			t.Errorf("%s: got %+v, want %q", test.name, a, test.want)
		}
	}
}

// TestNoProxy: the environment of the server has no say.
func TestNoProxy(t *testing.T) {
	server := echoes(t)
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"} {
		t.Setenv(name, "http://127.0.0.1:1")
	}
	c := provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback})
	if a := ask(guestContext(t), t, mountOf(c), object{"url": server.URL}); a.Status != 200 || c.rule.transport.Proxy != nil {
		t.Errorf("got %+v", a)
	}
}

// TestHostileServers has servers that do their worst: each ends with an error, or a bounded answer, in time.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	for range 64 {
		w.Write(make([]byte, 1<<20))
	}
	w.Close()
	forever := func(conn net.Conn, text string) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
		}
	}
	slowly := func(conn net.Conn, text string) {
		for {
			if _, err := io.WriteString(conn, text); err != nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	const ok = "HTTP/1.1 200 OK\r\n"
	for _, test := range []struct {
		name  string
		serve func(net.Conn)
		want  string // the error, or what the body begins with
	}{
		{"nothing", func(net.Conn) {}, "protocol"},
		{"silence", func(c net.Conn) { io.Copy(io.Discard, c) }, "timeout"},
		{"no HTTP", func(c net.Conn) { io.WriteString(c, "SSH-2.0\r\n") }, "protocol"},
		{"HTTP/0.9", func(c net.Conn) { io.WriteString(c, "<html>") }, "protocol"},
		{"switching protocols", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nraw") }, "protocol"},
		{"header without end", func(c net.Conn) { forever(c, ok); forever(c, "X: "+strings.Repeat("x", 1000)+"\r\n") }, "protocol"},
		{"large header", func(c net.Conn) { io.WriteString(c, ok); forever(c, "X: "+strings.Repeat("x", 1000)+"\r\n") }, "too_large"},
		{"long header line", func(c net.Conn) { io.WriteString(c, ok+"X: "); forever(c, strings.Repeat("x", 1000)) }, "too_large"},
		{"long status line", func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 "); forever(c, strings.Repeat("x", 1000)) }, "too_large"},
		{"slow header", func(c net.Conn) { io.WriteString(c, ok); slowly(c, "X: x\r\n") }, "timeout"},
		{"1xx without end", func(c net.Conn) { forever(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n") }, "too_large"},
		{"slow 1xx", func(c net.Conn) { slowly(c, "HTTP/1.1 100 Continue\r\n\r\n") }, "timeout"},
		{"body without end", func(c net.Conn) { io.WriteString(c, ok+"\r\n"); forever(c, "xxxxxxxxxxxxxxxx") }, "too_large"},
		{"slow body", func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 1000000\r\n\r\n"); slowly(c, "x") }, "timeout"},
		{"body that is too large", func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 1000001\r\n\r\n") }, "too_large"},
		{"huge length", func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 9223372036854775807\r\n\r\n") }, "too_large"},
		{"length that is none", func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 99999999999999999999\r\n\r\n") }, "protocol"},
		{"negative length", func(c net.Conn) { io.WriteString(c, ok+"Content-Length: -1\r\n\r\n") }, "protocol"},
		{"two lengths", func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab") }, "protocol"},
		{"length and chunks", func(c net.Conn) {
			io.WriteString(c, ok+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n\r\nsmuggled")
		}, "=ab"},
		{"body that is cut", func(c net.Conn) { io.WriteString(c, ok+"Content-Length: 10\r\n\r\nab") }, "protocol"},
		{"chunks that are cut", func(c net.Conn) { io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n2\r\nab") }, "protocol"},
		{"chunk extensions", func(c net.Conn) {
			io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n")
			forever(c, "1;"+strings.Repeat("x", 4000)+"\r\nx\r\n")
		}, "protocol"},
		{"long chunk line", func(c net.Conn) {
			io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n1;")
			forever(c, strings.Repeat("x", 1000))
		}, "protocol"},
		{"huge chunk", func(c net.Conn) {
			io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n")
		}, "protocol"},
		{"trailers without end", func(c net.Conn) {
			io.WriteString(c, ok+"Transfer-Encoding: chunked\r\n\r\n0\r\n")
			forever(c, "X: "+strings.Repeat("x", 1000)+"\r\n")
		}, "protocol"},
		{"unknown encoding", func(c net.Conn) { io.WriteString(c, ok+"Transfer-Encoding: gzip\r\n\r\n") }, "protocol"},
		{"gzip bomb", func(c net.Conn) {
			fmt.Fprintf(c, ok+"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.Bytes())
		}, "too_large"},
		{"gzip that is none", func(c net.Conn) {
			io.WriteString(c, ok+"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc")
		}, "protocol"},
		{"redirects without end", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 302 x\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")
		}, "="},
		{"long location", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 302 x\r\nLocation: /"+strings.Repeat("x", maxURL)+"\r\nContent-Length: 0\r\n\r\n")
		}, "protocol"},
		{"line end in a location", func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 302 x\r\nLocation: http://a%0d%0ab/\r\nContent-Length: 0\r\n\r\n")
		}, "protocol"},
		{"binary in a value", func(c net.Conn) { io.WriteString(c, ok+"X: \xff\xfe\"\\\r\nContent-Length: 2\r\n\r\nab") }, "=ab"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			address := raw(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
					test.serve(conn)
				}
			})
			timeout := 30 * time.Second
			if test.want == "timeout" {
				timeout = 100 * time.Millisecond
			}
			m := mountOf(provisioned(t, HTTP{Origins: []string{"http://" + address}, Private: loopback, Follow: 20,
				Timeout: new(units.Duration(timeout)), MaxResponse: new(units.Size(1_000_000))}))
			for _, stream := range []bool{false, true} {
				f, ctx := open(m), guestContext(t)
				send(ctx, t, f, fmt.Sprintf(`{"url":"http://%s","stream":%v}`+"\n", address, stream))
				text, err := receive(ctx, f)
				f.Close(ctx)
				line, body, _ := strings.Cut(text, "\n")
				var a answer
				if errJSON := json.Unmarshal([]byte(line), &a); errJSON != nil {
					t.Fatalf("stream %v: got %q, %v: %v", stream, line, err, errJSON)
				}
				switch want, good := strings.CutPrefix(test.want, "="); {
				case good && (err != nil || a.Error != "" || a.Body+body != want):
					t.Errorf("stream %v: got %+v, %q, %v, want %q", stream, a, body, err, want)
				case good:
				case stream && err != nil: // when the head was there
					if want := map[string]error{"timeout": vfs.ETIMEDOUT, "too_large": vfs.EFBIG, "protocol": vfs.EIO}[test.want]; err != want || len(body) > 1_000_000 {
						t.Errorf("stream: got %d bytes, %v, want %v", len(body), err, want)
					}
				case a.Error != test.want || err != nil:
					t.Errorf("stream %v: got %+v, %v, want %s", stream, a, err, test.want)
				}
			}
		})
	}
}

// TestErrors has what is nobody's fault.
func TestErrors(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	m := mountOf(provisioned(t, HTTP{Origins: []string{"http://" + closed, "http://none.test"}, Private: loopback, resolver: egresstest.Fixed(nil)}))
	for url, want := range map[string]string{"http://" + closed: "connect", "http://none.test": "dns"} {
		if a := ask(guestContext(t), t, m, object{"url": url}); a.Error != want {
			t.Errorf("%s: got %+v, want %s", url, a, want)
		}
	}
}

// TestLeavers has guests that go in the middle of an exchange: nothing is left of it.
func TestLeavers(t *testing.T) {
	before := runtime.NumGoroutine()
	block := make(chan struct{})
	resolver := egresstest.Resolver(func(string) []netip.Addr { <-block; return nil })
	address := raw(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	sends := raw(t, func(conn net.Conn) {
		http.ReadRequest(bufio.NewReader(conn))
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
		for {
			if _, err := io.WriteString(conn, "more"); err != nil {
				return
			}
		}
	})
	handshake := raw(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	c := provisioned(t, HTTP{Origins: []string{"http://" + address, "http://slow.test", "http://" + sends, "https://" + handshake}, Private: loopback, resolver: resolver,
		Timeout: new(units.Duration(units.Off)), MaxResponse: new(units.Size(units.Off))})
	m := mountOf(c)
	leave := map[string]func(vfs.File, context.Context, context.CancelFunc){
		"close":   func(f vfs.File, ctx context.Context, _ context.CancelFunc) { f.Close(ctx) },
		"discard": func(f vfs.File, _ context.Context, _ context.CancelFunc) { f.(vfs.Discarder).Discard() },
		"end":     func(f vfs.File, _ context.Context, cancel context.CancelFunc) { cancel() },
	}
	for how, leave := range leave {
		for _, text := range []string{
			`{"url":`, `{"url":"http://` + address + `"}` + "\n", `{"url":"http://slow.test"}` + "\n", `{"url":"https://` + handshake + `"}` + "\n",
			`{"stream":true,"method":"POST","url":"http://` + address + `"}` + "\n", `{"stream":true,"method":"POST","url":"http://` + address + `"}` + "\nbody",
			`{"url":"http://` + sends + `"}` + "\n", `{"stream":true,"url":"http://` + sends + `"}` + "\n",
		} {
			for _, reads := range []bool{false, true} {
				ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
				f := open(m)
				send(ctx, t, f, text)
				if reads {
					receive(ctx, f)
				}
				leave(f, ctx, cancel)
				cancel()
				if how == "end" {
					f.(vfs.Discarder).Discard()
				}
			}
		}
	}
	close(block)
	c.Cleanup()
	wait(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+3 }) // the listeners
}

// FuzzURL: what is understood of a URL is what net/http connects to, and asks.
func FuzzURL(f *testing.F) {
	for _, seed := range []string{
		"http://a.example", "https://[::1]:8443/x?y#z", "http://a.example:80", "http://a@b.example", "HTTP://A.example/%2f", "http://127.0.0.1:065",
		"http://a.example/\\@b", "http://a.example?x=/../", "http://[::ffff:1.2.3.4]", "http://a.example//b", "http://a.example/;@b:1/", "http:/a", "http://xn--a.example",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, at, err := parseURL(text)
		if err != nil {
			return
		}
		if again, same, err := parseURL(u.String()); err != nil || same != at || again.String() != u.String() {
			t.Errorf("%q: got %s, then %v, %v", text, u, again, err)
		}
		var dialed string
		transport := &http.Transport{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			dialed = address
			return nil, errors.New("no connection")
		}}
		transport.DialTLSContext = transport.DialContext
		defer transport.CloseIdleConnections()
		request := &http.Request{Method: "GET", URL: u, Host: u.Host, Header: http.Header{}}
		if _, err := transport.RoundTrip(request); dialed == "" {
			t.Fatalf("%q: nothing was connected to: %v", text, err)
		}
		host, port, err := egress.ParseHostPort(dialed)
		if err != nil || host != at.host || port != at.port {
			t.Errorf("%q: %s was checked, %s is connected to (%v)", text, at, dialed, err)
		}
		var wire bytes.Buffer
		if err := request.Write(&wire); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		sent, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil || sent.Host != u.Host || sent.RequestURI != u.RequestURI() {
			t.Errorf("%q: the request is read as %v, %v", text, sent, err)
		}
		// The other way round: what net/url makes of the text itself has the same host.
		plain, err := http.NewRequest("GET", text, nil)
		if err != nil || !strings.EqualFold(plain.URL.Scheme, at.scheme) {
			t.Fatalf("%q: net/http reads %v, %v", text, plain, err)
		}
		if host, err := egress.ParseHost(plain.URL.Hostname()); err != nil || host != at.host {
			t.Errorf("%q: net/http reads the host %s, %v", text, plain.URL.Host, err)
		}
	})
}

// FuzzRequest: whatever a guest writes is a request that can be made, or a reason.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"url":"http://a.example"}`, `{"method":"POST","url":"https://a.example/x","headers":{"A":"b","C":["d","e"]},"body":"\u00e4\n"}`,
		`{"stream":true,"url":"http://[::1]:8080"}`, `{"url":"http://a.example","body_base64":"AAA="}`, `{"headers":{"A":[`, `{"url":"\ud83d"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r, err := parseRequest(line)
		if err != nil {
			if err.Error() == "" || len(err.Error()) > 4000 {
				t.Errorf("got the reason %q", err)
			}
			return
		}
		if !json.Valid(line) {
			// Escape sequences in bodies are looked at later.
			if _, err := r.decodeBody(); err == nil {
				t.Fatalf("%q is no JSON", line)
			}
			return
		}
		body, err := r.decodeBody()
		if err != nil {
			return
		}
		if int64(len(body)) > int64(len(line)) {
			t.Errorf("the body has %d bytes, the line %d", len(body), len(line))
		}
		var wire bytes.Buffer
		out := &http.Request{Method: r.method, URL: r.url, Host: r.url.Host, Header: r.header, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body))}
		if err := out.Write(&wire); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sent, err := http.ReadRequest(bufio.NewReader(&wire))
		if err != nil {
			t.Fatalf("%q is sent as %q: %v", line, wire.Bytes(), err)
		}
		got, err := io.ReadAll(sent.Body)
		if err != nil || !bytes.Equal(got, body) || sent.Method != r.method || sent.Host != r.url.Host {
			t.Errorf("%q: arrives as %s %s with %q, %v", line, sent.Method, sent.Host, got, err)
		}
	})
}
