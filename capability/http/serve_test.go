package http

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/egress/egresstest"
	"github.com/gojinn/gojinn/internal/inbound"
	"github.com/gojinn/gojinn/internal/units"
)

// answer is what a guest reads.
type answer struct {
	Status  int
	Headers map[string][]string
	Body    string
	Base64  []byte `json:"body_base64"`
	Error   string
	Reason  string
}

// guestContext is that of a call, which ends with the test.
func guestContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func mountOf(lines ...*HTTP) *mount {
	var rules []*rule
	for _, line := range lines {
		rules = append(rules, line.rule)
	}
	return newMount(rules)
}

func open(m *mount) vfs.File { return m.open(engine.NewBudget(m.limit)) }

func send(ctx context.Context, t testing.TB, f vfs.File, text string) {
	t.Helper()
	for len(text) > 0 {
		n, err := f.(vfs.Writer).Write(ctx, []byte(text))
		if err != nil || n == 0 {
			t.Fatalf("writing: %d, %v", n, err)
		}
		text = text[n:]
	}
}

func receive(ctx context.Context, f vfs.File) (string, error) {
	var out []byte
	for buffer := make([]byte, 32<<10); ; {
		n, err := f.(vfs.Reader).Read(ctx, buffer)
		out = append(out, buffer[:n]...)
		if n == 0 || err != nil {
			return string(out), err
		}
	}
}

// ask makes one request; request is JSON, or a value that is written as it.
func ask(ctx context.Context, t testing.TB, m *mount, request any) (a answer) {
	t.Helper()
	line, ok := request.(string)
	if !ok {
		text, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		line = string(text)
	}
	f := open(m)
	defer f.Close(ctx)
	send(ctx, t, f, line+"\n")
	text, err := receive(ctx, f)
	if err != nil {
		t.Fatalf("reading: %v", err)
	}
	if err := json.Unmarshal([]byte(text), &a); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return a
}

type object = map[string]any

// loopback allows what tests listen on.
var loopback = []string{"127.0.0.1", "::1"}

// echoes is a server that answers with the request as it got it.
func echoes(t testing.TB) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Method", r.Method)
		w.Header().Set("X-Uri", r.RequestURI)
		w.Header().Set("X-Length", fmt.Sprint(r.ContentLength))
		fields := r.Header.Clone()
		fields.Set("Host", r.Host)
		text, _ := json.Marshal(fields)
		w.Header().Set("X-Fields", string(text))
		w.Write(body)
	}))
	t.Cleanup(server.Close)
	return server
}

func TestRequests(t *testing.T) {
	t.Parallel()
	server := echoes(t)
	host := strings.TrimPrefix(server.URL, "http://")
	m := mountOf(provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback}))
	binary := []byte{0, 0xff, 'x'}
	for _, test := range []struct {
		name                      string
		request                   any
		method, uri, body, length string
		fields                    map[string]string // "": absent
	}{
		{"least", object{"url": server.URL}, "GET", "/", "", "0", map[string]string{"Host": host, "User-Agent": "gojinn", "Cdn-Loop": "gojinn", "Accept-Encoding": "gzip", "Traceparent": ""}},
		{"all", object{"method": "POST", "url": server.URL + "/a%2Fb?x=%20&y#z", "headers": object{"Content-Type": "text/plain", "X-Two": []string{"1", "2"}, "user-agent": "me"}, "body": "hä\n\"\\\u0001"},
			"POST", "/a%2Fb?x=%20&y", "hä\n\"\\\u0001", "7", map[string]string{"Content-Type": "text/plain", "X-Two": "1,2", "User-Agent": "me"}},
		{"base64", object{"method": "PUT", "url": server.URL, "body_base64": base64.StdEncoding.EncodeToString(binary)}, "PUT", "/", string(binary), "3", nil},
		{"base64 with escapes", `{"method":"PUT","url":"` + server.URL + `","body_base64":"\/\/\/\/"}`, "PUT", "/", "\xff\xff\xff", "3", nil},
		{"escaped", `{"m\u0065thod":"P\u0055T", "url" : "` + strings.ReplaceAll(server.URL, "/", `\/`) + `","body":"\ud83d\ude00"}`, "PUT", "/", "😀", "4", nil},
		{"empty body", object{"method": "POST", "url": server.URL, "body": ""}, "POST", "/", "", "0", nil},
		{"method of one's own", object{"method": "MiX", "url": server.URL}, "MiX", "/", "", "0", nil},
		{"only a query", object{"url": server.URL + "?a"}, "GET", "/?a", "", "0", nil},
		{"fields of the host", object{"url": server.URL, "headers": object{
			"Host": "other.example", "content-length": "77", "Transfer-Encoding": "chunked", "Connection": "close, X-Mine", "Keep-Alive": "1", "TE": "trailers", "Trailer": "X",
			"Upgrade": "h2c", "Expect": "100-continue", "Proxy-Authorization": "x", "Proxy-Anything": "x", "HTTP2-Settings": "x", "X-Mine": "x", "X-Yours": "x"}},
			"GET", "/", "", "0", map[string]string{"Host": host, "Content-Length": "", "Transfer-Encoding": "", "Connection": "", "Keep-Alive": "", "Te": "", "Trailer": "", "Upgrade": "", "Expect": "",
				"Proxy-Authorization": "", "Proxy-Anything": "", "Http2-Settings": "", "X-Mine": "", "X-Yours": "x"}},
		{"the guest's own trace and loop", object{"url": server.URL, "headers": object{"CDN-Loop": "other; x=\"gojinn,\", gojinn, gojinn", "Traceparent": "mine"}},
			"GET", "/", "", "0", map[string]string{"Cdn-Loop": "other; x=\"gojinn,\", gojinn", "Traceparent": "mine"}},
		{"no agent", object{"url": server.URL, "headers": object{"User-Agent": ""}}, "GET", "/", "", "0", map[string]string{"User-Agent": ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := ask(guestContext(t), t, m, test.request)
			body := a.Body
			if a.Base64 != nil {
				body = string(a.Base64)
			}
			got := func(name string) string { return strings.Join(a.Headers[name], "|") }
			if a.Status != 200 || got("X-Method") != test.method || got("X-Uri") != test.uri || body != test.body || got("X-Length") != test.length {
				t.Errorf("got %+v, %q", a, body)
			}
			var fields http.Header
			if err := json.Unmarshal([]byte(got("X-Fields")), &fields); err != nil {
				t.Fatal(err)
			}
			for name, want := range test.fields {
				if got := strings.Join(fields[name], ","); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestInbound: what is known of the request that the function answers is handed on.
func TestInbound(t *testing.T) {
	t.Parallel()
	server := echoes(t)
	m := mountOf(provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback}))
	ctx := inbound.With(guestContext(t), &inbound.Request{Traceparent: "00-1", Hops: 2})
	a := ask(ctx, t, m, object{"url": server.URL, "headers": object{"traceparent": "mine", "CDN-Loop": "gojinn"}})
	if got := a.Headers["X-Fields"][0]; !strings.Contains(got, `"Traceparent":["00-1"]`) || !strings.Contains(got, `"Cdn-Loop":["gojinn, gojinn, gojinn"]`) {
		t.Errorf("got %s", got)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/text":
			w.Header()["X-Many"] = []string{"1", "2"}
			w.Header().Set("X-Latin", "h\xe4")
			w.Header().Set("Connection", "X-Hop")
			w.Header().Set("X-Hop", "x")
			w.Header().Set("Proxy-Authenticate", "x")
			w.WriteHeader(201)
			io.WriteString(w, "t\"e\\x\tt\r\n\x01\u2028ä")
		case "/binary":
			w.Write([]byte{0xff, 0})
		case "/large":
			w.Write(make([]byte, 100_000))
		case "/redirect":
			http.Redirect(w, r, "/text", http.StatusFound)
		}
	}))
	t.Cleanup(server.Close)
	m := mountOf(provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback}))
	ctx := guestContext(t)
	a := ask(ctx, t, m, object{"url": server.URL + "/text"})
	if a.Status != 201 || a.Body != "t\"e\\x\tt\r\n\x01\u2028ä" || !slices.Equal(a.Headers["X-Many"], []string{"1", "2"}) || a.Headers["X-Latin"][0] != "hä" ||
		a.Headers["X-Hop"] != nil || a.Headers["Connection"] != nil || a.Headers["Proxy-Authenticate"] != nil {
		t.Errorf("text: got %+v", a)
	}
	if a := ask(ctx, t, m, object{"url": server.URL + "/binary"}); string(a.Base64) != "\xff\x00" || a.Body != "" {
		t.Errorf("binary: got %+v", a)
	}
	if a := ask(ctx, t, m, object{"url": server.URL + "/large"}); a.Body != strings.Repeat("\x00", 100_000) {
		t.Errorf("large: got %d bytes", len(a.Body))
	}
	if a := ask(ctx, t, m, object{"url": server.URL + "/text", "method": "HEAD"}); a.Status != 201 || a.Body != "" {
		t.Errorf("HEAD: got %+v", a)
	}
	if a := ask(ctx, t, m, object{"url": server.URL + "/redirect"}); a.Status != 302 || a.Headers["Location"][0] != "/text" {
		t.Errorf("redirect: got %+v", a)
	}
}

func TestStreams(t *testing.T) {
	t.Parallel()
	proceed := make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			w.Header().Set("X-Encoding", strings.Join(r.TransferEncoding, ","))
			body, _ := io.ReadAll(r.Body)
			w.Write(body)
		case "/events":
			for i := range 3 {
				fmt.Fprintf(w, "event %d\n", i)
				w.(http.Flusher).Flush()
				<-proceed
			}
		case "/cut":
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, "part")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
	}))
	t.Cleanup(server.Close)
	m := mountOf(provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback, MaxResponse: new(units.Size(3 << 20))}))
	ctx := guestContext(t)
	f := open(m)
	defer f.Close(ctx)

	for _, body := range []string{"", "x", strings.Repeat("0123456789", 300_000)} {
		send(ctx, t, f, `{"stream":true,"method":"POST","url":"`+server.URL+`/echo"}`+"\n"+body)
		text, err := receive(ctx, f)
		head, got, _ := strings.Cut(text, "\n")
		var a answer
		if jsonErr := json.Unmarshal([]byte(head), &a); err != nil || jsonErr != nil || a.Status != 200 || got != body {
			t.Errorf("%d bytes: got %s and %d bytes, %v, %v", len(body), head, len(got), err, jsonErr)
		}
		if chunked := a.Headers["X-Encoding"][0] == "chunked"; chunked != (body != "") {
			t.Errorf("%d bytes: got the encoding %s", len(body), a.Headers["X-Encoding"])
		}
	}

	// What the server sends arrives when it is sent.
	send(ctx, t, f, `{"stream":true,"url":"`+server.URL+`/events"}`+"\n")
	var text string
	for _, want := range []string{"event 0\n", "event 1\n", "event 2\n"} {
		for buffer := make([]byte, 100); !strings.HasSuffix(text, want); {
			n, err := f.(vfs.Reader).Read(ctx, buffer)
			if n == 0 || err != nil {
				t.Fatalf("got %d, %v", n, err)
			}
			text += string(buffer[:n])
		}
		proceed <- struct{}{}
	}

	send(ctx, t, f, `{"stream":true,"url":"`+server.URL+`/cut"}`+"\n")
	if text, err := receive(ctx, f); err != vfs.EIO || !strings.HasSuffix(text, "part") {
		t.Errorf("a cut answer: got %q, %v, want EIO", text, err)
	}

	send(ctx, t, f, `{"stream":true,"method":"POST","url":"`+server.URL+`/echo"}`+"\n"+strings.Repeat("x", 3<<20+1))
	if text, err := receive(ctx, f); err != vfs.EFBIG || len(text) > 3<<20+1000 {
		t.Errorf("too large: got %d bytes, %v, want EFBIG", len(text), err)
	}
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	var other *httptest.Server
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code := r.URL.Query().Get("code"); code != "" {
			var status int
			fmt.Sscan(code, &status)
			to := r.URL.Query().Get("to")
			if to == "other" {
				to = other.URL
			}
			w.Header().Set("Location", to)
			w.WriteHeader(status)
			return
		}
		if r.URL.Path == "/ring" {
			http.Redirect(w, r, "/ring", http.StatusTemporaryRedirect)
			return
		}
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %s %s %s", r.Method, r.URL.Path, body, r.Header.Get("Authorization"), r.Header.Get("Cookie"), r.Header.Get("Content-Type"))
	})
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	other = httptest.NewServer(handler)
	t.Cleanup(other.Close)
	secret := object{"Authorization": "key", "Cookie": "a=b", "Content-Type": "x/y"}
	both := provisioned(t, HTTP{Origins: []string{server.URL, other.URL}, Private: loopback, Follow: 3})
	alone := provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback, Follow: 3})
	elsewhere := provisioned(t, HTTP{Origins: []string{other.URL}, Private: loopback, Follow: 3})
	only := provisioned(t, HTTP{Origins: []string{server.URL}, Methods: []string{"POST"}, Private: loopback, Follow: 3})
	for _, test := range []struct {
		name    string
		m       *mount
		request object
		want    string // the body, or the status, or the error
	}{
		{"303", mountOf(both), object{"method": "PUT", "url": "/?code=303&to=/x", "body": "b", "headers": secret}, "GET /x  key a=b "},
		{"303 of HEAD", mountOf(both), object{"method": "HEAD", "url": "/?code=303&to=/x"}, ""},
		{"302 of POST", mountOf(both), object{"method": "POST", "url": "/?code=302&to=/x", "body": "b", "headers": secret}, "GET /x  key a=b "},
		{"301 of PUT", mountOf(both), object{"method": "PUT", "url": "/?code=301&to=/x", "body": "b", "headers": secret}, "PUT /x b key a=b x/y"},
		{"307", mountOf(both), object{"method": "POST", "url": "/?code=307&to=/x", "body": "b", "headers": secret}, "POST /x b key a=b x/y"},
		{"308", mountOf(both), object{"method": "POST", "url": "/?code=308&to=/x", "body": "b"}, "POST /x b   "},
		{"to another origin", mountOf(both), object{"method": "POST", "url": "/?code=308&to=other", "body": "b", "headers": secret}, "POST / b   x/y"},
		{"300 is none", mountOf(both), object{"url": "/?code=300&to=/x"}, "300"},
		{"304 is none", mountOf(both), object{"url": "/?code=304&to=/x"}, "304"},
		{"nowhere", mountOf(both), object{"url": "/?code=302&to="}, "302"},
		{"without end", mountOf(both), object{"url": "/ring"}, "307"},
		{"to an origin that is not allowed", mountOf(alone), object{"url": "/?code=302&to=other"}, "refused"},
		{"to an origin of another grant", mountOf(alone, elsewhere), object{"url": "/?code=302&to=other"}, "refused"},
		{"to a method that is not allowed", mountOf(only), object{"method": "POST", "url": "/?code=302&to=/x"}, "refused"},
		{"to a metadata address", mountOf(both), object{"url": "/?code=302&to=http://169.254.169.254/"}, "refused"},
		{"to a file", mountOf(both), object{"url": "/?code=302&to=file:///etc/passwd"}, "protocol"},
		{"to a user", mountOf(both), object{"url": "/?code=302&to=//u@127.0.0.1/"}, "protocol"},
		{"to what is no URL", mountOf(both), object{"url": "/?code=302&to=http://%25%25/"}, "protocol"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.request["url"] = server.URL + test.request["url"].(string)
			a := ask(guestContext(t), t, test.m, test.request)
			got := a.Body
			if a.Status != 200 {
				got = fmt.Sprint(a.Status)
			}
			if a.Error != "" {
				got = a.Error
			}
			if got != test.want {
				t.Errorf("got %+v, want %q", a, test.want)
			}
		})
	}

	// A body that was streamed can't be sent again.
	m, ctx := mountOf(both), guestContext(t)
	for to, want := range map[string]string{"307": `{"status":307`, "303": `{"status":200`} {
		f := open(m)
		send(ctx, t, f, `{"stream":true,"method":"POST","url":"`+server.URL+`/?to=/x&code=`+to+`"}`+"\nbody")
		if text, err := receive(ctx, f); err != nil || !strings.HasPrefix(text, want) {
			t.Errorf("streamed, %s: got %q, %v", to, text, err)
		}
		f.Close(ctx)
	}
}

// TestTLS speaks HTTP/2 with a server whose certificate is good, and with none whose isn't.
func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Proto+" "+r.Host)
		io.Copy(w, r.Body)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	port := server.URL[strings.LastIndexByte(server.URL, ':'):]
	resolver := egresstest.Fixed(map[string][]string{"example.com": {"127.0.0.1"}, "wrong.test": {"127.0.0.1"}})
	c := provisioned(t, HTTP{Origins: []string{"https://example.com" + port, "https://wrong.test" + port, "https://127.0.0.1" + strings.Replace(echoes(t).URL, "http://127.0.0.1", "", 1)}, Private: loopback, resolver: resolver})
	m, ctx := mountOf(c), guestContext(t)
	if a := ask(ctx, t, m, object{"url": "https://example.com" + port}); a.Error != "tls" {
		t.Errorf("nobody knows who signed it: got %+v", a)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c.rule.transport.TLSClientConfig.RootCAs = roots
	if a := ask(ctx, t, m, object{"url": "https://example.com" + port}); a.Body != "HTTP/2.0 example.com"+port {
		t.Errorf("got %+v", a)
	}
	f, body := open(m), strings.Repeat("x", 3<<20)
	defer f.Close(ctx)
	send(ctx, t, f, `{"stream":true,"method":"POST","url":"https://example.com`+port+`"}`+"\n"+body[:1<<19]) // no more than fits in between
	if text, err := receive(ctx, f); err != nil || !strings.HasSuffix(text, "}\nHTTP/2.0 example.com"+port+body[:1<<19]) {
		t.Errorf("streamed: got %d bytes, %v", len(text), err)
	}
	if a := ask(ctx, t, m, object{"url": "https://example.com" + port, "method": "PUT", "body": body}); a.Body != "HTTP/2.0 example.com"+port+body {
		t.Errorf("large body: got %d bytes, %s", len(a.Body), a.Error)
	}
	if a := ask(ctx, t, m, object{"url": "https://wrong.test" + port}); a.Error != "tls" {
		t.Errorf("another name: got %+v", a)
	}
	plain := c.rule.origins[2].String()
	if a := ask(ctx, t, m, object{"url": plain}); a.Error != "tls" {
		t.Errorf("no TLS: got %+v", a)
	}
	if got := c.rule.transport.TLSClientConfig; got.InsecureSkipVerify || got.MinVersion > 0 && got.MinVersion < tls.VersionTLS12 {
		t.Error("TLS is not as it should be")
	}
}

// TestParallel has several exchanges of one guest at a time, answered in the order that the guest likes.
func TestParallel(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup
	all.Add(4)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all.Done()
		all.Wait()
		io.WriteString(w, r.URL.Path)
	}))
	t.Cleanup(server.Close)
	m, ctx := mountOf(provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback})), guestContext(t)
	var files []vfs.File
	for i := range 4 {
		f := open(m)
		defer f.Close(ctx)
		send(ctx, t, f, fmt.Sprintf(`{"url":"%s/%d"}`+"\n", server.URL, i))
		files = append(files, f)
	}
	for i, f := range slices.Backward(files) {
		if text, err := receive(ctx, f); err != nil || !strings.Contains(text, fmt.Sprintf(`"body":"/%d"`, i)) {
			t.Errorf("%d: got %s, %v", i, text, err)
		}
	}
}

// TestCleanup: a call of a configuration that is gone goes on, and leaves no connection behind.
func TestCleanup(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hi") }))
	server.Config.ConnState = countConns(&open)
	server.Start()
	t.Cleanup(server.Close)
	c := provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback})
	m, ctx := mountOf(c), guestContext(t)
	for _, when := range []string{"before", "after"} {
		if a := ask(ctx, t, m, object{"url": server.URL}); a.Body != "hi" {
			t.Errorf("%s Cleanup: got %+v", when, a)
		}
		c.Cleanup()
	}
	wait(t, "connections are closed", func() bool { return open.Load() == 0 })
}

func countConns(open *atomic.Int64) func(_ net.Conn, state http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		}
	}
}

func wait(t testing.TB, what string, until func() bool) {
	t.Helper()
	for range 3000 {
		if until() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("waited too long until %s", what)
}

// TestCallLimit: one call can't hold memory without end, however many files it has open.
func TestCallLimit(t *testing.T) {
	t.Parallel()
	m := mountOf(provisioned(t, HTTP{Origins: []string{"http://a.example"}, MaxResponse: new(units.Size(1 << 20))}))
	ctx := guestContext(t)
	root, err := m.Root(ctx)
	if err != nil {
		t.Fatal(err)
	}
	half := make([]byte, 5<<20)
	for i := range half {
		half[i] = 'x'
	}
	fits := 0
	for range 20 {
		f, err := root.Open(ctx, ".", vfs.Read|vfs.Write)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close(ctx)
		_, err = f.(vfs.Writer).Write(ctx, half)
		if err == nil {
			fits++
		} else if err != vfs.ENOMEM {
			t.Errorf("got %v, want ENOMEM", err)
		}
	}
	if most := atOnce * 9 / 5; fits != most {
		t.Errorf("got %d lines of 5 MiB, want %d", fits, most)
	}
}

// TestLargeBodies: a line may have 8 MiB, and no more.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	server := echoes(t)
	m, ctx := mountOf(provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback})), guestContext(t)
	head, tail := `{"method":"POST","url":"`+server.URL+`","body":"`, `"}`
	body := strings.Repeat("0123456789abcde\n", maxLine>>4)[:maxLine-len(head)-len(tail)]
	plain := strings.ReplaceAll(body, "\n", "x")
	if a := ask(ctx, t, m, head+plain+tail); a.Body != plain {
		t.Errorf("got %d bytes, %s, want %d", len(a.Body), a.Error, len(plain))
	}
	escaped := strings.ReplaceAll(body[:len(body)/17*16], "\n", `\n`)
	if a := ask(ctx, t, m, head+escaped+tail); a.Body != body[:len(body)/17*16] {
		t.Errorf("escaped: got %d bytes, %s, want %d", len(a.Body), a.Error, len(body)/17*16)
	}
	f := open(m)
	defer f.Close(ctx)
	if _, err := f.(vfs.Writer).Write(ctx, []byte(head+plain+"x"+tail+"\n")); err != vfs.EMSGSIZE {
		t.Errorf("one byte more: got %v, want EMSGSIZE", err)
	}
}
