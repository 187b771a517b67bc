package placeholder

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestValue(t *testing.T) {
	t.Setenv("GOJINN_TEST_SECRET", "s3cret")
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("t0ken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, text string
		fixed      bool
		want       string // in the request below
		bare       string // in a call that no request caused, where it differs
	}{
		{"plain", "text", true, "text", ""},
		{"empty", "", true, "", ""},
		{"environment", "a {env.GOJINN_TEST_SECRET} b", true, "a s3cret b", ""},
		{"unset environment", "{env.GOJINN_TEST_UNSET}", true, "", ""},
		{"file", "{file." + file + "}", true, "t0ken", ""},
		{"JSON", `{"a": {"b": 1}}`, true, `{"a": {"b": 1}}`, ""},
		{"a word in braces", "{name}", false, "{name}", ""},
		{"request", "{http.request.method}", false, "GET", "{}"},
		{"both", "{env.GOJINN_TEST_SECRET}-{http.request.method}", false, "s3cret-GET", "s3cret-{}"},
		{"nothing in this request", "[{http.auth.user.id}]", false, "[]", ""},
		{"NUL from a client", "{http.request.nul}", false, "ab", "{}"},
		{"braces from a client", "{http.request.braces}", false, "{env.GOJINN_TEST_SECRET}", "{}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			value, err := Value(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if fixed := value.Resolve == nil; fixed != test.fixed {
				t.Fatalf("got fixed: %v, want %v", fixed, test.fixed)
			}
			if test.fixed {
				if value.Fixed != test.want {
					t.Errorf("got %q, want %q", value.Fixed, test.want)
				}
				return
			}
			request := caddy.NewEmptyReplacer()
			request.Set("http.request.method", "GET")
			request.Set("http.request.nul", "a\x00b")
			request.Set("http.request.braces", "{env.GOJINN_TEST_SECRET}")
			// What was known when the configuration was loaded stays.
			request.Set("env.GOJINN_TEST_SECRET", "other")
			ctx := context.WithValue(t.Context(), caddy.ReplacerCtxKey, request)
			if got := value.Resolve(ctx); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if got := value.Resolve(t.Context()); test.bare == "s3cret-{}" && got != "s3cret-" || test.bare == "{}" && got != "" {
				t.Errorf("without a request: got %q, want nothing of it", got)
			}
		})
	}
	if _, err := Value("{file." + file + ".none}"); err == nil {
		t.Error("a file that is not there: got no error")
	}
}
