package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// Program is one module: shared by every function and configuration that names
// the same bytes, and free of anything of theirs. Its code is there only as long as
// it is used: it is loaded for the first call that needs it, and unloaded when no
// sandbox has needed it for a while. What remains is a file in the code cache and
// a few hundred bytes. Safe for concurrent use.
type Program struct {
	engine *Engine
	key    programKey
	source func() ([]byte, error) // the module's bytes, when they are needed once more
	users  int                    // guarded by Engine.mu: uses that have yet to be closed

	mu       sync.Mutex
	code     *executable   // nil: unloaded
	loading  *loading      // nil: nobody is about it
	refused  error         // what is wrong with the module, if it is known
	took     time.Duration // by the last loading
	compiled bool          // the code cache has it, as far as is known
	closed   bool          // users has come to 0
	least    uint32        // pages of memory that its sandboxes start with, once known
	unload   *time.Timer   // nil: none runs
}

// programKey tells programs apart: the bytes, and how they are rewritten.
type programKey struct {
	digest  Digest
	options rewrite.Options
}

// Digest is the SHA-256 of a module.
type Digest [sha256.Size]byte

// String writes the digest in hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// DigestOf returns the digest of a module.
func DigestOf(wasm []byte) Digest { return sha256.Sum256(wasm) }

// loading is code on its way: done is closed when that has ended, with code or
// without.
type loading struct {
	done   chan struct{}
	ticket *ticket // to compile
	wanted bool    // somebody waits to use the code. Guarded by Program.mu
	err    error
}

// ErrChanged says that a module is not the one any more that a program was made
// for. It is [ErrLoad] too.
var ErrChanged = fmt.Errorf("%w: the module has changed", ErrLoad)

// Open returns the program of the module with this digest, without waiting for
// anything. source is called for the module's bytes if they have to be compiled,
// perhaps more than once, and must be safe for concurrent use. Nothing of the module
// has been checked, unless the code cache knows it or it is in use. Close the program when no
// function made of it is left.
func (e *Engine) Open(digest Digest, source func() ([]byte, error)) (*Program, error) {
	return e.open(programKey{digest, rewriting()}, source)
}

func (e *Engine) open(key programKey, source func() ([]byte, error)) (*Program, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("%w: the engine is closed", ErrLoad)
	}
	p := e.programs[key]
	if p == nil {
		p = &Program{engine: e, key: key, source: source}
		if header, err := e.store.header(key); err == nil {
			p.compiled, p.least = true, header.Report.Memory.Min
		}
		e.programs[key] = p
	}
	p.users++
	return p, nil
}

// Compile opens the program of a module, whose bytes are kept, and waits until it
// has been checked and compiled, as [Program.Prepare] does.
func (e *Engine) Compile(ctx context.Context, wasm []byte) (*Program, error) {
	return e.compileWith(ctx, wasm, rewriting())
}

// rewriting is how modules are rewritten.
func rewriting() rewrite.Options { return rewrite.Options{Meter: metering != "off", Detach: true} }

// metering is "off" in a binary that was linked to measure what metering costs
// (go build -ldflags='-X github.com/gojinn/gojinn/engine.metering=off'). Nothing
// else can turn it off: no guest could be stopped then.
var metering = "on"

func (e *Engine) compileWith(ctx context.Context, wasm []byte, options rewrite.Options) (*Program, error) {
	p, err := e.open(programKey{DigestOf(wasm), options}, func() ([]byte, error) { return wasm, nil })
	if err != nil {
		return nil, err
	}
	if err := p.Prepare(ctx); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// Prepare waits until the module has been checked and compiled, unless the code
// cache has it. The same module is compiled once, however many ask for it at the same
// time. ctx bounds the waiting only: a compilation that nobody waits for any more is finished,
// since the next to ask will want it. Errors are [ErrLoad], most of them a
// [*ModuleError].
func (p *Program) Prepare(ctx context.Context) error {
	p.mu.Lock()
	if p.isReady() || p.refused != nil {
		defer p.mu.Unlock()
		return p.refused
	}
	l := p.load(false, true)
	p.mu.Unlock()
	return l.wait(ctx)
}

// isReady tells whether the module has been compiled. mu is held.
func (p *Program) isReady() bool { return p.compiled || p.code != nil }

// wait waits for the end of a loading.
func (l *loading) wait(ctx context.Context) error {
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return fmt.Errorf("%w: still loading: %w", ErrLoad, context.Cause(ctx))
	}
}

// until is wait as a parameter.
func until(ctx context.Context) func(*loading) error {
	return func(l *loading) error { return l.wait(ctx) }
}

// Precompile has the module compiled when nothing more urgent is left to be, if the code
// cache doesn't have it. done, which may be nil, is called at the end with what
// Prepare would return.
func (p *Program) Precompile(done func(error)) {
	p.mu.Lock()
	var l *loading
	if !p.isReady() && p.refused == nil {
		l = p.load(false, false)
	}
	err := p.refused
	p.mu.Unlock()
	if done == nil {
		return
	}
	if l == nil {
		done(err)
		return
	}
	go func() { <-l.done; done(l.err) }()
}

// acquire returns the program's code, which stays loaded until it is released. While
// it is being loaded, wait waits for that to end, and gives up with an error.
func (p *Program) acquire(wait func(*loading) error) (*executable, error) {
	for {
		p.mu.Lock()
		c, err := p.take()
		if c != nil || err != nil {
			p.mu.Unlock()
			return c, err
		}
		l := p.load(true, true)
		p.mu.Unlock()
		if err := wait(l); err != nil {
			return nil, err
		}
	}
}

// take is acquire without waiting: it returns nil if the code is not in memory. mu is
// held.
func (p *Program) take() (*executable, error) {
	c := p.code
	if c == nil {
		return nil, p.refused
	}
	c.refs++
	if p.unload != nil {
		p.unload.Stop()
		p.unload = nil
	}
	return c, nil
}

// load joins the loading under way or starts one: wanted if the code is to be used at
// once, and urgent if somebody waits. mu is held.
func (p *Program) load(wanted, urgent bool) *loading {
	l := p.loading
	if l == nil {
		l = &loading{done: make(chan struct{}), ticket: p.engine.compilers.enqueue(urgent)}
		p.loading = l
		go p.doLoad(l)
	} else if urgent {
		p.engine.compilers.hurry(l.ticket)
	}
	l.wanted = l.wanted || wanted
	return l
}

// doLoad gets the code from the cache, or compiles it. What is only compiled ahead of
// any need is not kept in memory if the cache has it.
func (p *Program) doLoad(l *loading) {
	start := time.Now()
	c, err := p.engine.fetch(p.key)
	if errors.Is(err, errNotStored) {
		l.ticket.wait()
		c, err = p.engine.build(p.key, p.source)
	}
	p.engine.compilers.done(l.ticket)

	p.mu.Lock()
	var drop *executable
	switch {
	case err != nil:
		if !isPassing(err) {
			p.refused = err
		}
	case p.closed, c.stored && !l.wanted:
		drop = c
	default:
		c.program, p.code, c.since = p, c, time.Now()
		p.unloadAfter(unloadDefault) // if all who wanted it have given up
	}
	if c != nil {
		p.compiled, p.least = c.stored, c.report.Memory.Min
	}
	p.took, p.loading, l.err = time.Since(start), nil, err
	p.mu.Unlock()
	if drop != nil {
		drop.free()
	}
	if err == nil && p.engine.loaded != nil {
		p.engine.loaded(time.Since(start))
	}
	close(l.done)
}

// isPassing tells errors that another try may not meet from those that are the
// module's.
func isPassing(err error) bool {
	var module *ModuleError
	var host *HostError
	return !errors.As(err, &module) && !errors.As(err, &host)
}

// unloadDefault is how long code is kept that no sandbox has had.
const unloadDefault = 5 * time.Minute

// release gives up a use of the code. If it is the last, the code is unloaded after
// the given time.
func (c *executable) release(after time.Duration) {
	p := c.program
	p.mu.Lock()
	c.refs--
	c.since = time.Now()
	free := c.refs == 0 && p.closed
	switch {
	case free:
		p.code = nil
	case c.refs == 0:
		p.unloadAfter(after)
	}
	p.mu.Unlock()
	if free {
		c.free()
	}
}

// unloadAfter has the code unloaded when it has been idle for so long, if it can be
// loaded again without compiling. mu is held.
func (p *Program) unloadAfter(after time.Duration) {
	if c := p.code; c.stored && p.unload == nil {
		p.unload = time.AfterFunc(after, func() { p.unloadIdle(c, after) })
	}
}

// unloadIdle unloads the code if nobody has used it for as long as after.
func (p *Program) unloadIdle(c *executable, after time.Duration) {
	p.mu.Lock()
	p.unload = nil
	idle := p.code == c && c.refs == 0
	left := after - time.Since(c.since)
	switch {
	case idle && left > 0:
		p.unload = time.AfterFunc(left, func() { p.unloadIdle(c, after) })
		idle = false
	case idle:
		p.code = nil
	}
	p.mu.Unlock()
	if idle {
		c.free()
		p.engine.sweep()
	}
}

// evict unloads the code if no sandbox has it, and returns how many bytes of the budget
// that gave back.
func (p *Program) evict() int64 {
	p.mu.Lock()
	c := p.code
	if c == nil || c.refs > 0 || !c.stored {
		p.mu.Unlock()
		return 0
	}
	p.code = nil
	p.mu.Unlock()
	c.free()
	p.engine.sweep()
	return c.weight
}

// idle tells since when no sandbox has had the code. It is not ok if it can't be
// unloaded.
func (p *Program) idle() (since time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.code; c != nil && c.refs == 0 && c.stored {
		return c.since, true
	}
	return time.Time{}, false
}

// idleBytes is how much of the budget unloading the code would give back, if no other than
// so many parked sandboxes have it.
func (p *Program) idleBytes(parked int) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.code; c != nil && c.refs <= parked && c.stored {
		return c.weight
	}
	return 0
}

// Loaded tells whether the code is in memory.
func (p *Program) Loaded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.code != nil
}

// Kept tells whether the code cache has the code, as far as is known.
func (p *Program) Kept() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.compiled
}

// Digest is the SHA-256 of the module as it was given, in hexadecimal.
func (p *Program) Digest() string { return p.key.digest.String() }

// Report tells what the module uses. It loads the code if it has to, and
// must not be changed.
func (p *Program) Report(ctx context.Context) (*rewrite.Report, error) {
	c, err := p.acquire(until(ctx))
	if err != nil {
		return nil, err
	}
	defer c.release(unloadDefault)
	return c.report, nil
}

// CompileTime is how long the last loading of the code took: rewriting and compiling
// the module, or fetching the machine code from the cache.
func (p *Program) CompileTime() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.took
}

// Close gives up one use of the program, that of one [Engine.Open] or
// [Engine.Compile]. The code is freed with the last; functions made of it must have
// been closed before.
func (p *Program) Close() error {
	e := p.engine
	e.mu.Lock()
	p.users--
	last := p.users == 0
	if last {
		delete(e.programs, p.key)
	}
	e.mu.Unlock()
	if !last {
		return nil
	}
	p.mu.Lock()
	p.closed = true
	if p.unload != nil {
		p.unload.Stop()
		p.unload = nil
	}
	c := p.code
	if c != nil && c.refs == 0 {
		p.code = nil
	} else {
		c = nil
	}
	p.mu.Unlock()
	if c != nil {
		c.free()
		e.sweep()
	}
	return nil
}
