package examples

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// shorteners are the folders of the shortener in compiled languages.
var shorteners = []string{"shortener", "shortener-rust", "shortener-zig", "shortener-c"}

// interpretedShorteners are those that an interpreter runs: where the variable says that it is.
var interpretedShorteners = []struct{ folder, variable, args string }{
	{"shortener-js", "GOJINN_TEST_QUICKJS", "quickjs /app/gojinn.js main.js"},
	{"shortener-python", "GOJINN_TEST_PYTHON", "python /app/gojinn.py main"},
	{"shortener-ruby", "GOJINN_TEST_RUBY", "ruby --disable=gems /app/gojinn.rb main.rb"},
}

// serveShorteners serves each version to requests that name it in the field Version. They share their
// links. A version whose interpreter isn't there is left out.
func serveShorteners(t *testing.T) (address string, versions []string) {
	t.Helper()
	directives := ""
	serve := func(name, module, options string) {
		directives += fmt.Sprintf("\t@%s header Version %[1]s\n\tgojinn @%[1]s %s {\n\t\ttimeout 1m\n\t\tallow kv links\n%s\t}\n", name, module, options)
		versions = append(versions, name)
	}
	for _, name := range shorteners {
		serve(name, module(t, name), "")
	}
	for _, s := range interpretedShorteners {
		if module := toolchaintest.FindInterpreter(t, s.variable); module != "" {
			dir, err := filepath.Abs(filepath.Join(examples, s.folder))
			if err != nil {
				t.Fatal(err)
			}
			serve(s.folder, module, fmt.Sprintf("\t\targs %s\n\t\tallow dir %s /app\n", s.args, dir))
		}
	}
	return serveSite(t, "\t\tstore default memory\n", directives), versions
}

// shortenerCall sends a request to one version and returns what it answers, the body decoded.
func shortenerCall(t *testing.T, address, version, method, path, body string) (*http.Response, map[string]any) {
	t.Helper()
	request, err := http.NewRequest(method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Version", version)
	client := &http.Client{
		Timeout:       time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var object map[string]any
	if len(text) > 0 {
		if err := json.Unmarshal(text, &object); err != nil || response.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%s %s: got %d %q as %q, want JSON", method, path, response.StatusCode, text, response.Header.Get("Content-Type"))
		}
	}
	return response, object
}

func TestShortener(t *testing.T) {
	address, versions := serveShorteners(t)
	const url = "https://example.com/a?b=c&d=%20#e"
	keys := map[string]bool{}
	for i, version := range versions {
		t.Run(version, func(t *testing.T) {
			call := func(method, path, body string) (*http.Response, map[string]any) {
				return shortenerCall(t, address, version, method, path, body)
			}
			made, object := call("POST", "/shorten", `{"later":[1],"url":"`+url+`"}`)
			key, _ := object["key"].(string)
			if want := map[string]any{"key": key, "short": "http://" + address + "/s/" + key}; made.StatusCode != 201 || len(key) != 8 || keys[key] || !reflect.DeepEqual(object, want) {
				t.Fatalf("got %d %v, want 201 with a new key", made.StatusCode, object)
			}
			keys[key] = true

			other := versions[(i+1)%len(versions)]
			for n, by := range []string{version, other, version} {
				found, _ := shortenerCall(t, address, by, "GET", "/s/"+key, "")
				if found.StatusCode != 302 || found.Header.Get("Location") != url {
					t.Errorf("%s: got %d to %q, want 302 to %q", by, found.StatusCode, found.Header.Get("Location"), url)
				}
				if found, _ := call("HEAD", "/s/"+key, ""); found.StatusCode != 302 {
					t.Errorf("HEAD: got %d, want 302", found.StatusCode)
				}
				if got, object := call("GET", "/s/"+key+"/hits", ""); got.StatusCode != 200 || object["hits"] != float64(n+1) {
					t.Errorf("got %d %v, want %d hits", got.StatusCode, object, n+1)
				}
			}
		})
	}
}

func TestShortenerRefuses(t *testing.T) {
	address, versions := serveShorteners(t)
	long := "http://" + strings.Repeat("a", 1993)
	const (
		notJSON = "the body must be a JSON object with a url"
		notURL  = "url must be an http or https URL of at most 2000 characters"
		noLink  = "no such link"
		method  = "method not allowed"
	)
	tests := []struct {
		method, path, body string
		status             int
		message            string
	}{
		{"POST", "/shorten", "", 400, notJSON},
		{"POST", "/shorten", "{", 400, notJSON},
		{"POST", "/shorten", "[]", 400, notJSON},
		{"POST", "/shorten", `{"url":1}`, 400, notJSON},
		{"POST", "/shorten", "{\"url\":\"http://\xff\"}", 400, notJSON},
		{"POST", "/shorten", `{}`, 422, notURL},
		{"POST", "/shorten", `{"url":""}`, 422, notURL},
		{"POST", "/shorten", `{"url":"https://"}`, 422, notURL},
		{"POST", "/shorten", `{"url":"example.com"}`, 422, notURL},
		{"POST", "/shorten", `{"url":"javascript:alert(1)"}`, 422, notURL},
		{"POST", "/shorten", `{"url":"http://a\r\nSet-Cookie: b"}`, 422, notURL},
		{"POST", "/shorten", `{"url":"http://a b"}`, 422, notURL},
		{"POST", "/shorten", `{"url":"http://a\u0000"}`, 422, notURL},
		{"POST", "/shorten", `{"url":"http://é"}`, 422, notURL},
		{"POST", "/shorten", `{"url":"` + long + `"}`, 201, ""},
		{"POST", "/shorten", `{"url":"` + long + `a"}`, 422, notURL},
		{"POST", "/shorten", `{"url":"` + long + `a","url":"http://a"}`, 201, ""},
		{"GET", "/shorten", "", 405, method},
		{"POST", "/s/abcdefgh", "", 405, method},
		{"DELETE", "/s/abcdefgh", "", 405, method},
		{"GET", "/s/abcdefgh", "", 404, noLink},
		{"GET", "/s/abcdefgh/hits", "", 404, noLink},
		{"GET", "/s/abcdefg", "", 404, noLink},
		{"GET", "/s/", "", 404, noLink},
		{"GET", "/s/hits", "", 404, noLink},
		{"GET", "/s//hits", "", 404, noLink},
		{"GET", "/s/abcdefgh/hits/", "", 404, noLink},
		{"GET", "/s/hits%2Fabc", "", 404, noLink},
		{"GET", "/s/abc%00defg", "", 404, noLink},
		{"GET", "/", "", 404, noLink},
		{"GET", "/shorten/", "", 404, noLink},
	}
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			for _, test := range tests {
				got, object := shortenerCall(t, address, version, test.method, test.path, test.body)
				message, _ := object["error"].(string)
				if got.StatusCode != test.status || message != test.message {
					t.Errorf("%s %s %.60q: got %d %v, want %d %s", test.method, test.path, test.body, got.StatusCode, object, test.status, test.message)
				}
			}
		})
	}
}
