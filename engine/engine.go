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
	// CacheSize is how many bytes may be kept there; what has not been used for longest
	// goes first. Default: no bound.
	CacheSize int64
	// Log, if not nil, is told what is wrong with the cache, not more often than once a
	// minute: code is compiled again then, or not kept. Loaded, if not nil, is told
	// how long it took each time that code was compiled or loaded. Both must be safe for
	// concurrent use.
	Log    func(error)
	Loaded func(took time.Duration)
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
	runtime   wazero.Runtime
	cache     wazero.CompilationCache // of runtime, nil without a store
	store     *codeCache              // nil without a code cache
	budget    *Budget
	compilers compilers
	loaders   chan struct{} // a token for each program that is being loaded from the store
	loaded    func(took time.Duration)

	// loading keeps one module from being loaded twice at the same time: wazero 1.12 shares the code with
	// who comes second before all that belongs to it has been made (https://github.com/wazero/wazero/issues/2547).
	// Modules share locks by their digests.
	loading [16]sync.Mutex

	processors   *processors       // that guests compute with
	unrestorable string            // why no sandbox can be used twice; empty: they can
	verify       func(what string) // as in Config

	mu        sync.Mutex
	programs  map[programKey]*Program // that are not closed
	functions map[*Function]struct{}  // that are not closed
	spare     wazero.Runtime          // for code that the store can't keep; nil until there is any
	sweeping  bool                    // a sweep is to come
	swept     time.Time               // the last one
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
	headroom()
	if config.Compilers <= 0 {
		config.Compilers = max(1, runtime.GOMAXPROCS(0)-1)
	}
	e := &Engine{
		budget:       NewBudget(config.Memory),
		processors:   newProcessors(runtime.GOMAXPROCS(0)),
		compilers:    compilers{free: config.Compilers},
		loaders:      make(chan struct{}, runtime.GOMAXPROCS(0)),
		loaded:       config.Loaded,
		programs:     make(map[programKey]*Program),
		unrestorable: unrestorable,
		verify:       config.Verify,
		functions:    make(map[*Function]struct{}),
	}
	e.budget.reclaim = e.reclaim
	var err error
	if config.CacheDir != "" {
		if e.store, err = openCodeCache(config.CacheDir, config.CacheSize, config.Log); err != nil {
			return nil, err
		}
		if e.cache, err = openWazeroCache(e.store.dir); err != nil {
			return nil, fmt.Errorf("opening the code cache %s: %w", e.store.dir, err)
		}
	}
	if e.runtime, err = newRuntime(e.cache); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

// newRuntime returns a runtime with everything that guests can import. cache may be nil.
func newRuntime(cache wazero.CompilationCache) (r wazero.Runtime, err error) {
	config := runtimeConfig()
	if cache != nil {
		config = config.WithCompilationCache(cache)
	}
	ctx := context.Background()
	err = guarded("starting the engine", func() error {
		r = wazero.NewRuntimeWithConfig(ctx, config)
		return instantiateHost(ctx, r)
	})
	if err != nil && r != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	return r, err
}

// runtimeConfig is how code is compiled. Neither close-on-context-done nor a memory
// limit: the one costs more than our own metering and stops less, the other is the
// sandbox's own.
func runtimeConfig() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().
		WithCoreFeatures(api.CoreFeaturesV2).
		WithCloseOnContextDone(false).
		WithDebugInfoEnabled(false).
		WithCustomSections(false)
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
	for _, r := range []wazero.Runtime{e.runtime, e.spare} {
		if r != nil {
			// Not code 0: callers could take that for a guest's success.
			errs = append(errs, r.CloseWithExitCode(ctx, 255))
		}
	}
	if e.cache != nil {
		errs = append(errs, e.cache.Close(ctx))
	}
	e.processors.close()
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

// reclaim frees parked sandboxes, those that have been idle longest first, and
// then code that no sandbox has, until n bytes have come back to the budget. It is
// false if there was none, or if all together are not enough: who can't be served
// anyway takes none from others.
func (e *Engine) reclaim(n int64) (some bool) {
	if e.idleBytes() < n {
		return false
	}
	for n > 0 {
		bytes, ok := e.evict()
		if !ok {
			return some
		}
		n -= bytes
		some = true
	}
	return some
}

// idleBytes is how much of the budget all parked sandboxes have, and all code that no call
// needs.
func (e *Engine) idleBytes() (n int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	parked := make(map[*Program]int)
	for f := range e.functions {
		count, bytes := f.pool.idleBytes()
		n += bytes
		if count > 0 {
			parked[f.program] += count
		}
	}
	for _, p := range e.programs {
		n += p.idleBytes(parked[p])
	}
	return n
}

// evict frees what has been idle longest. It is not ok if there is nothing.
func (e *Engine) evict() (bytes int64, ok bool) {
	if f := e.idlest(); f != nil {
		bytes, _ = f.pool.evict()
		return bytes, true
	}
	if p := e.idlestProgram(); p != nil {
		return p.evict(), true
	}
	return 0, false
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

// idlestProgram returns the program whose code no sandbox has had for longest, or
// nil.
func (e *Engine) idlestProgram() (p *Program) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var first time.Time
	for _, candidate := range e.programs {
		since, ok := candidate.idle()
		if ok && (p == nil || since.Before(first)) {
			p, first = candidate, since
		}
	}
	return p
}

// Programs counts the programs that are open, by whether their code is in memory.
func (e *Engine) Programs() (loaded, unloaded int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, p := range e.programs {
		if p.Loaded() {
			loaded++
		} else {
			unloaded++
		}
	}
	return loaded, unloaded
}
