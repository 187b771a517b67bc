package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/gojinn/gojinn/engine/memory"
	"github.com/gojinn/gojinn/engine/rewrite"
)

// Program is one compiled module: immutable, shared by every function and
// configuration that names the same bytes, and free of anything of theirs.
// Safe for concurrent use.
type Program struct {
	engine *Engine
	digest string
	report *rewrite.Report
	image  *memory.Image // what its memories start with
	code   wazero.CompiledModule
	weight int64         // bytes of the budget
	took   time.Duration // to rewrite and compile
	leave  func()        // gives up one use

	unrestorable string // why its sandboxes serve one call each; empty: they need not

	once    sync.Once
	initial struct { // what its sandboxes are right after they are instantiated
		globals []uint64
		digest  digest
	}
}

// remember takes from the first sandbox of the program, not yet run, what
// others are taken back to.
func (p *Program) remember(s *Sandbox) {
	if p.unrestorable != "" {
		return
	}
	p.once.Do(func() {
		p.initial.globals = s.getGlobals()
		p.initial.digest = s.digest()
	})
}

// programKey tells programs apart: the bytes, and how they are rewritten.
type programKey struct {
	digest  [sha256.Size]byte
	options rewrite.Options
}

// loading is a program on its way: done is closed when program and err are set.
type loading struct {
	done    chan struct{}
	program *Program
	err     error
	users   int // guarded by Engine.mu: callers who wait, or have yet to call Close
}

// Compile checks, rewrites and compiles a module. The same module is compiled
// once, however many ask for it at the same time and as long as one of them has
// not closed it. ctx bounds the waiting only: a compilation that nobody waits
// for any more is finished, since the next to ask will want it. Errors are
// [ErrLoad], most of them a [*ModuleError]. Close the program when no function
// made of it is left.
func (e *Engine) Compile(ctx context.Context, wasm []byte) (*Program, error) {
	return e.compileWith(ctx, wasm, rewrite.Options{Meter: metering != "off", Detach: true})
}

// metering is "off" in a binary that was linked to measure what metering costs
// (go build -ldflags='-X github.com/gojinn/gojinn/engine.metering=off'). Nothing
// else can turn it off: no guest could be stopped then.
var metering = "on"

func (e *Engine) compileWith(ctx context.Context, wasm []byte, options rewrite.Options) (*Program, error) {
	key := programKey{sha256.Sum256(wasm), options}
	l, err := e.join(key, wasm)
	if err != nil {
		return nil, err
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		go func() { <-l.done; e.leave(key, l) }()
		return nil, fmt.Errorf("%w: still compiling: %w", ErrLoad, context.Cause(ctx))
	}
	if l.err != nil {
		e.leave(key, l)
		return nil, l.err
	}
	return l.program, nil
}

// join makes the caller a user of the program with this key and starts
// compiling it if it is the first.
func (e *Engine) join(key programKey, wasm []byte) (*loading, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, fmt.Errorf("%w: the engine is closed", ErrLoad)
	}
	if l := e.programs[key]; l != nil {
		l.users++
		return l, nil
	}
	l := &loading{done: make(chan struct{}), users: 1}
	e.programs[key] = l
	go func() {
		defer close(l.done)
		e.compiler <- struct{}{}
		defer func() { <-e.compiler }()
		l.program, l.err = e.load(key, wasm)
		if l.err == nil {
			l.program.leave = func() { e.leave(key, l) }
		}
	}()
	return l, nil
}

// leave ends one use of a program; the last one frees its code.
func (e *Engine) leave(key programKey, l *loading) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if l.users--; l.users > 0 {
		return
	}
	delete(e.programs, key)
	if l.program != nil {
		l.program.free()
	}
}

// load does the work of Compile for one module.
func (e *Engine) load(key programKey, wasm []byte) (*Program, error) {
	start := time.Now()
	rewritten, report, err := rewrite.ModuleWith(wasm, key.options)
	if err != nil {
		return nil, &ModuleError{err.Error()}
	}
	if err := checkModule(report); err != nil {
		return nil, err
	}
	p := &Program{engine: e, digest: hex.EncodeToString(key.digest[:]), report: report, unrestorable: report.Unrestorable}
	if p.unrestorable == "" {
		p.unrestorable = e.unrestorable
	}
	p.code, err = e.compile(rewritten)
	var host *HostError
	switch {
	case errors.As(err, &host):
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	case err != nil:
		return nil, &ModuleError{err.Error()}
	}
	if p.image, err = imageOf(report); err != nil {
		p.free()
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	p.weight = p.image.Bytes() + codeBytes(report)
	e.budget.Take(p.weight)
	p.took = time.Since(start)
	return p, nil
}

// imageOf makes the initial memory of the report's data, which it forgets.
func imageOf(report *rewrite.Report) (*memory.Image, error) {
	var runs []memory.Run
	for _, r := range report.Image {
		runs = append(runs, memory.Run{Offset: uint64(r.Offset), Bytes: r.Bytes})
	}
	report.Image = nil
	return memory.NewImage(uint64(report.Memory.Min)*pageSize, runs)
}

// codeBytes estimates how much memory the machine code takes, which wazero
// doesn't say: four times the bytecode's size, and up to five.
func codeBytes(report *rewrite.Report) int64 { return int64(report.CodeBytes) * 9 / 2 }

// free gives up the code and the image.
func (p *Program) free() {
	// It drops references only and has no error to give.
	_ = guarded("closing", func() error { return p.code.Close(context.Background()) })
	if p.image != nil {
		_ = p.image.Close() // nothing is left to be written
	}
	p.engine.budget.Release(p.weight)
}

// Digest is the SHA-256 of the module as it was given, in hexadecimal.
func (p *Program) Digest() string { return p.digest }

// Report tells what the module uses. It must not be changed.
func (p *Program) Report() *rewrite.Report { return p.report }

// CompileTime is how long rewriting and compiling took, or fetching the
// machine code from the cache.
func (p *Program) CompileTime() time.Duration { return p.took }

// Close gives up one use of the program, that of one [Engine.Compile]. The code
// is freed with the last; functions made of it must have been closed before.
func (p *Program) Close() error {
	p.leave()
	return nil
}
