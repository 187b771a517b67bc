package toolchain

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func paths(sources []Source) []string {
	var names []string
	for _, s := range sources {
		names = append(names, filepath.ToSlash(s.Path))
	}
	return names
}

func TestSources(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{
		"main.go": "package main", "page.html": "", "deep/er/x.txt": "", "deep/model.wasm": "", "target/kept.c": "",
		"function.wasm": "", "other.wasm": "", "main.go~": "", ".main.go.swp": "", ".git/config": "",
		"zig-cache/x": "", ".zig-cache/x": "", "zig-out/x": "", "node_modules/x": "", "deep/out.bin": "",
		"rust/Cargo.toml": "", "rust/target/release/x": "", "rust/src/main.rs": "",
	})
	if err := os.Symlink("/etc", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	got, err := Sources(dir, filepath.Join(dir, "deep", "out.bin"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"deep/er/x.txt", "deep/model.wasm", "main.go", "page.html", "rust/Cargo.toml", "rust/src/main.rs", "target/kept.c"}
	if !slices.Equal(paths(got), want) {
		t.Errorf("got %q, want %q", paths(got), want)
	}
	linked := filepath.Join(t.TempDir(), "linked")
	if err := os.Symlink(dir, linked); err != nil {
		t.Fatal(err)
	}
	if got, err := Sources(linked, filepath.Join(linked, "deep", "out.bin")); err != nil || !slices.Equal(paths(got), want) {
		t.Errorf("through a link: got %q, %v, want %q", paths(got), err, want)
	}
	if got[2].Size != 12 {
		t.Errorf("main.go: got size %d, want 12", got[2].Size)
	}
}

func TestSourcesChange(t *testing.T) {
	t.Parallel()
	changes := map[string]func(dir string) error{
		"content": func(dir string) error { return os.WriteFile(filepath.Join(dir, "a.c"), []byte("longer"), 0o600) },
		"time": func(dir string) error {
			return os.Chtimes(filepath.Join(dir, "a.c"), time.Time{}, time.Now().Add(time.Hour))
		},
		"new file": func(dir string) error { return os.WriteFile(filepath.Join(dir, "b.c"), nil, 0o600) },
		"removed":  func(dir string) error { return os.Remove(filepath.Join(dir, "a.c")) },
		"renamed":  func(dir string) error { return os.Rename(filepath.Join(dir, "a.c"), filepath.Join(dir, "b.c")) },
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := write(t, map[string]string{"a.c": "short"})
			list := func() []Source {
				sources, err := Sources(dir, filepath.Join(dir, "x.wasm"))
				if err != nil {
					t.Fatal(err)
				}
				return sources
			}
			before := list()
			if !slices.Equal(before, list()) {
				t.Error("differs without a change")
			}
			if err := change(dir); err != nil {
				t.Fatal(err)
			}
			if slices.Equal(before, list()) {
				t.Error("the change is not seen")
			}
		})
	}
}

func TestSourcesBounds(t *testing.T) {
	t.Parallel()
	deep := t.TempDir()
	if err := os.MkdirAll(filepath.Join(deep, strings.Repeat("d/", maxSourceDepth+1)), 0o700); err != nil {
		t.Fatal(err)
	}
	many := t.TempDir()
	for i := range maxSources + 1 {
		if err := os.WriteFile(filepath.Join(many, fmt.Sprint(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{deep, many} {
		if _, err := Sources(dir, "x.wasm"); !errors.Is(err, ErrTooManySources) {
			t.Errorf("got %v, want ErrTooManySources", err)
		}
	}
	if err := os.Remove(filepath.Join(many, "0")); err != nil {
		t.Fatal(err)
	}
	if got, err := Sources(many, "x.wasm"); err != nil || len(got) != maxSources {
		t.Errorf("at the bound: got %d, %v", len(got), err)
	}
	if _, err := Sources(filepath.Join(deep, "missing"), "x.wasm"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing folder: got %v, want ErrNotExist", err)
	}
}
