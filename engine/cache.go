package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
)

// cacheMu is held while wazero opens a cache: its constructor is not safe for
// concurrent use, even for different directories.
var cacheMu sync.Mutex

// openCache opens the cache of compiled code in dir, which is made with mode
// 0700 if missing. A folder that others could write to is refused, since what it holds
// is run as it is.
func openCache(dir string) (wazero.CompilationCache, error) {
	doing := func(err error) error { return fmt.Errorf("opening the code cache %s: %w", dir, err) }
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, doing(err)
	}
	if err := checkPrivate(dir); err != nil {
		return nil, doing(err)
	}
	cacheMu.Lock()
	defer cacheMu.Unlock()
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return nil, doing(err)
	}
	folders, err := versionFolders(dir)
	for i := 0; i < len(folders) && err == nil; i++ {
		err = checkPrivate(folders[i])
	}
	if err != nil {
		return nil, doing(err)
	}
	return cache, nil
}

// versionFolders lists wazero's folders in dir, one for each version that has
// been here.
func versionFolders(dir string) ([]string, error) {
	return filepath.Glob(filepath.Join(escapeGlob(dir), "wazero-*"))
}

// escapeGlob makes filepath.Glob take dir as it is written.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`*`, `[*]`, `?`, `[?]`, `[`, `[[]`).Replace(dir)
}

// emptyCache removes every entry of the cache in dir. Entries are plain files
// in wazero's own folders; anything else is left alone.
func emptyCache(dir string) error {
	folders, err := versionFolders(dir)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if !entry.Type().IsRegular() {
				continue
			}
			if err := os.Remove(filepath.Join(folder, entry.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func isPathError(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}
