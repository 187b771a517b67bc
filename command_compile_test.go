package gojinn

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompileCommand: a server that is started with the cache compiles nothing.
func TestCompileCommand(t *testing.T) {
	dir, cache := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	for name, body := range map[string]string{"one": "1", "a/two": "2", "a/[id]": "3", "_private": "4"} {
		writeFile(t, filepath.Join(dir, name+".wasm"), string(answer(body)))
	}
	stdout, stderr, err := runCommand(t, "", "compile", dir, "--cache-dir", cache)
	if err != nil || stderr != "" || strings.Count(stdout, ".wasm: ") != 3 {
		t.Fatalf("got %q, %q, %v", stdout, stderr, err)
	}
	files, err := filepath.Glob(filepath.Join(cache, "*.program"))
	if err != nil || len(files) != 3 {
		t.Fatalf("the cache has %v, %v, want 3 programs", files, err)
	}
	before, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}

	// Again, with a bad module among them: the others are compiled all the same.
	writeFile(t, filepath.Join(dir, "bad.wasm"), "bad")
	writeFile(t, filepath.Join(dir, "more.wasm"), string(answer("5")))
	writeFile(t, filepath.Join(dir, "[.wasm"), string(answer("6")))
	stdout, stderr, err = runCommand(t, "", "compile", dir, "--cache-dir", cache)
	if err == nil || !strings.Contains(err.Error(), "1 of 5 modules") || !strings.Contains(err.Error(), "[.wasm") ||
		!strings.Contains(stderr, "bad.wasm: ") || strings.Count(stdout, ".wasm: ") != 4 {
		t.Errorf("got %q, %q, %v", stdout, stderr, err)
	}
	after, err := os.Stat(files[0])
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("what was in the cache has been compiled again (%v)", err)
	}

	// A single module, and what can't be one.
	if stdout, _, err := runCommand(t, "", "compile", filepath.Join(dir, "one.wasm"), "--cache-dir", cache); err != nil || !strings.Contains(stdout, "one.wasm: ") {
		t.Errorf("got %q, %v", stdout, err)
	}
	for _, args := range [][]string{
		{filepath.Join(dir, "missing")}, {t.TempDir()}, {dir, "--compilers", "-1"}, {dir, "--cache-dir", filepath.Join(dir, "one.wasm")},
	} {
		if _, _, err := runCommand(t, "", append([]string{"compile"}, args...)...); err == nil {
			t.Errorf("%q: no error", args)
		}
	}
}
