// Package examples tests the example functions on a running server. It is apart
// from the tests of the functions themselves, which need nothing of Caddy.
package examples

import (
	"bytes"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	"github.com/gojinn/gojinn/internal/toolchain"
)

// The requests that the README shows get the answers it promises, from a server
// that serves each function at its name.
func TestReadme(t *testing.T) {
	address := serve(t)
	readme, err := os.ReadFile(filepath.Join(examples, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		path   string
		status int
		body   string // part of it
	}{
		{"/contact", 201, `"email":"a@b.c","message":"hi"}`},
		{"/contact-rust", 201, `"email":"a@b.c","name":"Ada","message":"Hello & goodbye"}`},
		{"/contact-c", 422, `{"errors":{"email":"must be an email address","message":"is required"}}`},
		{"/thumbnail", 200, "\xff\xd8\xff"},
		{"/markdown", 200, "<h1>Hello, <em>world</em></h1>\n"},
	}
	for line := range strings.Lines(string(readme)) {
		line, ok := strings.CutPrefix(line, "    curl ")
		if !ok {
			continue
		}
		if len(want) == 0 {
			t.Fatalf("no answer is known for curl %s", line)
		}
		request := curl(t, address, line)
		status, body := send(t, request)
		if request.URL.Path != want[0].path || status != want[0].status || !strings.Contains(body, want[0].body) {
			t.Errorf("curl %sgot %d %.300q, want %s: %d with %q", line, status, body, want[0].path, want[0].status, want[0].body)
		}
		want = want[1:]
	}
	if len(want) > 0 {
		t.Errorf("the README shows no request for %s", want[0].path)
	}

	for _, name := range []string{"contact", "contact-rust", "contact-zig", "contact-c"} {
		status, body := send(t, curl(t, address, `--json '{"email":"a@b.c","message":"hi"}' localhost:8080/`+name))
		if status != 201 || !strings.Contains(body, `"email":"a@b.c"`) {
			t.Errorf("%s: got %d %q, want 201", name, status, body)
		}
	}
}

// serve runs Caddy with every example at its name until the test ends.
func serve(t *testing.T) (address string) {
	t.Helper()
	functions, err := toolchain.Find(examples)
	if err != nil {
		t.Fatal(err)
	}
	routes := ""
	for _, f := range functions {
		if f.Language.Interpreter() != nil {
			continue // it needs a module of somebody else's
		}
		routes += fmt.Sprintf("\tgojinn /%s %s {\n\t\ttimeout 1m\n\t}\n", f.Name, module(t, f.Name))
	}
	return serveSite(t, "", routes)
}

func send(t *testing.T, request *http.Request) (status int, body string) {
	t.Helper()
	client := http.Client{Timeout: time.Minute}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// curl makes the request that curl with these arguments would send, to another
// address. It knows what the README uses of curl and the shell.
func curl(t *testing.T, address, line string) *http.Request {
	t.Helper()
	var target, contentType string
	var form []string
	var body []byte
	words := shellWords(line)
	for i := 0; i < len(words); i++ {
		word := words[i]
		if !strings.HasPrefix(word, "-") {
			target = word
			continue
		}
		i++
		switch value := words[i]; word {
		case "--json":
			body, contentType = []byte(value), "application/json"
		case "-d":
			form = append(form, value)
		case "--data-urlencode":
			name, text, _ := strings.Cut(value, "=")
			form = append(form, name+"="+url.QueryEscape(text))
		case "-H":
			contentType = strings.TrimPrefix(value, "Content-Type: ")
		case "--data-binary":
			body = []byte(value)
			if value == "@photo.jpg" {
				var photo bytes.Buffer
				if err := jpeg.Encode(&photo, image.NewGray(image.Rect(0, 0, 400, 300)), nil); err != nil {
					t.Fatal(err)
				}
				body = photo.Bytes()
			}
		case "-o":
		default:
			t.Fatalf("curl %s: the test doesn't know %s", line, word)
		}
	}
	if form != nil {
		body, contentType = []byte(strings.Join(form, "&")), "application/x-www-form-urlencoded"
	}
	target = strings.Replace(target, "localhost:8080", "http://"+address, 1)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	return request
}

// shellWords splits a line at spaces outside single quotes.
func shellWords(line string) []string {
	quoted := false
	words := strings.FieldsFunc(line, func(c rune) bool {
		if c == '\'' {
			quoted = !quoted
		}
		return !quoted && (c == ' ' || c == '\n')
	})
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "'", "")
	}
	return words
}
