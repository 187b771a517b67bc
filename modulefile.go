package gojinn

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/rewrite"
)

// openModule opens a module file, which is refused if it is too large to be one
// or no file at all: opening a pipe would wait for its writer.
func openModule(path string) (*os.File, fs.FileInfo, error) {
	if path == "" {
		return nil, nil, errors.New("no path is given")
	}
	info, err := os.Stat(path)
	if err == nil {
		err = checkModuleFile(info)
	}
	if err != nil {
		return nil, nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openNonblocking, 0)
	if err != nil {
		return nil, nil, err
	}
	// Again, of what has been opened: it may be something else by now.
	if info, err = f.Stat(); err == nil {
		err = checkModuleFile(info)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func checkModuleFile(info fs.FileInfo) error {
	switch {
	case info.IsDir():
		return errors.New("is a directory, not a WebAssembly file")
	case !info.Mode().IsRegular():
		return errors.New("is not a regular file")
	case info.Size() == 0:
		return errors.New("is empty")
	case info.Size() > rewrite.MaxModuleBytes:
		return fmt.Errorf("is larger than %s", Size(rewrite.MaxModuleBytes))
	}
	return nil
}

// readModule reads a module file.
func readModule(path string) ([]byte, error) {
	f, info, err := openModule(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	wasm := make([]byte, info.Size())
	if n, err := io.ReadFull(f, wasm); err != nil {
		return nil, fmt.Errorf("reading it: %d of %d bytes are there: %w", n, len(wasm), err)
	}
	return wasm, nil
}

// moduleState is what of a file tells, without reading it, whether it is another than
// before. The zero value is that of no file.
type moduleState struct {
	size     int64
	modified time.Time
	system   systemState
}

// stateOf returns the state of the file at path, or of whatever else is there.
func stateOf(path string) (moduleState, error) {
	info, err := os.Stat(path)
	if err != nil {
		return moduleState{}, err
	}
	return newModuleState(info), nil
}

func newModuleState(info fs.FileInfo) moduleState {
	return moduleState{info.Size(), info.ModTime(), systemStateOf(info)}
}

// digests remembers the digests of module files that have not changed, so that loading a
// configuration anew reads no module again. Its size is bounded; it is never emptied
// otherwise. Safe for concurrent use.
var digests = newDigestCache(3 * time.Second)

type digestCache struct {
	// settled is how long ago a file must have been written for its state to tell it from
	// what is written to it next: file systems count time in steps, of up to two seconds.
	settled time.Duration

	mu    sync.Mutex
	known map[string]knownDigest // by path
}

func newDigestCache(settled time.Duration) *digestCache {
	return &digestCache{settled: settled, known: make(map[string]knownDigest)}
}

type knownDigest struct {
	state  moduleState
	digest engine.Digest
}

const maxDigests = 100_000

// readBuffers hold what is being digested.
var readBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// of returns the digest of a module file and the state it was read in, unless that can't
// be told from the state after something else is written to it at once.
func (c *digestCache) of(path string) (engine.Digest, moduleState, error) {
	if state, err := stateOf(path); err == nil {
		c.mu.Lock()
		known, ok := c.known[path]
		c.mu.Unlock()
		if ok && known.state == state {
			return known.digest, state, nil
		}
	}
	start := time.Now()
	f, info, err := openModule(path)
	if err != nil {
		return engine.Digest{}, moduleState{}, err
	}
	defer f.Close()
	hash, buffer := sha256.New(), readBuffers.Get().(*[]byte)
	defer readBuffers.Put(buffer)
	if _, err := io.CopyBuffer(hash, io.LimitReader(f, rewrite.MaxModuleBytes), *buffer); err != nil {
		return engine.Digest{}, moduleState{}, err
	}
	state, digest := newModuleState(info), engine.Digest(hash.Sum(nil))
	if start.Sub(state.modified) <= c.settled || start.Sub(state.system.changed) <= c.settled {
		return digest, moduleState{}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.known) >= maxDigests {
		clear(c.known)
	}
	c.known[path] = knownDigest{state, digest}
	return digest, state, nil
}
