package gojinn

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/KimMachineGun/automemlimit/memlimit"
	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/units"
	"github.com/gojinn/gojinn/stores"
)

func init() {
	caddy.RegisterModule(new(App))
}

// App is what all functions of a configuration share. It needs no
// configuration; each part has a default.
type App struct {
	// Where compiled code is kept between runs. Whoever can write there runs
	// code in Caddy, so the directory must belong to Caddy's user and be closed
	// to all others; it is made with mode 0700. If it can't be used, code is not
	// kept, and a warning says so. Default: `gojinn` in Caddy's data directory.
	CacheDir string `json:"cache_dir,omitempty"`

	// How much compiled code is kept there; what has not been used for longest goes
	// first. Default: `2GiB`.
	CacheSize *Size `json:"cache_size,omitempty"`

	// The ceiling for everything that all functions together cause: their
	// memory, and the requests and responses held for them. What is over it
	// ends with 503. Default: half of the memory of the machine or container.
	Memory *Size `json:"memory,omitempty"`

	// How many modules are compiled at the same time. Default: the number of
	// CPUs less one, at least 1.
	Compilers *Count `json:"compilers,omitempty"`

	// Options for the functions that don't set them themselves.
	Defaults *Options `json:"defaults,omitempty"`

	// Which functions have metrics of their own: `per_function` if those of a
	// folder (`gojinn_dir`) have. Default: a folder counts as one function.
	Metrics string `json:"metrics,omitempty"`

	// The key-value stores that functions may be allowed to use (`allow kv`), by name. One that
	// is called `default` is there anyway: `bolt` in Caddy's data directory.
	StoreRaw map[string]json.RawMessage `json:"store,omitempty" caddy:"namespace=gojinn.stores inline_key=kind"`

	logger *zap.Logger
	key    engineKey
	engine *engine.Engine          // nil until Provision has it
	stores map[string]stores.Store // by name

	started atomic.Bool

	mu     sync.Mutex
	names  map[string]bool // of functions, as given out
	starts []func()        // to be called when requests may come
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gojinn",
		New: func() caddy.Module { return new(App) },
	}
}

// appOption describes one line of the global option block, with one argument.
type appOption struct {
	name  string
	usage string // its argument
	parse func(a *App, text string) error
	check func(a *App) error
}

const (
	minCeiling   = 1 << 20
	minCacheSize = 1 << 20
	maxCompilers = 1024

	defaultCacheSize = 2 << 30
	perFunction      = "per_function"
)

var appOptions = []appOption{
	{"cache_dir", "<path>",
		func(a *App, text string) error { return setText(&a.CacheDir)(text) },
		func(a *App) error { return nil }},
	{"memory", "<size>",
		func(a *App, text string) error { return set(&a.Memory, units.ParseSize)(text) },
		func(a *App) error { return within(a.Memory, minCeiling, math.MaxInt64) }},
	{"compilers", "<n>",
		func(a *App, text string) error { return set(&a.Compilers, units.ParseCount)(text) },
		func(a *App) error { return within(a.Compilers, 1, maxCompilers) }},
	{"cache_size", "<size>",
		func(a *App, text string) error { return set(&a.CacheSize, units.ParseSize)(text) },
		func(a *App) error { return within(a.CacheSize, minCacheSize, math.MaxInt64) }},
	{"metrics", perFunction,
		func(a *App, text string) error { return setText(&a.Metrics)(text) },
		func(a *App) error {
			if a.Metrics != "" && a.Metrics != perFunction {
				return fmt.Errorf("%q is not %s", a.Metrics, perFunction)
			}
			return nil
		}},
}

// engines holds the engines in use, so that compiled code and its budget
// outlive the configuration they were made for. The app and each function hold
// a use of their own, since Caddy cleans them up in no particular order; the
// last to leave closes the engine.
var engines = caddy.NewUsagePool()

// engineKey is everything that makes two engines different.
type engineKey struct {
	cacheDir  string
	cacheSize int64
	compilers int
	memory    int64
}

type pooledEngine struct {
	*engine.Engine
	restoreMemoryLimit func()
}

// Destruct closes the engine.
func (e pooledEngine) Destruct() error {
	e.restoreMemoryLimit()
	return e.Close()
}

// acquireEngine is followed by one releaseEngine, unless it fails.
func acquireEngine(key engineKey) (*engine.Engine, error) {
	e, _, err := engines.LoadOrNew(key, func() (caddy.Destructor, error) {
		e, err := engine.New(engine.Config{
			CacheDir: key.cacheDir, CacheSize: key.cacheSize, Compilers: key.compilers, Memory: key.memory,
			// The engine outlives the configuration, so the log is the one that is Caddy's
			// at the time.
			Log:    func(err error) { caddy.Log().Named("gojinn").Warn("code cache", zap.Error(err)) },
			Loaded: func(took time.Duration) { compileDuration.Observe(took.Seconds()) },
		})
		if err != nil {
			return nil, err
		}
		return pooledEngine{e, lowerMemoryLimit(key.memory)}, nil
	})
	if err != nil {
		return nil, err
	}
	return e.(pooledEngine).Engine, nil
}

func releaseEngine(key engineKey) error {
	_, err := engines.Delete(key)
	return err
}

// Provision gets the engine ready. It opens the cache directory and nothing else.
func (a *App) Provision(ctx caddy.Context) error {
	if err := a.check(); err != nil {
		return err
	}
	a.logger = ctx.Logger()
	a.names = make(map[string]bool)
	a.key = engineKey{
		compilers: int(valueOr(a.Compilers, 0)),
		memory:    int64(valueOr(a.Memory, 0)),
		cacheSize: int64(valueOr(a.CacheSize, defaultCacheSize)),
	}
	if a.Memory == nil {
		a.key.memory = defaultCeiling()
	}
	if err := a.openEngine(); err != nil {
		return err
	}
	if err := a.loadStores(ctx); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	return registerMetrics(ctx.GetMetricsRegistry())
}

func (a *App) check() error {
	for _, opt := range appOptions {
		if err := opt.check(a); err != nil {
			return fmt.Errorf("%s: %w", opt.name, err)
		}
	}
	if err := a.checkStores(); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	if a.Defaults != nil {
		if err := a.Defaults.check(); err != nil {
			return fmt.Errorf("defaults: %w", err)
		}
	}
	return nil
}

// openEngine sets a.engine and a.key. Functions answer without a cache directory too,
// so one that can't be used is not worth a refused configuration, or a server that does not start
// after its disk has become read-only.
func (a *App) openEngine() error {
	dir, err := a.cacheDir()
	if err != nil {
		return fmt.Errorf("cache_dir: %w", err)
	}
	a.key.cacheDir = dir
	if a.engine, err = acquireEngine(a.key); err == nil {
		return nil
	}
	a.logger.Warn("compiled code will not be kept", zap.Error(err))
	a.key.cacheDir = ""
	a.engine, err = acquireEngine(a.key)
	return err
}

// cacheDir is the path of the cache directory.
func (a *App) cacheDir() (string, error) {
	if a.CacheDir == "" {
		return filepath.Join(caddy.AppDataDir(), "gojinn"), nil
	}
	dir, err := caddy.NewReplacer().ReplaceOrErr(a.CacheDir, true, true)
	if err != nil {
		return "", err
	}
	return filepath.Abs(dir)
}

// defaultCeiling is half of what the machine or the container has, whichever
// has less; 0 (no ceiling) if neither can be told.
func defaultCeiling() int64 {
	least := uint64(math.MaxUint64)
	for _, total := range []memlimit.Provider{memlimit.FromCgroup, memlimit.FromSystem} {
		if n, err := total(); err == nil {
			least = min(least, n)
		}
	}
	if least == math.MaxUint64 {
		return 0
	}
	return int64(least / 2)
}

// Start notes that requests may come, and has sandboxes made that are to be
// kept warm. The engine works from the moment it is provisioned.
func (a *App) Start() error {
	a.started.Store(true)
	how, why := a.engine.Restoring()
	a.logger.Info("restoring sandboxes", zap.String("by", how), zap.String("reason", why))
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, start := range a.starts {
		start()
	}
	return nil
}

// onStart has start called when requests may come. Before that no code of a
// guest may run: the configuration may be refused yet, or only validated.
func (a *App) onStart(start func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.starts = append(a.starts, start)
}

// Stop does nothing: calls that still run have the HTTP app's grace period.
func (a *App) Stop() error { return nil }

// Cleanup gives up the engine. Caddy also calls it when Provision has failed.
func (a *App) Cleanup() error {
	if a.engine == nil {
		return nil
	}
	a.engine = nil
	return releaseEngine(a.key)
}

// uniqueName gives out base, or base#2, base#3, … if that has been given out
// in this configuration.
func (a *App) uniqueName(base string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := base
	for n := 2; a.names[name]; n++ {
		name = base + "#" + strconv.Itoa(n)
	}
	a.names[name] = true
	return name
}

// appOf returns the configuration's app, which Caddy makes if the
// configuration does not mention it.
func appOf(ctx caddy.Context) (*App, error) {
	v, err := ctx.App("gojinn")
	if err != nil {
		return nil, err
	}
	app, ok := v.(*App)
	if !ok {
		return nil, errors.New("the gojinn app is of another type")
	}
	return app, nil
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
