package gojinn

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine"
)

// service is what the handlers have in common: they use an engine, answer requests
// with functions, and are cleaned up while requests of their configuration are still
// on their way.
type service struct {
	app    *App
	engine *engine.Engine
	logger *zap.Logger
	grace  time.Duration // for calls that outlive the configuration; 0: without end

	versions versions       // of its functions
	calls    atomic.Int64   // requests being served
	served   atomic.Int64   // requests that have begun
	release  []func() error // gives up what Provision has acquired so far
	ready    bool           // Provision has succeeded: requests can come
	released atomic.Bool

	life context.Context // until Cleanup
	end  context.CancelFunc
	ends []func() // end what start has begun
}

// provision acquires the engine.
func (s *service) provision(ctx caddy.Context) error {
	s.logger = ctx.Logger()
	app, err := appOf(ctx)
	if err != nil {
		return err
	}
	s.app, s.grace = app, gracePeriod(ctx)
	s.life, s.end = context.WithCancel(context.Background())
	if s.engine, err = acquireEngine(app.key); err != nil {
		return err
	}
	s.onCleanup(func() error { return releaseEngine(app.key) })
	s.onCleanup(func() error { s.versions.close(); return nil })
	return nil
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
func (s *service) onCleanup(release func() error) { s.release = append(s.release, release) }

// atCleanup remembers how to end at once what goes on for the configuration's sake.
func (s *service) atCleanup(end func()) { s.ends = append(s.ends, end) }

// Cleanup gives up what Provision acquired. Caddy also calls it when Provision
// has failed at any position.
func (s *service) Cleanup() error {
	if s.end != nil {
		s.end()
	}
	for _, end := range slices.Backward(s.ends) {
		end()
	}
	s.ends = nil
	// On a reload Caddy lets the requests of the old configuration go on while
	// it cleans up. When the process exits it has waited for them already.
	if s.inService() && !caddy.Exiting() {
		go s.linger()
		return nil
	}
	return s.releaseAll()
}

// inService tells whether requests can be on their way to the handler.
func (s *service) inService() bool {
	return s.ready && (s.app.started.Load() || s.calls.Load() > 0)
}

// lateness is how long after a reload a connection of the old configuration
// may still bring a request: net/http gives new ones 5 seconds.
var lateness = 6 * time.Second

// linger gives everything up when no call has run for as long as more may come, or when the grace
// period ends, and with it what still runs. It costs a timer: many configurations may linger
// at a time.
func (s *service) linger() {
	start := time.Now()
	for quiet := false; !quiet; {
		before, wait := s.served.Load(), lateness
		if s.grace > 0 {
			wait = min(wait, s.grace-time.Since(start))
		}
		time.Sleep(wait)
		quiet = s.calls.Load() == 0 && s.served.Load() == before || s.grace > 0 && time.Since(start) >= s.grace
	}
	if err := s.releaseAll(); err != nil {
		s.logger.Error("unloading", zap.Error(err))
	}
}

// releaseAll releases, last first, what has been acquired. Calls that still run
// are ended.
func (s *service) releaseAll() error {
	s.released.Store(true)
	var errs []error
	for _, release := range slices.Backward(s.release) {
		errs = append(errs, release())
	}
	s.release = nil
	return errors.Join(errs...)
}

// answer answers a request with the call's function.
func (s *service) answer(w http.ResponseWriter, r *http.Request, c *call) error {
	s.calls.Add(1)
	s.served.Add(1)
	defer s.calls.Add(-1)
	start := time.Now()
	f := c.function
	ctx, endSpan := startSpan(r.Context(), f.name)
	c.service, c.id = s, requestID(r)
	err := c.serve(ctx, w, r)
	status, reason := statusOf(err)
	endSpan(reason)
	c.setPlaceholders(r, reason)
	live.observe(f.series, reason, time.Since(start), c.receipt)
	if err == nil {
		return nil
	}
	c.logEnd(reason, err)
	if c.begun || errors.Is(err, errResponse) {
		panic(http.ErrAbortHandler) // the status has been sent: only this tells the client
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	return caddyhttp.Error(status, &callError{f.name, reason, err})
}

// settings are what a function is made with besides its module, the same for each of
// its versions.
type settings struct {
	engine     *engine.Engine
	options    engine.Options
	maxRequest int64 // off: no limit
	maxLog     int64
	check      string // "" for none
	contract   string
	scriptRoot string         // "": the program is not told of scripts
	args       []engine.Value // its own, perhaps without the program's name

	idleTimeout time.Duration // 0: no limit
	logger      *zap.Logger

	life     context.Context // in which module files are looked at
	versions *versions       // where all are that are made
}

// settings collects what options and grants say.
func (s *service) settings(o Options, grants engine.Grants) (*settings, error) {
	args, err := o.arguments()
	if err != nil {
		return nil, err
	}
	made := engine.Options{
		Grants:      grants,
		Limits:      o.limits(),
		Concurrency: o.concurrency(),
	}
	if o.contract() == contractCGI {
		made.Environ = environmentOf
	}
	o.keep(&made)
	return &settings{
		engine: s.engine, options: made, logger: s.logger,
		maxRequest: o.maxRequest(), maxLog: o.maxLog(), check: o.Check,
		contract: o.contract(), scriptRoot: o.scriptRoot(), args: args, idleTimeout: o.idleTimeout(),
		life: s.life, versions: &s.versions,
	}, nil
}

// versions are all that the functions of a service serve or have served, until they are
// closed. Calls can outlive what they began with: the function's being current, its file, and its
// configuration. Safe for concurrent use.
type versions struct {
	mu     sync.Mutex
	open   map[*version]struct{}
	closed bool
	ending sync.WaitGroup // those that are open
}

// add is false if none may be made any more.
func (s *versions) add(v *version) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.open == nil {
		s.open = make(map[*version]struct{})
	}
	s.open[v] = struct{}{}
	s.ending.Add(1)
	return true
}

func (s *versions) remove(v *version) {
	s.mu.Lock()
	delete(s.open, v)
	s.mu.Unlock()
	s.ending.Done()
}

// close ends all calls that still run, and returns when everything is freed.
func (s *versions) close() {
	s.mu.Lock()
	s.closed = true
	for v := range s.open {
		go v.close()
	}
	s.mu.Unlock()
	s.ending.Wait()
}

// complete takes what o leaves open from the app's defaults.
func (s *service) complete(o Options) Options {
	if s.app.Defaults != nil {
		return o.withDefaults(*s.app.Defaults)
	}
	return o
}
