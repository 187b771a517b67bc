package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/gojinn/gojinn/engine/vfs"
)

// Value is a string that a guest finds when it starts: an argument or the
// value of an environment variable.
type Value struct {
	Fixed string
	// Resolve, if set, yields the string for one call from the context given
	// to [Function.Run]; Fixed is then ignored. It must be safe for concurrent
	// use. A function with such a value can't start ahead of its calls.
	Resolve func(context.Context) string
}

func (v Value) of(ctx context.Context) string {
	if v.Resolve != nil {
		return v.Resolve(ctx)
	}
	return v.Fixed
}

// Grants is everything that a function may use besides its own memory, its
// standard streams, the clocks and random numbers. The zero value grants
// nothing. Not safe for concurrent use; a [Function] keeps its own copy.
type Grants struct {
	env    []variable
	mounts []mount
	made   *vfs.Tree // of mounts; nil: there are none. It is shared, and never changes
	watch  func(Refusal)
}

type variable struct {
	name  string
	value Value
}

type mount struct {
	path string
	fs   vfs.FS
}

// Env grants an environment variable. A name that is empty, holds '=' or NUL,
// or has been granted before is an error.
func (g *Grants) Env(name string, v Value) error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Errorf("environment variable %q: a name is not empty and holds neither '=' nor NUL", name)
	}
	if strings.Contains(v.Fixed, "\x00") {
		return fmt.Errorf("environment variable %q: its value holds NUL", name)
	}
	for _, have := range g.env {
		if have.name == name {
			return fmt.Errorf("environment variable %q is granted twice", name)
		}
	}
	g.env = append(g.env, variable{name, v})
	return nil
}

// EnvNames are the names of the environment variables that are granted.
func (g *Grants) EnvNames() (names []string) {
	for _, v := range g.env {
		names = append(names, v.name)
	}
	return names
}

// Mount grants the files of fs at guestPath, an absolute path without "." and
// ".." components. A path that is taken, or is one of the devices that are
// always there, is an error.
func (g *Grants) Mount(guestPath string, fs vfs.FS) error {
	m := mount{guestPath, fs}
	if len(guestPath) > 1 {
		m.path = strings.TrimSuffix(guestPath, "/")
	}
	mounts := append(slices.Clip(g.mounts), m)
	tree, err := treeOf(mounts)
	if err == nil {
		g.mounts, g.made = mounts, tree
	}
	return err
}

// Share grants the files that merge makes at guestPath, of what is mounted there already
// (nil: nothing) and what it knows: so several grants make one mount. merge must not change what
// it is given, which others may use.
func (g *Grants) Share(guestPath string, merge func(have vfs.FS) (vfs.FS, error)) error {
	i := slices.IndexFunc(g.mounts, func(m mount) bool { return m.path == guestPath })
	if i < 0 {
		fs, err := merge(nil)
		if err != nil {
			return err
		}
		return g.Mount(guestPath, fs)
	}
	fs, err := merge(g.mounts[i].fs)
	if err != nil {
		return err
	}
	mounts := slices.Clone(g.mounts)
	mounts[i].fs = fs
	tree, err := treeOf(mounts)
	if err == nil {
		g.mounts, g.made = mounts, tree
	}
	return err
}

// Watch has watch called with everything that a guest asks for and is refused, as often
// as it asks. watch must be safe for concurrent use, and quick. Only the last one given counts.
func (g *Grants) Watch(watch func(Refusal)) { g.watch = watch }

// Watched tells whether anybody is told what is refused.
func (g *Grants) Watched() bool { return g.watch != nil }

// tree is the file tree that the grants make. Functions with the same grants share it:
// there may be very many of them.
func (g *Grants) tree() (*vfs.Tree, error) {
	if g.made != nil {
		return g.made, nil
	}
	return bareTree()
}

// bareTree is the tree of those who are granted no files.
var bareTree = sync.OnceValues(func() (*vfs.Tree, error) { return treeOf(nil) })

func treeOf(mounts []mount) (*vfs.Tree, error) {
	tree := vfs.NewTree()
	if err := tree.Mount(snapshotPath, snapshotDevice); err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if err := tree.Mount(m.path, m.fs); err != nil {
			return nil, err
		}
	}
	return tree, nil
}

// clone returns grants that share nothing with g but the mounted file systems.
func (g *Grants) clone() Grants {
	return Grants{env: append([]variable(nil), g.env...), mounts: append([]mount(nil), g.mounts...), made: g.made, watch: g.watch}
}
