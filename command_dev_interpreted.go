package gojinn

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
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
// another name; "" if there is none.
func (s *devServer) interpreterOf(f toolchain.Function, i *toolchain.Interpreter) string {
	module, err := s.find(f, i)
	if err != nil {
		return ""
	}
	return module + " " + fileState(module)
}

// updateInterpreted finds the interpreter of a function, and notes how it serves it from now on. Later
// changes of its sources are not seen here: the function that reads them follows them itself.
func (s *devServer) updateInterpreted(ctx context.Context, f toolchain.Function, i *toolchain.Interpreter, m *devModule) (changed bool) {
	interpreter := s.interpreterOf(f, i) + " " + i.Main
	if interpreter == m.interpreter {
		return false
	}
	m.interpreter, m.sources = interpreter, nil // it may have been one in another language
	start := time.Now()
	module, err := s.find(f, i)
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
	m.serves, m.runs = module, h
	fmt.Fprintf(s.out, "%s: ready in %s, run by %s\n", f.Name, time.Since(start).Round(10*time.Millisecond), module)
	return true
}

// interpretedHandler serves a function by its interpreter, which may read the function's folder.
func interpretedHandler(f toolchain.Function, i *toolchain.Interpreter, module string) (*Handler, error) {
	options, err := parseOptionLines(i.Options)
	if err != nil {
		return nil, err
	}
	// Started as soon as it can be, and again when it has changed: what is wrong is
	// told before a request asks for it.
	options.Warm = new(Count)
	*options.Warm = 1
	dir, err := filepath.Abs(f.Dir)
	if err != nil {
		return nil, err
	}
	folder, err := json.Marshal(map[string]string{"capability": "dir", "host": dir, "guest": i.Folder(f.Name)})
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
