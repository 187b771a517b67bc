package guest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/exchange"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// shared is used by all tests and lives as long as the test process.
var shared = sync.OnceValues(func() (*engine.Engine, error) { return engine.New(engine.Config{}) })

// function compiles a test's program to be run in a sandbox with grants.
func function(t *testing.T, name string, grants engine.Grants) *engine.Function {
	t.Helper()
	return sandboxed(t, toolchaintest.Build(t, filepath.Join("testdata", name)), grants)
}

func sandboxed(t *testing.T, module []byte, grants engine.Grants) *engine.Function {
	t.Helper()
	e, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	program, err := e.Compile(context.Background(), module)
	if err != nil {
		t.Fatal(err)
	}
	f, err := program.Function(engine.Options{
		Args:   []engine.Value{{Fixed: "function"}},
		Grants: grants,
		Limits: engine.Limits{Timeout: time.Minute, Memory: 64 << 20, Output: 8 << 20, Log: 64 << 10, Files: 16},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// ask has a function answer a request with a query and a body.
func ask(t *testing.T, f *engine.Function, query url.Values, body string) *contract.Response {
	t.Helper()
	r := &http.Request{Method: "POST", Proto: "HTTP/1.1", URL: &url.URL{RawQuery: query.Encode()}, Header: http.Header{}}
	stdin := contract.AppendRequest(nil, r, contract.Meta{}, []byte(body))
	var stdout, stderr bytes.Buffer
	if _, err := f.Run(context.Background(), bytes.NewReader(stdin), &stdout, &stderr); err != nil {
		t.Fatalf("%v, stderr %q", err, stderr.Bytes())
	}
	response, err := contract.DecodeResponse(stdout.Bytes())
	if err != nil {
		t.Fatalf("%q: %v", stdout.Bytes(), err)
	}
	return response
}

// line is what a program asks for.
type line struct {
	Method, URL string
	Headers     map[string]any
	Body        *string
	Base64      *[]byte `json:"body_base64"`
}

// answering is a file at a path that answers lines.
func answering(t *testing.T, path string, answer func(line string) string) engine.Grants {
	t.Helper()
	var grants engine.Grants
	device := &vfs.Device{Type: vfs.TypeCharacterDevice, New: func(context.Context, vfs.OpenFlags) (vfs.File, error) {
		return exchange.New(func(line []byte) (exchange.Serve, bool) {
			text := answer(string(line))
			return func(_ context.Context, _ io.ReadCloser, w io.Writer) error {
				_, err := io.WriteString(w, text)
				return err
			}, false
		}, exchange.Options{MaxLine: 1 << 20}), nil
	}}
	if err := grants.Mount(path, device); err != nil {
		t.Fatal(err)
	}
	return grants
}

// What a program asks for is in the line, and what is answered reaches it.
func TestFetch(t *testing.T) {
	t.Parallel()
	text, bytes := "two\nlines \"é\"", []byte("\x00\xff")
	raw := string(bytes)
	tests := []struct {
		name   string
		query  url.Values
		body   string
		want   line
		answer string
		status int
		header http.Header
		got    string
	}{
		{
			"the least", url.Values{"url": {"http://a/"}}, "", line{Method: "GET", URL: "http://a/", Headers: map[string]any{}},
			`{"status":200,"headers":{},"body":""}` + "\n",
			200, http.Header{"X-Header": {"none"}, "X-Headers": {"0"}}, "",
		},
		{
			"everything", url.Values{"method": {"POST"}, "url": {"https://a:1/b?c"}, "field": {"A:1", "X-Two:a", "x-two:b", "Z:"}}, text,
			line{Method: "POST", URL: "https://a:1/b?c", Headers: map[string]any{"A": "1", "X-Two": []any{"a", "b"}, "Z": ""}, Body: &text},
			`{"status":404,"headers":{"A":["1","2"],"X-One":["one"]},"body":"é\n"}`,
			404, http.Header{"X-Header": {"one"}, "X-Headers": {"3"}}, "é\n",
		},
		{
			"bytes", url.Values{"method": {"PUT"}, "url": {"http://a/"}}, raw, line{Method: "PUT", URL: "http://a/", Headers: map[string]any{}, Base64: &bytes},
			`{"status":200,"headers":{},"body_base64":"/wA=","later":[1]}`,
			200, http.Header{"X-Header": {"none"}, "X-Headers": {"0"}}, "\xff\x00",
		},
		{
			"a failure", url.Values{"url": {"http://a/"}}, "", line{Method: "GET", URL: "http://a/", Headers: map[string]any{}},
			`{"error":"refused","reason":"http://a:80 is not allowed with GET"}`,
			500, http.Header{"X-Failure": {"refused"}}, "http://a:80 is not allowed with GET",
		},
	}
	for _, language := range languages {
		for _, test := range tests {
			t.Run(language+"/"+test.name, func(t *testing.T) {
				t.Parallel()
				var asked string
				f := function(t, "clients-"+language, answering(t, "/net/http", func(line string) string {
					asked = line
					return test.answer
				}))
				test.query = url.Values{"do": {"fetch"}, "url": test.query["url"], "method": test.query["method"], "field": test.query["field"]}
				response := ask(t, f, test.query, test.body)
				var got line
				d := json.NewDecoder(strings.NewReader(asked))
				d.DisallowUnknownFields()
				if err := d.Decode(&got); err != nil || !reflect.DeepEqual(got, test.want) {
					t.Errorf("asked for %s (%v)", asked, err)
				}
				if response.Status != test.status || !reflect.DeepEqual(response.Header, test.header) || string(response.Body) != test.got {
					t.Errorf("got %d %v %q, want %d %v %q", response.Status, response.Header, response.Body, test.status, test.header, test.got)
				}
			})
		}
	}
}

// What is no answer is no answer.
func TestFetchFails(t *testing.T) {
	t.Parallel()
	query := url.Values{"do": {"fetch"}, "url": {"http://a/"}}
	answers := []string{"", "{}", "[]", "null", `{"status":"200","headers":{},"body":""}`, `{"status":200`, `{"status":200,"headers":{"A":"b"},"body":""}`, `{"status":200}{}`, `{"status":70000,"body":""}`, `{"status":200,"body":"\ud800"}`}
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			for _, answer := range answers {
				f := function(t, "clients-"+language, answering(t, "/net/http", func(string) string { return answer }))
				if got := ask(t, f, query, ""); got.Status != 500 || got.Header.Get("X-Failure") != "file" || len(got.Body) == 0 {
					t.Errorf("%s: got %d %v %q, want a failure", answer, got.Status, got.Header, got.Body)
				}
			}
			f := function(t, "clients-"+language, engine.Grants{})
			if got := ask(t, f, query, ""); got.Status != 500 || got.Header.Get("X-Failure") != "file" {
				t.Errorf("without a grant: got %d %v %q, want a failure", got.Status, got.Header, got.Body)
			}
		})
	}
}
