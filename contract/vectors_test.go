package contract

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

var update = flag.Bool("update", false, "rewrite what the vectors expect, and the generated vectors")

// raw is a byte string in a vector: a JSON string, or {"base64": "…"} where
// the bytes are not UTF-8.
type raw string

func (b raw) MarshalJSON() ([]byte, error) {
	var v any = string(b)
	if !utf8.ValidString(string(b)) {
		v = map[string]string{"base64": base64.StdEncoding.EncodeToString([]byte(b))}
	}
	return marshal(v)
}

func (b *raw) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, (*string)(b))
	}
	var v struct{ Base64 []byte }
	err := json.Unmarshal(text, &v)
	*b = raw(v.Base64)
	return err
}

func marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimRight(buf.Bytes(), "\n"), err
}

type requestVector struct {
	Name    string       `json:"name"`
	Request requestParts `json:"request"`
	Stdin   string       `json:"stdin"`
}

type requestParts struct {
	ID          string   `json:"id"`
	Method      string   `json:"method"`
	URI         raw      `json:"uri"`
	OriginalURI raw      `json:"original_uri"`
	Scheme      string   `json:"scheme"`
	Host        raw      `json:"host"`
	Proto       string   `json:"proto"`
	Path        raw      `json:"path"`
	Route       raw      `json:"route,omitempty"`
	Params      [][2]raw `json:"params,omitempty"`
	RemoteAddr  string   `json:"remote_addr"`
	Traceparent string   `json:"traceparent,omitempty"`
	Headers     [][2]raw `json:"headers"`
	Body        raw      `json:"body"`
}

func (p requestParts) encode() []byte {
	_, query, _ := strings.Cut(string(p.URI), "?")
	r := &http.Request{Method: p.Method, Host: string(p.Host), Proto: p.Proto, URL: &url.URL{RawQuery: query}, Header: http.Header{}}
	for _, field := range p.Headers {
		name := http.CanonicalHeaderKey(string(field[0]))
		r.Header[name] = append(r.Header[name], string(field[1]))
	}
	meta := Meta{
		ID: p.ID, URI: string(p.URI), OriginalURI: string(p.OriginalURI), Scheme: p.Scheme, Path: string(p.Path),
		Route: string(p.Route), RemoteAddr: p.RemoteAddr, Traceparent: p.Traceparent, Params: map[string]string{},
	}
	for _, param := range p.Params {
		meta.Params[string(param[0])] = string(param[1])
	}
	return AppendRequest(nil, r, meta, []byte(p.Body))
}

type responseVector struct {
	Name    string              `json:"name"`
	Method  string              `json:"method,omitempty"`
	Stdout  raw                 `json:"stdout"`
	Status  int                 `json:"status,omitempty"`
	Headers map[string][]string `json:"headers,omitempty"`
	Body    raw                 `json:"body,omitempty"`
	Error   *errorVector        `json:"error,omitempty"`
}

type errorVector struct {
	Offset int64  `json:"offset"`
	Member string `json:"member"`
	Reason string `json:"reason"`
}

// answered returns v with what a client gets for its output, or the error.
func (v responseVector) answered() responseVector {
	got := responseVector{Name: v.Name, Method: v.Method, Stdout: v.Stdout}
	response, err := DecodeResponse([]byte(v.Stdout))
	var bad *DecodeError
	if errors.As(err, &bad) {
		got.Error = &errorVector{bad.Offset, bad.Member, bad.Reason}
		return got
	}
	method := v.Method
	if method == "" {
		method = http.MethodGet
	}
	w := httptest.NewRecorder()
	if err := response.Write(w, method); err != nil {
		got.Error = &errorVector{Reason: err.Error()}
		return got
	}
	got.Status, got.Headers, got.Body = w.Code, w.Result().Header, raw(w.Body.String())
	if len(got.Headers) == 0 {
		got.Headers = nil
	}
	return got
}

// Every vector's input gives what the vector says. Names are unique.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t, "requests/bytes.json", byteRequests())
		writeVectors(t, "responses/bytes.json", byteResponses())
	}
	for _, path := range vectorFiles(t, "requests") {
		t.Run(filepath.ToSlash(path), func(t *testing.T) { testRequestVectors(t, path) })
	}
	for _, path := range vectorFiles(t, "responses") {
		t.Run(filepath.ToSlash(path), func(t *testing.T) { testResponseVectors(t, path) })
	}
}

func vectorFiles(t testing.TB, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", folder, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no vectors for %s (%v)", folder, err)
	}
	return files
}

func testRequestVectors(t *testing.T, path string) {
	vectors := readVectors[requestVector](t, path)
	names := map[string]bool{}
	for i, v := range vectors {
		if names[v.Name] {
			t.Errorf("two vectors are called %q", v.Name)
		}
		names[v.Name] = true
		got := string(v.Request.encode())
		if *update {
			vectors[i].Stdin = got
		} else if got != v.Stdin {
			t.Errorf("%s:\n got %s\nwant %s", v.Name, got, v.Stdin)
		}
		if body := decodedBody(t, v.Stdin); !*update && body != string(v.Request.Body) {
			t.Errorf("%s: stdin holds body %q, want %q", v.Name, body, v.Request.Body)
		}
	}
	if *update {
		writeVectors(t, strings.TrimPrefix(path, filepath.Join("testdata", "vectors")), vectors)
	}
}

// decodedBody reads the body out of a request as encoding/json sees it.
func decodedBody(t *testing.T, stdin string) string {
	t.Helper()
	var request struct {
		Body   *string `json:"body"`
		Base64 []byte  `json:"body_base64"`
	}
	if stdin == "" {
		return ""
	}
	if err := json.Unmarshal([]byte(stdin), &request); err != nil {
		t.Fatalf("%s: %v", stdin, err)
	}
	if request.Body != nil {
		return *request.Body
	}
	return string(request.Base64)
}

func testResponseVectors(t *testing.T, path string) {
	vectors := readVectors[responseVector](t, path)
	names := map[string]bool{}
	for i, v := range vectors {
		if names[v.Name] {
			t.Errorf("two vectors are called %q", v.Name)
		}
		names[v.Name] = true
		got := v.answered()
		if *update {
			vectors[i] = got
		} else if !reflect.DeepEqual(got, v) {
			t.Errorf("%s: %q\n got %s\nwant %s", v.Name, v.Stdout, show(got), show(v))
		}
	}
	if *update {
		writeVectors(t, strings.TrimPrefix(path, filepath.Join("testdata", "vectors")), vectors)
	}
}

func show(v responseVector) string {
	text, _ := marshal(v)
	return string(text)
}

func readVectors[V any](t testing.TB, path string) (vectors []V) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&vectors); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return vectors
}

func writeVectors[V any](t *testing.T, name string, vectors []V) {
	t.Helper()
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(vectors); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", "vectors", name), buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// plainRequest is a request of which only the body matters.
func plainRequest(body string) requestParts {
	return requestParts{Method: "POST", URI: "/", OriginalURI: "/", Scheme: "http", Host: "h", Proto: "HTTP/1.1", Path: "/", Headers: [][2]raw{}, Body: raw(body)}
}

// byteRequests are the generated vectors: every byte value as a body, as a
// header value, in the path and in the query.
func byteRequests() (vectors []requestVector) {
	all := make([]byte, 0, 256)
	for c := range 256 {
		b := string([]byte{byte(c)})
		all = append(all, byte(c))
		v := requestVector{Name: fmt.Sprintf("byte %02x", c), Request: plainRequest(b)}
		v.Request.Path = raw("/" + b)
		v.Request.URI = raw(fmt.Sprintf("/%%%02X?%%%02x=%%%02X", c, c, c))
		v.Request.OriginalURI = v.Request.URI
		v.Request.Headers = [][2]raw{{"X-Byte", raw("<" + b + ">")}}
		vectors = append(vectors, v)
	}
	return append(vectors,
		requestVector{Name: "all bytes in order", Request: plainRequest(string(all))},
		requestVector{Name: "all ASCII in order", Request: plainRequest(string(all[:128]))},
	)
}

// byteResponses are the generated vectors: every byte value as a body.
func byteResponses() (vectors []responseVector) {
	for c := range 256 {
		v := responseVector{Name: fmt.Sprintf("byte %02x in base64", c)}
		v.Stdout = raw(fmt.Sprintf(`{"body_base64":"%s"}`, base64.StdEncoding.EncodeToString([]byte{byte(c)})))
		vectors = append(vectors, v)
	}
	for c := range 128 {
		v := responseVector{Name: fmt.Sprintf("byte %02x escaped", c), Stdout: raw(fmt.Sprintf(`{"body":"\u%04x"}`, c))}
		vectors = append(vectors, v)
	}
	for c := range 256 {
		v := responseVector{Name: fmt.Sprintf("byte %02x as it is", c), Stdout: raw(`{"body":"<` + string([]byte{byte(c)}) + `>"}`)}
		vectors = append(vectors, v)
	}
	return vectors
}

// The generated vectors are there for every byte value, and the body that
// comes back is that byte.
func TestByteVectors(t *testing.T) {
	t.Parallel()
	requests := readVectors[requestVector](t, filepath.Join("testdata", "vectors", "requests", "bytes.json"))
	responses := readVectors[responseVector](t, filepath.Join("testdata", "vectors", "responses", "bytes.json"))
	for c := range 256 {
		b := raw([]byte{byte(c)})
		if got := requests[c].Request.Body; got != b {
			t.Errorf("request %d: body %q, want %q", c, got, b)
		}
		if got := responses[c].Body; got != b {
			t.Errorf("response %d: body %q, want %q", c, got, b)
		}
	}
}
