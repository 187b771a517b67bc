package guest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// writes is an output that keeps apart what was written at once.
type writes []string

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, string(p))
	return len(p), nil
}

// arriving is an input of which each Read returns one part. What had been written before is noted.
type arriving struct {
	parts  []string
	out    *writes
	before []string
}

func (a *arriving) Read(p []byte) (int, error) {
	a.before = append(a.before, strings.Join(*a.out, ""))
	if len(a.parts) == 0 {
		return 0, io.EOF
	}
	n := copy(p, a.parts[0])
	if a.parts[0] = a.parts[0][n:]; a.parts[0] == "" {
		a.parts = a.parts[1:]
	}
	return n, nil
}

// streamed is how a run ended.
type streamed struct {
	out    writes
	before []string // each read
	stderr string
	exit   uint32
}

func runStream(t *testing.T, f *engine.Function, parts ...string) (s streamed) {
	t.Helper()
	in := &arriving{parts: parts, out: &s.out}
	var stderr bytes.Buffer
	_, err := f.Run(context.Background(), in, &s.out, &stderr)
	if exit, ok := errors.AsType[*engine.ExitError](err); ok {
		s.exit, err = exit.Code, nil
	}
	if err != nil {
		t.Fatal(err)
	}
	s.before, s.stderr = in.before, stderr.String()
	return s
}

// streamRequest is a request of the contract stream, without its body.
func streamRequest(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		panic(err)
	}
	r := &http.Request{Method: "POST", Proto: "HTTP/1.1", URL: u, Header: http.Header{"X-One": {"one\"\n"}}}
	return string(contract.AppendHead(nil, r, contract.Meta{URI: uri, Path: u.Path}))
}

const plainHead = `{"status":200,"headers":{}}` + "\n"

// The head and the body are what was written, in order; with an error nothing is sent that was not flushed.
func TestStream(t *testing.T) {
	t.Parallel()
	f := function(t, "stream-rust", engine.Grants{})
	large := strings.Repeat("0123456789abcdef\n", 20_000)
	tests := []struct {
		name, uri string
		body      []string
		want      string
		exit      uint32
	}{
		{"members", "/members?q=1", []string{"a\n", "{}\n"}, plainHead + "POST one\"\n 1 0 a\n{}\n", 0},
		{"no body", "/members", nil, plainHead + "POST one\"\n none 0 ", 0},
		{"bytes", "/copy", []string{"\x00\xff", "\n", "\xed\xa0\x80"}, plainHead + "\x00\xff\n\xed\xa0\x80", 0},
		{"much", "/copy", []string{large}, plainHead + large, 0},
		{"nothing", "/copy", nil, plainHead, 0},
		{"a whole response", "/whole", nil, `{"status":404,"headers":{"A":["1","2\n"]}}` + "\nxé\n", 0},
		{"a body that nobody reads", "/whole", []string{"x"}, `{"status":404,"headers":{"A":["1","2\n"]}}` + "\nxé\n", 0},
		{"only a head", "/head", nil, `{"status":200,"headers":{"X-Y":"z"}}` + "\n", 0},
		{"an error", "/error", nil, "", 1},
		{"an error before anything is sent", "/before", nil, "", 1},
		{"an error in the middle", "/after", nil, `{"status":200,"headers":{"X-Y":"z"}}` + "\npart", 1},
	}
	for _, test := range tests {
		got := runStream(t, f, append([]string{streamRequest(test.uri)}, test.body...)...)
		if out := strings.Join(got.out, ""); out != test.want || got.exit != test.exit {
			t.Errorf("%s: got %.200q, exit %d, want %.200q, exit %d", test.name, out, got.exit, test.want, test.exit)
		}
		if want := map[bool]string{true: `{"level":"error","msg":"told to"}` + "\n"}[test.exit != 0]; got.stderr != want {
			t.Errorf("%s: got %q in the log, want %q", test.name, got.stderr, want)
		}
	}
}

// What was flushed is written before the program waits for more of the request.
func TestStreamFlush(t *testing.T) {
	t.Parallel()
	f := function(t, "stream-rust", engine.Grants{})
	for range 2 { // the second is restored
		got := runStream(t, f, streamRequest("/lines"), "one\n", "tw", "o\nthree\n", "four")
		want := []string{"", "", plainHead + "<one>", plainHead + "<one>", plainHead + "<one><two><three>", plainHead + "<one><two><three>"}
		if !slices.Equal(got.before, want) {
			t.Errorf("got %q before each read, want %q", got.before, want)
		}
		if out := strings.Join(got.out, ""); out != plainHead+"<one><two><three><four>" {
			t.Errorf("got %q", out)
		}
	}
}

// Small writes are collected up to the size of a piece, and large ones are not copied; the head comes in one write.
func TestStreamPieces(t *testing.T) {
	t.Parallel()
	f := function(t, "stream-rust", engine.Grants{})
	const piece = 32 << 10
	for _, test := range []struct {
		sizes string
		want  []int // of the writes
	}{
		{"", []int{len(plainHead)}},
		{"1,2,3", []int{len(plainHead) + 6}},
		{"f,1,2,f,3", []int{len(plainHead), 3, 3}},
		{"f,f,1,f,f", []int{len(plainHead), 1}},
		{"f,32767,1,1", []int{len(plainHead), piece, 1}},
		{"f,32768,1", []int{len(plainHead), piece, 1}},
		{"f,5,1000000,7", []int{len(plainHead), 5, 1_000_000, 7}},
		{"20000,20000,20000", []int{len(plainHead) + 20_000, 20_000, 20_000}},
	} {
		got := runStream(t, f, streamRequest("/pieces?sizes="+test.sizes))
		var lengths []int
		for i, w := range got.out {
			// Standard output writes what ends with a line first, so the head by itself.
			if i > 0 && got.out[i-1] == plainHead && strings.HasPrefix(w, "\x00") {
				lengths[len(lengths)-1] += len(w)
				continue
			}
			lengths = append(lengths, len(w))
		}
		if !slices.Equal(lengths, test.want) {
			t.Errorf("%s: got writes of %d bytes, want %d", test.sizes, lengths, test.want)
		}
		want := []byte(plainHead)
		for i, size := range strings.Split(test.sizes, ",") {
			var n int
			if _, err := fmt.Sscan(size, &n); err == nil {
				want = append(want, bytes.Repeat([]byte{byte(i)}, n)...)
			}
		}
		if out := strings.Join(got.out, ""); out != string(want) {
			t.Errorf("%s: the body of %d bytes has others than were written", test.sizes, len(out)-len(plainHead))
		}
	}
}

// zeros is an input without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// A body that is larger than the memory passes.
func TestStreamLarge(t *testing.T) {
	t.Parallel()
	f := function(t, "stream-rust", engine.Grants{})
	const size = 100 << 20
	in := io.MultiReader(strings.NewReader(streamRequest("/count")), io.LimitReader(zeros{}, size))
	var stdout, stderr bytes.Buffer
	if _, err := f.Run(context.Background(), in, &stdout, &stderr); err != nil || stdout.String() != plainHead+fmt.Sprint(size) {
		t.Errorf("got %q, %v, log %q", stdout.Bytes(), err, stderr.Bytes())
	}
}

// The contract json shows in what is read, and is answered by itself.
func TestStreamAsJSON(t *testing.T) {
	t.Parallel()
	f := function(t, "stream-rust", engine.Grants{})
	for _, test := range []struct{ name, stdin, body string }{
		{"a body", `{"path":"/lines","body":"a\nb"}`, "<a><b>"},
		{"bytes", `{"path":"/copy","body_base64":"AP8="}`, "\x00\xff"},
		{"no body", `{"path":"/copy"}`, ""},
		{"an empty body", `{"path":"/copy","body":""}`, ""},
		{"a body and a line end", `{"path":"/lines","body":"a\nb"}` + "\n \n", "<a><b>"},
	} {
		got := runStream(t, f, test.stdin)
		response, err := contract.DecodeResponse([]byte(strings.Join(got.out, "")))
		if err != nil || response.Status != 200 || string(response.Body) != test.body || got.exit != 0 {
			t.Errorf("%s: got %q, exit %d (%v), want %q", test.name, got.out, got.exit, err, test.body)
		}
	}
	if got := runStream(t, f, `{"path":"/after","body":""}`); len(got.out) > 0 || got.exit != 1 {
		t.Errorf("an error: got %q, exit %d", got.out, got.exit)
	}
}

// What is not a request is refused, in one line of the log.
func TestStreamRefuses(t *testing.T) {
	t.Parallel()
	f := function(t, "stream-rust", engine.Grants{})
	for _, stdin := range []string{
		"", "\n", "{", "{\n", "{\n}\n", "[]\n", "null\n", "{}{}\n", "{} x\n", "\ufeff{}\n", "\xff\n", "{\"a\":\"\xff\"}\n", `{"path":1}` + "\n", `{"path":"/copy","path":"/copy"}` + "\n",
		`{"path":"/copy","body":"","body":""}` + "\n", `{"path":"/copy","body":"a"}` + "\nmore", `{"path":"/copy","body":"a"}` + "\n\xff", `{"path":"/copy","body_base64":"A"}` + "\n",
	} {
		got := runStream(t, f, stdin)
		if len(got.out) > 0 || got.exit != 1 || !strings.HasPrefix(got.stderr, `{"level":"error","msg":"`) || strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%q: got %q, exit %d, log %q", stdin, got.out, got.exit, got.stderr)
		}
	}
}

// The example of streams in the README is a function too, and the one in the documentation.
func TestStreamReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.Join("rust", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "\n## Streams\n")
	_, rest, _ = strings.Cut(rest, "\n```rust\n")
	example, _, found := strings.Cut(rest, "```\n")
	if !found {
		t.Fatal("the README has no example")
	}
	documented, err := os.ReadFile(filepath.Join("rust", "src", "stream.rs"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ = strings.Cut(string(documented), "//! ```no_run\n")
	text, _, _ := strings.Cut(rest, "//! ```\n")
	var uncommented strings.Builder
	for line := range strings.Lines(text) {
		uncommented.WriteString(strings.TrimPrefix(strings.TrimPrefix(line, "//!"), " "))
	}
	if uncommented.String() != example {
		t.Errorf("the documentation has another:\n%s", uncommented.String())
	}
	dir := filepath.Join(t.TempDir(), "number")
	if err := toolchain.New("number", "rust", dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "src", "main.rs"), []byte(example), 0o600); err != nil {
		t.Fatal(err)
	}
	f := sandboxed(t, toolchaintest.Build(t, dir), engine.Grants{})
	got := runStream(t, f, streamRequest("/"), "a\nb\n", "c")
	want := `{"status":200,"headers":{"Content-Type":"text/plain; charset=utf-8"}}` + "\n1 a\n2 b\n3 c\n"
	if out := strings.Join(got.out, ""); out != want || got.exit != 0 || got.stderr != "" {
		t.Errorf("got %q, exit %d, log %q, want %q", out, got.exit, got.stderr, want)
	}
}
