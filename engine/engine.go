// Package engine runs WebAssembly programs: bytes in, bytes out, in a sandbox
// of their own for every call. It knows neither HTTP nor Caddy.
//
// A module becomes a [Program] once ([Engine.Compile]); a program with
// arguments, grants and limits is a [Function]; [Function.Run] answers one
// call in a sandbox that nothing survives.
//
// Everything a guest can see is made here: its linear memory, its file tree
// (package vfs) and the functions of WASI preview 1. The machine code comes
// from wazero, which meets no module that package rewrite has not checked and
// metered first.
package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Config is what all programs of an [Engine] share. The zero value is usable:
// no disk cache, all processors but one compile, no ceiling.
type Config struct {
	// CacheDir keeps compiled code between runs of the host. Whoever can write
	// there runs code in the host, so it must belong to the host's user and be
	// closed to all others; it is made with mode 0700. Empty: no cache.
	CacheDir string
	// Compilers is how many modules may be compiled at once.
	// Default: number of processors less one, at least 1.
	Compilers int
	// Memory is the ceiling, in bytes, for what all guests together cause.
	// Default: none.
	Memory int64
	// Verify, if not nil, has every sandbox that has been taken back compared with what
	// it was, and is told of each that differs. It is for tests: a call takes
	// longer by a fraction of a millisecond for each MiB of its memory. It must be safe
	// for concurrent use.
	Verify func(difference string)
}

// Engine compiles modules and holds what their sandboxes share. Safe for
// concurrent use.
type Engine struct {
	runtime  wazero.Runtime
	cache    wazero.CompilationCache
	cacheDir string // "" without a cache
	budget   *Budget
	compiler chan struct{} // a token for each compilation under way

	unrestorable string            // why no sandbox can be used twice; empty: they can
	verify       func(what string) // as in Config

	mu        sync.Mutex
	programs  map[programKey]*loading // being compiled or in use; Close of the last user removes one
	functions map[*Function]struct{}  // that are not closed
	closed    bool
}

// New returns an engine. Close it when no call is running any more.
func New(config Config) (*Engine, error) { return newEngine(config, unrestorable()) }

// Restoring says how sandboxes are taken back after a call: how memory is, or why
// they are not taken back at all. It is for logs.
func (e *Engine) Restoring() (how, why string) {
	if e.unrestorable != "" {
		return StartFresh, "every call gets a sandbox made for it: " + e.unrestorable
	}
	return undo.String(), undoReason
}

func newEngine(config Config, unrestorable string) (*Engine, error) {
	if config.Compilers <= 0 {
		config.Compilers = max(1, runtime.GOMAXPROCS(0)-1)
	}
	e := &Engine{
		budget:       NewBudget(config.Memory),
		compiler:     make(chan struct{}, config.Compilers),
		programs:     make(map[programKey]*loading),
		unrestorable: unrestorable,
		verify:       config.Verify,
		functions:    make(map[*Function]struct{}),
	}
	e.budget.reclaim = e.reclaim
	// Neither close-on-context-done nor a memory limit: the one costs more than
	// our own metering and stops less, the other is the sandbox's own.
	settings := wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithCloseOnContextDone(false).
		WithDebugInfoEnabled(false).
		WithCustomSections(false)
	if config.CacheDir != "" {
		var err error
		if e.cache, err = openCache(config.CacheDir); err != nil {
			return nil, err
		}
		e.cacheDir = config.CacheDir
		settings = settings.WithCompilationCache(e.cache)
	}
	ctx := context.Background()
	err := guarded("starting the engine", func() error {
		e.runtime = wazero.NewRuntimeWithConfig(ctx, settings)
		return instantiateHost(ctx, e.runtime)
	})
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// Budget is the ceiling that all functions of this engine share. Callers that
// hold request or response bodies for them reserve those here too.
func (e *Engine) Budget() *Budget { return e.budget }

// Close frees everything. Functions that have not been closed are, which ends
// their calls.
func (e *Engine) Close() error {
	e.mu.Lock()
	closed, left := e.closed, slices.Collect(maps.Keys(e.functions))
	e.closed = true
	e.mu.Unlock()
	if closed {
		return nil
	}
	for _, f := range left {
		f.Close() // waits for what uses the code
	}
	ctx := context.Background()
	var errs []error
	if e.runtime != nil {
		// Not code 0: callers could take that for a guest's success.
		errs = append(errs, e.runtime.CloseWithExitCode(ctx, 255))
	}
	if e.cache != nil {
		errs = append(errs, e.cache.Close(ctx))
	}
	return errors.Join(errs...)
}

// guarded calls f and turns a panic into a [*HostError]: a fault in decoding,
// compiling or instantiating one module must not end the host.
func guarded(doing string, f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = &HostError{Doing: doing, Value: r, Stack: debug.Stack()}
		}
	}()
	return f()
}

// compile turns a rewritten module into machine code, or fetches that from the
// disk cache. A damaged cache is emptied, not fatal.
func (e *Engine) compile(wasm []byte) (code wazero.CompiledModule, err error) {
	try := func() error {
		code, err = e.runtime.CompileModule(context.Background(), wasm)
		return err
	}
	err = guarded("compiling", try)
	if err == nil || e.cacheDir == "" || !isCacheFault(err) {
		return code, err
	}
	if errEmpty := emptyCache(e.cacheDir); errEmpty != nil {
		return nil, fmt.Errorf("%w; emptying the cache: %w", err, errEmpty)
	}
	err = guarded("compiling", try)
	return code, err
}

// isCacheFault tells a fault of the disk cache from a fault of the module.
// wazero has no type for it: a damaged entry is told by its prefix, and a
// full or read-only disk by the operating system's error.
func isCacheFault(err error) bool {
	return strings.Contains(err.Error(), "compilationcache:") || isPathError(err)
}

// add makes f one of the functions whose idle sandboxes are freed when memory is
// short.
func (e *Engine) add(f *Function) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return fmt.Errorf("%w: the engine is closed", ErrLoad)
	}
	e.functions[f] = struct{}{}
	return nil
}

func (e *Engine) remove(f *Function) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.functions, f)
}

// reclaim frees parked sandboxes, those that have been idle longest first,
// until n bytes have come back to the budget. It is false if there was none, or if
// all together are not enough: who can't be served anyway takes none from others.
func (e *Engine) reclaim(n int64) (some bool) {
	if e.idleBytes() < n {
		return false
	}
	for n > 0 {
		f := e.idlest()
		if f == nil {
			return some
		}
		if bytes, ok := f.pool.evict(); ok {
			n -= bytes
			some = true
		}
	}
	return some
}

// idleBytes is how much of the budget all parked sandboxes have.
func (e *Engine) idleBytes() (n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for f := range e.functions {
		n += f.pool.idleBytes()
	}
	return n
}

// idlest returns the function with the sandbox that has been idle longest, or nil.
func (e *Engine) idlest() (f *Function) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var first time.Time
	for candidate := range e.functions {
		since, ok := candidate.pool.idleSince()
		if ok && (f == nil || since.Before(first)) {
			f, first = candidate, since
		}
	}
	return f
}
