package gojinn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/rewrite"
	"github.com/gojinn/gojinn/internal/placeholder"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler answers requests with a WebAssembly function: a WASI program that
// reads the request from its standard input and writes the response to its
// standard output, in a sandbox of its own for every request. A function can
// use nothing of the host but what `allow` lists.
//
// It sets these placeholders on every request:
//
// Placeholder | Description
// ------------|-------------
// `{http.gojinn.function}` | The function's name
// `{http.gojinn.reason}` | How the call ended: `ok`, `timeout`, `trap`, …
// `{http.gojinn.duration}` | How long the program ran
// `{http.gojinn.queue}` | How long the call waited for its turn
// `{http.gojinn.fuel}` | How many instructions it executed
// `{http.gojinn.memory}` | How many bytes of linear memory it had
// `{http.gojinn.start}` | How its sandbox came to be: `fresh`; empty if it never got one
type Handler struct {
	// The path of the module file. A relative path is relative to Caddy's
	// working directory. Global placeholders are replaced.
	Module string `json:"module,omitempty"`

	Options

	// What the function may use. Nothing by default.
	AllowRaw []json.RawMessage `json:"allow,omitempty" caddy:"namespace=gojinn.capabilities inline_key=capability"`

	name       string
	budget     *engine.Budget
	maxRequest int64 // off: no limit
	maxLog     int64
	logger     *zap.Logger
	program    *engine.Program
	function   *engine.Function // nil until Provision has succeeded

	app      *App
	grace    time.Duration  // for calls that outlive the configuration; 0: without end
	calls    atomic.Int64   // requests being served
	release  []func() error // gives up what Provision has acquired so far
	released atomic.Bool
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.gojinn",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision makes the function ready: it reads and compiles the module, and
// runs nothing of it.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := h.Options.check(); err != nil {
		return err
	}
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	h.app, h.grace = app, gracePeriod(ctx)
	options := h.Options
	if app.Defaults != nil {
		options = options.withDefaults(*app.Defaults)
	}
	h.maxRequest, h.maxLog = options.maxRequest(), options.maxLog()
	path, err := caddy.NewReplacer().ReplaceOrErr(h.Module, true, true)
	if err != nil {
		return fmt.Errorf("module: %w", err)
	}
	base, err := options.baseName(path)
	if err != nil {
		return err
	}
	args, err := options.arguments(base)
	if err != nil {
		return err
	}
	grants, err := h.grants(ctx)
	if err != nil {
		return err
	}
	h.name = app.uniqueName(base)
	made := engine.Options{
		Args:        args,
		Grants:      grants,
		Limits:      options.limits(),
		Concurrency: options.concurrency(),
		Settled:     h.logStart,
	}
	options.keep(&made)
	program, function, err := h.load(ctx, app.key, path, made)
	if err != nil {
		return fmt.Errorf("module %s: %w", path, err)
	}
	h.program, h.function = program, function
	app.onStart(function.Start)
	live.add(h.name, function, program)
	h.onCleanup(func() error { live.remove(h.name, function); return nil })
	return nil
}

// logStart logs how the function's sandboxes get ready for their next call.
func (h *Handler) logStart(kind, why string) {
	h.logger.Info("start", zap.String("function", h.name), zap.String("kind", kind), zap.String("reason", printable(why)))
}

// gracePeriod is what the HTTP app gives to requests when it stops.
func gracePeriod(ctx caddy.Context) time.Duration {
	v, err := ctx.AppIfConfigured("http")
	if app, ok := v.(*caddyhttp.App); err == nil && ok {
		return time.Duration(app.GracePeriod)
	}
	return 0
}

// onCleanup remembers how to give up what has just been acquired.
func (h *Handler) onCleanup(release func() error) { h.release = append(h.release, release) }

// baseName is the function's name before numbers make it unique.
func (o *Options) baseName(path string) (string, error) {
	if o.Name != "" {
		name, err := caddy.NewReplacer().ReplaceOrErr(o.Name, true, true)
		if err == nil {
			err = checkName(name)
		}
		if err != nil {
			return "", fmt.Errorf("name: %w", err)
		}
		return name, nil
	}
	name := strings.TrimSuffix(filepath.Base(path), ".wasm")
	if name == "" {
		name = "function"
	}
	return printable(name[:min(len(name), maxName)]), nil
}

// arguments are what the program finds in argv, its name first.
func (o *Options) arguments(name string) ([]engine.Value, error) {
	args := []engine.Value{{Fixed: name}}
	for _, arg := range o.Args {
		value, err := placeholder.Value(arg)
		if err != nil {
			return nil, fmt.Errorf("args: %w", err)
		}
		args = append(args, value)
	}
	return args, nil
}

// grants collects what the allow lines grant.
func (h *Handler) grants(ctx caddy.Context) (engine.Grants, error) {
	var grants engine.Grants
	if h.AllowRaw == nil {
		return grants, nil
	}
	loaded, err := ctx.LoadModule(h, "AllowRaw")
	if err != nil {
		return grants, fmt.Errorf("allow: %w", err)
	}
	for _, module := range loaded.([]any) {
		id := module.(caddy.Module).CaddyModule().ID
		capability, ok := module.(Capability)
		if !ok {
			return grants, fmt.Errorf("allow %s: the module %s is not a capability", id.Name(), id)
		}
		if err := capability.Grant(&grants); err != nil {
			return grants, fmt.Errorf("allow %s: %w", id.Name(), err)
		}
	}
	return grants, nil
}

// load acquires the engine, the program and the function, in that order.
func (h *Handler) load(ctx context.Context, key engineKey, path string, options engine.Options) (*engine.Program, *engine.Function, error) {
	wasm, err := readModule(path)
	if err != nil {
		return nil, nil, err
	}
	e, err := acquireEngine(key)
	if err != nil {
		return nil, nil, err
	}
	h.budget = e.Budget()
	h.onCleanup(func() error { return releaseEngine(key) })
	program, err := e.Compile(ctx, wasm)
	if err != nil {
		return nil, nil, err
	}
	h.onCleanup(program.Close)
	function, err := program.Function(options)
	if err != nil {
		return nil, nil, err
	}
	h.onCleanup(function.Close)
	return program, function, nil
}

// readModule reads a module file, which is refused if it is too large to be
// one or no file at all: opening a pipe would wait for its writer.
func readModule(path string) ([]byte, error) {
	if path == "" {
		return nil, errors.New("no path is given")
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.IsDir():
		return nil, errors.New("is a directory, not a WebAssembly file")
	case !info.Mode().IsRegular():
		return nil, errors.New("is not a regular file")
	case info.Size() == 0:
		return nil, errors.New("is empty")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	wasm, err := io.ReadAll(io.LimitReader(f, rewrite.MaxModuleBytes+1))
	if err == nil && len(wasm) > rewrite.MaxModuleBytes {
		err = fmt.Errorf("is larger than %s", Size(rewrite.MaxModuleBytes))
	}
	return wasm, err
}

// Validate refuses a handler that was never provisioned.
func (h *Handler) Validate() error {
	if h.function == nil {
		return errors.New("gojinn: no module is loaded")
	}
	return nil
}

// Cleanup gives up what Provision acquired. Caddy also calls it when Provision
// has failed at any position.
func (h *Handler) Cleanup() error {
	// On a reload Caddy lets the requests of the old configuration go on while
	// it cleans up. When the process exits it has waited for them already.
	if h.inService() && !caddy.Exiting() {
		go h.linger()
		return nil
	}
	return h.releaseAll()
}

// inService tells whether requests can be on their way to the handler.
func (h *Handler) inService() bool {
	return h.function != nil && (h.app.started.Load() || h.calls.Load() > 0)
}

// lateness is how long after a reload a connection of the old configuration
// may still bring a request: net/http gives new ones 5 seconds.
var lateness = 6 * time.Second

// linger releases the function when its last call has ended and no more can
// come, or when the grace period ends, and with it what still runs.
func (h *Handler) linger() {
	start, lastCall := time.Now(), time.Now()
	for tick := time.Tick(lateness / 64); ; <-tick {
		if h.calls.Load() > 0 {
			lastCall = time.Now()
		}
		if time.Since(lastCall) >= lateness || h.grace > 0 && time.Since(start) >= h.grace {
			break
		}
	}
	if err := h.releaseAll(); err != nil {
		h.logger.Error("unloading", zap.String("function", h.name), zap.Error(err))
	}
}

// releaseAll releases, last first, what has been acquired. Calls that still run
// are ended.
func (h *Handler) releaseAll() error {
	h.released.Store(true)
	var errs []error
	for _, release := range slices.Backward(h.release) {
		errs = append(errs, release())
	}
	h.release = nil
	return errors.Join(errs...)
}

// ServeHTTP answers a request with the function.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	h.calls.Add(1)
	defer h.calls.Add(-1)
	start := time.Now()
	ctx, endSpan := startSpan(r.Context(), h.name)
	c := &call{handler: h, id: requestID(r)}
	err := c.serve(ctx, w, r)
	status, reason := statusOf(err)
	endSpan(reason)
	c.setPlaceholders(r, reason)
	live.observe(h.name, reason, time.Since(start), c.receipt)
	if err == nil {
		return nil
	}
	c.logEnd(reason, err)
	if errors.Is(err, errResponse) {
		panic(http.ErrAbortHandler) // the status has been sent: only this tells the client
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	return caddyhttp.Error(status, &callError{h.name, reason, err})
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
