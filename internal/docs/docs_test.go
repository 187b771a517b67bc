// Package docs checks that what the documentation shows is so.
package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	_ "github.com/gojinn/gojinn/stores/nats" // which the documentation shows
)

const root = "../.."

// TestCaddyfiles adapts every block that is marked as a Caddyfile.
func TestCaddyfiles(t *testing.T) {
	t.Parallel()
	adapter := caddyconfig.GetAdapter("caddyfile")
	blocks := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$")
	found := 0
	for _, file := range pages(t) {
		for _, block := range blocks.FindAllStringSubmatch(read(t, file), -1) {
			found++
			if _, warnings, err := adapter.Adapt([]byte(block[1]), map[string]any{"filename": filepath.Base(file)}); err != nil {
				t.Errorf("%s: %v\n%s", file, err, block[1])
			} else {
				for _, w := range warnings {
					if !strings.Contains(w.Message, "not formatted") {
						t.Errorf("%s: %s\n%s", file, w.Message, block[1])
					}
				}
			}
		}
	}
	if found == 0 {
		t.Error("no Caddyfile found in the documentation")
	}
}

// TestLinks follows the links between the pages.
func TestLinks(t *testing.T) {
	t.Parallel()
	links := regexp.MustCompile(`\]\(([^)]+)\)`)
	for _, file := range pages(t) {
		for _, link := range links.FindAllStringSubmatch(read(t, file), -1) {
			target, _, _ := strings.Cut(link[1], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), target)); err != nil {
				t.Errorf("%s links to %s: %v", file, link[1], err)
			}
		}
	}
}

// TestTwoCommands: the README's set-up is two commands, and the gate runs the
// second as it stands there.
func TestTwoCommands(t *testing.T) {
	t.Parallel()
	readme, gate := read(t, filepath.Join(root, "README.md")), read(t, filepath.Join(root, ".ci", "run"))
	for _, command := range []string{"go run ./cmd/gojinn function dev ./examples", "go test ./..."} {
		if !strings.Contains(readme, "\n"+command+"\n") {
			t.Errorf("README.md doesn't have the line %q", command)
		}
	}
	if !strings.Contains(gate, "\ngo test ./...\n") {
		t.Error(".ci/run doesn't run the README's test command")
	}
}

func pages(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"*.md", "*/*.md", "*/*/*.md", "*/*/*/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range found {
			if !strings.Contains(file, "node_modules") && !strings.Contains(file, "target/") && !strings.Contains(file, "testdata/") {
				all = append(all, file)
			}
		}
	}
	if len(all) < 5 {
		t.Fatalf("found %d pages only", len(all))
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
