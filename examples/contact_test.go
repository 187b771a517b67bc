package examples

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// contacts are the folders of the contact function in all its languages.
var contacts = []string{"contact", "contact-rust", "contact-zig", "contact-c"}

// contactCase is one request and what every version of contact answers.
type contactCase struct {
	Name     string
	Request  json.RawMessage
	Response struct {
		Status  int
		Headers map[string]string
		Body    any
	}
}

func contactCases(tb testing.TB) []contactCase {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("contact", "testdata", "cases.json"))
	if err != nil {
		tb.Fatal(err)
	}
	var cases []contactCase
	if err := json.Unmarshal(text, &cases); err != nil {
		tb.Fatal(err)
	}
	return append(cases, longCases(tb)...)
}

// longCases returns cases that are too long to be read.
func longCases(tb testing.TB) []contactCase {
	tb.Helper()
	const (
		id          = "4f1c2d3e"
		tooLong     = "must be at most 5000 characters"
		invalidJSON = "body is not valid JSON"
	)
	form := func(message string) string {
		return `{"email":"a@b.c","message":"` + message + `"}`
	}
	accepted := func(message string) any {
		return map[string]any{"id": id, "email": "a@b.c", "message": message}
	}
	nested := func(open, close string, depth int) string {
		return `{"message":"hi","email":"a@b.c","x":` + strings.Repeat(open, depth) + "1" + strings.Repeat(close, depth) + "}"
	}
	refused := func(message string) any { return map[string]any{"error": message} }
	invalid := func(message string) any {
		return map[string]any{"errors": map[string]any{"message": message}}
	}
	var cases []contactCase
	for _, c := range []struct {
		name, body string
		status     int
		want       any
	}{
		{"message of 5000 characters", form(strings.Repeat("é", 5000)), 201, accepted(strings.Repeat("é", 5000))},
		{"message of 5001 characters", form(strings.Repeat("é", 5001)), 422, invalid(tooLong)},
		{"message of 5000 escapes", form(strings.Repeat(`\ud83d\ude00`, 5000)), 201, accepted(strings.Repeat("😀", 5000))},
		{"message of 5001 control characters", form(strings.Repeat(`\u0001`, 5001)), 422, invalid(tooLong)},
		{"message trimmed to 5000 characters", form(strings.Repeat(" ", 100_000) + strings.Repeat("x", 5000) + `\n`), 201, accepted(strings.Repeat("x", 5000))},
		{"message of a megabyte", form(strings.Repeat("x", 1<<20)), 422, invalid(tooLong)},
		{"many members", "{" + strings.Repeat(`"a":1,`, 100_000) + form("hi")[1:], 201, accepted("hi")},
		{"arrays as deep as can be", nested("[", "]", 9999), 201, accepted("hi")},
		{"objects as deep as can be", nested(`{"a":`, "}", 9999), 201, accepted("hi")},
		{"both as deep as can be", nested(`[{"a":`, "}]", 4999), 201, accepted("hi")},
		{"arrays too deep", nested("[", "]", 10_000), 400, refused(invalidJSON)},
		{"objects too deep", nested(`{"a":`, "}", 10_000), 400, refused(invalidJSON)},
		{"a million open arrays", strings.Repeat("[", 1_000_000), 400, refused(invalidJSON)},
		{"a million open objects", strings.Repeat(`{"a":`, 1_000_000), 400, refused(invalidJSON)},
		{"arrays as deep as can be, nothing else", strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000), 400, refused("body must be a JSON object")},
		{"closed too often", strings.Repeat("[", 10_000) + strings.Repeat("]", 10_001), 400, refused(invalidJSON)},
		{"closed by the other", strings.Repeat("[", 9_999) + "}" + strings.Repeat("]", 9_998), 400, refused(invalidJSON)},
		{"a long number", "[" + strings.Repeat("1", 1<<20) + "]", 400, refused("body must be a JSON object")},
	} {
		request, err := json.Marshal(map[string]any{
			"id": id, "method": "POST", "headers": map[string]any{"Content-Type": []string{"application/json"}}, "body": c.body,
		})
		if err != nil {
			tb.Fatal(err)
		}
		added := contactCase{Name: c.name, Request: request}
		added.Response.Status, added.Response.Body = c.status, c.want
		added.Response.Headers = map[string]string{"Content-Type": "application/json"}
		cases = append(cases, added)
	}
	return cases
}

// checkContact checks the answer to one request.
func checkContact(t *testing.T, program program, c contactCase) {
	t.Helper()
	t.Run(c.Name, func(t *testing.T) {
		got := call(t, program, toolchaintest.Call{Stdin: c.Request})
		want := c.Response
		if got.Status != want.Status || !reflect.DeepEqual(got.Headers, want.Headers) || !reflect.DeepEqual(got.json(t), want.Body) {
			t.Errorf("got %d %v %.500s\nwant %d %v %.500v", got.Status, got.Headers, got.Body, want.Status, want.Headers, fmt.Sprint(want.Body))
		}
	})
}

func TestContact(t *testing.T) {
	t.Parallel()
	cases := contactCases(t)
	for _, dir := range contacts {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			program := compile(t, dir)
			for _, c := range cases {
				checkContact(t, program, c)
			}
		})
	}
}

// With an argument, contact keeps what it accepts, once for each request id.
func TestContactKeeps(t *testing.T) {
	t.Parallel()
	const body = `"headers":{"Content-Type":["application/json"]},"body":"{\"email\":\"a@b.c\",\"message\":\"hi \\u00e9\"}"}`
	for _, dir := range contacts {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			program := compile(t, dir)
			tests := []struct {
				name, id string
				before   string // content of the message's file, "" for none
				granted  bool
				status   int
			}{
				{"new", "4f1c2d3e-0000-4000-8000-000000000001", "", true, 201},
				{"long id", strings.Repeat("a", 64), "", true, 201},
				{"already there", "4f1c2d3e", "theirs", true, 500},
				{"not granted", "4f1c2d3e", "", false, 500},
				{"no id", "", "", true, 500},
				{"id too long", strings.Repeat("a", 65), "", true, 500},
				{"id is a path", "../a", "", true, 500},
				{"id is a folder", "..", "", true, 500},
				{"id with NUL", `a\u0000`, "", true, 500},
			}
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) {
					inbox := filepath.Join(t.TempDir(), "inbox")
					if err := os.Mkdir(inbox, 0o700); err != nil {
						t.Fatal(err)
					}
					file := filepath.Join(inbox, test.id+".json")
					if test.before != "" {
						if err := os.WriteFile(file, []byte(test.before), 0o600); err != nil {
							t.Fatal(err)
						}
					}
					c := toolchaintest.Call{Args: []string{"/in/box"}, Stdin: []byte(`{"id":"` + test.id + `","method":"POST",` + body)}
					if test.granted {
						c.Mount = map[string]string{"/in/box": inbox}
					}
					got := call(t, program, c)
					if got.Status != test.status {
						t.Fatalf("got %d %s, want %d", got.Status, got.Body, test.status)
					}
					kept, err := os.ReadFile(file)
					switch {
					case test.status == 201 && (err != nil || string(kept) != got.Body):
						t.Errorf("kept %q, %v, want %q", kept, err, got.Body)
					case test.before != "" && string(kept) != test.before:
						t.Errorf("kept %q, want the file as it was", kept)
					case test.status == 500 && !reflect.DeepEqual(got.json(t), map[string]any{"error": "the message could not be kept"}):
						t.Errorf("got %s", got.Body)
					}
					if test.status == 500 && test.before == "" {
						checkEmpty(t, inbox)
						checkEmpty(t, filepath.Dir(inbox), "inbox")
					}
				})
			}
		})
	}
}

// checkEmpty fails when dir holds anything but what is expected.
func checkEmpty(t *testing.T, dir string, expected ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(expected) {
		t.Errorf("%s: got %v, %v, want %v", dir, entries, err, expected)
	}
}

// What the contract does not allow is the server's fault, not the client's: no
// answer, exit code 1 and a line in the log.
func TestContactRefusesBrokenRequests(t *testing.T) {
	t.Parallel()
	requests := map[string]string{
		"empty": "", "blank": " ", "cut": `{"method":"POST"`, "array": "[]", "null": "null", "string": `"POST"`, "two": "{}{}",
		"not UTF-8": "{\"method\":\"\xff\"}", "method is a number": `{"method":1}`, "headers are a list": `{"headers":[]}`,
		"header is a string": `{"headers":{"Content-Type":"text/plain"}}`, "header is a list of numbers": `{"headers":{"Content-Type":[1]}}`,
		"base64 with a strange letter": `{"body_base64":"!AAA"}`, "base64 cut": `{"body_base64":"AAA"}`, "base64 of padding": `{"body_base64":"===="}`,
		"base64 with padding inside": `{"body_base64":"AA==AAAA"}`, "base64 with padding before a letter": `{"body_base64":"AA=A"}`, "base64 of one letter": `{"body_base64":"A==="}`,
	}
	for _, dir := range contacts {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			program := compile(t, dir)
			for name, request := range requests {
				t.Run(name, func(t *testing.T) {
					result := program.Run(toolchaintest.Call{Stdin: []byte(request)})
					if result.Exit != 1 || result.Err != nil || len(result.Stdout) > 0 {
						t.Errorf("got exit %d, %v, stdout %q, want exit 1 and nothing", result.Exit, result.Err, result.Stdout)
					}
					var line struct{ Level, Msg string }
					if err := json.Unmarshal(result.Stderr, &line); err != nil || !strings.EqualFold(line.Level, "error") || line.Msg == "" {
						t.Errorf("log: got %q, %v, want one line of JSON with level and msg", result.Stderr, err)
					}
				})
			}
		})
	}
}

// The versions never differ, whatever the body is. While fuzzing, the Go version
// stays out, since compiling it takes the instrumented compiler minutes.
func FuzzContact(f *testing.F) {
	for _, c := range contactCases(f) {
		var request struct {
			Headers map[string][]string
			Body    string
		}
		if err := json.Unmarshal(c.Request, &request); err != nil {
			f.Fatal(err)
		}
		if len(request.Body) < 1000 && c.Response.Status != 405 && c.Response.Status != 415 {
			f.Add([]byte(request.Body), len(request.Headers["Content-Type"]) > 0 && strings.Contains(request.Headers["Content-Type"][0], "form"))
		}
	}
	compared := contacts[1:]
	if fuzzing := flag.Lookup("test.fuzz"); fuzzing == nil || fuzzing.Value.String() == "" {
		compared = contacts
	}
	var programs []program
	for _, dir := range compared {
		programs = append(programs, compile(f, dir))
	}
	f.Fuzz(func(t *testing.T, body []byte, form bool) {
		mediaType := "application/json"
		if form {
			mediaType = "application/x-www-form-urlencoded"
		}
		stdin := fmt.Appendf(nil, `{"id":"1","method":"POST","headers":{"Content-Type":["%s"]},"body_base64":"%s"}`, mediaType, base64.StdEncoding.EncodeToString(body))
		want := call(t, programs[0], toolchaintest.Call{Stdin: stdin})
		if valid := utf8.Valid(body) && json.Valid(body) && json.Unmarshal(body, &map[string]any{}) == nil && string(bytes.TrimSpace(body)) != "null"; !form && valid == (want.Status == 400) {
			t.Errorf("%s: got %d %s, but valid is %v", compared[0], want.Status, want.Body, valid)
		}
		for i, program := range programs[1:] {
			got := call(t, program, toolchaintest.Call{Stdin: stdin})
			if got.Status != want.Status || !reflect.DeepEqual(got.json(t), want.json(t)) {
				t.Errorf("%s: got %d %s, want as %s's %d %s", compared[i+1], got.Status, got.Body, compared[0], want.Status, want.Body)
			}
		}
	})
}
