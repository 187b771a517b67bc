package gojinn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gojinn/gojinn/internal/churn"
)

// mount mounts a file system in memory at dir until the test ends, or skips the
// test if that may not be done here.
func mount(t *testing.T, dir, options string, flags uintptr) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("mounting: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// TestUnusableCacheDir: with a cache directory that can't be used functions answer all the
// same, and the log says what is wrong with it.
func TestUnusableCacheDir(t *testing.T) {
	tests := []struct {
		name    string
		prepare func(t *testing.T, dir string) error
		want    string // in the log
	}{
		{"open to others", func(_ *testing.T, dir string) error { return os.Mkdir(dir, 0o755) }, "want 0700"},
		{"a file", func(_ *testing.T, dir string) error { return os.WriteFile(dir, nil, 0o600) }, "not a directory"},
		{"another user's", func(t *testing.T, dir string) error {
			if os.Geteuid() != 0 {
				t.Skip("only root can give a folder away")
			}
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.Chown(dir, 12345, 12345)
		}, "belongs to user 12345"},
		{"read-only", func(t *testing.T, dir string) error {
			mount(t, dir, "mode=0700", unix.MS_RDONLY)
			return nil
		}, "read-only file system"},
		{"a full disk", func(t *testing.T, dir string) error {
			mount(t, dir, "size=200k,mode=0700", 0)
			return nil
		}, "no space left on device"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			if err := test.prepare(t, dir); err != nil {
				t.Fatal(err)
			}
			const functions, size = 4, 100
			var site strings.Builder
			for i := range functions {
				name := fmt.Sprint("fn", i)
				fmt.Fprintf(&site, "gojinn /%s %s\n", name, moduleFile(t, name+".wasm", churn.Module(name, i, size)))
			}
			s := serveWith(t, "gojinn {\n cache_dir "+dir+"\n}", site.String())
			for i := range functions {
				name := fmt.Sprint("fn", i)
				if got, want := s.get("/"+name), churn.Answer(name, i, size); got.body != want {
					t.Errorf("got %d %q, want %q", got.status, got.body, want)
				}
			}
			said := false
			for _, entry := range logBuffer.entries(t) {
				said = said || entry["level"] == "warn" && strings.Contains(fmt.Sprint(entry["error"]), test.want)
			}
			if !said {
				t.Errorf("the log does not say %q", test.want)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "work-*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
