package gojinn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gojinn/gojinn/engine/vfs"
)

// scriptPath is a file of a script root that a request is for.
type scriptPath struct {
	name string // in the path, what was stripped from it included
	info string // what of the path follows it
	file string // as the program finds it
}

// scriptExtensions are those of files that are scripts, in the order in which an index of a folder is
// looked for.
var scriptExtensions = []string{".php", ".cgi", ".pl", ".py", ".rb"}

// maxCandidates bounds how many parts of a path may look like scripts.
const maxCandidates = 16

// A finding is what a path means in a script root.
type finding struct {
	script  *scriptPath // nil: none is to answer
	refused bool        // a script that must not run, and whose text nobody may see
	folder  bool        // it has an index, but the path is without its slash at the end
	front   bool        // the path names nothing: the index of the root is to answer
}

// scripts are those below a function's script root.
type scripts struct {
	ctx  context.Context
	root *vfs.Dir
	path string // of the script root
}

// stat tells what is at a path below the script root.
func (s *scripts) stat(name string) (vfs.Stat, error) {
	below := strings.TrimPrefix(path.Join(s.path, name), "/")
	if below == "" {
		below = "."
	}
	return s.root.Lookup(s.ctx, below, true)
}

func (s *scripts) isFile(name string) bool {
	stat, err := s.stat(name)
	return err == nil && stat.Type == vfs.TypeRegular
}

// script is the one of this name.
func (s *scripts) script(name, info string) finding {
	return finding{script: &scriptPath{name: name, info: info, file: path.Join(s.path, name)}}
}

// find returns what a path that is clean and begins with a slash is for: the first of its parts that is a
// script, the index of the folder that it is, nothing if it is another file, and otherwise the index of
// the root.
func (s *scripts) find(name string) finding {
	if strings.Contains(name, "\x00") {
		return finding{refused: true}
	}
	hidden, candidates := false, 0
	for end := range ends(name) {
		part := name[strings.LastIndexByte(name[:end], '/')+1 : end]
		hidden = hidden || strings.HasPrefix(part, ".")
		if !isScript(part) {
			continue
		}
		if candidates++; candidates > maxCandidates {
			return finding{refused: true}
		}
		stat, err := s.stat(name[:end])
		switch {
		case err == nil && stat.Type == vfs.TypeDirectory, isMissing(err):
		case err != nil, stat.Type != vfs.TypeRegular, hidden:
			return finding{refused: true}
		default:
			return s.script(name[:end], name[end:])
		}
	}
	stat, err := s.stat(name)
	if err == nil && stat.Type != vfs.TypeDirectory {
		return finding{}
	}
	if err == nil && !hidden {
		if index := s.index(strings.TrimSuffix(name, "/")); index != "" {
			found := s.script(index, "")
			found.folder = !strings.HasSuffix(name, "/")
			return found
		}
	}
	if index := s.index(""); index != "" {
		found := s.script(index, "")
		found.front = true
		return found
	}
	return finding{}
}

// ends yields where the parts of a path end.
func ends(name string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for at := 1; at < len(name); at++ {
			if slash := strings.IndexByte(name[at:], '/'); slash >= 0 {
				at += slash
			} else {
				at = len(name)
			}
			if !yield(at) {
				return
			}
		}
	}
}

// isScript tells whether a file of that name is a script. Capitals don't matter: there are file systems
// to which they don't.
func isScript(name string) bool {
	return slices.Contains(scriptExtensions, strings.ToLower(path.Ext(name))) && len(path.Ext(name)) < len(name)
}

// isMissing tells whether an error says that there is no such file, rather than that it can't be had.
func isMissing(err error) bool {
	return errors.Is(err, vfs.ENOENT) || errors.Is(err, vfs.ENOTDIR) || errors.Is(err, vfs.ENAMETOOLONG)
}

// index is the index of a folder, "" if it has none.
func (s *scripts) index(folder string) string {
	for _, extension := range scriptExtensions {
		if name := folder + "/index" + extension; s.isFile(name) {
			return name
		}
	}
	return ""
}

// findScript looks for the script that a request is for, in the file tree of the function.
func (c *call) findScript(r *http.Request) (finding, error) {
	v := c.version
	if v == nil {
		var err error
		if v, err = c.function.serving(); err != nil {
			return finding{}, err
		}
		defer v.leave()
	}
	ctx := r.Context()
	view := v.View()
	defer view.Close(context.WithoutCancel(ctx))
	s := &scripts{ctx: ctx, root: view.Root(), path: c.function.scriptRoot}

	escaped := r.URL.EscapedPath()
	end := c.routeEnd(escaped)
	prefix, err := url.PathUnescape(stripped(r) + escaped[:end])
	if err != nil {
		return finding{refused: true}, nil
	}
	found := s.findEscaped(escaped[end:])
	if found.script != nil {
		found.script.name = prefix + found.script.name
	}
	return found, nil
}

// findEscaped is find for a path as it is in a URL. Path matchers see it cleaned after it was decoded, or
// before: both must mean the same, or what they protect could be had by another name.
func (s *scripts) findEscaped(escaped string) finding {
	name, err := url.PathUnescape(escaped)
	if err != nil || name != "" && name[0] != '/' {
		return finding{}
	}
	found := s.find(clean(name))
	found.folder = found.folder || name == "" && found.script != nil
	if name == escaped {
		return found
	}
	other, err := url.PathUnescape(clean(escaped))
	if err != nil {
		return finding{refused: true}
	}
	if again := s.find(other); !found.same(again) || found.script != nil && !found.front && hidesSlash(escaped, found.script.name) {
		return finding{refused: true}
	}
	return found
}

// same tells whether two findings are of the same script.
func (f finding) same(other finding) bool {
	if f.script == nil || other.script == nil {
		return f == other
	}
	return f.script.name == other.script.name && f.front == other.front
}

// hidesSlash tells whether a slash or a backslash is escaped in as many parts of a path as name has.
func hidesSlash(escaped, name string) bool {
	parts := strings.Split(clean(escaped), "/")
	part := strings.ToLower(strings.Join(parts[:min(len(parts), strings.Count(name, "/")+1)], "/"))
	return strings.Contains(part, "%2f") || strings.Contains(part, "%5c")
}

// clean is a path without ".", ".." and double slashes.
func clean(name string) string {
	if name == "" {
		return "/"
	}
	return caddyhttp.NormalizedPath(name, true)
}

// reply answers a request with the call's function, unless that has scripts and the request is for none of
// them: then with next.
func (s *service) reply(w http.ResponseWriter, r *http.Request, c *call, next caddyhttp.Handler) error {
	if c.function.scriptRoot != "" {
		found, err := c.findScript(r)
		switch {
		case err != nil: // so will be the call
		case found.refused:
			return caddyhttp.Error(http.StatusNotFound, errors.New("no such script"))
		case found.folder:
			w.Header().Set("Location", folderLocation(r))
			w.WriteHeader(http.StatusPermanentRedirect)
			return nil
		case found.script == nil:
			return next.ServeHTTP(w, r)
		}
		c.script = found.script
	}
	if err := s.answer(w, r, c); err != nil || c.local == "" {
		return err
	}
	if err := redirectLocally(w, r, c.local); err != nil {
		return c.lost(err)
	}
	return nil
}

// folderLocation is the path that the client has sent with a slash behind it. It is relative to its last part,
// so that it can't lead to another host.
func folderLocation(r *http.Request) string {
	uri := metaOf(r.Context(), r, "").OriginalURI
	name, query, hasQuery := strings.Cut(uri, "?")
	location := "./" + name[strings.LastIndexByte(name, '/')+1:] + "/"
	if hasQuery {
		location += "?" + query
	}
	return location
}

// lost is the error of a local redirect: that of who answers in its place, unless it leads nowhere.
func (c *call) lost(err error) error {
	if !errors.Is(err, errLoop) || as[caddyhttp.HandlerError](err) {
		return err
	}
	status, reason := statusOf(err)
	c.logEnd(reason, err)
	return caddyhttp.Error(status, &callError{c.function.name, reason, err})
}

// checkScriptRoot refuses what is no directory of a guest.
func checkScriptRoot(root string) error {
	switch {
	case root == "":
		return nil
	case !strings.HasPrefix(root, "/") || path.Clean(root) != root || strings.Contains(root, "\x00"):
		return fmt.Errorf("%q is not an absolute path such as /www", root)
	}
	return nil
}
