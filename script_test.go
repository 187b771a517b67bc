package gojinn

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine/vfs"
)

// site makes a folder of scripts and other files.
func siteFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	outside := t.TempDir()
	for path, text := range map[string]string{
		"index.php": "", "a.php": "", "style.css": "p {}", "no-index/page.php": "", "no-index/x.txt": "text",
		"sub/index.php": "", "sub/deep/b.php": "", "sub/index.py": "", "py/index.py": "", "dir.php/c.php": "",
		".hidden.php": "", ".git/x.php": "", ".git/config": "", "space name/d.php": "", "UPPER.PHP": "",
	} {
		path = filepath.Join(dir, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "secret.php"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(outside, "secret.php"), filepath.Join(dir, "out.php")); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	if err := os.Symlink("a.php", filepath.Join(dir, "link.php")); err != nil && runtime.GOOS != "windows" {
		t.Fatal(err)
	}
	return dir
}

// TestFindScript: which script a path is for.
func TestFindScript(t *testing.T) {
	t.Parallel()
	dir := siteFolder(t)
	front := func(info string) finding {
		return finding{script: &scriptPath{name: "/index.php", info: info, file: "/www/index.php"}, front: true}
	}
	at := func(name, info string) finding {
		return finding{script: &scriptPath{name: name, info: info, file: "/www" + name}}
	}
	folder := func(f finding) finding { f.folder = true; return f }
	refused, other := finding{refused: true}, finding{}
	for path, want := range map[string]finding{
		"/":                     at("/index.php", ""),
		"":                      folder(at("/index.php", "")),
		"//":                    at("/index.php", ""),
		"/index.php":            at("/index.php", ""),
		"/index.php/":           at("/index.php", "/"),
		"/a.php/x/y":            at("/a.php", "/x/y"),
		"/a.php/b.php":          at("/a.php", "/b.php"),
		"/a.php/.x":             at("/a.php", "/.x"),
		"/a.php/x%2Fy":          at("/a.php", "/x/y"),
		"/%61.php":              at("/a.php", ""),
		"/a%2Ephp":              at("/a.php", ""),
		"/link.php":             at("/link.php", ""),
		"/dir.php/c.php/x":      at("/dir.php/c.php", "/x"),
		"/space%20name/d.php":   at("/space name/d.php", ""),
		"/sub/":                 at("/sub/index.php", ""),
		"/sub":                  folder(at("/sub/index.php", "")),
		"/sub/deep/b.php":       at("/sub/deep/b.php", ""),
		"/py/":                  at("/py/index.py", ""),
		"/sub/../a.php":         at("/a.php", ""),
		"/sub/./../a.php":       at("/a.php", ""),
		"/../../a.php":          at("/a.php", ""),
		"//a.php":               at("/a.php", ""),
		"/a.php/../sub/":        at("/sub/index.php", ""),
		"/UPPER.PHP":            at("/UPPER.PHP", ""),
		"/nothing":              front(""),
		"/nothing/at/all.php":   front(""),
		"/nothing%2Fat":         front(""),
		"/no-index":             front(""),
		"/no-index/":            front(""),
		"/sub/nothing.php/x":    front(""),
		"/.well-known/x":        front(""),
		"/style.css":            other,
		"/no-index/x.txt":       other,
		"/.git/config":          other,
		"*":                     other,
		"/.hidden.php":          refused,
		"/.git/x.php":           refused,
		"/.git/x.php/y":         refused,
		"/out.php":              refused,
		"/out.php/x":            refused,
		"/sub%2Fdeep%2Fb.php":   refused,
		"/sub%2fdeep/b.php":     refused,
		"/sub%2F":               refused,
		"/x/..%2Fa.php":         refused,
		"/x%2F..%2Fa.php":       refused,
		"/x/%2e%2e/a.php":       refused,
		"/a.php%00":             refused,
		"/a.php%00.txt":         refused,
		"/a.php/%00":            refused,
		"/style.css/..%2fa.php": refused,
		"/a.php%2Fx":            refused,
		strings.Repeat("/x.php", maxCandidates+1): refused,
		strings.Repeat("/x.php", maxCandidates):   front(""),
		"/" + strings.Repeat("x", 5000):           front(""),
	} {
		tree := vfs.NewTree()
		if err := tree.Mount("/www", &vfs.HostDir{Path: dir}); err != nil {
			t.Fatal(err)
		}
		view := tree.View()
		s := &scripts{ctx: t.Context(), root: view.Root(), path: "/www"}
		got := s.findEscaped(path)
		if err := view.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if got.refused != want.refused || got.folder != want.folder || got.front != want.front || (got.script == nil) != (want.script == nil) ||
			got.script != nil && *got.script != *want.script {
			t.Errorf("%q: got %+v %+v, want %+v %+v", path, got, got.script, want, want.script)
		}
	}
}

// FuzzFindScript: whatever the path, what runs is a script below the root, not hidden, by the name that
// it has there, and what follows it is the rest of the path.
func FuzzFindScript(f *testing.F) {
	for _, path := range []string{"/", "/a.php/x", "/x/..%2Fa.php", "/.git/x.php", "/sub%2Fdeep/b.php", "/dir.php/c.php/%2e%2e/d", "//a.php//x"} {
		f.Add(path)
	}
	var dir string
	f.Fuzz(func(t *testing.T, path string) {
		if dir == "" {
			dir = siteFolder(t)
			defer func() { dir = "" }()
		}
		tree := vfs.NewTree()
		if err := tree.Mount("/", &vfs.HostDir{Path: dir}); err != nil {
			t.Fatal(err)
		}
		view := tree.View()
		defer view.Close(context.Background())
		s := &scripts{ctx: t.Context(), root: view.Root(), path: "/"}
		found := s.findEscaped(path)
		if found.script == nil {
			return
		}
		name := found.script.name
		if found.refused || found.script.file != name || !isScript(name) || strings.Contains(name, "/.") || strings.Contains(name, "//") || strings.Contains(name, "\x00") {
			t.Fatalf("%q: %+v", path, found.script)
		}
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err != nil || !info.Mode().IsRegular() {
			t.Fatalf("%q is for %q, which is not there: %v", path, name, err)
		}
		if found.script.info != "" && found.script.info[0] != '/' {
			t.Fatalf("%q: path info %q", path, found.script.info)
		}
	})
}

// TestScriptRoot: scripts get their requests, and the next handler all others.
func TestScriptRoot(t *testing.T) {
	dir := siteFolder(t)
	program := cgiProgram(t, "c.wasm")
	options := " {\ncontract cgi\nscript_root /www\nallow dir " + dir + " /www\n}\n"
	s := serve(t, lines(
		"handle_path /app/* {\nroot * "+dir+"\ngojinn "+program+options+"file_server\n}",
		"handle /bare/* {\ngojinn "+program+" {\ncontract cgi\nscript_root /nothing\n}\nrespond \"next {uri}\" 404\n}",
		"root * "+dir, "gojinn "+program+options, "file_server"))
	for path, want := range map[string][]string{
		"/":                {"SCRIPT_NAME", "/index.php", "SCRIPT_FILENAME", "/www/index.php", "PATH_INFO", "-", "PATH_TRANSLATED", "-", "DOCUMENT_ROOT", "/www", "REDIRECT_STATUS", "200", "DOCUMENT_URI", "/index.php"},
		"/a.php/x/y?q":     {"SCRIPT_NAME", "/a.php", "PATH_INFO", "/x/y", "PATH_TRANSLATED", "/www/x/y", "REQUEST_URI", "/a.php/x/y?q", "QUERY_STRING", "q"},
		"/pretty/url?q=1":  {"SCRIPT_NAME", "/index.php", "PATH_INFO", "-", "REQUEST_URI", "/pretty/url?q=1", "QUERY_STRING", "q=1"},
		"/app/a.php/x":     {"SCRIPT_NAME", "/app/a.php", "SCRIPT_FILENAME", "/www/a.php", "PATH_INFO", "/x", "DOCUMENT_URI", "/app/a.php"},
		"/app/pretty":      {"SCRIPT_NAME", "/app/index.php", "SCRIPT_FILENAME", "/www/index.php"},
		"/sub/":            {"SCRIPT_NAME", "/sub/index.php"},
		"/sub/../a.php":    {"SCRIPT_NAME", "/a.php"},
		"/app/sub/deep/..": {"SCRIPT_NAME", "/app/sub/index.php"},
	} {
		v, _ := told(t, s.get(path))
		checkVariables(t, v, want...)
	}
	if got := s.get("/style.css"); got.body != "p {}" || !strings.HasPrefix(got.header.Get("Content-Type"), "text/css") {
		t.Errorf("a file that is no script: got %+v", got)
	}
	for _, path := range []string{"/out.php", "/.hidden.php", "/sub%2Fdeep%2Fb.php", "/x/..%2Fa.php", "/a.php%00"} {
		if got := s.get(path); got.status != 404 || got.body != "" {
			t.Errorf("%s: got %+v", path, got)
		}
	}
	if got := s.get("/bare/x.php?y"); got.status != 404 || got.body != "next /bare/x.php?y" {
		t.Errorf("no script at all: got %+v", got)
	}
	for path, want := range map[string]string{"/sub?x=/y": "./sub/?x=/y", "/app/sub": "./sub/", "//evil.example/../sub": "./sub/"} {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := oneShot.Transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Location"); response.StatusCode != 308 || got != want {
			t.Errorf("%s: got %d to %q, want %q", path, response.StatusCode, got, want)
		}
	}
}

// BenchmarkFindScript is what a script root costs a request.
func BenchmarkFindScript(b *testing.B) {
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "index.php"), nil, 0o644); err != nil {
		b.Fatal(err)
	}
	tree := vfs.NewTree()
	if err := tree.Mount("/www", &vfs.HostDir{Path: dir}); err != nil {
		b.Fatal(err)
	}
	for _, path := range []string{"/index.php", "/", "/pretty/url"} {
		b.Run(fmt.Sprintf("path=%s", path), func(b *testing.B) {
			for b.Loop() {
				view := tree.View()
				s := &scripts{ctx: b.Context(), root: view.Root(), path: "/www"}
				if s.findEscaped(path).script == nil {
					b.Fatal("not found")
				}
				view.Close(context.Background())
			}
		})
	}
}
