// Package guest tests the modules for functions in Rust, Zig and C: each does the same.
package guest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

var languages = []string{"rust", "zig", "c"}

// each runs a test with a program in every language.
func each(t *testing.T, program string, test func(t *testing.T, p *toolchaintest.Program)) {
	t.Helper()
	t.Parallel()
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			test(t, toolchaintest.Compile(t, toolchaintest.Build(t, filepath.Join("testdata", program+"-"+language))))
		})
	}
}

// run has a program answer, which must not fail.
func run(t *testing.T, p *toolchaintest.Program, what string, stdin []byte) []byte {
	t.Helper()
	result := p.Run(toolchaintest.Call{Args: []string{what}, Stdin: stdin})
	if result.Exit != 0 || result.Err != nil || len(result.Stderr) > 0 {
		t.Fatalf("got exit %d, %v, stderr %q", result.Exit, result.Err, result.Stderr)
	}
	return result.Stdout
}

// answer has a program answer with 200 and returns the body.
func answer(t *testing.T, p *toolchaintest.Program, what string, stdin []byte) string {
	t.Helper()
	out := run(t, p, what, stdin)
	response, err := contract.DecodeResponse(out)
	if err != nil || response.Status != 200 {
		t.Fatalf("got %q, %v, want 200", out, err)
	}
	return string(response.Body)
}

// raw is a byte string in a vector: a JSON string, or {"base64": "…"}.
type raw string

func (b *raw) UnmarshalJSON(text []byte) error {
	if text[0] == '"' {
		return json.Unmarshal(text, (*string)(b))
	}
	var v struct{ Base64 []byte }
	err := json.Unmarshal(text, &v)
	*b = raw(v.Base64)
	return err
}

// vectors reads the contract's vectors in a folder.
func vectors[V any](t *testing.T, folder string) (all []V) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("..", "contract", "testdata", "vectors", folder, "*.json"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no vectors for %s (%v)", folder, err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var some []V
		if err := json.Unmarshal(text, &some); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, some...)
	}
	return all
}

type requestVector struct {
	Name    string
	Request struct{ Body raw }
	Stdin   string
}

// members is a request as a guest has seen it, or as encoding/json does.
type members struct {
	Texts                  map[string]string
	Headers, Query, Params map[string][]string
}

func wantedMembers(t *testing.T, stdin string) members {
	t.Helper()
	var request map[string]json.RawMessage
	want := members{map[string]string{}, map[string][]string{}, map[string][]string{}, map[string][]string{}}
	if err := json.Unmarshal([]byte(stdin), &request); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"id", "method", "uri", "original_uri", "scheme", "host", "proto", "path", "route", "remote_addr", "traceparent"} {
		want.Texts[name] = ""
		if text, ok := request[name]; ok {
			var value string
			if err := json.Unmarshal(text, &value); err != nil {
				t.Fatal(err)
			}
			want.Texts[name] = value
		}
	}
	var params map[string]string
	for name, to := range map[string]any{"headers": &want.Headers, "query": &want.Query, "params": &params} {
		if text, ok := request[name]; ok {
			if err := json.Unmarshal(text, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, value := range params {
		want.Params[name] = []string{value}
	}
	// A list of no values is nothing a guest can see.
	maps.DeleteFunc(want.Headers, func(_ string, values []string) bool { return len(values) == 0 })
	return want
}

func seenMembers(t *testing.T, body string) members {
	t.Helper()
	got := members{nil, map[string][]string{}, map[string][]string{}, map[string][]string{}}
	d := json.NewDecoder(strings.NewReader(body))
	if err := d.Decode(&got.Texts); err != nil {
		t.Fatalf("%q: %v", body, err)
	}
	for {
		var pair struct{ Member, Name, Value string }
		err := d.Decode(&pair)
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		in := map[string]map[string][]string{"headers": got.Headers, "query": got.Query, "params": got.Params}[pair.Member]
		in[pair.Name] = append(in[pair.Name], pair.Value)
	}
}

// echoed is the body in what a guest wrote, whatever else there is.
func echoed(out []byte) (string, error) {
	var response struct {
		Body   *string `json:"body"`
		Base64 *[]byte `json:"body_base64"`
	}
	err := json.Unmarshal(out, &response)
	switch {
	case err != nil:
		return "", err
	case (response.Body == nil) == (response.Base64 == nil):
		return "", errors.New("not either body or body_base64")
	case response.Body != nil:
		return *response.Body, nil
	default:
		return string(*response.Base64), nil
	}
}

// Every request of the contract's vectors is understood, its body byte for byte.
func TestRequestVectors(t *testing.T) {
	all := vectors[requestVector](t, "requests")
	each(t, "vectors", func(t *testing.T, p *toolchaintest.Program) {
		for _, v := range all {
			if got, want := seenMembers(t, answer(t, p, "members", []byte(v.Stdin))), wantedMembers(t, v.Stdin); !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %q\nwant %q", v.Name, got, want)
			}
			out := run(t, p, "respond", []byte(v.Stdin))
			if got, err := echoed(out); got != string(v.Request.Body) || err != nil {
				t.Errorf("%s: the body comes back in %q (%v), want %q", v.Name, out, err, v.Request.Body)
			}
		}
	})
}

type responseVector struct {
	Name   string
	Stdout raw
	Error  any
}

// respond is the request that has a program give a response.
func respond(status int, header http.Header, body []byte) []byte {
	query := url.Values{"status": {strconv.Itoa(status)}}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, value := range header[name] {
			query.Add("field", name+":"+value)
		}
	}
	r := &http.Request{Method: "POST", Proto: "HTTP/1.1", URL: &url.URL{RawQuery: query.Encode()}, Header: http.Header{}}
	return contract.AppendRequest(nil, r, contract.Meta{}, body)
}

// What a program writes for the status, fields and body of a vector means the same as
// what the vector shows.
func TestResponseVectors(t *testing.T) {
	all := vectors[responseVector](t, "responses")
	each(t, "vectors", func(t *testing.T, p *toolchaintest.Program) {
		for _, v := range all {
			if v.Error != nil {
				continue
			}
			want, err := contract.DecodeResponse([]byte(v.Stdout))
			if err != nil {
				t.Fatal(err)
			}
			out := run(t, p, "respond", respond(want.Status, want.Header, want.Body))
			got, err := contract.DecodeResponse(out)
			if err != nil || got.Status != want.Status || !reflect.DeepEqual(got.Header, want.Header) || !bytes.Equal(got.Body, want.Body) {
				t.Errorf("%s: got %q, %v, want %+v", v.Name, out, err, want)
			}
		}
	})
}

// The values of one field become one member, wherever they were given and in whatever capitals.
func TestResponseFields(t *testing.T) {
	header := http.Header{"A": {"1"}, "SET-COOKIE": {"a"}, "Set-Cookie": {"b", "c"}, "set-cookie": {"d"}, "Vary": {""}}
	want := http.Header{"A": {"1"}, "Set-Cookie": {"a", "b", "c", "d"}, "Vary": {""}}
	each(t, "vectors", func(t *testing.T, p *toolchaintest.Program) {
		out := run(t, p, "respond", respond(204, header, nil))
		got, err := contract.DecodeResponse(out)
		if err != nil || !reflect.DeepEqual(got.Header, want) {
			t.Errorf("got %q, %v, want %v", out, err, want)
		}
	})
}

func TestLookups(t *testing.T) {
	tests := []struct{ name, stdin, header, query, param string }{
		{"nothing", `{}`, "none", "none", "none"},
		{"others", `{"headers":{"X-On":["a"]},"query":{"ONE":["a"]},"params":{"on":"a"}}`, "none", "none", "none"},
		{"the first", `{"headers":{"X-One":["a","b"]},"query":{"one":["c","d"]},"params":{"one":"e"}}`, "a", "c", "e"},
		{"empty", `{"headers":{"X-One":[""]},"query":{"one":[""]},"params":{"one":""}}`, "", "", ""},
		{"an empty list", `{"headers":{"X-One":[]},"query":{"one":[]}}`, "none", "none", "none"},
		{"members that nobody knows yet", `{"a":[1,{"b":null,"c":[]}],"query":{"one":["c"]},"z":-1.5e3,"Query":{},"a":true}`, "none", "c", "none"},
		{"white space", " \t\r\n{ \"query\" : { \"one\" : [ \"c\" ] } } \n", "none", "c", "none"},
	}
	each(t, "vectors", func(t *testing.T, p *toolchaintest.Program) {
		for _, test := range tests {
			var got struct{ Header, Query, Param string }
			if err := json.Unmarshal([]byte(answer(t, p, "lookups", []byte(test.stdin))), &got); err != nil {
				t.Fatal(err)
			}
			if got.Header != test.header || got.Query != test.query || got.Param != test.param {
				t.Errorf("%s: got %q, want %q, %q, %q", test.name, got, test.header, test.query, test.param)
			}
		}
	})
}

// What is not a request of the contract is refused: exit code 1, nothing on stdout, one
// line in the log.
func TestRefuses(t *testing.T) {
	requests := []string{
		"", " ", "{", `{"method":"POST"`, `{"method":"POST",}`, "[]", "null", "1", `"POST"`, "{}{}", "{} x", "\ufeff{}", "{}\x00",
		"{\"method\":\"\xff\"}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xc0\x80\"}", "{\"a\":\"\xf4\x90\x80\x80\"}",
		"{\"a\":\"\xe2\x82\xc0\"}", "{\"a\":\"\xe2\x82\x7f\"}", "{\"a\":\"\xf0\x9f\x98\xc0\"}", "{\"a\":\"\xe0\x9f\x80\"}", "{\"a\":\"\xf0\x8f\x80\x80\"}", "{\"a\":\"\xf5\x80\x80\x80\"}", "{\"a\":\"\x80\"}", "{\"a\":\"\xc3",
		`{"method":1}`, `{"method":null}`, `{"body":null}`, `{"body":["a"]}`, `{"body_base64":1}`,
		`{"headers":[]}`, `{"headers":null}`, `{"headers":{"A":1}}`, `{"headers":{"A":"1"}}`, `{"query":{"a":"1"}}`, `{"params":{"a":["b"]}}`, `{"headers":{"A":[1]}}`, `{"headers":{"A":["1",]}}`, `{"query":{"a":[["b"]]}}`, `{"params":{"a":null}}`,
		`{"method":"A","method":"A"}`, `{"body":"","body":""}`, `{"body":"","body_base64":""}`, `{"body_base64":"","body":""}`, `{"query":{},"query":{}}`,
		`{"body":"\ud800"}`, `{"body":"\udc00"}`, `{"body":"\ud800\ud800"}`, `{"body":"\ud800\n"}`, `{"body":"\ud800x"}`, `{"\ud800":1}`, `{"headers":{"A":["\udfff"]}}`,
		`{"body":"\u12"}`, `{"body":"\u12g4"}`, `{"body":"\u+123"}`, `{"body":"\x41"}`, `{"body":"\"}`, "{\"body\":\"\n\"}", "{\"body\":\"\x00\"}",
		`{"a":01}`, `{"a":1.}`, `{"a":.5}`, `{"a":+1}`, `{"a":1e}`, `{"a":-}`, `{"a":tru}`, `{"a":nul}`, `{"a":True}`, `{"a":NaN}`, `{"a":'b'}`, `{a:1}`, `{"a" 1}`, `{"a":1 "b":2}`, `{,}`, `{"a":[1,]}`, `{"a":[}]}`,
		`{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, `{"a":` + strings.Repeat("[", 1_000_000),
		`{"body_base64":"!AAA"}`, `{"body_base64":"AAA"}`, `{"body_base64":"AA"}`, `{"body_base64":"===="}`, `{"body_base64":"AA==AAAA"}`, `{"body_base64":"AA=A"}`, `{"body_base64":"A==="}`,
		`{"body_base64":"AB=="}`, `{"body_base64":"AAB="}`, `{"body_base64":"AA-_"}`, `{"body_base64":"AAAA\n"}`, `{"body_base64":"AAA "}`,
	}
	each(t, "vectors", func(t *testing.T, p *toolchaintest.Program) {
		for _, request := range requests {
			result := p.Run(toolchaintest.Call{Args: []string{"members"}, Stdin: []byte(request)})
			var line struct{ Level, Msg string }
			err := json.Unmarshal(result.Stderr, &line)
			if result.Exit != 1 || result.Err != nil || len(result.Stdout) > 0 || err != nil || line.Level != "error" || line.Msg == "" {
				t.Errorf("%.100q: got exit %d, %v, stdout %.100q, stderr %q", request, result.Exit, result.Err, result.Stdout, result.Stderr)
			}
		}
	})
}

// A handler that fails answers nothing.
func TestHandlerFails(t *testing.T) {
	each(t, "vectors", func(t *testing.T, p *toolchaintest.Program) {
		result := p.Run(toolchaintest.Call{Stdin: []byte(`{}`)})
		if result.Exit != 1 || len(result.Stdout) > 0 || !bytes.HasPrefix(result.Stderr, []byte(`{"level":"error","msg":"`)) {
			t.Errorf("got exit %d, stdout %q, stderr %q", result.Exit, result.Stdout, result.Stderr)
		}
	})
}

func TestScalars(t *testing.T) {
	tests := []struct{ what, json, want string }{
		{"integer", "0", "0"}, {"integer", "-0", "0"}, {"integer", " 42 ", "42"}, {"integer", "-7", "-7"},
		{"integer", "9223372036854775807", "9223372036854775807"}, {"integer", "9223372036854775808", "bad"},
		{"integer", "-9223372036854775808", "-9223372036854775808"}, {"integer", "-9223372036854775809", "bad"},
		{"integer", "92233720368547758070", "bad"}, {"integer", strings.Repeat("9", 1000), "bad"},
		{"integer", "1.0", "bad"}, {"integer", "1e2", "bad"}, {"integer", "01", "bad"}, {"integer", "+1", "bad"}, {"integer", "-", "bad"}, {"integer", "", "bad"},
		{"integer", `"1"`, "bad"}, {"integer", "null", "bad"}, {"integer", "1_0", "bad"}, {"integer", "0x1", "bad"}, {"integer", "1 2", "bad"},
		{"boolean", "true", "true"}, {"boolean", " false\n", "false"}, {"boolean", "tru", "bad"}, {"boolean", "truely", "bad"}, {"boolean", "null", "bad"}, {"boolean", "1", "bad"}, {"boolean", `"true"`, "bad"}, {"boolean", "", "bad"},
	}
	each(t, "vectors", func(t *testing.T, p *toolchaintest.Program) {
		for _, test := range tests {
			stdin := fmt.Appendf(nil, `{"body_base64":%q}`, base64.StdEncoding.EncodeToString([]byte(test.json)))
			if got := answer(t, p, test.what, stdin); got != test.want {
				t.Errorf("%s %q: got %s, want %s", test.what, test.json, got, test.want)
			}
		}
	})
}
