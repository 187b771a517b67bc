// Package plain is the Caddy handler that a function is compared with: the same
// contract with the same modules, on wazero as its documentation uses it, a new
// instance for every request. It does what can be done for speed without an
// engine like ours: code is compiled once and kept on disk, instances are
// anonymous, there is no debug information, buffers are reused.
//
// It is for benchmarks only. It bounds what a guest may take as far as wazero
// can: time, linear memory, output.
package plain

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/google/uuid"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/gojinn/gojinn/contract"
)

// Directive is the handler's name in a Caddyfile.
const Directive = "bench_wazero"

func init() {
	caddy.RegisterModule(new(Handler))
	httpcaddyfile.RegisterHandlerDirective(Directive, parse)
	httpcaddyfile.RegisterDirectiveOrder(Directive, httpcaddyfile.Before, "reverse_proxy")
}

// The limits of a function: what ours has in these benchmarks.
const (
	timeout     = time.Minute
	memoryPages = 128 << 20 >> 16
	maxRequest  = 8 << 20
	maxResponse = 8 << 20
)

// Handler answers requests with a WASI program that speaks the json contract,
// instantiated for each of them.
type Handler struct {
	// The path of the module file.
	Module string `json:"module,omitempty"`

	// The directory of compiled code. Default: none, compiled at every start.
	Cache string `json:"cache,omitempty"`

	runtime  wazero.Runtime
	cache    wazero.CompilationCache
	compiled wazero.CompiledModule
	config   wazero.ModuleConfig
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers." + Directive, New: func() caddy.Module { return new(Handler) }}
}

// parse sets up the handler. Syntax:
//
//	bench_wazero [<matcher>] <module> [<cache>]
func parse(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	handler := new(Handler)
	return handler, handler.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler from the directive's tokens, see parse.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if !d.NextArg() {
		return d.ArgErr()
	}
	h.Module = d.Val()
	if d.NextArg() {
		h.Cache = d.Val()
	}
	if d.NextArg() || d.NextBlock(0) {
		return d.ArgErr()
	}
	return nil
}

// Provision compiles the module.
func (h *Handler) Provision(ctx caddy.Context) error {
	module, err := os.ReadFile(h.Module)
	if err != nil {
		return err
	}
	config := wazero.NewRuntimeConfigCompiler().
		WithCloseOnContextDone(true).
		WithDebugInfoEnabled(false).
		WithMemoryLimitPages(memoryPages)
	if h.Cache != "" {
		if h.cache, err = wazero.NewCompilationCacheWithDir(h.Cache); err != nil {
			return fmt.Errorf("opening the cache of compiled code: %w", err)
		}
		config = config.WithCompilationCache(h.cache)
	}
	h.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, h.runtime); err != nil {
		return fmt.Errorf("offering WASI: %w", err)
	}
	if h.compiled, err = h.runtime.CompileModule(ctx, module); err != nil {
		return fmt.Errorf("compiling %s: %w", h.Module, err)
	}
	h.config = wazero.NewModuleConfig().
		WithName(""). // anonymous: instances with a name exclude each other
		WithArgs("function").
		WithSysWalltime().
		WithSysNanotime().
		WithSysNanosleep().
		WithRandSource(rand.Reader)
	return nil
}

// Cleanup frees what Provision has made.
func (h *Handler) Cleanup() error {
	var errs []error
	if h.runtime != nil {
		errs = append(errs, h.runtime.Close(context.Background()))
	}
	if h.cache != nil {
		errs = append(errs, h.cache.Close(context.Background()))
	}
	return errors.Join(errs...)
}

// buffers are reused from request to request.
type buffers struct {
	body bytes.Buffer
	in   []byte
	out  limited
}

var pool = sync.Pool{New: func() any { return new(buffers) }}

// ServeHTTP answers one request with one instance.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	b := pool.Get().(*buffers)
	defer pool.Put(b)
	b.body.Reset()
	b.out.Reset()
	if _, err := b.body.ReadFrom(http.MaxBytesReader(w, r.Body, maxRequest)); err != nil {
		return caddyhttp.Error(http.StatusBadRequest, err)
	}
	b.in = contract.AppendRequest(b.in[:0], r, meta(r), b.body.Bytes())
	ctx, cancel := context.WithTimeout(r.Context(), timeout)
	defer cancel()
	if err := h.call(ctx, b); r.Context().Err() != nil {
		return nil // the client has gone
	} else if err != nil {
		return caddyhttp.Error(http.StatusBadGateway, err)
	}
	response, err := contract.DecodeResponse(b.out.Bytes())
	if err != nil {
		return caddyhttp.Error(http.StatusBadGateway, err)
	}
	return response.Write(w, r.Method)
}

// call makes an instance, which runs the program to its end.
func (h *Handler) call(ctx context.Context, b *buffers) error {
	config := h.config.WithStdin(bytes.NewReader(b.in)).WithStdout(&b.out)
	instance, err := h.runtime.InstantiateModule(ctx, h.compiled, config)
	if instance != nil {
		defer instance.Close(ctx)
	}
	if exit, ok := errors.AsType[*sys.ExitError](err); ok && exit.ExitCode() == 0 {
		return nil
	}
	return err
}

// limited is a buffer that refuses to grow beyond maxResponse.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	if l.Len()+len(p) > maxResponse {
		return 0, errors.New("the response is too large")
	}
	return l.Buffer.Write(p)
}

func meta(r *http.Request) contract.Meta {
	uri := r.URL.RequestURI()
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	return contract.Meta{ID: uuid.NewString(), URI: uri, OriginalURI: uri, Scheme: "http", Path: r.URL.Path, RemoteAddr: ip}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
