package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// fetch makes code of what the cache has of a program. The error is errNotStored
// if that has to be compiled.
func (e *Engine) fetch(key programKey) (*executable, error) {
	if e.store == nil {
		return nil, errNotStored
	}
	// Many at once would hold as many modules in memory at once.
	e.loaders <- struct{}{}
	defer func() { <-e.loaders }()
	kept, err := e.store.load(key)
	if err != nil {
		return nil, err
	}
	c := &executable{engine: e, report: kept.Report, runtime: e.runtime, stored: true}
	if err := c.reserve(kept.CodeSize); err != nil {
		return nil, err
	}
	err = guarded("loading", func() (err error) {
		mu := &e.loading[int(key.digest[0])%len(e.loading)]
		mu.Lock()
		defer mu.Unlock()
		c.compiled, err = e.runtime.CompileModule(onlyFromCache, kept.skeleton)
		return err
	})
	if err != nil {
		c.free()
		// Whatever it is, it can be compiled anew.
		e.store.remove(key)
		return nil, fmt.Errorf("%w: %w", errNotStored, err)
	}
	return c.finish()
}

// build checks, rewrites and compiles a module, and puts it into the cache.
func (e *Engine) build(key programKey, source func() ([]byte, error)) (*executable, error) {
	start := time.Now()
	wasm, err := source()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	if DigestOf(wasm) != key.digest {
		return nil, ErrChanged
	}
	rewritten, report, err := rewrite.ModuleWith(wasm, key.options)
	if err != nil {
		return nil, &ModuleError{err.Error()}
	}
	wasm = nil
	if err := checkModule(report); err != nil {
		return nil, err
	}
	if e.store != nil {
		err := e.store.save(key, rewritten, report, start)
		var module *ModuleError
		var host *HostError
		switch {
		case err == nil:
			if c, err := e.fetch(key); !errors.Is(err, errNotStored) {
				return c, err
			}
		case errors.As(err, &module):
			return nil, err
		case errors.As(err, &host):
			return nil, fmt.Errorf("%w: %w", ErrLoad, err)
		default:
			e.store.complain(err)
		}
	}
	// Without a cache, the code stays in memory.
	c := &executable{engine: e, report: report}
	if c.runtime, err = e.uncached(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	if c.compiled, err = compile(c.runtime, rewritten); err != nil {
		return nil, err
	}
	c.weight = codeBytes(report)
	e.budget.Take(c.weight)
	return c.finish()
}

// compile turns a rewritten module into machine code.
func compile(r wazero.Runtime, wasm []byte) (compiled wazero.CompiledModule, err error) {
	err = guarded("compiling", func() error {
		compiled, err = r.CompileModule(context.Background(), wasm)
		return err
	})
	var host *HostError
	switch {
	case errors.As(err, &host):
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	case err != nil:
		return nil, &ModuleError{err.Error()}
	}
	return compiled, nil
}

// reserve takes what machine code of this size and the image need from the
// budget.
func (c *executable) reserve(codeSize int64) error {
	n := codeSize
	for _, r := range c.report.Image {
		n += int64(len(r.Bytes))
	}
	if err := c.engine.budget.Reserve(n); err != nil {
		return err
	}
	c.weight = n
	return nil
}

// finish makes the image, and the weight exact.
func (c *executable) finish() (_ *executable, err error) {
	var runs int64
	for _, r := range c.report.Image {
		runs += int64(len(r.Bytes))
	}
	if c.image, err = imageOf(c.report); err != nil {
		c.free()
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	if !c.stored {
		runs = 0
	}
	more := c.image.Bytes() - runs
	c.engine.budget.Take(more)
	c.weight += more
	if c.unrestorable = c.report.Unrestorable; c.unrestorable == "" {
		c.unrestorable = c.engine.unrestorable
	}
	return c, nil
}

// uncached is the runtime for code that the cache can't keep.
func (e *Engine) uncached() (wazero.Runtime, error) {
	if e.store == nil {
		return e.runtime, nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, errors.New("the engine is closed")
	}
	if e.spare == nil {
		r, err := newRuntime(nil)
		if err != nil {
			return nil, err
		}
		e.spare = r
	}
	return e.spare, nil
}

// compileAside compiles a module in the folder dir, which it makes. It returns the file there
// with the machine code, which wazero has made for its cache. The last two elements of its path
// are what wazero will look for.
func compileAside(dir string, wasm []byte) (file string, err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	cache, err := openWazeroCache(dir)
	if err != nil {
		return "", err
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, runtimeConfig().WithCompilationCache(cache))
	defer r.Close(ctx)
	defer cache.Close(ctx)
	err = guarded("compiling", func() error {
		_, err := r.CompileModule(ctx, wasm)
		return err
	})
	switch {
	case err != nil && (isCacheFault(err) || isHostError(err)):
		return "", err
	case err != nil:
		return "", &ModuleError{err.Error()}
	}
	files, err := filepath.Glob(filepath.Join(escapeGlob(dir), wazeroFolders, "*"))
	if err != nil || len(files) != 1 {
		return "", fmt.Errorf("the compiler left %d files, not one (%w)", len(files), err)
	}
	return files[0], nil
}

// compilers lets a bounded number of modules be compiled at once: first those that
// somebody waits for, then the others, each in the order in which they came. Safe
// for concurrent use.
type compilers struct {
	mu      sync.Mutex
	free    int
	waiting [2][]*ticket // not urgent and urgent ones
}

// ticket is a place in the queue for compilers.
type ticket struct {
	queue  *compilers
	urgent bool
	asked  bool // it is in waiting, or has been given
	begins chan struct{}
	given  bool
}

// enqueue returns a ticket. It is to be followed by done.
func (q *compilers) enqueue(urgent bool) *ticket {
	return &ticket{queue: q, urgent: urgent, begins: make(chan struct{})}
}

// wait returns when it is its turn.
func (t *ticket) wait() {
	q := t.queue
	q.mu.Lock()
	t.asked = true
	q.push(t)
	q.next()
	q.mu.Unlock()
	<-t.begins
}

// hurry makes a ticket urgent.
func (q *compilers) hurry(t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.urgent {
		return
	}
	if i := slices.Index(q.waiting[0], t); i >= 0 {
		q.waiting[0] = slices.Delete(q.waiting[0], i, i+1)
	}
	t.urgent = true
	if t.asked && !t.given {
		q.push(t)
	}
}

// done gives up a ticket, whether its turn has come or not.
func (q *compilers) done(t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.given {
		q.free++
		q.next()
	}
}

// push and next are called with mu held.
func (q *compilers) push(t *ticket) {
	class := 0
	if t.urgent {
		class = 1
	}
	q.waiting[class] = append(q.waiting[class], t)
}

func (q *compilers) next() {
	for class := 1; class >= 0; class-- {
		for q.free > 0 && len(q.waiting[class]) > 0 {
			t := q.waiting[class][0]
			q.waiting[class] = slices.Delete(q.waiting[class], 0, 1)
			q.free--
			t.given = true
			close(t.begins)
		}
	}
}
