package kv

import (
	"errors"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine/vfs"
)

func TestNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ key, name string }{
		{"a", "a"},
		{"user_1-x.y~z", "user_1-x.y~z"},
		{"a/b", "a%2Fb"},
		{"a b", "a%20b"},
		{"%", "%25"},
		{"%2F", "%252F"},
		{"ä", "%C3%A4"},
		{"\x00\xff", "%00%FF"},
		{".", "%2E"},
		{"..", "%2E%2E"},
		{".do", "%2Edo"},
		{"...", "..."},
		{".d", ".d"},
		{".doo", ".doo"},
		{".DO", ".DO"},
		{"a.", "a."},
		{strings.Repeat("a", 255), strings.Repeat("a", 255)},
		{strings.Repeat("/", 85), strings.Repeat("%2F", 85)},
	} {
		if got := nameOf(test.key); got != test.name {
			t.Errorf("key %q: got name %s, want %s", test.key, got, test.name)
		}
		if got, err := keyOf(test.name); got != test.key || err != nil {
			t.Errorf("name %s: got key %q, %v, want %q", test.name, got, err, test.key)
		}
	}
	for _, test := range []struct {
		name string
		want vfs.Errno
	}{
		{"", vfs.EINVAL},
		{"a b", vfs.EINVAL},
		{"ä", vfs.EINVAL},
		{"%", vfs.EINVAL},
		{"%2", vfs.EINVAL},
		{"%2f", vfs.EINVAL},
		{"%zz", vfs.EINVAL},
		{"%61", vfs.EINVAL},
		{"%2E%2Edo", vfs.EINVAL},
		{".%2E", vfs.EINVAL},
		{"%2E.", vfs.EINVAL},
		{"%2E%64o", vfs.EINVAL},
		{".", vfs.EINVAL},
		{"..", vfs.EINVAL},
		{".do", vfs.EINVAL},
		{strings.Repeat("a", 256), vfs.ENAMETOOLONG},
	} {
		if got, err := keyOf(test.name); !errors.Is(err, test.want) {
			t.Errorf("name %q: got %q, %v, want %v", test.name, got, err, test.want)
		}
	}
}

// FuzzNames: every key has one name, and no name has two keys.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", ".", "..", ".do", "a/b", "%2F", "%2f", "%", "\x00\xff", "%2Edo"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name := nameOf(s)
		key, err := keyOf(name)
		switch {
		case s == "" || len(name) > vfs.MaxName:
			if err == nil {
				t.Errorf("key %q: got the name %q", s, name)
			}
		case err != nil || key != s:
			t.Errorf("key %q: got name %q, key %q, %v", s, name, key, err)
		}
		if name == "." || name == ".." || name == operations || strings.ContainsAny(name, "/\x00") {
			t.Errorf("key %q: got name %q", s, name)
		}
		if key, err := keyOf(s); err == nil && nameOf(key) != s {
			t.Errorf("name %q: got key %q, which has the name %q", s, key, nameOf(key))
		}
	})
}
