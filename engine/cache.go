package engine

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
)

// cacheMu is held while wazero opens a cache: its constructor is not safe for
// concurrent use, even for different directories.
var cacheMu sync.Mutex

// openWazeroCache opens wazero's cache of machine code in dir.
func openWazeroCache(dir string) (wazero.CompilationCache, error) {
	cacheMu.Lock()
	defer cacheMu.Unlock()
	return wazero.NewCompilationCacheWithDir(dir)
}

// onlyFromCache is a context with which wazero takes machine code from its cache, but
// compiles none: several workers look at the context before they begin. What
// is handed to it are skeletons, whose own code is of no use to anybody.
var onlyFromCache = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return experimental.WithCompilationWorkers(ctx, 2)
}()

// isCacheFault tells a fault of the disk cache from a fault of the module.
// wazero has no type for it: a damaged entry is told by its prefix, and a
// full or read-only disk by the operating system's error.
func isCacheFault(err error) bool {
	return strings.Contains(err.Error(), "compilationcache:") || isPathError(err)
}

func isPathError(err error) bool {
	var path *fs.PathError
	var link *os.LinkError
	return errors.As(err, &path) || errors.As(err, &link)
}

func isHostError(err error) bool {
	var host *HostError
	return errors.As(err, &host)
}
