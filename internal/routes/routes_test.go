package routes

import (
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("/x", MaxDepth+1)
	for route, want := range map[string]string{ // "" is a good route
		"/":                     "",
		"/a":                    "",
		"/a b/50%/ü/index":      "",
		"/a/[id]/[...rest]":     "",
		"/[the_user-Id2]/[ñ]":   "",
		"/a.b/c..":              "",
		`/a\b`:                  "",
		deep:                    "",
		deep + "/x":             "folders deep",
		"":                      "begin with a slash",
		"a":                     "begin with a slash",
		"/a/":                   "empty",
		"//a":                   "empty",
		"/_a":                   "private",
		"/a/.b":                 "private",
		"/..":                   "private",
		"/a/[":                  "brackets",
		"/]":                    "brackets",
		"/[]":                   "brackets",
		"/[...]":                "brackets",
		"/[..x]":                "brackets",
		"/[a b]":                "brackets",
		"/[[...x]]":             "brackets",
		"/x[id]":                "brackets",
		"/[id].json":            "brackets",
		"/[a][b]":               "brackets",
		"/[a.b]":                "brackets",
		"/[...x]/a":             "last",
		"/[id]/a/[id]":          "twice",
		"/[id]/a/[...id]":       "twice",
		"/a\xff":                "UTF-8",
		"/[a\xff]":              "UTF-8",
		"/[" + "\u2026" + "x]":  "brackets",
		"/id/[id]/id":           "",
		"/[id]/[Id]/[...other]": "",
	} {
		got := ""
		if err := Check(route); err != nil {
			got = err.Error()
		}
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("Check(%q): got %q, want %q", route, got, want)
		}
	}
}

func TestShape(t *testing.T) {
	t.Parallel()
	for route, want := range map[string]string{
		"":                  "",
		"/":                 "/",
		"/a/b":              "/a/b",
		"/a/[id]":           "/a/[]",
		"/[a]/[b]/[...all]": "/[]/[]/[...]",
	} {
		if got := shape(route); got != want {
			t.Errorf("shape(%q): got %q, want %q", route, got, want)
		}
	}
}
