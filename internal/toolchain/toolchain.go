// Package toolchain turns a folder of source code into one WebAssembly function
// with the compiler of its own language, or finds the interpreter that runs it as it is,
// and starts new functions from templates.
//
// It finds compilers and interpreters, it does not ship or download them: a missing one is a
// *MissingError or a *NoInterpreterError, which says how to get it. Nothing here runs guest code.
package toolchain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Language is a language that functions can be written in.
type Language string

// The languages Build compiles.
const (
	Go   Language = "go"
	Rust Language = "rust"
	Zig  Language = "zig"
	C    Language = "c"
)

// languages says what marks a folder as one of a language and how it is built.
// A manifest outweighs source files: a Go module may hold C files.
var languages = []struct {
	language  Language
	manifest  string
	extension string
	build     func(context.Context, *job) error
}{
	{Go, "go.mod", ".go", buildGo},
	{Rust, "Cargo.toml", ".rs", buildRust},
	{Zig, "build.zig", ".zig", buildZig},
	{C, "", ".c", buildC},
}

// Languages returns the names of all languages, in a fixed order, the interpreted ones last.
func Languages() []Language {
	var names []Language
	for _, l := range languages {
		names = append(names, l.language)
	}
	for _, i := range interpreters {
		names = append(names, i.Language)
	}
	return names
}

// ErrNoSource says that a folder holds no program in a known language.
var ErrNoSource = errors.New("no go.mod, Cargo.toml, build.zig, source file of Go, Rust, Zig or C, main.py, main.rb, main.js or index.php")

// MissingError says that no toolchain for a language was found.
type MissingError struct {
	Language Language
	Need     string // what was looked for
	Install  string // how to get it
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("no %s toolchain for WebAssembly found: need %s; %s", e.Language, e.Need, e.Install)
}

// Detect says in which language the function in dir is written: in an interpreted one if it holds the
// file that is run and no source of another language. The error is ErrNoSource when it holds
// none, and names the languages when it holds several.
func Detect(dir string) (Language, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("looking for source code: %w", err)
	}
	manifest := func(name string) func(fs.DirEntry) bool {
		return func(e fs.DirEntry) bool { return e.Name() == name && !e.IsDir() }
	}
	var manifests, sources []Language
	for _, l := range languages {
		if slices.ContainsFunc(entries, manifest(l.manifest)) {
			manifests = append(manifests, l.language)
		}
		if slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return isSource(e, l.extension) }) || hasSourceFolder(dir, l.extension) {
			sources = append(sources, l.language)
		}
	}
	found := manifests
	if len(found) == 0 {
		found = sources
	}
	if len(found) == 0 {
		found = detectInterpreted(entries)
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%s: %w", dir, ErrNoSource)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s: found more than one language (%s); a folder holds one function", dir, join(found))
}

func isSource(e fs.DirEntry, extension string) bool {
	name := e.Name()
	return e.Type().IsRegular() && filepath.Ext(name) == extension && name[0] != '.' && name[0] != '_' && !strings.HasSuffix(name, "_test.go")
}

// hasSourceFolder looks for a program in dir/src, where Rust, Zig and C programs often live.
func hasSourceFolder(dir, extension string) bool {
	if extension == ".go" {
		return false // go build is about one folder
	}
	entries, _ := os.ReadDir(filepath.Join(dir, "src"))
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return isSource(e, extension) })
}

func join(names []Language) string {
	var text []string
	for _, n := range names {
		text = append(text, string(n))
	}
	return strings.Join(text, ", ")
}

// job is one build.
type job struct {
	dir     string    // absolute
	scratch string    // a folder of the build's own, removed at its end
	out     string    // where the compiler is to put the module: in scratch
	stderr  io.Writer // what the compiler says
}

// Build compiles the function in dir and puts the module at out. The module
// appears whole or not at all: when anything goes wrong, a file that was at out
// stays as it was. What the compiler says goes to stderr, at most 1 MiB of it.
// Canceling ctx kills the compiler and everything it started.
//
// The error is a *MissingError when the language's toolchain is not there, and an ErrInterpreted when
// the language needs none.
func Build(ctx context.Context, dir, out string, stderr io.Writer) error {
	language, err := Detect(dir)
	if err != nil {
		return err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("building %s: %w", dir, err)
	}
	if i := language.Interpreter(); i != nil {
		return fmt.Errorf("%s: %w", dir, i.refuse(dir))
	}
	scratch, err := os.MkdirTemp("", "gojinn-build-")
	if err != nil {
		return fmt.Errorf("building %s: %w", dir, err)
	}
	defer os.RemoveAll(scratch)
	j := &job{dir: dir, scratch: scratch, out: filepath.Join(scratch, "module.wasm"), stderr: &boundedWriter{w: stderr, left: maxOutput}}
	for _, l := range languages {
		if l.language == language {
			err = l.build(ctx, j)
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("building %s: %w", dir, err)
	}
	if err := install(j.out, out); err != nil {
		return fmt.Errorf("building %s: %w", dir, err)
	}
	return nil
}

// Output returns where the module of the function in dir belongs when nobody
// says otherwise: in dir, under the name of dir.
func Output(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, filepath.Base(dir)+".wasm"), nil
}

// install moves the module that a compiler wrote to its place. Renaming within
// one folder is what makes the change atomic.
func install(from, to string) error {
	module, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("the compiler wrote no module: %w", err)
	}
	if !strings.HasPrefix(string(module), "\x00asm\x01\x00\x00\x00") {
		return errors.New("the compiler wrote something else than a WebAssembly module; is it a program, not a library?")
	}
	temp, err := os.CreateTemp(filepath.Dir(to), "."+filepath.Base(to)+"-*")
	if err != nil {
		return err
	}
	_, err = temp.Write(module)
	// Readable like any build output: CreateTemp is for secrets.
	if err := errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		os.Remove(temp.Name())
		return err
	}
	if err := os.Rename(temp.Name(), to); err != nil {
		os.Remove(temp.Name())
		return err
	}
	return nil
}

// Function is a folder that holds the source code of one function.
type Function struct {
	Name     string // the folder's name
	Dir      string
	Language Language
	Built    string // the module that lies beside the source, "" without one
}

// Find returns the function in root, or when root itself is none, the functions
// in its folders, sorted by name. Folders whose names begin with a dot or an
// underscore are skipped. No function at all is an ErrNoSource.
func Find(root string) ([]Function, error) {
	f, err := function(root)
	if err == nil {
		return []Function{f}, nil
	}
	if !errors.Is(err, ErrNoSource) {
		return nil, err
	}
	entries, readErr := os.ReadDir(root)
	if readErr != nil {
		return nil, fmt.Errorf("looking for functions: %w", readErr)
	}
	var found []Function
	for _, e := range entries {
		if !e.IsDir() || strings.ContainsRune("._", rune(e.Name()[0])) {
			continue
		}
		f, err := function(filepath.Join(root, e.Name()))
		if errors.Is(err, ErrNoSource) {
			continue
		}
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	if len(found) == 0 {
		return nil, err
	}
	return found, nil
}

func function(dir string) (Function, error) {
	language, err := Detect(dir)
	if err != nil {
		return Function{}, err
	}
	built, err := Output(dir)
	if err != nil {
		return Function{}, err
	}
	f := Function{Name: strings.TrimSuffix(filepath.Base(built), ".wasm"), Dir: dir, Language: language}
	if info, err := os.Stat(built); err == nil && info.Mode().IsRegular() {
		f.Built = built
	}
	return f, nil
}
