package gojinn

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/internal/toolchain"
)

// interpretersVariable is the environment variable for the folder with interpreters.
const interpretersVariable = "GOJINN_INTERPRETERS"

// findInterpreters settles which folder has interpreters. It need not be there yet.
func (s *devServer) findInterpreters() (err error) {
	folder := cmp.Or(s.interpreters, os.Getenv(interpretersVariable), filepath.Join(caddy.AppDataDir(), "gojinn", "interpreters"))
	s.interpreters, err = filepath.Abs(folder)
	return err
}

// find returns the module that is to run a function.
func (s *devServer) find(f toolchain.Function, i *toolchain.Interpreter) (string, error) {
	return i.Find(f.Dir, s.interpreters)
}

// interpreterOf says which module is to run a function, such that another one has
// another name; "" if none has been found.
func interpreterOf(module string, err error) string {
	if err != nil {
		return ""
	}
	return module + " " + fileState(module)
}

// updateInterpreted finds the interpreter of a function, and notes how it serves it from now on. Later
// changes of its sources are not seen here: the function that reads them follows them itself.
func (s *devServer) updateInterpreted(ctx context.Context, f toolchain.Function, i *toolchain.Interpreter, m *devModule) (changed bool) {
	module, err := s.find(f, i)
	if m.serves != "" && m.serves == module {
		return false // a change of the module is followed where it is served, too
	}
	interpreter := interpreterOf(module, err) + " " + i.Main
	if interpreter == m.interpreter {
		return false
	}
	m.interpreter, m.sources = interpreter, nil // it may have been one in another language
	start := time.Now()
	var h *Handler
	if err == nil {
		h, err = interpretedHandler(f, i, module)
	}
	if err == nil {
		err = s.load(ctx, f, h, interpreter)
	}
	if err != nil {
		s.complain(f.Name, m, err)
		return false
	}
	m.serves, m.runs, m.site = module, h, ""
	if i.Site {
		m.site = f.Dir
	}
	fmt.Fprintf(s.out, "%s: ready in %s, run by %s\n", f.Name, time.Since(start).Round(10*time.Millisecond), module)
	return true
}

// interpretedHandler serves a function by its interpreter, which may read the function's folder.
func interpretedHandler(f toolchain.Function, i *toolchain.Interpreter, module string) (*Handler, error) {
	options, err := parseOptionLines(i.Options)
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return nil, err
	}
	folder, err := json.Marshal(map[string]string{"capability": "dir", "host": dir, "guest": toolchain.Mount})
	return &Handler{Module: module, Options: options, AllowRaw: []json.RawMessage{folder}}, err
}

// parseOptionLines parses lines of the directive's block, so that they mean what they do in a Caddyfile.
func parseOptionLines(lines []string) (Options, error) {
	tokens, err := caddyfile.Tokenize([]byte("gojinn module {\n"+strings.Join(lines, "\n")+"\n}"), "options")
	if err != nil {
		return Options{}, err
	}
	var h Handler
	if err = h.UnmarshalCaddyfile(caddyfile.NewDispenser(tokens)); err == nil {
		err = h.Options.check()
	}
	return h.Options, err
}

// load checks that an interpreter can be loaded, each once.
func (s *devServer) load(ctx context.Context, f toolchain.Function, h *Handler, interpreter string) error {
	if s.loaded[interpreter] {
		return nil
	}
	fmt.Fprintf(s.out, "%s: loading %s; the first time it is compiled, which takes some seconds\n", f.Name, h.Module)
	if err := s.check(ctx, h.Module, &h.Options); err != nil {
		return fmt.Errorf("%s: %w", h.Module, err)
	}
	if s.loaded == nil {
		s.loaded = make(map[string]bool)
	}
	s.loaded[interpreter] = true
	return nil
}

// handler serves the function, which may use what grants says.
func (m *devModule) handler(grants []json.RawMessage) *Handler {
	if m.runs == nil {
		return &Handler{Module: m.serves, AllowRaw: grants}
	}
	return &Handler{Module: m.serves, Options: m.runs.Options, AllowRaw: slices.Concat(m.runs.AllowRaw, grants)}
}

// route is how a function is served at /<its name>. A site is so below that path, of which its
// program knows only as what was stripped, with those of its files that it doesn't answer for.
func (m *devModule) route(name string, function json.RawMessage) []any {
	if m.site == "" {
		return []any{function}
	}
	folder := map[string]any{"handler": "static_response", "status_code": http.StatusPermanentRedirect,
		"headers": map[string][]string{"Location": {"/" + url.PathEscape(name) + "/{http.request.uri.prefixed_query}"}}}
	return []any{
		map[string]any{"handler": "subroute", "routes": []any{ // so that what pages refer to is below it
			map[string]any{"match": []any{map[string]any{"path": []string{"/" + name}}}, "handle": []any{folder}, "terminal": true},
		}},
		map[string]any{"handler": "rewrite", "strip_path_prefix": "/" + name},
		function,
		map[string]any{"handler": "file_server", "root": m.site, "hide": []string{".*", "*.php", "*.wasm"}},
	}
}

// begin starts functions that an interpreter runs ahead of their first calls: what is wrong with their
// sources is told when they are saved, not when somebody asks for them.
func (s *devServer) begin(ctx context.Context) {
	defer s.report() // changes are told from here on
	for _, h := range published.publishers() {
		h.show(func(f *function) {
			m := s.modules[f.name]
			if m == nil || m.runs == nil {
				return
			}
			v, err := f.serving()
			if err != nil {
				return // it can't be loaded, which is logged
			}
			defer v.leave()
			if said, err := v.StartAhead(ctx); err != nil && ctx.Err() == nil {
				fmt.Fprintf(s.out, "%s: %v\n%s", f.name, err, said)
			}
		})
	}
}

// started is a version of a function, and why the files that its start-up reads don't serve as they
// are now; "": they do.
type started struct {
	version *version
	refused string
}

// report tells what has become of functions since their files were changed.
func (s *devServer) report() {
	now := make(map[*function]started)
	for _, h := range published.publishers() {
		h.show(func(f *function) {
			present := started{version: f.current.Load()}
			if failed := f.failure.Load(); failed != nil && failed.reads {
				present.refused = printable(failed.err.Error())
			}
			now[f] = present
			before, known := s.reported[f]
			switch {
			case present.refused != "" && present.refused != before.refused:
				fmt.Fprintf(s.out, "%s: %s\n%[1]s: the version before it goes on serving\n", f.name, present.refused)
			case known && present.refused == "" && before.refused != "" && present.version == before.version:
				fmt.Fprintf(s.out, "%s: its files are again those that serve\n", f.name)
			case known && present.refused == "" && present.reread(before.version):
				fmt.Fprintf(s.out, "%s: reloaded\n", f.name)
			}
		})
	}
	s.reported = now
}

// reread tells whether a version is of the same module as the one before it: what has changed is what it
// has read.
func (n started) reread(before *version) bool {
	return n.version != nil && before != nil && n.version != before && n.version.digest == before.digest
}
