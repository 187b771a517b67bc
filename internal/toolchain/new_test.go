package toolchain_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// A new function builds and answers, whatever it is called.
func TestNewBuildsAndAnswers(t *testing.T) {
	t.Parallel()
	names := map[toolchain.Language]string{toolchain.Go: "std", toolchain.Rust: "match", toolchain.Zig: "my-function", toolchain.C: "My_function2"}
	for _, language := range toolchain.Languages() {
		if language.Interpreter() != nil {
			continue
		}
		t.Run(string(language), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "with space [1]", names[language])
			if err := os.Mkdir(filepath.Dir(dir), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := toolchain.New(names[language], string(language), dir); err != nil {
				t.Fatal(err)
			}
			if got, err := toolchain.Detect(dir); got != language || err != nil {
				t.Errorf("Detect: got %q, %v, want %q", got, err, language)
			}
			checkPlaceholders(t, dir)
			program := toolchaintest.Compile(t, toolchaintest.Build(t, dir))
			for request, want := range map[string]string{
				`{"method":"GET","path":"/x","query":{"name":["Ada","B"]},"headers":{"Accept":["*/*"]},"body":""}`:        `{"hello":"Ada"}`,
				`{"method":"GET","query":{},"headers":{},"params":{"a":"b"},"later":[1,{"b":null}],"body_base64":"//4="}`: `{"hello":"world"}`,
				`{"query":{"name":["\"\\\u00e9\ud83d\ude00\n\u0001"]}}`:                                                   `{"hello":"\"\\é😀\n\u0001"}`,
			} {
				result := program.Run(toolchaintest.Call{Stdin: []byte(request)})
				var got struct {
					Status  int
					Headers map[string]string
					Body    string
				}
				if err := json.Unmarshal(result.Stdout, &got); err != nil || result.Exit != 0 || got.Status != 200 || got.Body != want || got.Headers["Content-Type"] != "application/json" {
					t.Errorf("%s: got %q (exit %d, %q), want 200 with %s", request, result.Stdout, result.Exit, result.Stderr, want)
				}
			}
			result := program.Run(toolchaintest.Call{Stdin: []byte("{")})
			if result.Exit != 1 || len(result.Stdout) > 0 || len(result.Stderr) == 0 {
				t.Errorf("broken request: got exit %d, stdout %q, stderr %q, want exit 1 and a message", result.Exit, result.Stdout, result.Stderr)
			}
		})
	}
}

func checkPlaceholders(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "{{name") || strings.HasSuffix(path, ".tmpl") {
			t.Errorf("%s: still a template", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if readme, err := os.ReadFile(filepath.Join(dir, "README.md")); !strings.HasPrefix(string(readme), "# "+filepath.Base(dir)+"\n") {
		t.Errorf("README: got %q, %v, want the name as its title", readme, err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, function, language, err string }{
		{"empty name", "", "go", "cannot name a function"},
		{"dot dot", "..", "go", "cannot name a function"},
		{"separator", "a/b", "go", "cannot name a function"},
		{"backslash", `a\b`, "go", "cannot name a function"},
		{"dot", "a.wasm", "go", "cannot name a function"},
		{"digit first", "1a", "go", "cannot name a function"},
		{"hyphen first", "-o", "go", "cannot name a function"},
		{"private", "_a", "go", "cannot name a function"},
		{"space", "a b", "go", "cannot name a function"},
		{"new line", "a\n", "go", "cannot name a function"},
		{"quote", `a"`, "go", "cannot name a function"},
		{"beyond ASCII", "é", "go", "cannot name a function"},
		{"the module's", "gojinn", "rust", "cannot name a function"},
		{"too long", strings.Repeat("a", 65), "go", "cannot name a function"},
		{"no language", "a", "", "have go, rust, zig, c"},
		{"unknown language", "a", "cobol", "have go, rust, zig, c"},
		{"language is a path", "a", "../templates/go", "have go, rust, zig, c"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "new")
			err := toolchain.New(test.function, test.language, dir)
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("got %v, want an error with %q", err, test.err)
			}
			if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the folder was made: %v", err)
			}
		})
	}
}

func TestNewFolder(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "file"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(root, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, dir string
		err       string // "" for success
	}{
		{"not empty", root, "is not empty"},
		{"a file", filepath.Join(root, "file"), "not a directory"},
		{"no parent", filepath.Join(root, "a", "b"), "no such file"},
		{"empty", filepath.Join(root, "empty"), ""},
		{"new", filepath.Join(root, "new"), ""},
		{"again", filepath.Join(root, "new"), "is not empty"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := toolchain.New("name", "c", test.dir)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %v, want %q", err, test.err)
			}
		})
	}
	if text, err := os.ReadFile(filepath.Join(root, "file")); string(text) != "mine" || err != nil {
		t.Errorf("a file of the user's: got %q, %v", text, err)
	}
}

// The modules of guest/ lie in the templates as copies, since a new function must need nothing else
// and go:embed reaches no folder beside its own.
func TestTemplatesHoldModules(t *testing.T) {
	t.Parallel()
	for language, in := range map[string]string{
		"rust": "rust/gojinn", "zig": "zig/gojinn", "c": "c", "python": "python", "ruby": "ruby", "js": "js",
	} {
		module, copies := filepath.Join("../../guest", language), filepath.Join("templates", in)
		sources, err := toolchain.Sources(module, "none.wasm")
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]bool{}
		for _, s := range sources {
			if s.Path == "README.md" || filepath.Base(s.Path) == "Cargo.lock" {
				continue
			}
			if toolchain.Language(language).Interpreter() != nil && !strings.HasPrefix(s.Path, "gojinn.") {
				continue // what is about the interpreter
			}
			path := filepath.Join(copies, s.Path+".tmpl")
			want[path] = true
			text, err := os.ReadFile(filepath.Join(module, s.Path))
			if err != nil {
				t.Fatal(err)
			}
			if *guests == "update" {
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != string(text) {
				t.Errorf("%s is not the %s of %s (%v): run .ci/check-guests update", path, s.Path, module, err)
			}
		}
		if in == language {
			continue // the module lies among the template's own files
		}
		err = filepath.WalkDir(copies, func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() && !want[path] {
				t.Errorf("%s is no file of %s", path, module)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
}
