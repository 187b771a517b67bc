package gojinn

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// read takes a request object apart as Serve does.
func read(text string) (*call, error) {
	c := newCall(io.Discard)
	if err := c.in.read(append(c.text[:0], text...)); err != nil {
		return nil, err
	}
	return c, c.receive()
}

func TestRequest(t *testing.T) {
	t.Parallel()
	c, err := read(` { "id" : "i\u0064", "method":"POST","uri":"/a%2fb/c?x=1&y","original_uri":"/o","scheme":"https","host":"h:8443","proto":"HTTP/2.0",
		"path":"/a/b/c","query":{"x":["1"],"deep":[{"a":[-1.5e+3,null,true,false,0]}]},"route":"/[p]","params":{"p":"\ud83d\ude00","q":""},"remote_addr":"2001:db8::1",
		"traceparent":"00-1","headers":{"Accept":["a","b"],"X":[]},"later":1,"body":"line\n\"\\\/\b\f\r\t\u00e9"} ` + "\n")
	if err != nil {
		t.Fatal(err)
	}
	r := &c.request
	body, err := io.ReadAll(r.Body)
	if want := "line\n\"\\/\b\f\r\t\u00e9"; string(body) != want || err != nil || r.ContentLength != int64(len(want)) {
		t.Errorf("got body %q, %v, length %d, want %q", body, err, r.ContentLength, want)
	}
	if r.Method != "POST" || r.RequestURI != "/a%2fb/c?x=1&y" || r.Host != "h:8443" || r.Proto != "HTTP/2.0" || r.ProtoMajor != 2 || r.ProtoMinor != 0 ||
		r.RemoteAddr != "[2001:db8::1]:0" || r.TLS == nil || r.PathValue("p") != "😀" {
		t.Errorf("got %+v", r)
	}
	if want := (&url.URL{Path: "/a/b/c", RawPath: "/a%2fb/c", RawQuery: "x=1&y"}); !reflect.DeepEqual(r.URL, want) {
		t.Errorf("got URL %+v, want %+v", r.URL, want)
	}
	if want := (http.Header{"Accept": {"a", "b"}, "X": {}}); !reflect.DeepEqual(r.Header, want) {
		t.Errorf("got header %v, want %v", r.Header, want)
	}
	want := Request{ID: "id", OriginalURI: "/o", Route: "/[p]", Params: map[string]string{"p": "😀", "q": ""}, Traceparent: "00-1"}
	if got := RequestFrom(r.Context()); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := RequestFrom(t.Context()); !reflect.DeepEqual(got, Request{}) {
		t.Errorf("got %+v of any context, want none", got)
	}
	if got := RequestFrom(WithRequest(t.Context(), want)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// What URLs become is what [http.Server] makes of them.
func TestURL(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{"/", "/a/b", "//a/b", "/a?", "/a?b=c&d", "/a?b?c", "/%41", "/a;b", "/a'b", "/ü", "/a b?c", "*", "/a?b c", "/~a_-."} {
		want, err := url.ParseRequestURI(uri)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := json.Marshal(map[string]string{"method": "GET", "uri": uri})
		c, err := read(string(text))
		if err != nil {
			t.Errorf("%s: %v", uri, err)
		} else if !reflect.DeepEqual(c.request.URL, want) {
			t.Errorf("%s: got %#v, want %#v", uri, c.request.URL, want)
		}
	}
	// What rewrites have made, and isn't one.
	c, err := read(`{"method":"GET","uri":"/%zz?a","path":"/%zz"}`)
	if err != nil || c.request.URL.Path != "/%zz" || c.request.URL.RawQuery != "a" {
		t.Errorf("got %v, %v", c, err)
	}
}

func TestRequestErrors(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", maxDepth+2) + strings.Repeat("]", maxDepth+2)
	for _, test := range []struct{ text, err string }{
		{``, "too early"},
		{`[]`, "{ is expected"},
		{`{`, "too early"},
		{`{}`, "no method"},
		{`{"method":"GET"}`, "no uri"},
		{`{"method":"GET","uri":"/"`, "too early"},
		{`{"method":"GET","uri":"/"}{}`, "more than one"},
		{`{"method":"GET","uri":"/"} x`, "more than one"},
		{`{"method":"GET" "uri":"/"}`, "a comma or }"},
		{`{"method":"GET",}`, "a string is expected"},
		{`{"method" "GET"}`, "a colon"},
		{`{"method":1}`, "a string is expected"},
		{`{"method":null}`, "a string is expected"},
		{`{"method":"GET","method":"GET","uri":"/"}`, "second method"},
		{`{"id":"","id":""}`, "second id"},
		{`{"method":"GET","uri":"/","body":"","body_base64":""}`, "second body_base64"},
		{`{"method":"GET","uri":"/","body_base64":"!"}`, "body_base64"},
		{`{"method":"GET","uri":"/","headers":{"A":"b"}}`, "[ is expected"},
		{`{"method":"GET","uri":"/","headers":{"A":["b" "c"]}}`, "a comma or ]"},
		{`{"method":"GET","uri":"/","headers":{"A":[],"A":[]}}`, "second time"},
		{`{"method":"GET","uri":"/","params":{"A":"","A":""}}`, "second time"},
		{`{"method":"GET","uri":"/","proto":"HTTP"}`, "none of HTTP's"},
		{`{"method":"GET","uri":""}`, "empty url"},
		{`{"method":"G` + "\n" + `ET"}`, "control character"},
		{`{"method":"\x"}`, "escape sequence"},
		{`{"method":"\ud800"}`, "escape sequence"},
		{`{"method":"\udc00"}`, "escape sequence"},
		{`{"method":"\ud800\u0041"}`, "escape sequence"},
		{`{"method":"\u12`, "escape sequence"},
		{`{"method":"` + "\xff" + `"}`, "not UTF-8"},
		{`{"x":` + deep + `}`, "too deep"},
		{`{"x":01}`, "comma"},
		{`{"x":-}`, "a digit"},
		{`{"x":1.}`, "a digit"},
		{`{"x":1e}`, "a digit"},
		{`{"x":nul}`, "a value"},
		{`{"x":tru`, "a value"},
		{`{"x":{"a":1,}}`, "a string is expected"},
		{`{"x":[1,]}`, "a value"},
	} {
		if _, err := read(test.text); err == nil || !strings.Contains(err.Error(), test.err) {
			t.Errorf("%.60s: got %v, want %q", test.text, err, test.err)
		}
	}
}

func TestBody(t *testing.T) {
	t.Parallel()
	b := &body{rest: []byte("abc")}
	p := make([]byte, 2)
	if n, err := b.Read(p); n != 2 || err != nil {
		t.Errorf("got %d, %v", n, err)
	}
	var out bytes.Buffer
	if n, err := io.Copy(&out, b); n != 1 || err != nil || out.String() != "c" {
		t.Errorf("got %d, %v, %q", n, err, &out)
	}
	if n, err := b.Read(p); n != 0 || err != io.EOF {
		t.Errorf("got %d, %v at the end", n, err)
	}
	b.Close()
	if _, err := b.Read(p); err != http.ErrBodyReadAfterClose {
		t.Errorf("got %v after Close", err)
	}
	if _, err := b.WriteTo(&out); err != http.ErrBodyReadAfterClose {
		t.Errorf("got %v after Close", err)
	}
}

// Reading goes on for as long as there is something, in whatever pieces.
func TestReadAll(t *testing.T) {
	t.Parallel()
	text := strings.Repeat("0123456789", 1000)
	for _, room := range []int{1, 9_999, 10_000, 10_001} {
		from := strings.NewReader(text)
		got, _, err := readObject(make([]byte, 0, room), func(p []byte) (int, error) { return from.Read(p[:min(len(p), 777)]) })
		if string(got) != text || err != nil {
			t.Errorf("room %d: got %d bytes, %v", room, len(got), err)
		}
	}
	broken := errors.New("broken")
	if _, _, err := readObject(make([]byte, 0, 1), func([]byte) (int, error) { return 0, broken }); err != broken {
		t.Errorf("got %v", err)
	}
}

// The vectors of the json contract say what a function gets for a request.
func TestVectors(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("../../contract/testdata/vectors/requests/*.json")
	if len(files) == 0 {
		t.Skip("the module is not in its repository")
	}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var vectors []struct {
			Name    string
			Stdin   string
			Request struct{ Body json.RawMessage }
		}
		if err := json.Unmarshal(text, &vectors); err != nil {
			t.Fatal(err)
		}
		for _, v := range vectors {
			var want string
			if len(v.Request.Body) > 0 && v.Request.Body[0] == '"' {
				json.Unmarshal(v.Request.Body, &want)
			} else if len(v.Request.Body) > 0 {
				var b struct{ Base64 []byte }
				json.Unmarshal(v.Request.Body, &b)
				want = string(b.Base64)
			}
			c, err := read(v.Stdin)
			if err != nil {
				t.Errorf("%s: %s: %v", path, v.Name, err)
				continue
			}
			if got, _ := io.ReadAll(c.request.Body); string(got) != want {
				t.Errorf("%s: %s: got body %q, want %q", path, v.Name, got, want)
			}
			sameAsJSON(t, v.Stdin, c)
		}
	}
}

// sameAsJSON compares what was read with what package json reads.
func sameAsJSON(t *testing.T, text string, c *call) {
	t.Helper()
	var want struct {
		ID          string              `json:"id"`
		Method      string              `json:"method"`
		URI         string              `json:"uri"`
		OriginalURI string              `json:"original_uri"`
		Host        string              `json:"host"`
		Route       string              `json:"route"`
		Params      map[string]string   `json:"params"`
		Traceparent string              `json:"traceparent"`
		Headers     map[string][]string `json:"headers"`
		Body        *string             `json:"body"`
		Base64      []byte              `json:"body_base64"`
	}
	if err := json.Unmarshal([]byte(text), &want); err != nil {
		t.Fatalf("%q is accepted, and not by package json: %v", text, err)
	}
	r, more := &c.request, RequestFrom(c.request.Context())
	if more.ID != want.ID || r.Method != want.Method || r.RequestURI != want.URI || more.OriginalURI != want.OriginalURI || r.Host != want.Host ||
		more.Route != want.Route || more.Traceparent != want.Traceparent {
		t.Errorf("%q: got %+v, %+v", text, r, more)
	}
	for name, value := range want.Params {
		if r.PathValue(name) != value {
			t.Errorf("%q: got params %v, want %v", text, more.Params, want.Params)
		}
	}
	if len(r.Header) != len(want.Headers) {
		t.Errorf("%q: got header %v, want %v", text, r.Header, want.Headers)
	}
	for name, values := range want.Headers {
		if !slices.Equal(r.Header[name], values) {
			t.Errorf("%q: got header %v, want %v", text, r.Header, want.Headers)
		}
	}
	body := string(want.Base64)
	if want.Body != nil {
		body = *want.Body
	}
	if string(c.in.body) != body {
		t.Errorf("%q: got body %q, want %q", text, c.in.body, body)
	}
}

// Whatever is accepted means the same to package json.
func FuzzRequest(f *testing.F) {
	f.Add(benchRequest)
	f.Add(warmRequest)
	f.Add(`{"method":"GET","uri":"/","query":{"a":[1,-2e9,{"b":null}]},"headers":{"A":["\u00e9\ud83d\ude00"]},"body_base64":"AP8="}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := read(text)
		if err != nil {
			return
		}
		// Package json takes names in any capitals, and later members for those before.
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(text), &members); err != nil {
			t.Fatalf("%q is accepted, and not by package json: %v", text, err)
		}
		for name := range members {
			if lower := strings.ToLower(name); name != lower || !utf8.ValidString(name) || strings.ContainsAny(name, "\u017f\u212a") {
				return
			}
		}
		if !json.Valid([]byte(text)) {
			t.Fatalf("%q is accepted", text)
		}
		sameAsJSON(t, text, c)
	})
}
