package gojinn

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/rewrite"
)

// digestOf returns the digest of a file's contents as the cache has it.
func digestOf(t *testing.T, c *digestCache, path string) engine.Digest {
	t.Helper()
	digest, _, err := c.of(path)
	if err != nil {
		t.Fatal(err)
	}
	return digest
}

// overwrite writes to a file in place and sets its time.
func overwrite(t *testing.T, path, text string, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// TestModuleFileRemembered: a file that has not changed isn't read again, one that is too
// young to tell is.
func TestModuleFileRemembered(t *testing.T) {
	t.Parallel()
	path := moduleFile(t, "x.wasm", []byte("some text"))
	c := newDigestCache(time.Hour)
	if got := digestOf(t, c, path); got != engine.DigestOf([]byte("some text")) {
		t.Errorf("got %s", got)
	}
	if _, state, err := c.of(path); err != nil || state != (moduleState{}) || len(c.known) != 0 {
		t.Errorf("a young file: got %+v, %v, and %d files are remembered", state, err, len(c.known))
	}
	c.settled = 10 * time.Millisecond
	time.Sleep(2 * c.settled)
	digestOf(t, c, path)
	known := c.known[path]
	if state, err := stateOf(path); err != nil || known.state != state || known.digest != engine.DigestOf([]byte("some text")) {
		t.Fatalf("got %+v, want %+v (%v)", known, state, err)
	}
	marked := knownDigest{known.state, engine.DigestOf([]byte("a mark"))}
	c.known[path] = marked
	if got, state, err := c.of(path); err != nil || got != marked.digest || state != marked.state {
		t.Error("the file has been read again")
	}
	// Whatever of its state is another.
	for name, change := range map[string]func(){
		"time":     func() { overwrite(t, path, "some text", time.Now().Add(-time.Hour)) },
		"size":     func() { overwrite(t, path, "more text!", known.state.modified) },
		"file":     func() { put(t, path, []byte("some text")) },
		"contents": func() { overwrite(t, path, "SOME TEXT", known.state.modified) }, // size and time are the same
	} {
		change()
		time.Sleep(2 * c.settled)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := digestOf(t, c, path); got != engine.DigestOf(text) {
			t.Errorf("another %s: got that of something else", name)
		}
		state, err := stateOf(path)
		if err != nil {
			t.Fatal(err)
		}
		c.known[path] = knownDigest{state, marked.digest}
	}
}

// TestModuleFileRewritten: of a file that is written again and again, as fast as can be, the
// digest is always that of what was written last.
func TestModuleFileRewritten(t *testing.T) {
	t.Parallel()
	path := moduleFile(t, "x.wasm", []byte("0000"))
	c := newDigestCache(3 * time.Second)
	old := time.Now().Add(-time.Hour)
	for i := range 500 {
		text := fmt.Sprintf("%04d", i)
		if i%2 == 0 {
			overwrite(t, path, text, old)
		} else if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := digestOf(t, c, path); got != engine.DigestOf([]byte(text)) {
			t.Fatalf("after write %d: got that of something else", i)
		}
	}
}

func TestModuleFileBounds(t *testing.T) {
	t.Parallel()
	c := newDigestCache(0)
	for i := range maxDigests {
		c.known[fmt.Sprint(i)] = knownDigest{}
	}
	path := moduleFile(t, "x.wasm", []byte("text"))
	time.Sleep(10 * time.Millisecond)
	digestOf(t, c, path)
	if n := len(c.known); n != 1 {
		t.Errorf("%d digests are remembered", n)
	}
}

func TestModuleFileConcurrent(t *testing.T) {
	t.Parallel()
	c := newDigestCache(0)
	path := moduleFile(t, "x.wasm", []byte("one"))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 100 {
				if i == 0 {
					put(t, path, bytes.Repeat([]byte("x"), 1+j))
				} else if _, _, err := c.of(path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := digestOf(t, c, path); got != engine.DigestOf(bytes.Repeat([]byte("x"), 100)) {
		t.Error("got the digest of something else")
	}
}

func TestModuleFileRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	large := filepath.Join(dir, "large.wasm")
	overwrite(t, large, "x", time.Now())
	if err := os.Truncate(large, rewrite.MaxModuleBytes+1); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"":                               "no path",
		dir:                              "directory",
		filepath.Join(dir, "none"):       "no such file",
		large:                            "larger than",
		moduleFile(t, "empty.wasm", nil): "empty",
		os.DevNull:                       "regular file",
	} {
		for name, read := range map[string]func() error{
			"digest": func() error { _, _, err := newDigestCache(0).of(path); return err },
			"read":   func() error { _, err := readModule(path); return err },
		} {
			err := read()
			if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
				t.Errorf("%s of %q: got %v, want %q", name, path, err, want)
			}
		}
	}
	if _, _, err := newDigestCache(0).of(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
