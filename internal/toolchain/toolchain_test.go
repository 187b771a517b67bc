package toolchain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// write puts files, path → content, into a new folder.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestDetect(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files []string
		want  Language
		err   string // part of the message
	}{
		{"go module", []string{"go.mod", "main.go"}, Go, ""},
		{"go without a module", []string{"main.go"}, Go, ""},
		{"go tests alone", []string{"main_test.go"}, "", "no go.mod"},
		{"go in src is no program", []string{"src/main.go"}, "", "no go.mod"},
		{"go module with C", []string{"go.mod", "main.go", "x.c"}, Go, ""},
		{"cargo", []string{"Cargo.toml", "src/main.rs"}, Rust, ""},
		{"rust file", []string{"x.rs"}, Rust, ""},
		{"rust in src", []string{"src/main.rs"}, Rust, ""},
		{"zig package", []string{"build.zig", "src/main.zig"}, Zig, ""},
		{"zig package with C", []string{"build.zig", "x.c"}, Zig, ""},
		{"zig file", []string{"main.zig"}, Zig, ""},
		{"c", []string{"a.c", "b.c", "b.h"}, C, ""},
		{"c in src", []string{"src/a.c"}, C, ""},
		{"headers alone", []string{"a.h"}, "", "no go.mod"},
		{"hidden and private", []string{".a.c", "_b.c"}, "", "no go.mod"},
		{"a folder with a file's name", []string{"main.c/README"}, "", "no go.mod"},
		{"a folder with a manifest's name", []string{"go.mod/README", "a.c"}, C, ""},
		{"empty", nil, "", "no go.mod"},
		{"two manifests", []string{"go.mod", "Cargo.toml"}, "", "(go, rust)"},
		{"two languages", []string{"main.zig", "main.c"}, "", "(zig, c)"},
		{"python", []string{"main.py", "gojinn.py"}, Python, ""},
		{"python without a main", []string{"app.py"}, "", "no go.mod"},
		{"python in a folder", []string{"src/main.py"}, "", "no go.mod"},
		{"ruby", []string{"main.rb"}, Ruby, ""},
		{"javascript", []string{"main.js"}, JavaScript, ""},
		{"php", []string{"index.php", "about.php"}, PHP, ""},
		{"php with a script for the browser", []string{"index.php", "main.js"}, PHP, ""},
		{"python beside Go", []string{"main.go", "main.py"}, Go, ""},
		{"python and ruby", []string{"main.py", "main.rb", "main.js"}, "", "(python, ruby)"},
		{"a folder with a program's name", []string{"main.py/README"}, "", "no go.mod"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			for _, name := range test.files {
				files[name] = ""
			}
			got, err := Detect(write(t, files))
			if got != test.want || !contains(err, test.err) {
				t.Errorf("got %q, %v, want %q, error with %q", got, err, test.want, test.err)
			}
			if test.err == "no go.mod" && !errors.Is(err, ErrNoSource) {
				t.Errorf("got %v, want ErrNoSource", err)
			}
		})
	}
	if _, err := Detect(filepath.Join(t.TempDir(), "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: got %v, want ErrNotExist", err)
	}
}

// contains tells whether err's message has part in it; "" is for no error.
func contains(err error, part string) bool {
	if part == "" || err == nil {
		return part == "" && err == nil
	}
	return strings.Contains(err.Error(), part)
}

func TestFind(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"README.md": "", "root_test.go": "", "docs/x.md": "",
		"b/main.go": "", "a/main.c": "", "a/a.wasm": "", "b/a.wasm": "", "c/c.wasm/x": "", "c/c.zig": "",
		".git/x.c": "", "_private/x.c": "",
	})
	found, err := Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []Function{
		{"a", filepath.Join(dir, "a"), C, filepath.Join(dir, "a", "a.wasm")},
		{"b", filepath.Join(dir, "b"), Go, ""},
		{"c", filepath.Join(dir, "c"), Zig, ""}, // c.wasm is a folder
	}
	if !slices.Equal(found, want) {
		t.Errorf("got %v, want %v", found, want)
	}
	one, err := Find(filepath.Join(dir, "a"))
	if err != nil || !slices.Equal(one, want[:1]) {
		t.Errorf("one function: got %v, %v, want %v", one, err, want[:1])
	}
	if _, err := Find(filepath.Join(dir, "docs")); !errors.Is(err, ErrNoSource) {
		t.Errorf("no function: got %v, want ErrNoSource", err)
	}
	both := write(t, map[string]string{"a/x.c": "", "a/x.rs": ""})
	if _, err := Find(both); err == nil || errors.Is(err, ErrNoSource) {
		t.Errorf("two languages in one folder: got %v, want an error that says so", err)
	}
}

// tools makes a folder of shell scripts and returns it: a PATH with nothing else.
func tools(t *testing.T, scripts map[string]string) string {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the tools are shell scripts")
	}
	dir := t.TempDir()
	for name, script := range scripts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	// fakeModule writes an empty module to the argument that follows -o.
	fakeModule = `while [ "$1" != -o ]; do shift; done; printf '\0asm\1\0\0\0' > "$2"` + "\n"
	empty      = "\x00asm\x01\x00\x00\x00"
)

func TestBuildWithMissingToolchain(t *testing.T) {
	for _, test := range []struct {
		file     string
		language Language
	}{{"main.go", Go}, {"main.rs", Rust}, {"Cargo.toml", Rust}, {"main.zig", Zig}, {"build.zig", Zig}, {"main.c", C}} {
		t.Run(test.file, func(t *testing.T) {
			dir := write(t, map[string]string{test.file: ""})
			t.Setenv("PATH", tools(t, nil))
			t.Setenv("HOME", t.TempDir())
			t.Setenv("WASI_SDK_PATH", t.TempDir())
			fixedPlaces(t)
			out := filepath.Join(t.TempDir(), "out.wasm")
			err := Build(context.Background(), dir, out, io.Discard)
			missing, ok := errors.AsType[*MissingError](err)
			if !ok || missing.Language != test.language || missing.Install == "" || missing.Need == "" {
				t.Errorf("got %v, want a MissingError about %s", err, test.language)
			}
			if exists(out) {
				t.Error("a module was written")
			}
		})
	}
}

// fixedPlaces hides the compilers that are looked for outside PATH.
func fixedPlaces(t *testing.T) {
	before := systemFolders
	systemFolders = nil
	t.Cleanup(func() { systemFolders = before })
}

func TestBuildReplacesAtomically(t *testing.T) {
	tests := []struct {
		name, script string
		err          string
		want         string
	}{
		{"success", fakeModule, "", empty},
		{"failure after writing", fakeModule + "exit 1\n", "exit status 1", "old"},
		{"no module", "exit 0\n", "wrote no module", "old"},
		{"not a module", `while [ "$1" != -o ]; do shift; done; echo '!<arch>' > "$2"`, "something else than a WebAssembly module", "old"},
		{"empty file", `while [ "$1" != -o ]; do shift; done; : > "$2"`, "something else than a WebAssembly module", "old"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := write(t, map[string]string{"main.go": ""})
			place := t.TempDir()
			out := filepath.Join(place, "out.wasm")
			if err := os.WriteFile(out, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", tools(t, map[string]string{"go": test.script}))
			err := Build(context.Background(), dir, out, io.Discard)
			if !contains(err, test.err) {
				t.Errorf("got error %v, want one with %q", err, test.err)
			}
			got, err := os.ReadFile(out)
			if err != nil || string(got) != test.want {
				t.Errorf("module: got %q, %v, want %q", got, err, test.want)
			}
			entries, _ := os.ReadDir(place)
			if len(entries) != 1 {
				t.Errorf("left behind: %v", entries)
			}
		})
	}
}

func TestBuildIntoMissingFolder(t *testing.T) {
	dir := write(t, map[string]string{"main.go": ""})
	t.Setenv("PATH", tools(t, map[string]string{"go": fakeModule}))
	err := Build(context.Background(), dir, filepath.Join(t.TempDir(), "no", "out.wasm"), io.Discard)
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v, want ErrNotExist", err)
	}
}

func TestBuildPassesOnWhatTheCompilerSays(t *testing.T) {
	dir := write(t, map[string]string{"main.go": ""})
	t.Setenv("PATH", tools(t, map[string]string{"go": "echo on stdout; echo on stderr >&2; exit 2"}))
	var stderr bytes.Buffer
	err := Build(context.Background(), dir, filepath.Join(t.TempDir(), "x.wasm"), &stderr)
	if !contains(err, "exit status 2") || !strings.Contains(stderr.String(), "on stdout\n") || !strings.Contains(stderr.String(), "on stderr\n") {
		t.Errorf("got %v and %q, want exit status 2 and both lines", err, stderr.String())
	}
}

func TestBuildBoundsOutput(t *testing.T) {
	dir := write(t, map[string]string{"main.go": ""})
	t.Setenv("PATH", tools(t, map[string]string{"go": "while echo 0123456789012345678901234567890123456789; do :; done & sleep 1; kill $!; exit 1"})+":/bin:/usr/bin")
	var stderr bytes.Buffer
	err := Build(context.Background(), dir, filepath.Join(t.TempDir(), "x.wasm"), &stderr)
	if err == nil || stderr.Len() > maxOutput+100 || !strings.HasSuffix(stderr.String(), "left out\n") {
		t.Errorf("got %v, %d bytes ending in %q", err, stderr.Len(), tail(stderr.String()))
	}
}

func tail(s string) string { return s[max(0, len(s)-60):] }

func TestBoundedWriter(t *testing.T) {
	t.Parallel()
	const note = "\n… more output left out\n"
	tests := []struct {
		name   string
		writes []string
		want   string
	}{
		{"under", []string{"abc"}, "abc"},
		{"exact", []string{"abc", "de"}, "abcde"},
		{"nothing after exact", []string{"abcde", ""}, "abcde"},
		{"one more", []string{"abcde", "f"}, "abcde" + note},
		{"cut in the middle", []string{"abc", "defg", "h", "i", "j"}, "abcde" + note},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got bytes.Buffer
			b := &boundedWriter{w: &got, left: 5}
			for _, s := range test.writes {
				if n, err := b.Write([]byte(s)); n != len(s) || err != nil {
					t.Errorf("Write(%q): got %d, %v", s, n, err)
				}
			}
			if got.String() != test.want {
				t.Errorf("got %q, want %q", got.String(), test.want)
			}
		})
	}
}

// A canceled build takes the compiler's children with it: they hold the pipe
// that this test waits for, so it would hang if one survived.
func TestBuildCancel(t *testing.T) {
	dir := write(t, map[string]string{"main.go": ""})
	t.Setenv("PATH", tools(t, map[string]string{"go": "sleep 3600 & echo $! ; echo started >&2; wait"})+":/bin:/usr/bin")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- Build(ctx, dir, filepath.Join(t.TempDir(), "x.wasm"), pw)
		pw.Close()
	}()
	buf := make([]byte, 100)
	n, err := pr.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, pr)
	var child int
	if _, err := fmt.Sscan(string(buf[:n]), &child); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	case <-time.After(4 * time.Second): // WaitDelay is 5 s: it must not be what ends this
		t.Fatal("the build goes on")
	}
	for range 100 {
		if !alive(child) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("child %d is still there", child)
}

func TestGoEnvironment(t *testing.T) {
	dir := write(t, map[string]string{"main.go": ""})
	t.Setenv("PATH", tools(t, map[string]string{"go": `echo "$PWD|$GOOS|$GOARCH|$CGO_ENABLED|$GOFLAGS|${GOWASM-unset}|$KEPT|$*" >&2; exit 1`}))
	for name, value := range map[string]string{"GOOS": "plan9", "GOARCH": "arm", "CGO_ENABLED": "1", "GOFLAGS": "-tags=x -mod=mod", "GOWASM": "satconv", "KEPT": "kept"} {
		t.Setenv(name, value)
	}
	var stderr bytes.Buffer
	Build(context.Background(), dir, filepath.Join(t.TempDir(), "x.wasm"), &stderr)
	want := dir + "|wasip1|wasm|0|-trimpath|unset|kept|build -trimpath -buildvcs=false -ldflags=-s -w -o "
	if !strings.HasPrefix(stderr.String(), want) || !strings.HasSuffix(stderr.String(), " .\n") {
		t.Errorf("got %q, want %q…", stderr.String(), want)
	}
}

// fakeRust is a rustc that has the standard library of some targets.
func fakeRust(t *testing.T, targets ...string) map[string]string {
	t.Helper()
	root := t.TempDir()
	for _, target := range targets {
		if err := os.WriteFile(filepath.Join(root, "libstd-"+target+".rlib"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(root, target), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(root, "libstd-"+target+".rlib"), filepath.Join(root, target, "libstd-0.rlib")); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]string{
		"cargo": "exit 1\n",
		// Like rustc, it names the folder of a target it does not have.
		"rustc": `[ "$1 $2 $3" = "--print target-libdir --target" ] && echo "` + root + `/$4"` + "\n",
	}
}

func TestFindRust(t *testing.T) {
	tests := []struct {
		name   string
		path   [][]string // targets of each folder in PATH
		folder int
		target string // "" for none
	}{
		{"none", nil, 0, ""},
		{"without the target", [][]string{{"x86_64-unknown-linux-gnu"}}, 0, ""},
		{"the second has it", [][]string{{"x86_64-unknown-linux-gnu"}, {"wasm32-wasi"}}, 1, "wasm32-wasi"},
		{"today's name wins over order", [][]string{{"wasm32-wasi"}, {"wasm32-wasip1"}}, 1, "wasm32-wasip1"},
		{"both names", [][]string{{"wasm32-wasi", "wasm32-wasip1"}}, 0, "wasm32-wasip1"},
		{"first of equals", [][]string{{"wasm32-wasip1"}, {"wasm32-wasip1"}}, 0, "wasm32-wasip1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fixedPlaces(t)
			t.Setenv("HOME", t.TempDir())
			var path []string
			for _, targets := range test.path {
				path = append(path, tools(t, fakeRust(t, targets...)))
			}
			t.Setenv("PATH", strings.Join(path, ":"))
			got, err := findRust(context.Background(), t.TempDir())
			if test.target == "" {
				if _, ok := errors.AsType[*MissingError](err); !ok {
					t.Errorf("got %v, %v, want a MissingError", got, err)
				}
				return
			}
			want := rustToolchain{path[test.folder] + "/cargo", path[test.folder] + "/rustc", test.target}
			if got != want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		})
	}
	t.Run("rustc without cargo", func(t *testing.T) {
		fixedPlaces(t)
		t.Setenv("HOME", t.TempDir())
		scripts := fakeRust(t, "wasm32-wasip1")
		delete(scripts, "cargo")
		t.Setenv("PATH", tools(t, scripts))
		if got, err := findRust(context.Background(), t.TempDir()); err == nil {
			t.Errorf("got %v, want an error", got)
		}
	})
}

func TestFindC(t *testing.T) {
	const (
		without = `case "$*" in *print-file-name*) echo libc.a ;; *) exit 1 ;; esac`
		unlinks = `case "$*" in *print-file-name*) echo /lib/libc.a ;; *) exit 1 ;; esac`
		wasip1  = `case "$*" in *wasip1*print-file-name*) echo /lib/libc.a ;; *print-file-name*) echo libc.a ;; *wasip1*) exit 0 ;; *) exit 1 ;; esac`
		wasi    = `case "$*" in *wasm32-wasi\ *print-file-name*) echo /lib/libc.a ;; *print-file-name*) echo libc.a ;; *wasm32-wasi\ *) exit 0 ;; *) exit 1 ;; esac`
	)
	tests := []struct {
		name  string
		tools map[string]string
		sdk   map[string]string
		want  string // DIR and SDK stand for the folders
	}{
		{"none", nil, nil, ""},
		{"clang without a C library", map[string]string{"clang": without}, nil, ""},
		{"clang without a linker", map[string]string{"clang": unlinks}, nil, ""},
		{"clang", map[string]string{"clang": wasip1}, nil, "DIR/clang --target=wasm32-wasip1"},
		{"old clang", map[string]string{"clang": wasi}, nil, "DIR/clang --target=wasm32-wasi"},
		{"versioned", map[string]string{"clang": without, "clang-14": wasi}, nil, "DIR/clang-14 --target=wasm32-wasi"},
		{"newest", map[string]string{"clang-14": wasi, "clang-19": wasi}, nil, "DIR/clang-19 --target=wasm32-wasi"},
		{"zig cc", map[string]string{"clang": without, "zig": ""}, nil, "DIR/zig cc -target wasm32-wasi"},
		{"sdk", map[string]string{"clang": wasi}, map[string]string{"clang": wasip1}, "SDK/bin/clang --target=wasm32-wasip1"},
		{"broken sdk", map[string]string{"clang": wasi}, map[string]string{"clang": without}, "DIR/clang --target=wasm32-wasi"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			fixedPlaces(t)
			dir, sdk := tools(t, test.tools), t.TempDir()
			if err := os.Rename(tools(t, test.sdk), filepath.Join(sdk, "bin")); err != nil {
				t.Fatal(err)
			}
			t.Setenv("PATH", dir)
			t.Setenv("WASI_SDK_PATH", sdk)
			t.Setenv("WASI_SYSROOT", "")
			got, err := findC(context.Background(), t.TempDir())
			if test.want == "" {
				if _, ok := errors.AsType[*MissingError](err); !ok {
					t.Errorf("got %v, %v, want a MissingError", got, err)
				}
				return
			}
			want := strings.NewReplacer("DIR", dir, "SDK", sdk).Replace(test.want)
			if !strings.Contains(want, "zig") {
				want += " " + strings.Join(clangFlags, " ")
			}
			if strings.Join(got, " ") != want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		})
	}
}

// Without clang, zig builds C programs.
func TestBuildCWithZig(t *testing.T) {
	zig, err := exec.LookPath("zig")
	if err != nil {
		if os.Getenv("GOJINN_REQUIRE_TOOLCHAINS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	fixedPlaces(t)
	path := t.TempDir()
	if err := os.Symlink(zig, filepath.Join(path, "zig")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", path)
	t.Setenv("WASI_SDK_PATH", "")
	out := filepath.Join(t.TempDir(), "out.wasm")
	var stderr bytes.Buffer
	if err := Build(context.Background(), filepath.Join("..", "..", "examples", "contact-c"), out, &stderr); err != nil {
		t.Errorf("got %v: %s", err, stderr.String())
	}
}

func TestMainFile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files []string
		want  string
	}{
		{"main", []string{"a.zig", "main.zig", "src/main.zig"}, "main.zig"},
		{"src", []string{"a.zig", "src/main.zig"}, filepath.Join("src", "main.zig")},
		{"only one", []string{"a.zig", "b.rs"}, "a.zig"},
		{"two", []string{"a.zig", "b.zig"}, ""},
		{"none", []string{"src/a.zig"}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{}
			for _, name := range test.files {
				files[name] = ""
			}
			got, err := mainFile(write(t, files), ".zig")
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
		})
	}
}
