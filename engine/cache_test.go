package engine

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestCacheFolderMustBePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits there")
	}
	tests := []struct {
		name    string
		prepare func(dir string) error
		want    string // in the error; "" for none
	}{
		{"missing", func(string) error { return nil }, ""},
		{"private", func(dir string) error { return os.Mkdir(dir, 0o700) }, ""},
		{"readable by the group", func(dir string) error { return os.Mkdir(dir, 0o750) }, "mode 0750"},
		{"writable by all", func(dir string) error {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.Chmod(dir, 0o777)
		}, "mode 0777"},
		{"another user's", func(dir string) error {
			if err := os.Mkdir(dir, 0o700); err != nil {
				return err
			}
			return os.Chown(dir, 12345, 12345)
		}, "belongs to user 12345"},
		{"a file", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "not a directory"},
		{"a link", func(dir string) error {
			target := dir + "-target"
			if err := os.Mkdir(target, 0o700); err != nil {
				return err
			}
			return os.Symlink(target, dir)
		}, "not a folder"},
		{"a version's folder open to others", func(dir string) error {
			return os.MkdirAll(filepath.Join(dir, "wazero-x"), 0o755)
		}, "mode 0755"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "cache [1]*")
			if err := test.prepare(dir); err != nil {
				if os.IsPermission(err) {
					t.Skip("only root can give a folder away")
				}
				t.Fatal(err)
			}
			if test.name == "a version's folder open to others" {
				if err := os.Chmod(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			e, err := New(Config{CacheDir: dir})
			if err == nil {
				defer e.Close()
			}
			switch {
			case test.want == "" && err != nil:
				t.Errorf("got %v", err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}
