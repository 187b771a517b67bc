package stores

import (
	"context"
	"strings"
	"testing"
)

func TestCheckNamespace(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, want string // what the error says; "": none
	}{
		{"user", ""},
		{"user_admin", ""},
		{"A-z.0_9", ""},
		{strings.Repeat("n", 100), ""},
		{"", "no name"},
		{".hidden", "begins with a dot"},
		{"..", "begins with a dot"},
		{"a/b", "holds something else"},
		{"a b", "holds something else"},
		{"ä", "holds something else"},
		{"a\x00", "holds something else"},
		{strings.Repeat("n", 101), "more than 100 bytes"},
	} {
		err := CheckNamespace(test.name)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: got %v, want %q", test.name, err, test.want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, test := range []struct {
		name string
		ctx  context.Context
		ns   string
		keys []string
		ok   bool
	}{
		{"no key", t.Context(), "a", nil, true},
		{"keys", t.Context(), "a", []string{"\x00", strings.Repeat("k", MaxKey)}, true},
		{"an empty key", t.Context(), "a", []string{"k", ""}, false},
		{"a long key", t.Context(), "a", []string{strings.Repeat("k", MaxKey+1)}, false},
		{"a bad namespace", t.Context(), "a/", []string{"k"}, false},
		{"too late", over, "a", []string{"k"}, false},
	} {
		if err := Check(test.ctx, Namespace{Name: test.ns}, test.keys...); (err == nil) != test.ok {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}
