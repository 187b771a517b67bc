package engine

import (
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine/vfs"
)

func TestGrants(t *testing.T) {
	t.Parallel()
	type step struct {
		env, mount string
		want       string // in the error; "" for none
	}
	tests := []struct {
		name  string
		steps []step
	}{
		{"variables", []step{{env: "A"}, {env: "B"}, {env: "A", want: "twice"}}},
		{"empty name", []step{{env: "", mount: "", want: "not empty"}}},
		{"name with =", []step{{env: "A=B", want: "'='"}}},
		{"name with NUL", []step{{env: "A\x00", want: "NUL"}}},
		{"mounts", []step{{mount: "/data"}, {mount: "/data/more"}, {mount: "/"}}},
		{"taken", []step{{mount: "/data"}, {mount: "/data", want: "already"}, {mount: "/data/", want: "already"}}},
		{"slash at the end", []step{{mount: "/data/"}, {mount: "/data", want: "already"}}},
		{"a device of ours", []step{{mount: "/dev/null", want: "already"}}},
		{"relative", []step{{mount: "data", want: "absolute"}}},
		{"dots", []step{{mount: "/data/../x", want: "component"}, {mount: "/./x", want: "component"}}},
		{"NUL in a path", []step{{mount: "/a\x00b", want: "/a"}}},
		{"refused, then right", []step{{mount: "x", want: "absolute"}, {mount: "/x"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var g Grants
			for i, s := range test.steps {
				var err error
				if s.mount != "" {
					err = g.Mount(s.mount, vfs.Null)
				} else {
					err = g.Env(s.env, Value{Fixed: "v"})
				}
				switch {
				case s.want == "" && err != nil:
					t.Errorf("step %d: got %v", i, err)
				case s.want != "" && (err == nil || !strings.Contains(err.Error(), s.want)):
					t.Errorf("step %d: got %v, want an error with %q", i, err, s.want)
				}
			}
			if _, err := g.tree(); err != nil {
				t.Errorf("after it: %v", err)
			}
		})
	}
}

// TestFunctionKeepsItsOwnGrants: who adds to grants later doesn't change a
// function that was made before.
func TestFunctionKeepsItsOwnGrants(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	var g Grants
	if err := g.Env("A", Value{Fixed: "1"}); err != nil {
		t.Fatal(err)
	}
	f := newFunction(t, e, answer("x"), Options{Grants: g})
	if err := g.Env("B", Value{Fixed: "2"}); err != nil {
		t.Fatal(err)
	}
	g.env[0].value.Fixed = "changed"
	if got := f.options.Grants.env; len(got) != 1 || got[0].value.Fixed != "1" {
		t.Errorf("got %v, want A=1 only", got)
	}
}

// TestFunctionsShareTrees: functions with the same grants have one tree, which
// mounting more does not change.
func TestFunctionsShareTrees(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	mounted := func(of Grants, path string) Grants {
		if err := of.Mount(path, vfs.Null); err != nil {
			t.Fatal(err)
		}
		return of
	}
	one := mounted(Grants{}, "/one")
	trees := make(map[*vfs.Tree]string)
	for _, test := range []struct {
		name   string
		grants Grants
	}{
		{"none", Grants{}},
		{"one", one},
		{"one and two", mounted(one, "/two")},
		{"one and three", mounted(one, "/three")},
	} {
		first := newFunction(t, e, answer("x"), Options{Grants: test.grants}).tree
		if other, ok := trees[first]; ok {
			t.Errorf("%s: has the tree of %s", test.name, other)
		}
		trees[first] = test.name
		if second := newFunction(t, e, answer("x"), Options{Grants: test.grants}).tree; first != second {
			t.Errorf("%s: two functions have two trees", test.name)
		}
	}
	if len(one.mounts) != 1 {
		t.Errorf("got %d mounts, want the one", len(one.mounts))
	}
	for tree, name := range trees {
		for path, want := range map[string]bool{"one": name != "none", "two": name == "one and two", "three": name == "one and three"} {
			view := tree.View()
			_, err := view.Root().Lookup(t.Context(), path, false)
			if got := err == nil; got != want {
				t.Errorf("%s: /%s is there: %t (%v), want %t", name, path, got, err, want)
			}
			if err := view.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestShare: several grants make one mount, and none changes what others were given.
func TestShare(t *testing.T) {
	t.Parallel()
	var g Grants
	var seen []vfs.FS
	join := func(with vfs.FS) func(vfs.FS) (vfs.FS, error) {
		return func(have vfs.FS) (vfs.FS, error) {
			seen = append(seen, have)
			return with, nil
		}
	}
	if err := g.Share("/net/http", join(vfs.Null)); err != nil {
		t.Fatal(err)
	}
	before := g.clone()
	if err := g.Share("/net/http", join(vfs.Random)); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 2 || seen[0] != nil || seen[1] != vfs.Null {
		t.Errorf("merge was given %v, want nothing, then what was there", seen)
	}
	if g.mounts[0].fs != vfs.Random || before.mounts[0].fs != vfs.Null {
		t.Errorf("got %v, and %v in the copy, want the second and the first", g.mounts, before.mounts)
	}
	if err := g.Share("/net/http", func(vfs.FS) (vfs.FS, error) { return nil, vfs.EINVAL }); err == nil {
		t.Error("an error of merge: got none")
	}
	if err := g.Share("relative", join(vfs.Null)); err == nil {
		t.Error("a relative path: got no error")
	}
	if err := g.Share("/dev/null", join(vfs.Null)); err == nil {
		t.Error("a device of ours: got no error")
	}
}
