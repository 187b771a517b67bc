// Package rooms keeps the rule of who may import whom; CONTRIBUTING.md has it
// as a table.
package rooms

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/gojinn/gojinn"

// rules: what the packages below a path may import besides the standard
// library, as prefixes. The longest path that matches counts. Packages without
// a rule (commands, benchmarks, examples) may import anything.
var rules = map[string][]string{
	"contract":       {},
	"engine/rewrite": {},
	"engine/memory":  {"golang.org/x/sys"},
	"engine/vfs":     {"golang.org/x/sys"},
	"engine/frozen":  {module + "/engine/vfs"},
	"engine": {
		module + "/engine/frozen", module + "/engine/rewrite", module + "/engine/memory", module + "/engine/vfs",
		"github.com/tetratelabs/wazero", "golang.org/x/sys",
	},
	"capability": {
		module + "/engine", module + "/stores", module + "/internal/placeholder", module + "/internal/units", module + "/internal/inbound",
		module + "/internal/egress", module + "/internal/exchange", module + "/internal/sockets",
		"github.com/caddyserver/caddy", "go.uber.org/zap", "golang.org/x/",
	},
	"stores":               {},
	"stores/storetest":     {module + "/stores"},
	"stores/bolt":          {module + "/stores", "github.com/caddyserver/caddy", "go.etcd.io/bbolt", "go.uber.org/zap"},
	"stores/memory":        {module + "/stores", module + "/internal/units", "github.com/caddyserver/caddy"},
	"stores/nats":          {module + "/stores", "github.com/caddyserver/caddy", "github.com/nats-io/", "go.uber.org/zap"},
	"internal/egress":      {"golang.org/x/"},
	"internal/exchange":    {module + "/engine"},
	"internal/sockets":     {module + "/engine", module + "/internal/egress", "golang.org/x/sys"},
	"internal/inbound":     {},
	"internal/units":       {"github.com/caddyserver/caddy", "github.com/dustin/go-humanize"},
	"internal/placeholder": {module + "/engine", "github.com/caddyserver/caddy"},
	"internal/routes":      {},
	"internal/watch":       {"github.com/fsnotify/fsnotify"},
	"internal/toolchain":   {},
	// Builds and runs guests for tests of other packages.
	"internal/toolchain/toolchaintest": {module, "github.com/tetratelabs/wazero"},
	"internal/wasmtest":                {},
	"": {
		module + "/engine", module + "/contract", module + "/capability", module + "/internal/toolchain", module + "/internal/placeholder",
		module + "/internal/routes", module + "/internal/watch", module + "/internal/units", module + "/internal/inbound", module + "/stores",
		"github.com/caddyserver/caddy", "github.com/prometheus/", "go.uber.org/zap", "go.opentelemetry.io/",
		"github.com/spf13/cobra", "github.com/dustin/go-humanize", "golang.org/x/", "github.com/google/uuid",
		"github.com/KimMachineGun/automemlimit", // the cgroup's memory limit, as Caddy reads it
	},
}

// free are the rooms that the rule of the root package doesn't reach into.
var free = []string{"cmd", "bench", "examples", "internal"}

func TestWhoImportsWhom(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t) {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		allowed, ruled := rule(path)
		if !ruled {
			continue
		}
		for _, imported := range p.Imports {
			if standard(imported) || hasPrefix(imported, allowed) {
				continue
			}
			t.Errorf("%s imports %s", p.ImportPath, imported)
		}
	}
}

// TestEngineShowsNoEngine: the API of package engine names no type of wazero,
// so that what is behind it can change.
func TestEngineShowsNoEngine(t *testing.T) {
	t.Parallel()
	doc, err := exec.Command("go", "doc", "-all", module+"/engine").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, doc)
	}
	for line := range strings.SplitSeq(string(doc), "\n") {
		declares := strings.HasPrefix(line, "func ") || strings.HasPrefix(line, "type ") || strings.HasPrefix(line, "\t")
		for _, foreign := range []string{"wazero.", "api.", "experimental.", "caddy", "http."} {
			code, _, _ := strings.Cut(line, "//")
			if declares && strings.Contains(code, foreign) {
				t.Errorf("package engine exports %q", strings.TrimSpace(line))
			}
		}
	}
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	list.Dir, list.Stderr = root, os.Stderr
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	var all []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("found %d packages only", len(all))
	}
	return all
}

func rule(path string) (allowed []string, ruled bool) {
	for at := path; ; {
		if allowed, ok := rules[at]; ok && (at != "" || !hasPrefix(path, free)) {
			return allowed, true
		}
		if at == "" {
			return nil, false
		}
		at = at[:max(0, strings.LastIndexByte(at, '/'))]
	}
}

// standard tells packages of the standard library: their first component has no dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func hasPrefix(path string, prefixes []string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}
