package gojinn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/capability/audit"
	"github.com/gojinn/gojinn/engine"
)

// function is a module file that requests are answered with. While it serves, the
// file may change: then another version takes the place of the one before, if
// it is good. Safe for concurrent use.
type function struct {
	*settings
	base   string        // what the program is called if it isn't told otherwise
	name   string        // in logs, placeholders and the admin API
	series string        // in metrics
	route  string        // "" unless it is a folder's
	place  place         // in the folder
	path   string        // of the module file
	denied *audit.Record // what it was refused; nil: nobody wants to know

	life context.Context // until it is closed
	end  context.CancelFunc

	current atomic.Pointer[version] // nil: none is good
	failure atomic.Pointer[failure] // nil: the file as it is serves, as far as is known

	mu      sync.Mutex // held while the file is looked at
	seen    moduleState
	refused refusal // the last that was
	closed  bool
	retry   *time.Timer // nil: the file is only looked at when it changes
	delay   time.Duration

	sources sources
}

// failure is why the module file as it is, or files that its start-up reads, doesn't serve, and since when.
type failure struct {
	err   error
	since time.Time
	reads bool // it is not the file, but others that its start-up reads
}

// refusal is what is wrong with a module.
type refusal struct {
	digest engine.Digest
	err    error // nil: none has been refused
}

// A file that can't be looked at, or a module that can't be compiled for want of something, is
// tried again after minDelay, then after twice that, and so on: its becoming
// available is nothing that a file system tells.
const (
	minDelay = time.Second
	maxDelay = time.Minute
)

// newFunction makes a function without a version, to be closed.
func newFunction(s *settings, base, name, series, path string) *function {
	f := &function{settings: s, base: base, name: name, series: series, path: path}
	f.life, f.end = context.WithCancel(s.life)
	f.denied = f.record()
	live.keep(series)
	return f
}

// version is what a function serves for as long as its module file stays the
// same.
type version struct {
	*engine.Function
	program *engine.Program
	digest  engine.Digest
	series  string
	path    string       // where its module was
	uses    atomic.Int64 // calls, and one for being current
	among   *versions
	closing sync.Once
}

// newVersion makes a version of the module with this digest. Nothing is compiled
// for it.
func (f *function) newVersion(digest engine.Digest) (*version, error) {
	program, err := f.engine.Open(digest, moduleSource(f.path, digest))
	if err != nil {
		return nil, err
	}
	options := f.options
	options.Args = f.argv()
	options.Settled, options.Unrecorded = f.logStart, f.logUnrecorded
	v := &version{digest: digest, series: f.series, path: f.path, among: f.versions}
	options.Recorded = func() { f.recorded(v) }
	if f.denied != nil {
		options.Grants.Watch(f.denied.Add)
	}
	made, err := program.Function(options)
	if err != nil {
		return nil, errors.Join(err, program.Close())
	}
	v.Function, v.program = made, program
	v.uses.Store(1)
	if !v.among.add(v) {
		return nil, errors.Join(errClosed, made.Close(), program.Close())
	}
	live.add(v)
	return v, nil
}

// argv is what the program finds in it. An interpreter's arguments may begin with its name, as its
// users are used to write them.
func (f *function) argv() []engine.Value {
	if len(f.args) > 0 && f.args[0].Resolve == nil && isProgramName(f.args[0].Fixed, f.path) {
		return f.args
	}
	return append([]engine.Value{{Fixed: f.base}}, f.args...)
}

// programVersion is what may follow a program's name in that of its module file.
var programVersion = regexp.MustCompile(`^[-_.]?v?[0-9]+([._-][0-9A-Za-z]+)*$`)

// isProgramName tells whether name is the module file's, with or without a version: python is that
// of python.wasm and of python-3.12.0.wasm.
func isProgramName(name, path string) bool {
	rest, ok := strings.CutPrefix(strings.TrimSuffix(filepath.Base(path), ".wasm"), name)
	return ok && name != "" && (rest == "" || programVersion.MatchString(rest))
}

// moduleSource reads a module when it is needed. Programs are shared by all files with the same
// bytes, so if the one at path has become another or is gone, the others will do.
func moduleSource(path string, digest engine.Digest) func() ([]byte, error) {
	return func() ([]byte, error) {
		wasm, err := readModule(path)
		if err == nil && engine.DigestOf(wasm) == digest {
			return wasm, nil
		}
		for _, other := range live.paths(digest) {
			if wasm, err := readModule(other); err == nil && engine.DigestOf(wasm) == digest {
				return wasm, nil
			}
		}
		return wasm, err
	}
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
	v.closing.Do(func() {
		live.remove(v)
		_ = errors.Join(v.Function.Close(), v.program.Close()) // neither has an error to give
		v.among.remove(v)
	})
}

// errClosed is what a function without a version says that has been closed.
var errClosed = errors.New("it has been unloaded")

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
	return fmt.Errorf("%w: %w", engine.ErrLoad, errClosed)
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

// start makes the sandboxes that are to be kept warm, and follows what start-ups read.
func (f *function) start() {
	f.follow()
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
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(f.life, cancel)()
	changed, again, err := f.look(ctx)
	if failed := f.failure.Load(); !changed && !again && (failed == nil || failed.reads) {
		changed, again, err = f.lookAtReads(ctx)
	}
	f.plan(again)
	return changed, err
}

// look is refresh. It says whether another look is worth its while though nothing changes. mu
// is held.
func (f *function) look(ctx context.Context) (changed, again bool, err error) {
	if state, err := stateOf(f.path); err == nil && state == f.seen {
		return false, false, f.known()
	}
	for tries := 1; ; tries++ {
		digest, state, err := digests.of(f.path)
		if err != nil {
			f.seen = moduleState{}
			f.refuse(err, false)
			return false, true, err
		}
		if v := f.current.Load(); v != nil && v.digest == digest {
			f.seen = state
			if failed := f.failure.Load(); failed != nil && !failed.reads {
				f.failure.Store(nil)
				f.logger.Info("module is the one that serves again", zap.String("function", f.name))
			}
			return false, false, nil
		}
		if f.refused.err != nil && f.refused.digest == digest {
			f.seen = state
			f.refuse(f.refused.err, false)
			return false, false, f.refused.err
		}
		v, err := f.prepare(ctx, digest)
		switch {
		case err == nil:
			f.seen = state
			f.try(nil)
			f.replace(v)
			go f.watchReads()
			return true, false, nil
		case ctx.Err() != nil, errors.Is(err, engine.ErrChanged) && tries == 3:
			return false, true, err
		case errors.Is(err, engine.ErrChanged):
			continue
		case passing(err), as[*startError](err): // the files that it reads may be put right
			f.seen = moduleState{}
			f.refuse(err, false)
			return false, true, err
		}
		f.seen, f.refused = state, refusal{digest, err}
		f.refuse(err, true)
		return false, false, err
	}
}

// known is why the file, as it was seen, doesn't serve.
func (f *function) known() error {
	if failed := f.failure.Load(); failed != nil {
		return failed.err
	}
	return nil
}

// plan has the file looked at again after a while, or not. mu is held.
func (f *function) plan(again bool) {
	if f.retry != nil {
		f.retry.Stop()
		f.retry = nil
	}
	if !again || f.life.Err() != nil {
		f.delay = 0
		return
	}
	f.delay = min(max(2*f.delay, minDelay), maxDelay)
	f.retry = time.AfterFunc(f.delay, func() { _, _ = f.refresh(f.life) }) // what is wrong is logged
}

// passing tells errors that have nothing to do with what is in the file.
func passing(err error) bool {
	return errors.Is(err, engine.ErrOverloaded) || errors.Is(err, engine.ErrLoad) && !as[*engine.ModuleError](err) && !as[*engine.HostError](err)
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
	if err == nil {
		err = v.Check()
	}
	if before := f.current.Load(); err == nil && before != nil && before.Reads().Answers > 0 {
		err = f.begins(ctx, v) // it may be the one that suits files which have changed
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

// refuse notes why the file as it is doesn't serve. The same error as before is news only if
// the file is.
func (f *function) refuse(err error, news bool) {
	known := f.failure.Load()
	if !news && known != nil && known.err.Error() == err.Error() {
		return
	}
	f.failure.Store(&failure{err: err, since: time.Now()})
	live.changed(f.series, "refused")
	message := "module refused"
	if f.current.Load() != nil {
		message += "; the version before it goes on serving"
	}
	f.logger.Error(message, zap.String("function", f.name), zap.String("module", printable(f.path)), zap.String("error", printable(err.Error())))
}

// precompile has the module compiled when there is time for it. One that turns out bad no
// longer serves.
func (f *function) precompile() {
	v := f.current.Load()
	if v == nil {
		return
	}
	v.program.Precompile(func(err error) {
		if err == nil {
			err = v.Check()
		}
		if err != nil && !errors.Is(err, engine.ErrOverloaded) { // a call will try again
			f.drop(v, err)
		}
	})
}

// drop ends the serving of a first version that can't be compiled.
func (f *function) drop(v *version, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.current.Load() != v {
		return
	}
	if passing(err) {
		f.seen = moduleState{}
		f.plan(true)
	} else {
		f.refused = refusal{v.digest, err}
	}
	if errors.Is(err, engine.ErrChanged) {
		return // what it has become will be seen
	}
	f.current.Store(nil)
	f.refuse(err, true)
	v.leave()
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

// get has a version answer the check's request. A module that never answers must not keep
// others from being looked at, so it has no longer than calls have by default.
func (f *function) get(ctx context.Context, v *version) (status int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if f.options.Limits.Timeout <= 0 {
		var late context.CancelFunc
		ctx, late = context.WithTimeout(ctx, defaultTimeout)
		defer late()
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+f.check, nil)
	if err != nil {
		return 0, err
	}
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, new(caddyhttp.Server))
	c := &call{function: f, version: v, id: "check"}
	answer := &statusOnly{header: make(http.Header), answered: cancel}
	if err := c.serve(r.Context(), answer, r); err != nil && answer.status == 0 {
		return 0, err
	}
	return answer.status, nil
}

// statusOnly is a client that leaves when it knows the status.
type statusOnly struct {
	header   http.Header
	status   int
	answered func()
}

func (s *statusOnly) Header() http.Header { return s.header }

func (s *statusOnly) WriteHeader(status int) {
	s.status = status
	s.answered()
}

func (s *statusOnly) Write(p []byte) (int, error) { return len(p), nil }

// close ends the function, but for calls that still run: what they need is freed after the
// last.
func (f *function) close() {
	f.end() // so that nobody holds mu for long
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	f.plan(false)
	f.try(nil)
	if v := f.current.Swap(nil); v != nil {
		v.leave()
	}
	live.drop(f.series)
}

// rest frees the sandboxes that wait for calls, when only late ones may come.
func (f *function) rest() {
	if v := f.current.Load(); v != nil && v.use() {
		v.Retire()
		v.leave()
	}
}
