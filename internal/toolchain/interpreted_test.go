package toolchain

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestFindInterpreter(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"own/python.wasm": "", "all/python.wasm": "", "all/ruby.wasm": "", "odd/quickjs.wasm/x": ""})
	in := func(names ...string) (folders []string) {
		for _, name := range names {
			folders = append(folders, filepath.Join(dir, name))
		}
		return folders
	}
	tests := []struct {
		name     string
		language Language
		folders  []string
		want     string // "" for none
	}{
		{"the function's own", Python, in("own", "all"), "own/python.wasm"},
		{"of all functions", Ruby, in("own", "all"), "all/ruby.wasm"},
		{"none", PHP, in("own", "all"), ""},
		{"a folder of that name", JavaScript, in("odd"), ""},
		{"folders that are missing", Python, in("none", "neither"), ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := test.language.Interpreter().Find(test.folders...)
			if test.want != "" {
				if want := filepath.Join(dir, filepath.FromSlash(test.want)); got != want || err != nil {
					t.Errorf("got %q, %v, want %q", got, err, want)
				}
				return
			}
			missing, ok := errors.AsType[*NoInterpreterError](err)
			if !ok || missing.Interpreter.Language != test.language {
				t.Fatalf("got %q, %v, want a NoInterpreterError", got, err)
			}
			for _, part := range append(test.folders, missing.Interpreter.Module, missing.Interpreter.npm) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("got %q, want %q in it", err, part)
				}
			}
		})
	}
}

// What people are told to do puts the interpreter where it is looked for.
func TestInterpreterCommands(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	for _, i := range interpreters {
		t.Run(string(i.Language), func(t *testing.T) {
			t.Parallel()
			// A package as the registry has it, under the name that npm gives it.
			stage := write(t, map[string]string{i.inside: "\x00asm of " + string(i.Language)})
			scope, rest, _ := strings.Cut(strings.TrimPrefix(i.npm, "@"), "/")
			name, version, _ := strings.Cut(rest, "@")
			tarball := filepath.Join(stage, scope+"-"+name+"-"+version+".tgz")
			if out, err := exec.Command("tar", "-C", stage, "-czf", tarball, "package").CombinedOutput(); err != nil {
				t.Skipf("no tar: %v %s", err, out)
			}
			bin := write(t, map[string]string{
				"npm": "#!/bin/sh\ntest \"$1\" = pack && test \"$2\" = '" + i.npm + "' && test $# = 2 && cp '" + tarball + "' .\n",
				// wasm-merge <module> <its name> <module> <its name> -o <result>
				"npx": "#!/bin/sh\ntest \"$3 $5 $7 $8 $#\" = 'wasm-merge js wasi_snapshot_preview1 -o 9' &&\n" +
					"test \"$(grep -c '^(func (export \"sock_[a-z]*\") (param\\( i32\\)*) (result i32) (i32.const 52))$' \"$6\")\" = 12 && cp \"$4\" \"$9\"\n",
			})
			for _, name := range []string{"npm", "npx"} {
				if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			folder := filepath.Join(t.TempDir(), "it's a folder", "$HOME `x`")
			_, err := i.Find(folder)
			missing, ok := errors.AsType[*NoInterpreterError](err)
			if !ok {
				t.Fatalf("got %v, want a NoInterpreterError", err)
			}
			cmd := exec.Command("sh", "-c", missing.Commands())
			cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s\n%s", err, out, missing.Commands())
			}
			module, err := i.Find(folder)
			if err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(module); string(text) != "\x00asm of "+string(i.Language) || err != nil {
				t.Errorf("got %q, %v", text, err)
			}
			if entries, err := os.ReadDir(folder); err != nil || len(entries) != 1 {
				t.Errorf("got %v, %v, want the module alone", entries, err)
			}
		})
	}
}

// The packages are those that the tests run.
func TestInterpretersAreTested(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../../.ci/install-interpreters")
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interpreters {
		for _, part := range []string{"=" + i.npm + "\n", i.inside + "=", "=$dir/" + i.Module + "\"\n"} {
			if !strings.Contains(string(script), part) {
				t.Errorf("%s: .ci/install-interpreters has no %q", i.Language, part)
			}
		}
	}
}

func TestBuildInterpreted(t *testing.T) {
	t.Parallel()
	for _, i := range interpreters {
		t.Run(string(i.Language), func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{i.Main: ""})
			out := filepath.Join(t.TempDir(), "out.wasm")
			var said bytes.Buffer
			err := Build(context.Background(), dir, out, &said)
			if !errors.Is(err, ErrInterpreted) || said.Len() > 0 {
				t.Errorf("got %v and %q, want ErrInterpreted", err, said.String())
			}
			for _, part := range append(i.Options, "gojinn "+i.Module, "allow dir "+dir+" /app") {
				if !contains(err, part) {
					t.Errorf("got %v, want %q in it", err, part)
				}
			}
			if _, err := os.Stat(out); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("a module: got %v, want none", err)
			}
		})
	}
}

// A new function in an interpreted language says in its README how it is served, as function dev
// serves it.
func TestNewInterpreted(t *testing.T) {
	t.Parallel()
	for _, i := range interpreters {
		t.Run(string(i.Language), func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "my-function")
			if err := New("my-function", string(i.Language), dir); err != nil {
				t.Fatal(err)
			}
			if got, err := Detect(dir); got != i.Language || err != nil {
				t.Errorf("Detect: got %q, %v, want %q", got, err, i.Language)
			}
			readme, err := os.ReadFile(filepath.Join(dir, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			want := "    gojinn /my-function* " + i.Module + " {\n        " + strings.Join(i.Options, "\n        ") + "\n        allow dir . /app\n    }\n"
			if i.Site {
				want = strings.NewReplacer("gojinn /my-function*", "    gojinn", "\n    ", "\n        ").Replace(want)
			}
			if !strings.HasPrefix(string(readme), "# my-function\n") || !strings.Contains(string(readme), want) {
				t.Errorf("got\n%s\nwant the name as its title, and\n%s", readme, want)
			}
		})
	}
}
