package guest

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// The example in each README is a function: in place of the template's it builds and answers.
func TestReadmes(t *testing.T) {
	t.Parallel()
	for language, main := range map[string]string{"rust": "src/main.rs", "zig": "main.zig", "c": "main.c"} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			readme, err := os.ReadFile(filepath.Join(language, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(readme), "\n```"+language+"\n")
			example, _, found := strings.Cut(rest, "```\n")
			if !found {
				t.Fatal("the README has no example")
			}
			dir := filepath.Join(t.TempDir(), "visit")
			if err := toolchain.New("visit", language, dir); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, main), []byte(example), 0o600); err != nil {
				t.Fatal(err)
			}
			asked := ""
			f := sandboxed(t, toolchaintest.Build(t, dir), answering(t, "/kv/visits/.do", func(line string) string {
				asked = line
				return `{"value":"73","version":1}`
			}))
			got := ask(t, f, url.Values{"name": {"Ada"}}, "")
			if asked != `{"op":"incr","key":"Ada","by":1}` || got.Status != 200 || !strings.Contains(string(got.Body), `"hello":"Ada","visits":`) || !strings.Contains(string(got.Body), "73") {
				t.Errorf("asked for %s, got %d %q", asked, got.Status, got.Body)
			}
		})
	}
}
