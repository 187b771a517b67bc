package examples

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// The Caddyfiles of the examples serve them.
func TestCaddyfiles(t *testing.T) {
	interpreters := map[string]struct{ module, variable string }{
		"js": {"quickjs.wasm", "GOJINN_TEST_QUICKJS"}, "python": {"python.wasm", "GOJINN_TEST_PYTHON"},
	}
	t.Setenv("DATABASE_URL", "postgres://postgres:secret@localhost:1/postgres?sslmode=disable")
	for _, test := range []struct {
		name, method, path, body string
		status                   int
	}{
		{"shortener", http.MethodPost, "/shorten", `{"url":"https://example.com/"}`, 201},
		{"session", http.MethodPost, "/session", "", 200},
		{"weather", http.MethodGet, "/weather", "", 400},
		{"guestbook", http.MethodGet, "/guestbook", "", 503},
		{"shortener-js", http.MethodPost, "/shorten", `{"url":"https://example.com/"}`, 201},
		{"weather-js", http.MethodGet, "/weather", "", 400},
		{"shortener-python", http.MethodPost, "/shorten", `{"url":"https://example.com/"}`, 201},
		{"weather-python", http.MethodGet, "/weather", "", 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(examples, test.name, "Caddyfile"))
			if err != nil {
				t.Fatal(err)
			}
			_, directives, ok := strings.Cut(string(text), "http://localhost:8080 {\n")
			if !ok {
				t.Fatal("it serves something else than http://localhost:8080")
			}
			if interpreted, ok := interpreters[test.name[strings.LastIndex(test.name, "-")+1:]]; ok {
				wasm := toolchaintest.FindInterpreter(t, interpreted.variable)
				if wasm == "" {
					t.Skip("there is no interpreter")
				}
				dir, err := filepath.Abs(filepath.Join(examples, test.name))
				if err != nil {
					t.Fatal(err)
				}
				directives = strings.NewReplacer(" "+interpreted.module, " "+wasm, " dir . ", " dir "+dir+" ").Replace(directives)
			} else {
				directives = strings.Replace(directives, " "+test.name+".wasm", " "+module(t, test.name), 1)
			}
			address := serveSite(t, "", strings.TrimSuffix(directives, "}\n"))
			if status, body := ask(t, test.method, "http://"+address+test.path, test.body); status != test.status {
				t.Errorf("got %d %s, want %d", status, body, test.status)
			}
		})
	}
}
