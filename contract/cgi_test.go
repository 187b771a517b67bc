package contract

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// A cgiRequest is a vector: a request, and the variables that a program finds.
type cgiRequest struct {
	Name    string   `json:"name"`
	Request cgiParts `json:"request"`
	Environ []raw    `json:"environ"`
}

type cgiParts struct {
	requestParts
	Length     int64  `json:"length"` // of the body; -1: unknown
	Peer       string `json:"peer,omitempty"`
	Local      string `json:"local,omitempty"`
	User       string `json:"user,omitempty"`
	ScriptName raw    `json:"script_name"`
	PathInfo   raw    `json:"path_info"`
	Script     raw    `json:"script,omitempty"`
	Root       raw    `json:"root,omitempty"`
}

func (p cgiParts) environ() []string {
	_, query, _ := strings.Cut(string(p.URI), "?")
	r := &http.Request{
		Method: p.Method, Host: string(p.Host), Proto: p.Proto, URL: &url.URL{RawQuery: query}, Header: http.Header{},
		ContentLength: p.Length, RemoteAddr: p.Peer,
	}
	for _, field := range p.Headers {
		name := http.CanonicalHeaderKey(string(field[0]))
		r.Header[name] = append(r.Header[name], string(field[1]))
	}
	if p.Scheme == "https" {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	}
	meta := Meta{ID: p.ID, URI: string(p.URI), OriginalURI: string(p.OriginalURI), Scheme: p.Scheme, RemoteAddr: p.RemoteAddr, Traceparent: p.Traceparent}
	return Environment(r, meta, CGI{
		ScriptName: string(p.ScriptName), PathInfo: string(p.PathInfo), Script: string(p.Script), Root: string(p.Root),
		ServerAddr: p.Local, Software: "Caddy/v2", User: p.User,
	})
}

// A cgiResponse is a vector: what a program wrote, and what a client gets.
type cgiResponse struct {
	Name    string              `json:"name"`
	NPH     bool                `json:"nph,omitempty"`
	Stdout  raw                 `json:"stdout"`
	Status  int                 `json:"status,omitempty"`
	Headers map[string][]string `json:"headers,omitempty"`
	Body    raw                 `json:"body,omitempty"`
	Local   string              `json:"local,omitempty"`
	Error   *errorVector        `json:"error,omitempty"`
}

func (v cgiResponse) answered() cgiResponse {
	got := cgiResponse{Name: v.Name, NPH: v.NPH, Stdout: v.Stdout}
	out := []byte(v.Stdout)
	block := out
	if n := EndOfFields(out, 0); n > 0 {
		block = out[:n]
	}
	response, local, err := decodeBlock(block, v.NPH)
	var bad *DecodeError
	switch {
	case errors.As(err, &bad):
		got.Error = &errorVector{bad.Offset, bad.Member, bad.Reason}
	case response == nil:
		got.Local = local
	default:
		got.Status, got.Body = response.Status, raw(out[len(block):])
		if len(response.Header) > 0 {
			got.Headers = response.Header
		}
	}
	return got
}

func decodeBlock(block []byte, nph bool) (*Response, string, error) {
	if nph {
		response, err := DecodeNPH(block)
		return response, "", err
	}
	return DecodeCGI(block)
}

// TestCGIQuery: no query makes php-cgi ignore its arguments, which a script sees nothing of.
func TestCGIQuery(t *testing.T) {
	for query, want := range map[string]string{
		"": "", "x": "x", "x-s": "x-s", "-s=": "-s=", "x=-s": "x=-s", "%2": "%2",
		"-s": "-s&=", "+-s": "+-s&=", "%2ds": "%2ds&=", "%09%20-": "%09%20-&=", "-d+memory_limit%3d9": "-d+memory_limit%3d9&=",
	} {
		r := &http.Request{Method: "GET", URL: &url.URL{RawQuery: query}}
		for script, want := range map[string]string{"": query, "/www/index.php": want} {
			if got := Environment(r, Meta{}, CGI{Script: script}); !slices.Contains(got, "QUERY_STRING="+want) {
				t.Errorf("%q for script %q: got %q, want QUERY_STRING=%s", query, script, got, want)
			}
		}
	}
}

func TestCGIVectors(t *testing.T) {
	for _, path := range vectorFiles(t, "cgi/requests") {
		vectors := readVectors[cgiRequest](t, path)
		for i, v := range vectors {
			var got []raw
			for _, variable := range v.Request.environ() {
				got = append(got, raw(variable))
			}
			slices.Sort(got)
			if *update {
				vectors[i].Environ = got
			} else if !slices.Equal(got, v.Environ) {
				t.Errorf("%s:\n got %q\nwant %q", v.Name, got, v.Environ)
			}
		}
		if *update {
			writeVectors(t, strings.TrimPrefix(path, filepath.Join("testdata", "vectors")), vectors)
		}
	}
	for _, path := range vectorFiles(t, "cgi/responses") {
		vectors := readVectors[cgiResponse](t, path)
		for i, v := range vectors {
			got := v.answered()
			if *update {
				vectors[i] = got
			} else if !reflect.DeepEqual(got, v) {
				t.Errorf("%s:\n got %+v %+v\nwant %+v %+v", v.Name, got, got.Error, v, v.Error)
			}
		}
		if *update {
			writeVectors(t, strings.TrimPrefix(path, filepath.Join("testdata", "vectors")), vectors)
		}
	}
}

// TestEndOfFields: the end is the same however much of the output is there when it is looked for.
func TestEndOfFields(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"":                        0,
		"A: b":                    0,
		"A: b\n":                  0,
		"A: b\n\nbody":            6,
		"A: b\r\n\r\nbody":        8,
		"A: b\n\r\nbody":          7,
		"A: b\r\n\nbody":          7,
		"\nbody":                  1,
		"\r\nbody":                2,
		"A: b\r":                  0,
		"A: b\n\r":                0,
		"A: b\n \n\n":             8,
		"A: b\nC: d\n\nbody\n\n":  11,
		"A: b\r\r\n\r\nC\n\nmore": 9,
	} {
		for cut := range len(text) + 1 {
			seen := EndOfFields([]byte(text[:cut]), 0)
			if seen == 0 {
				seen = EndOfFields([]byte(text), cut)
			}
			if seen != want {
				t.Errorf("%q, looked at after %d bytes: got %d, want %d", text, cut, seen, want)
			}
		}
	}
}

// TestCGIBounds: what one response may have is bounded.
func TestCGIBounds(t *testing.T) {
	t.Parallel()
	for name, block := range map[string]string{
		"fields": "Content-Type: text/plain\n" + strings.Repeat("A: b\n", maxFieldLines) + "\n",
		"bytes":  "Content-Type: text/plain\nA: " + strings.Repeat("b", maxFieldBytes) + "\n\n",
	} {
		var bad *DecodeError
		if _, _, err := DecodeCGI([]byte(block)); !errors.As(err, &bad) || !strings.Contains(bad.Reason, "more than") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// FuzzCGIResponse: a block that is taken has only what may be sent, and means the same with other line
// ends and in any number of pieces; one that isn't is named.
func FuzzCGIResponse(f *testing.F) {
	for _, path := range vectorFiles(f, "cgi/responses") {
		for _, v := range readVectors[cgiResponse](f, path) {
			f.Add([]byte(v.Stdout), v.NPH)
		}
	}
	f.Fuzz(func(t *testing.T, out []byte, nph bool) {
		block := out
		if n := EndOfFields(out, 0); n > 0 {
			block = out[:n]
		} else if n == 0 && endOfFieldsSlowly(out) != 0 {
			t.Fatalf("%q has an end", out)
		}
		if want := endOfFieldsSlowly(out); want != 0 && want != len(block) {
			t.Fatalf("%q ends at %d, want %d", out, len(block), want)
		}
		response, local, err := decodeBlock(bytes.Clone(block), nph)
		if err != nil {
			checkDecodeError(t, block, err)
			return
		}
		if len(block) == len(out) && endOfFieldsSlowly(out) == 0 {
			t.Fatalf("%q has no end and is taken", out)
		}
		again := bytes.ReplaceAll(bytes.ReplaceAll(block, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
		other, otherLocal, err := decodeBlock(again, nph)
		if err != nil || otherLocal != local || !reflect.DeepEqual(other, response) {
			t.Fatalf("%q is %+v %q, with CRLF %+v %q, %v", block, response, local, other, otherLocal, err)
		}
		if response == nil {
			if _, err := url.ParseRequestURI(local); err != nil || local[0] != '/' || strings.HasPrefix(local, "//") {
				t.Fatalf("%q leads to %q", block, local)
			}
			return
		}
		if response.Status < 200 || response.Status > 599 {
			t.Fatalf("%q: status %d", block, response.Status)
		}
		for name, values := range response.Header {
			if !isToken(name) || http.CanonicalHeaderKey(name) != name || hopByHop(name) || name == "Status" {
				t.Fatalf("%q: field %q", block, name)
			}
			for _, value := range values {
				if i, reason := badInValue([]byte(value)); i >= 0 {
					t.Fatalf("%q: %s %q: %s", block, name, value, reason)
				}
			}
		}
	})
}

func endOfFieldsSlowly(b []byte) int {
	length := 0
	for line := range bytes.Lines(b) {
		if length += len(line); string(line) == "\n" || string(line) == "\r\n" {
			return length
		}
	}
	return 0
}

// FuzzEnvironment: whatever a client sends, variables have names that a C library and a shell take, each
// once, and none that a client must not set.
func FuzzEnvironment(f *testing.F) {
	f.Add("X-A", "b", "Proxy", "http://evil", "/a.php", "/info", "q=1", "example.com:8080", "u")
	f.Add("X_A", "b\x00c", "X-A", "d", "", "/\x00", "", "[::1]:80", "")
	f.Add("http-host", "x", "HTTP-HOST", "y", "", "", "=", "::1", "a\x00")
	f.Add("Connection", "X-A", "X-A", "gone", "", "", "", "h:99999", "")
	f.Fuzz(func(t *testing.T, name, value, name2, value2, script, info, query, host, user string) {
		r := &http.Request{Method: "GET", Proto: "HTTP/1.1", Host: host, URL: &url.URL{RawQuery: query}, Header: http.Header{}}
		r.Header[name] = append(r.Header[name], value)
		r.Header[name2] = append(r.Header[name2], value2)
		cgi := CGI{ScriptName: script, PathInfo: info, Script: script, Root: "/www", User: user, Software: "Caddy"}
		seen := map[string]string{}
		for _, variable := range Environment(r, Meta{OriginalURI: query, Scheme: "http"}, cgi) {
			name, value, ok := strings.Cut(variable, "=")
			if !ok || !isVariableName(name) || strings.Contains(value, "\x00") {
				t.Fatalf("%q is no variable", variable)
			}
			if _, twice := seen[name]; twice {
				t.Fatalf("%s is there twice", name)
			}
			seen[name] = value
		}
		for _, never := range []string{"HTTP_PROXY", "HTTP_AUTHORIZATION", "HTTP_PROXY_AUTHORIZATION", "HTTP_CONTENT_LENGTH", "HTTP_CONNECTION"} {
			if v, ok := seen[never]; ok {
				t.Fatalf("%s is %q", never, v)
			}
		}
		if want, _, _ := strings.Cut(host, "\x00"); seen["HTTP_HOST"] != want {
			t.Fatalf("HTTP_HOST is %q, the host %q", seen["HTTP_HOST"], host)
		}
	})
}

func isVariableName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if !('A' <= c && c <= 'Z' || i > 0 && (c == '_' || '0' <= c && c <= '9')) {
			return false
		}
	}
	return name != ""
}

func BenchmarkEnvironment(b *testing.B) {
	r := &http.Request{Method: "GET", Proto: "HTTP/2.0", Host: "example.com", URL: &url.URL{RawQuery: "a=b"}, Header: http.Header{}}
	for i := range 15 {
		r.Header.Set(fmt.Sprintf("X-Field-%d", i), "value")
	}
	meta := Meta{ID: "7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3", OriginalURI: "/a?a=b", Scheme: "https", RemoteAddr: "203.0.113.9"}
	b.ReportAllocs()
	for b.Loop() {
		Environment(r, meta, CGI{ScriptName: "/a", Software: "Caddy"})
	}
}
