package routes

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// folderOf makes a folder: "a/b.wasm" is an empty file, "a/" a folder,
// "a -> b" a symbolic link.
func folderOf(t *testing.T, names ...string) string {
	t.Helper()
	root := t.TempDir()
	for _, name := range names {
		name, target, link := strings.Cut(name, " -> ")
		path := filepath.Join(root, filepath.FromSlash(name))
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		switch {
		case link:
			if err := os.Symlink(filepath.FromSlash(target), path); err != nil {
				t.Skipf("no symbolic links: %v", err)
			}
		case strings.HasSuffix(name, "/"):
			must(t, os.MkdirAll(path, 0o700))
		default:
			must(t, os.WriteFile(path, nil, 0o600))
		}
	}
	return root
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// check scans root and compares lines "path route" of the files and "path route
// | words of the error" of the problems; no route is "-".
func check(t *testing.T, root string, files, problems []string) {
	t.Helper()
	gotFiles, gotProblems, err := Scan(root)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, gotFiles, gotProblems, files, problems)
}

func compare(t *testing.T, gotFiles []File, gotProblems []Problem, files, problems []string) {
	t.Helper()
	var got []string
	for _, f := range gotFiles {
		got = append(got, f.Path+" "+f.Route)
	}
	if !slices.Equal(got, files) {
		t.Errorf("files: got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(files, "\n\t"))
	}
	ok := len(gotProblems) == len(problems)
	var lines []string
	for i, p := range gotProblems {
		route := p.Route
		if route == "" {
			route = "-"
		}
		line := fmt.Sprintf("%s %s | %v", p.Path, route, p.Err)
		lines = append(lines, line)
		if ok {
			place, words, _ := strings.Cut(problems[i], " | ")
			ok = strings.HasPrefix(line, place+" | ") && strings.Contains(p.Err.Error(), words)
		}
	}
	if !ok {
		t.Errorf("problems: got\n\t%s\nwant\n\t%s", strings.Join(lines, "\n\t"), strings.Join(problems, "\n\t"))
	}
	distinct(t, gotFiles, gotProblems)
}

// distinct checks what Scan promises of all routes together.
func distinct(t *testing.T, files []File, problems []Problem) {
	t.Helper()
	seen := map[string]string{"": ""}
	for _, p := range problems {
		if p.Route != "" {
			files = append(slices.Clip(files), File{p.Path, p.Route})
		}
	}
	for _, f := range files {
		if other, ok := seen[shape(f.Route)]; ok {
			t.Errorf("%q and %q have the same shape", f.Path, other)
		}
		seen[shape(f.Route)] = f.Path
		if err := Check(f.Route); err != nil {
			t.Errorf("%q: %v", f.Path, err)
		}
	}
}

func TestScan(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name            string
		tree            []string
		files, problems []string
	}{
		{"empty", nil, nil, nil},
		{
			"routes",
			[]string{"index.wasm", "a.wasm", "a/b.wasm", "b/index.wasm", "c/[id].wasm", "c/[id]/d.wasm", "f/[...rest].wasm", "index/index.wasm", "e/", "index/a.wasm", "[x]/index.wasm"},
			[]string{
				"[x]/index.wasm /[x]", "a.wasm /a", "a/b.wasm /a/b", "b/index.wasm /b", "c/[id].wasm /c/[id]", "c/[id]/d.wasm /c/[id]/d",
				"f/[...rest].wasm /f/[...rest]", "index.wasm /", "index/a.wasm /index/a", "index/index.wasm /index",
			}, nil,
		},
		{
			"not served",
			[]string{"_a.wasm", ".b.wasm", ".wasm", "_lib/x.wasm", ".git/x.wasm", "a/_b/c.wasm", "README.md", "x.WASM", "x.wasm.bak", "wasm", "a[1].txt", "[", "_.wasm/", "_l -> gone"},
			nil, nil,
		},
		{
			"odd names",
			[]string{"a b/ c.wasm", "50%.wasm", "%2F.wasm", "ü/日本.wasm", "a.b.wasm", "a...wasm", "-_.wasm", "index.html.wasm", "INDEX.wasm", "~'&;.wasm"},
			[]string{
				"%2F.wasm /%2F", "-_.wasm /-_", "50%.wasm /50%", "INDEX.wasm /INDEX", "a b/ c.wasm /a b/ c", "a...wasm /a..",
				"a.b.wasm /a.b", "index.html.wasm /index.html", "~'&;.wasm /~'&;", "ü/日本.wasm /ü/日本",
			}, nil,
		},
		{
			"bad names",
			[]string{"[.wasm", "[].wasm", "[...].wasm", "x[id].wasm", "[id]/a/[id].wasm", "[id]/a/[...id].wasm", "[id]/b/[id]/x.wasm", "[...x]/a.wasm", "[/a.wasm", "ok.wasm"},
			[]string{"ok.wasm /ok"},
			[]string{
				"[ - | brackets", "[...].wasm - | brackets", "[...x] - | last", "[.wasm - | brackets", "[].wasm - | brackets",
				"[id]/a/[...id].wasm - | twice", "[id]/a/[id].wasm - | twice", "[id]/b/[id] - | twice", "x[id].wasm - | brackets",
			},
		},
		{
			"conflicts",
			[]string{
				"a.wasm", "a/index.wasm", "a/b.wasm", "u/[id].wasm", "u/[name].wasm", "u/[other]/index.wasm",
				"v/[id]/x.wasm", "v/[name]/x.wasm", "v/[name]/y.wasm", "w/[...a].wasm", "w/[...b].wasm", "w/[a].wasm",
			},
			[]string{"a/b.wasm /a/b", "v/[name]/y.wasm /v/[name]/y", "w/[a].wasm /w/[a]"},
			[]string{
				`a.wasm /a | "a.wasm" and "a/index.wasm" have the same route`,
				`u/[id].wasm /u/[id] | "u/[id].wasm", "u/[name].wasm" and 1 more`,
				"v/[id]/x.wasm /v/[id]/x | v/[name]/x.wasm",
				"w/[...a].wasm /w/[...a] | w/[...b].wasm",
			},
		},
		{
			"folders that should be modules",
			[]string{"x.wasm/y.wasm", "a/index.wasm/", "b.wasm/", "b/index.wasm"},
			nil,
			[]string{"a/index.wasm /a | a folder", "b.wasm - | a folder", "b.wasm /b | same route", "x.wasm /x | a folder"},
		},
		{
			"links",
			[]string{"_v1/a.wasm", "_v1/sub/b.wasm", "x -> _v1", "y/z -> ../_v1/sub", "l.wasm -> _v1/a.wasm", "m -> _v1/a.wasm", "c.wasm -> _v1"},
			[]string{"l.wasm /l", "x/a.wasm /x/a", "x/sub/b.wasm /x/sub/b", "y/z/b.wasm /y/z/b"},
			[]string{"c.wasm /c | a folder"},
		},
		{
			"links that lead nowhere",
			[]string{"a.wasm -> gone", "b -> gone", "c.wasm", "c -> gone", "[id].wasm -> gone", "self -> self"},
			nil,
			[]string{"[id].wasm /[id] | ", "a.wasm /a | ", "b /b | ", "c - | ", "c /c | same route", "self /self | "},
		},
		{
			"loops",
			[]string{"a/b/up -> ..", "a/b/top -> ../..", "a/b/self -> .", "a/b/out -> ../../..", "a/b/x.wasm", "p/to_q -> ../q", "q/to_p -> ../p", "p/x.wasm", "host -> /"},
			[]string{"a/b/x.wasm /a/b/x", "p/x.wasm /p/x", "q/to_p/x.wasm /q/to_p/x"},
			[]string{
				"a/b/out - | leads up", "a/b/self - | leads up", "a/b/top - | leads up", "a/b/up - | leads up", "host - | leads up",
				"p/to_q/to_p - | leads up", "q/to_p/to_q - | leads up",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if runtime.GOOS == "windows" && test.name == "odd names" {
				t.Skip("not all of these can be made")
			}
			check(t, folderOf(t, test.tree...), test.files, test.problems)
		})
	}
}

func TestScanRoot(t *testing.T) {
	t.Parallel()
	root := folderOf(t, "v1/a.wasm", "now -> v1", "file")
	check(t, filepath.Join(root, "now"), []string{"a.wasm /a"}, nil)
	for _, name := range []string{"gone", "file"} {
		files, problems, err := Scan(filepath.Join(root, name))
		if err == nil || files != nil || problems != nil {
			t.Errorf("%s: got %v, %v and no error", name, files, problems)
		}
	}
}

// A relative root is what an operator writes, and "." has no name to find it by.
func TestScanRelativeRoot(t *testing.T) {
	root := folderOf(t, "fn/a.wasm", "fn/up -> ..")
	t.Chdir(root)
	check(t, "fn", []string{"a.wasm /a"}, []string{"up - | leads up"})
	t.Chdir(filepath.Join(root, "fn"))
	check(t, ".", []string{"a.wasm /a"}, []string{"up - | leads up"})
}

func TestScanDeep(t *testing.T) {
	t.Parallel()
	level := func(n int) string { return strings.Repeat("/d", n) }
	root := folderOf(t, level(100)+"/[id].wasm", level(MaxDepth)+"/x.wasm", level(MaxDepth+3)+"/y.wasm")
	files := []string{level(100)[1:] + "/[id].wasm " + level(100) + "/[id]", level(MaxDepth)[1:] + "/x.wasm " + level(MaxDepth) + "/x"}
	check(t, root, files, []string{level(MaxDepth + 1)[1:] + " " + level(MaxDepth+1) + " | deep"})

	table := NewTable([]string{level(100) + "/[id]", level(MaxDepth) + "/x", level(MaxDepth + 1)})
	for path, want := range map[string]int{
		level(100) + "/7":             0,
		level(MaxDepth) + "/x":        1,
		level(MaxDepth + 1):           2,
		level(MaxDepth+3) + "/y/z/zz": 2,
	} {
		if got, _, ok := table.Match(path); !ok || got != want {
			t.Errorf("%d bytes: got %d, %v, want %d", len(path), got, ok, want)
		}
	}
}

// Links multiply: 2 at each of 30 levels lead 2^30 ways to the last folder.
func TestScanTooMany(t *testing.T) {
	t.Parallel()
	var tree []string
	for i := range 30 {
		tree = append(tree, fmt.Sprintf("_%d/a -> ../_%d", i, i+1), fmt.Sprintf("_%d/b -> ../_%d", i, i+1))
	}
	root := folderOf(t, append(tree, "_30/x.wasm", "go -> _0", "index.wasm")...)
	const size = 1 << 20
	files, problems, err := scanUpTo(root, size)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(files) + len(problems); n > size/nameCost {
		t.Errorf("got %d files and problems of at most %d names", n, size/nameCost)
	}
	if len(files) == 0 || len(problems) == 0 || problems[0].Err != errMany || problems[0].Route == "" {
		t.Errorf("got %d files and problems %.3v, want the first folders and a problem for each that isn't read", len(files), problems)
	}
	distinct(t, files, problems)

	// In the root itself: everything that has no function is in doubt.
	files, problems, err = scanUpTo(folderOf(t, "a.wasm", "b.wasm", "c.wasm"), 2*(nameCost+len("a.wasm")))
	if err != nil || len(files) != 2 || len(problems) != 1 || problems[0] != (Problem{".", "/", errMany}) {
		t.Errorf("got %v, %v, %v, want two files and a problem with /", files, problems, err)
	}
}

// A path longer than the system opens is a folder that can't be read, for root
// too. Its route is nobody else's.
func TestScanUnreadable(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("has no such limit")
	}
	base := folderOf(t, "a.wasm")
	at, err := os.OpenRoot(base)
	must(t, err)
	name := strings.Repeat("n", 250)
	for range 20 {
		must(t, at.Mkdir(name, 0o700))
		next, err := at.OpenRoot(name)
		must(t, err)
		at.Close()
		at = next
	}
	at.Close()
	files, problems, err := Scan(base)
	if err != nil || len(files) != 1 || files[0] != (File{"a.wasm", "/a"}) {
		t.Errorf("got %v, %v, want a.wasm", files, err)
	}
	if len(problems) != 1 || problems[0].Route != "/"+problems[0].Path || !strings.HasPrefix(problems[0].Path, name+"/"+name) {
		t.Fatalf("got %v, want one problem with its route", problems)
	}
}

func TestScanForbidden(t *testing.T) {
	t.Parallel()
	root := folderOf(t, "a/x.wasm", "a.wasm", "b/[id]/x.wasm", "b/[other]/y.wasm", "ok/[id].wasm")
	for _, name := range []string{"a", "b/[id]"} {
		path := filepath.Join(root, name)
		must(t, os.Chmod(path, 0))
		t.Cleanup(func() { os.Chmod(path, 0o700) })
	}
	if _, err := os.ReadDir(filepath.Join(root, "a")); err == nil {
		t.Skip("this user may read everything: TestScanUnreadable has the same for it")
	}
	check(t, root,
		[]string{"b/[other]/y.wasm /b/[other]/y", "ok/[id].wasm /ok/[id]"},
		[]string{"a - | denied", "a /a | same route", "b/[id] /b/[id] | denied"})
}

// A folder that goes away while its parent is read is no problem; what a link
// leads to is, as the link is still there.
func TestScanRemoved(t *testing.T) {
	t.Parallel()
	root := folderOf(t, "a/x.wasm", "b.wasm", "_c/x.wasm", "l -> _c")
	s := scan{root: root, left: maxSize}
	folders, above, err := s.read(folder{route: "/"})
	if err != nil || len(folders) != 2 || len(above) != 1 {
		t.Fatalf("got %v, %v, %v", folders, above, err)
	}
	must(t, os.RemoveAll(filepath.Join(root, "a")))
	must(t, os.RemoveAll(filepath.Join(root, "_c")))
	s.below(folders, above)
	compare(t, s.files, s.problems, []string{"b.wasm /b"}, []string{"l /l | "})
}

func TestScanUTF8(t *testing.T) {
	t.Parallel()
	root := folderOf(t, "a.wasm")
	if err := os.WriteFile(filepath.Join(root, "b\xff.wasm"), nil, 0o600); err != nil {
		t.Skipf("no such names: %v", err)
	}
	must(t, os.Mkdir(filepath.Join(root, "c\xff"), 0o700))
	check(t, root, []string{"a.wasm /a"}, []string{"b\xff.wasm - | UTF-8", "c\xff - | UTF-8"})
}

func BenchmarkScan(b *testing.B) {
	root := b.TempDir()
	for i := range 10_000 {
		dir := filepath.Join(root, fmt.Sprint("d", i%100), "[id]")
		if err := os.MkdirAll(dir, 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i, ".wasm")), nil, fs.FileMode(0o600)); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		files, problems, err := Scan(root)
		if err != nil || len(files) != 10_000 || len(problems) != 0 {
			b.Fatal(len(files), problems, err)
		}
	}
}
