package kv

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestFileName(t *testing.T) {
	t.Parallel()
	for key, want := range map[string]string{
		"a-Z.0_~": "a-Z.0_~", "a/b": "a%2Fb", "": "", ".": "%2E", "..": "%2E%2E", ".do": "%2Edo", ".doc": ".doc", "...": "...", "ü": "%C3%BC", "\xff": "%FF", "%": "%25",
	} {
		if got := fileName(key); got != want {
			t.Errorf("%q: got %q, want %q", key, got, want)
		}
	}
}

// Reading needs nothing but a directory.
func TestGet(t *testing.T) {
	t.Parallel()
	n := At(t.TempDir() + "/")
	if err := os.WriteFile(filepath.Join(n.path, "a%2Fb"), []byte(`{"N":3}`), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := Get[struct{ N int }](n, "a/b")
	if err != nil || v.N != 3 {
		t.Errorf("got %v, %v, want 3", v, err)
	}
	if _, err := n.Get("b"); !errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, ErrNotFound)
	}
	if _, err := At(n.path + "/none").Get("b"); errors.Is(err, ErrNotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is no namespace", err)
	}
	if err := n.Put("b", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is no .do", err)
	}
}
