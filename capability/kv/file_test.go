package kv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/stores"
)

// guest uses a grant as a call does: through the file tree, at /kv.
type guest struct {
	*testing.T
	root *vfs.Dir
	open map[string]vfs.File
}

func newGuest(t *testing.T, g *grant) *guest {
	t.Helper()
	tree := vfs.NewTree()
	if err := tree.Mount("/kv", g); err != nil {
		t.Fatal(err)
	}
	return &guest{t, tree.View().Root(), make(map[string]vfs.File)}
}

const (
	r  = vfs.Read
	w  = vfs.Write
	rw = vfs.Read | vfs.Write
	c  = vfs.Create
	x  = vfs.Create | vfs.Exclusive
	tr = vfs.Truncate
	a  = vfs.Append
)

// do does one step, in words, and returns what came of it: "ok", what was read, or an
// error number.
//
//	open <file> <name> · read <file> · write <file> <text> · at <file> <offset> <text> · size <file> <n> · close <file> · discard <file>
//	cat <name> · put <name> <text> · rm <name> · mv <name> <name> · ls · stat <name> · mkdir, rmdir, link, symlink, touch <name>
func (g *guest) do(step string, flags vfs.OpenFlags) string {
	g.Helper()
	ctx := g.Context()
	word := append(strings.SplitN(step, " ", 4), "", "", "")
	f := g.open[word[1]]
	said := func(text string, err error) string {
		switch errno := vfs.ErrnoOf(err); {
		case errno != 0:
			return errno.Error()
		case text == "":
			return "ok"
		}
		return text
	}
	path := func(name string) string { return "kv/" + name }
	switch word[0] {
	case "open":
		f, err := g.root.Open(ctx, path(word[2]), flags)
		if err == nil {
			g.open[word[1]] = f
		}
		return said("", err)
	case "read":
		text, err := readAll(ctx, f)
		return said("="+text, err)
	case "write":
		_, err := writeTo(ctx, f, strings.TrimSuffix(strings.Join(word[2:], " "), "   "), flags&a != 0)
		return said("", err)
	case "at":
		var offset int64
		if _, err := fmt.Sscan(word[2], &offset); err != nil {
			g.Fatal(err)
		}
		_, err := f.(vfs.WriterAt).WriteAt(ctx, []byte(word[3]), offset)
		return said("", err)
	case "size":
		var size int64
		if _, err := fmt.Sscan(word[2], &size); err != nil {
			g.Fatal(err)
		}
		return said("", f.(vfs.Truncater).Truncate(ctx, size))
	case "sync":
		return said("", f.(vfs.Syncer).Sync(ctx, false))
	case "close":
		return said("", f.Close(ctx))
	case "discard":
		f.(vfs.Discarder).Discard()
		return "ok"
	case "cat":
		text, err := readFileAt(ctx, g.root, path(word[1]))
		return said("="+text, err)
	case "put":
		f, err := g.root.Open(ctx, path(word[1]), w|c|tr)
		if err != nil {
			return said("", err)
		}
		if _, err := writeTo(ctx, f, word[2], false); err != nil {
			return said("", errors.Join(err, f.Close(ctx)))
		}
		return said("", f.Close(ctx))
	case "rm":
		return said("", g.root.Unlink(ctx, path(word[1])))
	case "mv":
		return said("", g.root.Rename(ctx, path(word[1]), g.root, path(word[2])))
	case "ls":
		names, err := list(ctx, g.root)
		return said("="+strings.Join(names, " "), err)
	case "stat":
		stat, err := g.root.Lookup(ctx, path(word[1]), true)
		return said(fmt.Sprintf("=type %d size %d", stat.Type, stat.Size), err)
	case "mkdir":
		return said("", g.root.Mkdir(ctx, path(word[1])))
	case "rmdir":
		return said("", g.root.Rmdir(ctx, path(word[1])))
	case "link":
		return said("", g.root.Link(ctx, path(word[1]), g.root, path(word[2])))
	case "symlink":
		return said("", g.root.Symlink(ctx, word[1], path(word[2])))
	case "touch":
		return said("", g.root.SetTimesOf(ctx, path(word[1]), true, time.Now(), time.Now()))
	}
	g.Fatalf("no such step: %s", step)
	return ""
}

func readAll(ctx context.Context, f vfs.File) (string, error) {
	reader, ok := f.(vfs.ReaderAt)
	if !ok {
		return "", vfs.EBADF
	}
	var text []byte
	for piece := make([]byte, 7); ; {
		n, err := reader.ReadAt(ctx, piece, int64(len(text)))
		text = append(text, piece[:n]...)
		if err == io.EOF || n == 0 && err == nil {
			return string(text), nil
		}
		if err != nil {
			return "", err
		}
	}
}

func readFileAt(ctx context.Context, root *vfs.Dir, path string) (string, error) {
	f, err := root.Open(ctx, path, r)
	if err != nil {
		return "", err
	}
	text, err := readAll(ctx, f)
	return text, errors.Join(err, f.Close(ctx))
}

// writeTo writes at the end of a file, as the engine does with and without O_APPEND.
func writeTo(ctx context.Context, f vfs.File, text string, appending bool) (int, error) {
	if appending {
		n, _, err := f.(vfs.Appender).Append(ctx, []byte(text))
		return n, err
	}
	stat, err := f.Stat(ctx)
	if err != nil {
		return 0, err
	}
	return f.(vfs.WriterAt).WriteAt(ctx, []byte(text), stat.Size)
}

func list(ctx context.Context, root *vfs.Dir) (names []string, err error) {
	dir, err := root.Open(ctx, "kv", r)
	if err != nil {
		return nil, err
	}
	defer dir.Close(ctx)
	lister, err := dir.(vfs.Directory).List(ctx)
	if err != nil {
		return nil, err
	}
	defer lister.Close()
	for page := make([]vfs.Entry, 3); ; {
		n, err := lister.Next(ctx, page)
		if n == 0 || err != nil {
			return names, err
		}
		for _, e := range page[:n] {
			names = append(names, e.Name)
		}
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	type step struct {
		do    string
		flags vfs.OpenFlags
		want  string
	}
	for _, test := range []struct {
		name, line string
		steps      []step
	}{
		{"a write is seen when it is closed", "kv test", []step{
			{"cat a", 0, "ENOENT"}, {"open f a", w | c | tr, "ok"}, {"write f one", 0, "ok"}, {"cat a", 0, "ENOENT"}, {"sync f", 0, "ok"}, {"cat a", 0, "ENOENT"},
			{"close f", 0, "ok"}, {"cat a", 0, "=one"}, {"ls", 0, "=a"}, {"stat a", 0, "=type 4 size 3"},
			{"open f a", w | tr, "ok"}, {"write f two", 0, "ok"}, {"cat a", 0, "=one"}, {"close f", 0, "ok"}, {"cat a", 0, "=two"},
		}},
		{"discarded", "kv test", []step{
			{"put a one", 0, "ok"}, {"open f a", w | tr, "ok"}, {"write f two", 0, "ok"}, {"discard f", 0, "ok"}, {"cat a", 0, "=one"},
			{"open f b", w | c, "ok"}, {"discard f", 0, "ok"}, {"ls", 0, "=a"},
		}},
		{"what is only opened is not changed", "kv test", []step{
			{"open f a", w, "ENOENT"}, {"open f a", rw, "ENOENT"}, {"open f a", r, "ENOENT"}, {"open f a", w | tr, "ENOENT"}, {"open f a", w | a, "ENOENT"},
			{"put a one", 0, "ok"}, {"open f a", rw, "ok"}, {"put a two", 0, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "=two"},
			{"open f a", rw | c, "ok"}, {"put a three", 0, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "=three"},
		}},
		{"what is made is there when it is closed", "kv test", []step{
			{"open f a", w | c, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "="}, {"stat a", 0, "=type 4 size 0"},
			{"open f b", r | c, "ok"}, {"close f", 0, "ok"}, {"cat b", 0, "="},
			{"open f c", w | c, "ok"}, {"put c other", 0, "ok"}, {"close f", 0, "ok"}, {"cat c", 0, "=other"},
			{"open f d", w | c | a, "ok"}, {"close f", 0, "ok"}, {"cat d", 0, "="},
			{"open f a", w | c | tr, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "="},
		}},
		{"a private copy, of which the last wins", "kv test", []step{
			{"put a 0123456789", 0, "ok"}, {"open f a", rw, "ok"}, {"open g a", rw, "ok"}, {"at f 2 xx", 0, "ok"}, {"at g 4 yy", 0, "ok"},
			{"read f", 0, "=01xx456789"}, {"read g", 0, "=0123yy6789"}, {"close g", 0, "ok"}, {"cat a", 0, "=0123yy6789"}, {"close f", 0, "ok"}, {"cat a", 0, "=01xx456789"},
		}},
		{"sizes", "kv test", []step{
			{"put a 0123456789", 0, "ok"}, {"open f a", rw, "ok"}, {"size f 4", 0, "ok"}, {"size f 6", 0, "ok"}, {"read f", 0, "=0123\x00\x00"}, {"at f 8 x", 0, "ok"},
			{"read f", 0, "=0123\x00\x00\x00\x00x"}, {"size f 0", 0, "ok"}, {"write f end", 0, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "=end"},
			{"open f b", w | c, "ok"}, {"size f 2", 0, "ok"}, {"close f", 0, "ok"}, {"cat b", 0, "=\x00\x00"},
			{"open f b", w, "ok"}, {"size f 0", 0, "ok"}, {"close f", 0, "ok"}, {"cat b", 0, "="},
		}},
		{"create only", "kv test", []step{
			{"open f a", w | x, "ok"}, {"write f one", 0, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "=one"}, {"open f a", w | x, "EEXIST"}, {"open f a", w | x | tr, "EEXIST"},
			{"open f b", w | x, "ok"}, {"open g b", w | x, "ok"}, {"write g two", 0, "ok"}, {"close g", 0, "ok"}, {"write f one", 0, "ok"}, {"close f", 0, "EEXIST"}, {"cat b", 0, "=two"},
		}},
		{"appends are added to what is there", "kv test", []step{
			{"open f a", w | c | a, "ok"}, {"write f 1", a, "ok"}, {"write f 2", a, "ok"}, {"open g a", w | c | a, "ok"}, {"write g 3", a, "ok"}, {"close f", 0, "ok"},
			{"write g 4", a, "ok"}, {"cat a", 0, "=12"}, {"close g", 0, "ok"}, {"cat a", 0, "=1234"},
			{"open f a", rw | a, "ok"}, {"write f 5", a, "ok"}, {"read f", 0, "=12345"}, {"put a x", 0, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "=x5"},
			{"open f a", w | a, "ok"}, {"rm a", 0, "ok"}, {"write f 6", a, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "=6"},
			{"open f a", w | a, "ok"}, {"put a y", 0, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "=y"},
			{"open f a", w | a | tr, "ok"}, {"write f z", a, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "=z"},
			{"open f a", w | a, "ok"}, {"write f 1", a, "ok"}, {"at f 0 2", 0, "ok"}, {"close f", 0, "ok"}, {"cat a", 0, "=21"},
		}},
		{"delete", "kv test", []step{
			{"rm a", 0, "ENOENT"}, {"put a one", 0, "ok"}, {"open f a", r, "ok"}, {"rm a", 0, "ok"}, {"read f", 0, "=one"}, {"close f", 0, "ok"}, {"cat a", 0, "ENOENT"}, {"rm a", 0, "ENOENT"},
		}},
		{"rename", "kv test", []step{
			{"mv a b", 0, "ENOENT"}, {"put a one", 0, "ok"}, {"mv a b", 0, "ok"}, {"ls", 0, "=b"}, {"put a two", 0, "ok"}, {"mv a b", 0, "ok"}, {"cat b", 0, "=two"}, {"mv b b", 0, "ok"},
			{"mv b %2f", 0, "EINVAL"}, {"mv b .do", 0, "EPERM"}, {"mv .do b", 0, "EPERM"}, {"mv b x/y", 0, "ENOENT"}, {"ls", 0, "=b"},
		}},
		{"names", "kv test", []step{
			{"put a%2Fb 1", 0, "ok"}, {"put %2E%2E 2", 0, "ok"}, {"put %2Edo 3", 0, "ok"}, {"put %00 4", 0, "ok"}, {"ls", 0, "=%00 %2E%2E %2Edo a%2Fb"}, {"cat %2Edo", 0, "=3"},
			{"put %61 x", 0, "EINVAL"}, {"put a+b x", 0, "EINVAL"}, {"cat %2f", 0, "EINVAL"}, {"rm %", 0, "EINVAL"}, {"stat %2g", 0, "EINVAL"},
			{"put " + strings.Repeat("k", 255) + " 5", 0, "ok"}, {"cat " + strings.Repeat("k", 255), 0, "=5"},
			{"put " + strings.Repeat("k", 256) + " x", 0, "ENAMETOOLONG"}, {"cat " + strings.Repeat("k", 4000), 0, "ENAMETOOLONG"}, {"put " + strings.Repeat("%2F", 86) + " x", 0, "ENAMETOOLONG"},
			{"put a/b x", 0, "ENOENT"}, {"put a%2Fb/c x", 0, "ENOTDIR"}, {"cat .do/x", 0, "ENOTDIR"}, {"open f a%2Fb", r | vfs.OnlyDirectory, "ENOTDIR"}, {"open f z", r | vfs.OnlyDirectory, "ENOENT"},
		}},
		{"a flat directory", "kv test", []step{
			{"put a one", 0, "ok"}, {"mkdir b", 0, "EPERM"}, {"mkdir a", 0, "EEXIST"}, {"rmdir b", 0, "ENOENT"}, {"rmdir a", 0, "ENOTDIR"},
			{"link a b", 0, "EPERM"}, {"link a a", 0, "EEXIST"}, {"symlink a b", 0, "EPERM"}, {"symlink x a", 0, "EEXIST"}, {"touch a", 0, "EPERM"}, {"touch b", 0, "ENOENT"},
			{"mkdir %2f", 0, "EINVAL"}, {"open f .", rw, "EISDIR"}, {"open f .", r | x, "EISDIR"}, {"open f .", r, "ok"}, {"close f", 0, "ok"}, {"stat .", 0, "=type 3 size 0"},
		}},
		{"the device", "kv test ro", []step{
			{"stat .do", 0, "=type 2 size 0"}, {"ls", 0, "="}, {"open f .do", rw, "ok"}, {"close f", 0, "ok"}, {"open f .do", rw | c | tr, "ok"}, {"close f", 0, "ok"},
			{"open f .do", rw | x, "EEXIST"}, {"open f .do", r | vfs.OnlyDirectory, "ENOTDIR"},
		}},
		{"the device can't be changed", "kv test", []step{{"rm .do", 0, "EPERM"}, {"touch .do", 0, "EPERM"}, {"mkdir .do", 0, "EEXIST"}, {"rmdir .do", 0, "EPERM"}}},
		{"large values", "kv test {\n max_value 8\n}", []step{
			{"put a 12345678", 0, "ok"}, {"put b 123456789", 0, "EFBIG"}, {"ls", 0, "=a"},
			{"open f a", rw, "ok"}, {"write f 9", 0, "EFBIG"}, {"at f 0 x", 0, "ok"}, {"close f", 0, "EFBIG"}, {"cat a", 0, "=12345678"},
			{"open f a", rw, "ok"}, {"size f 9", 0, "EFBIG"}, {"at f 9223372036854775807 x", 0, "EFBIG"}, {"close f", 0, "EFBIG"},
			{"open f a", w | a, "ok"}, {"put a 1234567", 0, "ok"}, {"write f 8", a, "EFBIG"}, {"close f", 0, "EFBIG"},
			{"open f a", w | a, "ok"}, {"write f 8", a, "ok"}, {"put a 12345678", 0, "ok"}, {"close f", 0, "EFBIG"}, {"cat a", 0, "=12345678"},
		}},
		{"many keys", "kv test {\n max_keys 2\n}", []step{
			{"put a 1", 0, "ok"}, {"put b 1", 0, "ok"}, {"put c 1", 0, "ENOSPC"}, {"open f c", w | x, "ok"}, {"close f", 0, "ENOSPC"}, {"open f c", w | c | a, "ok"}, {"close f", 0, "ENOSPC"},
			{"put a 2", 0, "ok"}, {"mv a c", 0, "ok"}, {"rm b", 0, "ok"}, {"put a 1", 0, "ok"}, {"ls", 0, "=a c"},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newGuest(t, newGrant(t, test.line, newStore(t)))
			for _, step := range test.steps {
				if got := g.do(step.do, step.flags); got != step.want {
					t.Fatalf("%.60s %b: got %q, want %q", step.do, step.flags, got, step.want)
				}
			}
		})
	}
}

func TestReadOnly(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	newGuest(t, newGrant(t, "kv test", store)).do("put a one", 0)
	g := newGuest(t, newGrant(t, "kv test ro", store))
	for _, step := range []struct {
		do    string
		flags vfs.OpenFlags
		want  string
	}{
		{"cat a", 0, "=one"}, {"ls", 0, "=a"}, {"stat a", 0, "=type 4 size 3"}, {"open f a", rw, "EROFS"}, {"open f a", w, "EROFS"}, {"open f a", r | tr, "EROFS"},
		{"open f b", r | c, "EROFS"}, {"put b x", 0, "EROFS"}, {"rm a", 0, "EROFS"}, {"mv a b", 0, "EROFS"}, {"mkdir b", 0, "EROFS"}, {"link a b", 0, "EROFS"}, {"symlink a b", 0, "EROFS"},
		{"rmdir a", 0, "EROFS"}, {"touch a", 0, "EROFS"}, {"open f a", r, "ok"}, {"read f", 0, "=one"}, {"close f", 0, "ok"},
	} {
		if got := g.do(step.do, step.flags); got != step.want {
			t.Errorf("%s: got %q, want %q", step.do, got, step.want)
		}
	}
}

// TestShared: functions that name a namespace share it, and see nothing of others.
func TestShared(t *testing.T) {
	t.Parallel()
	store := newStore(t)
	one, same, other := newGuest(t, newGrant(t, "kv user", store)), newGuest(t, newGrant(t, "kv user /u", store)), newGuest(t, newGrant(t, "kv user_admin", store))
	one.do("put a one", 0)
	if got := same.do("cat a", 0); got != "=one" {
		t.Errorf("the same namespace: got %s", got)
	}
	if got := other.do("ls", 0); got != "=" {
		t.Errorf("another namespace: got %s", got)
	}
	in := func(g *guest) vfs.Stat {
		stat, err := g.root.Lookup(t.Context(), "kv/a", false)
		if err != nil {
			t.Fatal(err)
		}
		return stat
	}
	other.do("put a two", 0)
	if a, b, c := in(one), in(same), in(other); a.Device != b.Device || a.Inode != b.Inode || a.Device == c.Device {
		t.Errorf("got %+v, %+v and %+v, want two that are the same", a, b, c)
	}
	if age := time.Since(time.Unix(0, in(one).Modified)); age < 0 || age > time.Minute {
		t.Errorf("modified %v ago", age)
	}
}

// TestTimeToLive: what is written vanishes with the grant's ttl; appending keeps the time that was set.
func TestTimeToLive(t *testing.T) {
	t.Parallel()
	grant := newGrant(t, "kv test {\n ttl 1h\n}", newStore(t))
	g := newGuest(t, grant)
	expires := func() time.Time {
		item, err := grant.store.Get(t.Context(), grant.namespace, "a")
		if err != nil {
			t.Fatal(err)
		}
		return item.Expires
	}
	g.do("put a one", 0)
	if left := time.Until(expires()); left < 50*time.Minute || left > time.Hour {
		t.Errorf("got %v, want an hour", left)
	}
	set := time.Now().Add(time.Minute)
	if _, err := grant.store.Put(t.Context(), grant.namespace, "a", nil, set); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"open f a", "write f x", "close f"} {
		if got := g.do(step, w|a); got != "ok" {
			t.Fatalf("%s: %s", step, got)
		}
	}
	if got := expires(); got.Sub(set).Abs() > time.Second {
		t.Errorf("appended: got %v, want %v", got, set)
	}
	for lifetime, want := range map[time.Duration]time.Duration{0: time.Hour, time.Minute: time.Minute, 2 * time.Hour: time.Hour} {
		if left := time.Until(grant.expires(lifetime)); left > want || left < want-time.Minute/2 {
			t.Errorf("asked for %v: got %v, want %v", lifetime, left, want)
		}
	}
}

func TestLongList(t *testing.T) {
	t.Parallel()
	grant := newGrant(t, "kv test", newStore(t))
	var want []string
	put := func(key string) {
		if _, err := grant.store.Put(t.Context(), grant.namespace, key, nil, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3*listPage + 1 {
		key := fmt.Sprintf("k%04d", i)
		put(key)
		want = append(want, key)
		put(strings.Repeat("\x00", 100+i%100) + key) // can't be a name
	}
	got, err := list(t.Context(), newGuest(t, grant).root)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %d names, %v, want %d", len(got), err, len(want))
	}
}

// TestMemory: what a file holds is reserved, and is no more than the budget has.
func TestMemory(t *testing.T) {
	t.Parallel()
	grant := newGrant(t, "kv test", newStore(t))
	budget := engine.NewBudget(100_000)
	if _, err := grant.store.Put(t.Context(), grant.namespace, "a", make([]byte, 60_000), time.Time{}); err != nil {
		t.Fatal(err)
	}
	open := func(flags vfs.OpenFlags) (*file, error) {
		f := &file{grant: grant, key: "a", flags: flags, budget: budget, shared: true, appended: -1}
		return f, f.load(t.Context())
	}
	f, err := open(rw)
	if err != nil || budget.Used() != 60_000 {
		t.Fatalf("got %v, %d bytes reserved, want 60000", err, budget.Used())
	}
	if _, err := open(rw); err != vfs.ENOMEM || budget.Used() != 60_000 {
		t.Errorf("a second: got %v, %d bytes reserved, want ENOMEM and as many", err, budget.Used())
	}
	if _, err := f.WriteAt(t.Context(), []byte("x"), 0); err != vfs.ENOMEM || budget.Used() != 60_000 {
		t.Errorf("a copy: got %v, %d bytes reserved, want ENOMEM and as many", err, budget.Used())
	}
	if err := f.Close(t.Context()); err != vfs.ENOMEM || budget.Used() != 0 {
		t.Errorf("close: got %v, %d bytes reserved, want ENOMEM and none", err, budget.Used())
	}
	if f, err = open(w | c | tr); err != nil {
		t.Fatal(err)
	}
	written := 0
	for ; err == nil; written += 1000 {
		_, err = f.WriteAt(t.Context(), make([]byte, 1000), int64(written))
		if budget.Used() > 100_000 || budget.Used() < int64(cap(f.value)) {
			t.Fatalf("%d bytes reserved for %d", budget.Used(), cap(f.value))
		}
	}
	if err != vfs.ENOMEM || written < 30_000 {
		t.Errorf("got %v after %d bytes, want ENOMEM after more", err, written)
	}
	f.Discard()
	if budget.Used() != 0 {
		t.Errorf("%d bytes are still reserved", budget.Used())
	}
}

// TestAppenders: what many append is all there, and whole.
func TestAppenders(t *testing.T) {
	t.Parallel()
	grant := newGrant(t, "kv test", newStore(t))
	var all sync.WaitGroup
	var made atomic.Int64
	for i := range 16 {
		g := newGuest(t, grant)
		all.Go(func() {
			for n := range 10 {
				for _, step := range []string{"open f log", fmt.Sprintf("write f <%d-%d", i, n), "write f >", "close f"} {
					if got := g.do(step, w|c|a); got != "ok" {
						t.Errorf("%s: %s", step, got)
					}
				}
			}
			if g.do("open f once", w|x) == "ok" && g.do("close f", 0) == "ok" {
				made.Add(1)
			}
		})
	}
	all.Wait()
	log := newGuest(t, grant).do("cat log", 0)
	for i := range 16 {
		for n := range 10 {
			if want := fmt.Sprintf("<%d-%d>", i, n); strings.Count(log, want) != 1 {
				t.Errorf("%s is there %d times", want, strings.Count(log, want))
			}
		}
	}
	if made.Load() != 1 {
		t.Errorf("%d made the same key", made.Load())
	}
}

// TestStoreErrors: what a file's operations say when the store has an error.
func TestStoreErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want string
	}{
		{errDown, "EIO"},
		{fmt.Errorf("its own timeout: %w", context.DeadlineExceeded), "EIO"},
		{fmt.Errorf("x: %w", stores.ErrFull), "ENOSPC"},
		{fmt.Errorf("x: %w", stores.ErrTooLarge), "EFBIG"},
	} {
		g := newGuest(t, newGrant(t, "kv test", putFails{newStore(t), test.err}))
		if got := g.do("put a x", 0); got != test.want {
			t.Errorf("%v: got %s, want %s", test.err, got, test.want)
		}
		if got := g.do("cat a", 0); got != "ENOENT" {
			t.Errorf("%v: then got %s", test.err, got)
		}
	}
}

type putFails struct {
	stores.Store
	err error
}

func (p putFails) Put(context.Context, stores.Namespace, string, []byte, time.Time) (uint64, error) {
	return 0, p.err
}
