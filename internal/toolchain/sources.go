package toolchain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Bounds of what Sources looks at.
const (
	maxSources     = 10_000
	maxSourceDepth = 32
)

// ErrTooManySources says that a folder is too big to be watched.
var ErrTooManySources = errors.New("more than 10,000 source files, or folders deeper than 32: not a function's folder")

// Source is one file that a build may read. Two values differ when the file has
// changed between them, as far as its size and modification time tell.
type Source struct {
	Path     string // relative to the function's folder
	Size     int64
	Modified int64 // Unix nanoseconds
}

// Sources returns the files in dir whose change calls for another build, sorted
// by path. That is every regular file, since a function may embed any, except
// hidden files, editors' backups, what compilers leave behind, WebAssembly modules
// at the top, and out. A file that vanishes while Sources looks is left out.
func Sources(dir, out string) ([]Source, error) {
	dir, err := resolve(dir) // walking starts at no symbolic link
	if err != nil {
		return nil, fmt.Errorf("looking for source files: %w", err)
	}
	folder, err := resolve(filepath.Dir(out))
	if err == nil {
		out = filepath.Join(folder, filepath.Base(out))
	}
	var sources []Source
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil
		}
		if err != nil || path == dir {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if e.IsDir() {
			return checkFolder(path, relative)
		}
		if !e.Type().IsRegular() || isByproduct(relative) || path == out {
			return nil
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(sources) == maxSources {
			return ErrTooManySources
		}
		sources = append(sources, Source{relative, info.Size(), info.ModTime().UnixNano()})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for source files in %s: %w", dir, err)
	}
	slices.SortFunc(sources, func(a, b Source) int { return strings.Compare(a.Path, b.Path) })
	return sources, nil
}

// resolve returns an absolute path without symbolic links.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}

// checkFolder skips folders that hold no source: hidden ones and those that
// compilers and package managers fill.
func checkFolder(path, relative string) error {
	name := filepath.Base(relative)
	if name[0] == '.' || slices.Contains([]string{"zig-cache", "zig-out", "node_modules"}, name) {
		return fs.SkipDir
	}
	// cargo marks its own: another folder may well be called target.
	if name == "target" && exists(filepath.Join(filepath.Dir(path), "Cargo.toml")) {
		return fs.SkipDir
	}
	if strings.Count(relative, string(os.PathSeparator)) >= maxSourceDepth {
		return ErrTooManySources
	}
	return nil
}

func isByproduct(relative string) bool {
	name := filepath.Base(relative)
	module := filepath.Ext(name) == ".wasm" && name == relative
	return name[0] == '.' || strings.HasSuffix(name, "~") || module
}
