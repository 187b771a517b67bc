package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gojinn/gojinn/internal/toolchain"
)

// A language is what some of the functions are written in. Their source answers with
// the request's body.
type language struct {
	name   string
	source string
}

// goLanguage is counted apart: its modules are a hundred times as large as the others.
var (
	goLanguage     = language{"Go", "bench/guests/echo"}
	smallLanguages = []language{
		{"C", "bench/guests/echo-c"},
		{"Rust", "bench/guests/echo-rust"},
		{"Zig", "bench/guests/echo-zig"},
	}
)

// A function is one of the folder.
type function struct {
	number   int
	language string
}

func (f function) path() string { return fmt.Sprintf("/f%05d", f.number) }

// mediaType is what the function answers with, and no other does.
func (f function) mediaType() string { return fmt.Sprintf("application/x-%010d", f.number) }

// placeholder is what the sources answer with. It is as long as a function's own.
const placeholder = "application/octet-stream"

// distinct returns the module as that of the function: it answers with its own
// media type. So its digest is its own too, and with it its compiled code, of which no
// two modules share any.
func distinct(module []byte, f function) ([]byte, error) {
	if !bytes.Contains(module, []byte(placeholder)) {
		return nil, fmt.Errorf("the module in %s has no %q to replace", f.language, placeholder)
	}
	return bytes.ReplaceAll(module, []byte(placeholder), []byte(f.mediaType())), nil
}

// A folder is what is served.
type folder struct {
	dir       string
	functions []function
	bytes     int64    // of all modules
	notes     []string // what is missing, and why
}

// makeFolder builds the sources and writes that many functions into dir, inGo of them
// in Go, spread evenly. Modules that are there already are left as they are, so that
// the file times stay.
func makeFolder(ctx context.Context, dir, scratch string, count, inGo int) (*folder, error) {
	f := &folder{dir: dir}
	modules := make(map[string][]byte)
	var small []string
	for _, l := range append(smallLanguages, goLanguage) {
		if l == goLanguage && inGo == 0 {
			continue
		}
		out := filepath.Join(scratch, l.name+".wasm")
		err := toolchain.Build(ctx, l.source, out, os.Stderr)
		if _, missing := errors.AsType[*toolchain.MissingError](err); missing && l != goLanguage {
			f.notes = append(f.notes, fmt.Sprintf("There are no functions in %s: %v.", l.name, err))
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("building %s: %w", l.source, err)
		}
		if modules[l.name], err = os.ReadFile(out); err != nil {
			return nil, err
		}
		if l != goLanguage {
			small = append(small, l.name)
		}
	}
	if len(small) == 0 && count > inGo {
		return nil, errors.New("no small function can be built: there is neither clang, nor Rust, nor Zig")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	wanted := make(map[string]bool)
	for i := range count {
		function := function{number: i}
		if (i+1)*inGo/count > i*inGo/count {
			function.language = goLanguage.name
		} else {
			function.language = small[i%len(small)]
		}
		module, err := distinct(modules[function.language], function)
		if err != nil {
			return nil, err
		}
		name := function.path()[1:] + ".wasm"
		if err := writeChanged(filepath.Join(dir, name), module); err != nil {
			return nil, err
		}
		wanted[name] = true
		f.functions, f.bytes = append(f.functions, function), f.bytes+int64(len(module))
	}
	return f, removeOthers(dir, wanted)
}

// writeChanged writes a file, unless it is like that.
func writeChanged(path string, content []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, content) {
		return nil
	}
	return os.WriteFile(path, content, 0o600)
}

// removeOthers removes the functions of an earlier, larger run.
func removeOthers(dir string, wanted map[string]bool) error {
	modules, err := filepath.Glob(filepath.Join(dir, "f[0-9]*.wasm"))
	if err != nil {
		return err
	}
	for _, module := range modules {
		if !wanted[filepath.Base(module)] {
			if err := os.Remove(module); err != nil {
				return err
			}
		}
	}
	return nil
}
