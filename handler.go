package gojinn

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/placeholder"
	"github.com/gojinn/gojinn/internal/watch"
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
// `{http.gojinn.start}` | How its sandbox came to be: `snapshot`, `reset`, `late` or `fresh`; empty if it never got one
type Handler struct {
	// The path of the module file. A relative path is relative to Caddy's
	// working directory. Global placeholders are replaced.
	Module string `json:"module,omitempty"`

	Options

	// What the function may use. Nothing by default.
	AllowRaw []json.RawMessage `json:"allow,omitempty" caddy:"namespace=gojinn.capabilities inline_key=capability"`

	service
	served *function // nil until Provision has succeeded
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
	if err := h.Options.check(); err != nil {
		return err
	}
	if err := h.provision(ctx); err != nil {
		return err
	}
	options := h.complete(h.Options)
	if err := options.fits(&h.Options); err != nil {
		return err
	}
	path, err := caddy.NewReplacer().ReplaceOrErr(h.Module, true, true)
	if err != nil {
		return fmt.Errorf("module: %w", err)
	}
	base, err := options.baseName(path)
	if err != nil {
		return err
	}
	var grants engine.Grants
	if err := grant(ctx, h, h.AllowRaw, &grants); err != nil {
		return err
	}
	settings, err := h.settings(options, grants)
	if err != nil {
		return err
	}
	name := h.app.uniqueName(base)
	f := newFunction(settings, base, name, name, path)
	h.onCleanup(func() error { f.close(); return nil })
	if err := f.load(ctx); err != nil {
		return fmt.Errorf("module %s: %w", path, err)
	}
	h.served, h.ready = f, true
	h.app.onStart(h.start)
	return nil
}

// function is the engine's function that serves. It is for commands, which close
// nothing while they use it.
func (h *Handler) function() *engine.Function { return h.served.current.Load().Function }

// start makes the sandboxes that are to be kept warm, and follows changes of the module
// file, from when requests may come.
func (h *Handler) start() {
	f := h.served
	f.start()
	h.atCleanup(f.rest)
	published.add(h)
	h.atCleanup(func() { published.remove(h) })
	// What is wrong with a file is logged.
	watcher := watch.File(f.path, func() { _, _ = f.refresh(h.life) })
	h.atCleanup(watcher.Stop)
	go f.refresh(h.life) // it may have changed before it was watched
}

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

// arguments are what the option says.
func (o *Options) arguments() (args []engine.Value, err error) {
	for _, arg := range o.Args {
		value, err := placeholder.Value(arg)
		if err != nil {
			return nil, fmt.Errorf("args: %w", err)
		}
		args = append(args, value)
	}
	return args, nil
}

// grant adds to g what a module's allow lines grant.
func grant(ctx caddy.Context, module any, allow []json.RawMessage, g *engine.Grants) error {
	loaded, err := capabilities(ctx, module, allow)
	if err != nil {
		return err
	}
	return grantAll(loaded, g)
}

// capabilities loads a module's allow lines. Caddy forgets what they were, so that can be
// done only once.
func capabilities(ctx caddy.Context, module any, allow []json.RawMessage) ([]any, error) {
	if allow == nil {
		return nil, nil
	}
	loaded, err := ctx.LoadModule(module, "AllowRaw")
	if err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	return loaded.([]any), nil
}

// grantAll adds to g what capabilities grant.
func grantAll(capabilities []any, g *engine.Grants) error {
	for _, module := range capabilities {
		id := module.(caddy.Module).CaddyModule().ID
		capability, ok := module.(Capability)
		if !ok {
			return fmt.Errorf("allow %s: the module %s is not a capability", id.Name(), id)
		}
		if err := capability.Grant(g); err != nil {
			return fmt.Errorf("allow %s: %w", id.Name(), err)
		}
	}
	return nil
}

// show and reload are for the admin API.
func (h *Handler) show(f func(*function)) { f(h.served) }

func (h *Handler) reload(r *http.Request, f func(string, error)) {
	if changed, err := h.served.refresh(r.Context()); changed || err != nil {
		f(h.served.name, err)
	}
}

// Validate refuses a handler that was never provisioned.
func (h *Handler) Validate() error {
	if h.served == nil {
		return errors.New("gojinn: no module is loaded")
	}
	return nil
}

// ServeHTTP answers a request with the function.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return h.reply(w, r, &call{function: h.served}, next)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
