package gojinn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
)

// function is a module file that requests are answered with. While it serves, the
// file may change: then another version takes the place of the one before, if
// it is good. Safe for concurrent use.
type function struct {
	*settings
	name   string // in logs, placeholders and the admin API
	series string // in metrics
	route  string // "" unless it is a folder's
	place  place  // in the folder
	path   string // of the module file

	current atomic.Pointer[version] // nil: none is good
	failure atomic.Pointer[failure] // nil: the file as it is serves, as far as is known

	mu     sync.Mutex // held while the file is looked at
	seen   moduleState
	closed bool
}

// failure is why the module file as it is doesn't serve, and since when.
type failure struct {
	err   error
	since time.Time
}

// version is what a function serves for as long as its module file stays the
// same.
type version struct {
	*engine.Function
	program *engine.Program
	series  string
	uses    atomic.Int64 // calls, and one for being current
}

// newVersion makes a version of the module with this digest. Nothing is compiled
// for it.
func (f *function) newVersion(digest engine.Digest) (*version, error) {
	path := f.path
	program, err := f.engine.Open(digest, func() ([]byte, error) { return readModule(path) })
	if err != nil {
		return nil, err
	}
	options := f.options
	options.Settled = f.logStart
	made, err := program.Function(options)
	if err != nil {
		return nil, errors.Join(err, program.Close())
	}
	v := &version{Function: made, program: program, series: f.series}
	v.uses.Store(1)
	live.add(v)
	return v, nil
}

// use takes part in the version, which stays until leave. It is false if it is gone
// already.
func (v *version) use() bool {
	for {
		n := v.uses.Load()
		if n <= 0 {
			return false
		}
		if v.uses.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (v *version) leave() {
	if v.uses.Add(-1) == 0 {
		go v.close() // which waits for sandboxes to be freed
	}
}

// close ends the calls that still run, and frees everything.
func (v *version) close() {
	live.remove(v)
	_ = errors.Join(v.Function.Close(), v.program.Close()) // neither has an error to give
}

// serving returns the current version, to be left after use, or the reason why
// there is none.
func (f *function) serving() (*version, error) {
	for {
		v := f.current.Load()
		if v == nil {
			return nil, f.whyNot()
		}
		if v.use() {
			return v, nil
		}
	}
}

func (f *function) whyNot() error {
	if failed := f.failure.Load(); failed != nil {
		return fmt.Errorf("%w: %w", engine.ErrLoad, failed.err)
	}
	return fmt.Errorf("%w: it has been unloaded", engine.ErrLoad)
}

// logStart logs how the function's sandboxes get ready for their next call.
func (f *function) logStart(kind, why string) {
	f.logger.Info("start", zap.String("function", f.name), zap.String("kind", kind), zap.String("reason", printable(why)))
}

// open makes the first version. Whether the module can be compiled is not known then, unless
// the code cache knows.
func (f *function) open() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	digest, state, err := digests.of(f.path)
	f.seen = state
	if err != nil {
		return err
	}
	v, err := f.newVersion(digest)
	if err == nil {
		f.current.Store(v)
	}
	return err
}

// load makes the first version and waits until its module has been compiled.
func (f *function) load(ctx context.Context) error {
	if err := f.open(); err != nil {
		return err
	}
	v := f.current.Load()
	if err := v.program.Prepare(ctx); err != nil {
		return err
	}
	return v.Check()
}

// start makes the sandboxes that are to be kept warm.
func (f *function) start() {
	if v := f.current.Load(); v != nil {
		v.Start()
	}
}

// refresh looks at the module file. If that is another than before, and good, a new version
// takes over: calls that run go on with the old one. If it is not good, the last good
// one stays, and the error says why. It takes as long as compiling does.
func (f *function) refresh(ctx context.Context) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false, nil
	}
	if f.place.blocked {
		return false, f.failure.Load().err
	}
	state, err := stateOf(f.path)
	if err == nil && state == f.seen {
		if failed := f.failure.Load(); failed != nil {
			return false, failed.err
		}
		return false, nil
	}
	digest, state, err := digests.of(f.path)
	if err != nil {
		f.seen = state
		return false, f.refuse(err)
	}
	if v := f.current.Load(); v != nil && v.program.Digest() == digest.String() {
		f.seen = state
		f.failure.Store(nil)
		return false, nil
	}
	v, err := f.prepare(ctx, digest)
	if errors.Is(err, engine.ErrChanged) || err != nil && ctx.Err() != nil {
		return false, err // it will be looked at again
	}
	f.seen = state
	if err != nil {
		return false, f.refuse(err)
	}
	f.replace(v)
	return true, nil
}

// prepare makes a version that is fit to serve.
func (f *function) prepare(ctx context.Context, digest engine.Digest) (*version, error) {
	v, err := f.newVersion(digest)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	v.program.Precompile(func(err error) { ended <- err })
	select {
	case err = <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err == nil && f.check != "" {
		err = f.tryOut(ctx, v)
	}
	if err != nil {
		v.leave()
		return nil, err
	}
	return v, nil
}

// replace puts v in the place of the version that serves. mu is held.
func (f *function) replace(v *version) {
	f.failure.Store(nil)
	old := f.current.Swap(v)
	v.Start()
	live.changed(f.series, "live")
	f.logger.Info("module changed", zap.String("function", f.name), zap.String("sha256", v.program.Digest()))
	if old != nil {
		old.leave()
	}
}

// refuse notes why the file as it is doesn't serve.
func (f *function) refuse(err error) error {
	known := f.failure.Load()
	if known != nil && known.err.Error() == err.Error() {
		return err
	}
	f.failure.Store(&failure{err, time.Now()})
	live.changed(f.series, "refused")
	message := "module refused"
	if f.current.Load() != nil {
		message += "; the version before it goes on serving"
	}
	f.logger.Error(message, zap.String("function", f.name), zap.String("module", f.path), zap.String("error", printable(err.Error())))
	return err
}

// precompile has the module compiled when there is time for it. One that turns out bad no
// longer serves.
func (f *function) precompile() {
	v := f.current.Load()
	if v == nil {
		return
	}
	v.program.Precompile(func(err error) {
		if err == nil || errors.Is(err, engine.ErrChanged) || errors.Is(err, engine.ErrOverloaded) {
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if !f.closed && f.current.CompareAndSwap(v, nil) {
			_ = f.refuse(err) // has been logged
			v.leave()
		}
	})
}

// tryOut has a version answer the check's request, which must be below 500.
func (f *function) tryOut(ctx context.Context, v *version) error {
	status, err := f.get(ctx, v)
	if err == nil && status >= http.StatusInternalServerError {
		err = fmt.Errorf("the answer has status %d", status)
	}
	if err != nil {
		return fmt.Errorf("check %s: %w", f.check, err)
	}
	return nil
}

// get has a version answer the check's request.
func (f *function) get(ctx context.Context, v *version) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+f.check, nil)
	if err != nil {
		return 0, err
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, new(caddyhttp.Server))
	c := &call{function: f, id: "check"}
	in, out := newBuffer(f.engine.Budget()), newBuffer(f.engine.Budget())
	defer in.free()
	defer out.free()
	if err := c.encode(r.Context(), in, nil, r); err != nil {
		return 0, err
	}
	if err := c.runOn(r.Context(), v, bytes.NewReader(in.bytes), out); err != nil {
		return 0, err
	}
	response, err := contract.DecodeResponse(out.bytes)
	if err != nil {
		return 0, err
	}
	return response.Status, nil
}

// close ends the calls that still run.
func (f *function) close() {
	f.mu.Lock()
	f.closed = true
	v := f.current.Swap(nil)
	f.mu.Unlock()
	if v != nil && v.uses.Swap(0) > 0 {
		v.close()
	}
}

// retire lets the calls that still run come to their ends.
func (f *function) retire() {
	f.mu.Lock()
	f.closed = true
	v := f.current.Swap(nil)
	f.mu.Unlock()
	if v != nil {
		v.leave()
	}
}
