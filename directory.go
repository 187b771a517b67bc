package gojinn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/routes"
	"github.com/gojinn/gojinn/internal/watch"
)

func init() {
	caddy.RegisterModule(new(Directory))
}

// Directory answers requests with the functions of a folder, whose files are the
// routes: `a/b.wasm` serves `/a/b` and everything below it that no closer function
// serves, `index.wasm` its folder, `[id].wasm` and `[id]/` one segment of any
// name, `[...rest].wasm` all that follow. Names that begin with `_` or `.` are
// private. A request that no function serves goes to the next handler.
//
// The folder is watched: modules that are changed, added or removed are taken up as they are.
// One that can't be served is never an error of the configuration: its last good
// version goes on serving, and without one its route answers 503.
//
// It sets the placeholders of the `gojinn` handler.
type Directory struct {
	// The folder. A relative path is relative to Caddy's working directory. Global
	// placeholders are replaced.
	Root string `json:"root,omitempty"`

	// The options of all functions, and the folder's name. Default for the name: the
	// folder's base name.
	Options

	// What all functions may use. Nothing by default.
	AllowRaw []json.RawMessage `json:"allow,omitempty" caddy:"namespace=gojinn.capabilities inline_key=capability"`

	// What is different for some functions.
	Functions []*DirectoryFunction `json:"functions,omitempty"`

	service
	name      string
	root      string
	perName   bool // each function has metrics of its own
	overrides map[string]*made
	usual     made

	present atomic.Pointer[folder]
	mu      sync.Mutex // held while the folder is looked at
	closed  bool
	told    map[string]bool // problems that have been logged
	unread  string          // why the folder could not be read the last time; "": it could
	retry   *time.Timer     // nil: the folder is only looked at when it changes
}

// DirectoryFunction says what is different for one function of a folder.
type DirectoryFunction struct {
	// The function's route, as its file has it: `/a/[id]`.
	Route string `json:"route,omitempty"`

	// The options that replace those of the folder.
	Options

	// What it may use, besides what all functions of the folder may.
	AllowRaw []json.RawMessage `json:"allow,omitempty" caddy:"namespace=gojinn.capabilities inline_key=capability"`

	// Whether it may use nothing of what all functions of the folder may.
	AllowNone bool `json:"allow_none,omitempty"`
}

// made is what functions of a folder are made with.
type made struct {
	*settings
	name string // "": as its route has it
}

// folder is a folder's contents at a time. It never changes.
type folder struct {
	table     *routes.Table
	functions []*function // by the table's numbers
}

// CaddyModule returns the Caddy module information.
func (*Directory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.gojinn_dir",
		New: func() caddy.Module { return new(Directory) },
	}
}

// Provision reads the folder. It compiles nothing and runs nothing.
func (d *Directory) Provision(ctx caddy.Context) error {
	if err := d.Options.check(); err != nil {
		return err
	}
	if err := d.provision(ctx); err != nil {
		return err
	}
	d.perName = d.app.Metrics == perFunction
	root, err := caddy.NewReplacer().ReplaceOrErr(d.Root, true, true)
	if err == nil && root == "" {
		err = errors.New("no path is given")
	}
	if err == nil {
		d.root, err = filepath.Abs(root)
	}
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	options := d.complete(d.Options)
	if len(d.Functions) == 0 { // or it may be for one of them
		if err := options.fits(&d.Options); err != nil {
			return err
		}
	}
	base, err := options.baseName(d.root)
	if err != nil {
		return err
	}
	var grants engine.Grants
	allowed, err := capabilities(ctx, d, d.AllowRaw)
	if err == nil {
		err = grantAll(allowed, &grants)
	}
	if err != nil {
		return err
	}
	if d.usual.settings, err = d.settings(options, grants); err != nil {
		return err
	}
	d.name = d.app.uniqueName(base)
	if err := d.override(ctx, options, allowed); err != nil {
		return err
	}
	d.onCleanup(func() error { d.close(); return nil })
	if err := d.look(); err != nil {
		return err
	}
	d.warn()
	d.ready = true
	d.app.onStart(d.start)
	return nil
}

// override works out what is different for which function than the folder's options and
// capabilities.
func (d *Directory) override(ctx caddy.Context, usual Options, allowed []any) error {
	d.overrides = make(map[string]*made, len(d.Functions))
	for _, f := range d.Functions {
		doing := func(err error) error { return fmt.Errorf("function %s: %w", f.Route, err) }
		if err := routes.Check(f.Route); err != nil {
			return doing(err)
		}
		if d.overrides[f.Route] != nil {
			return doing(errors.New("is given twice"))
		}
		if err := f.Options.check(); err != nil {
			return doing(err)
		}
		var grants engine.Grants
		if !f.AllowNone {
			if err := grantAll(allowed, &grants); err != nil {
				return doing(err)
			}
		}
		if err := grant(ctx, f, f.AllowRaw, &grants); err != nil {
			return doing(err)
		}
		m := new(made)
		options := f.Options.withDefaults(usual)
		err := options.fits(&f.Options)
		if err == nil {
			m.settings, err = d.settings(options, grants)
		}
		if err != nil {
			return doing(err)
		}
		if f.Options.Name != "" { // the folder's is its own
			base, err := f.Options.baseName("")
			if err != nil {
				return doing(err)
			}
			m.name = d.app.uniqueName(base)
		}
		d.overrides[f.Route] = m
	}
	return nil
}

// warn logs which functions have options but no file: it can be that a file is another's, or
// not there yet, but also that what was to be taken from a function isn't.
func (d *Directory) warn() {
	there := make(map[string]bool)
	for _, f := range d.present.Load().functions {
		there[f.route] = true
	}
	for _, f := range d.Functions {
		if !there[f.Route] {
			d.logger.Warn("no file has this route", zap.String("function", d.name), zap.String("route", printable(f.Route)))
		}
	}
}

// start compiles what has yet to be, and follows changes, from when requests may come.
func (d *Directory) start() {
	published.add(d)
	d.atCleanup(func() { published.remove(d) })
	// First watch, then look: nothing that happens in between is missed.
	again := func() { d.refresh(d.life, func(string, error) {}) }
	watcher := watch.Tree(d.root, again)
	d.atCleanup(watcher.Stop)
	go again()
	for _, f := range d.present.Load().functions {
		f.start()
		f.precompile()
	}
	d.atCleanup(d.rest)
}

// rest frees the sandboxes that wait for calls.
func (d *Directory) rest() {
	for _, f := range d.present.Load().functions {
		f.rest()
	}
}

// look reads the folder and puts what it holds in the place of what it held. Functions whose
// files are still there stay, whatever has become of their contents.
func (d *Directory) look() error {
	fresh, gone, err := d.survey()
	for _, f := range gone {
		f.close()
	}
	if d.ready {
		for _, f := range fresh {
			f.start()
			f.precompile()
		}
	}
	return err
}

// survey is look, but for the functions that are new and those that are gone.
func (d *Directory) survey() (fresh, gone []*function, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, nil, nil
	}
	files, problems, err := routes.Scan(d.root)
	if err != nil {
		return nil, nil, fmt.Errorf("root: %w", err)
	}
	s := &survey{directory: d, before: d.functions()}
	for _, file := range files {
		s.add(place{file.Path, file.Route, false})
	}
	d.open(s.fresh)
	for at := range s.before {
		if !at.blocked {
			s.lost = append(s.lost, at)
		}
	}
	for _, p := range d.unplaced(problems) {
		s.problem(p)
	}
	paths := make([]string, len(s.functions))
	for i, f := range s.functions {
		paths[i] = f.route
	}
	d.present.Store(&folder{routes.NewTable(paths), s.functions})
	return s.fresh, slices.Collect(maps.Values(s.before)), nil
}

// survey is how a folder's functions are found.
type survey struct {
	directory *Directory
	before    map[place]*function // those that were there, and have not been found again
	lost      []place             // of these, those whose files are none any more
	functions []*function
	fresh     []*function // of these, the new ones
}

// add adds the function of a place, a new one if there was none.
func (s *survey) add(at place) *function {
	f := s.before[at]
	delete(s.before, at)
	if f == nil {
		f = s.directory.function(at)
		s.fresh = append(s.fresh, f)
	}
	s.functions = append(s.functions, f)
	return f
}

// problem has a route answer that it's out of order, unless a function that was there before goes
// on with its last good version: a file that can't be one any more, or those of a
// folder that can't be read.
func (s *survey) problem(p routes.Problem) {
	served := false
	if !errors.Is(p.Err, routes.ErrConflict) {
		for _, at := range s.lost {
			if s.before[at] == nil || !at.within(p.Path) {
				continue
			}
			s.add(at)
			served = served || at.route == p.Route
		}
	}
	if !served {
		s.add(place{p.Path, p.Route, true}).refuse(p.Err, false)
	}
}

// place is where a function of a folder is.
type place struct {
	path    string // of the file, relative to the root
	route   string
	blocked bool // it can't be served
}

// within tells whether a place is that of a path, or in the folder of it.
func (p place) within(path string) bool {
	return path == "." || p.path == path || strings.HasPrefix(p.path, path+"/")
}

// functions are those that are there.
func (d *Directory) functions() map[place]*function {
	all := make(map[place]*function)
	if folder := d.present.Load(); folder != nil {
		for _, f := range folder.functions {
			all[f.place] = f
		}
	}
	return all
}

// unplaced logs those problems that concern no route, each once, and returns the others.
func (d *Directory) unplaced(problems []routes.Problem) (others []routes.Problem) {
	told := make(map[string]bool)
	for _, p := range problems {
		if p.Route != "" {
			others = append(others, p)
			continue
		}
		text := printable(p.Err.Error())
		if !d.told[p.Path+text] {
			d.logger.Error("not served", zap.String("function", d.name), zap.String("path", printable(p.Path)), zap.String("error", text))
		}
		told[p.Path+text] = true
	}
	d.told = told
	return others
}

// function makes a function of the folder that has no version yet.
func (d *Directory) function(at place) *function {
	m := &d.usual
	if own := d.overrides[at.route]; own != nil {
		m = own
	}
	file := filepath.Join(d.root, filepath.FromSlash(at.path))
	base, _ := new(Options).baseName(file) // only a name that is given can be wrong
	name, series := m.name, d.name
	if name == "" {
		name = d.name + printable(at.route)
	}
	if d.perName {
		series = name
	}
	f := newFunction(m.settings, base, name, series, file)
	f.route, f.place = at.route, at
	return f
}

// open makes the first versions of functions.
func (d *Directory) open(functions []*function) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(functions) || d.life.Err() != nil {
					return
				}
				if err := functions[i].open(); err != nil {
					functions[i].refuse(err, false)
				}
			}
		})
	}
	all.Wait()
}

// Validate refuses a handler that was never provisioned.
func (d *Directory) Validate() error {
	if d.present.Load() == nil {
		return errors.New("gojinn_dir: no folder is read")
	}
	return nil
}

// ServeHTTP answers a request with the function of its path, if there is one.
func (d *Directory) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	for {
		folder := d.present.Load()
		i, params, ok := folder.table.Match(r.URL.EscapedPath())
		if !ok {
			return next.ServeHTTP(w, r)
		}
		c := &call{function: folder.functions[i], params: params}
		// Now, not when the request has been read: the function may be gone by then.
		v, err := c.function.serving()
		if err != nil && c.function.life.Err() != nil && d.present.Load() != folder {
			continue // it has gone just now
		}
		if err == nil {
			c.version = v
			defer v.leave()
		}
		return d.reply(w, r, c, next)
	}
}

// show and reload are for the admin API.
func (d *Directory) show(f func(*function)) {
	for _, function := range d.present.Load().functions {
		f(function)
	}
}

func (d *Directory) reload(r *http.Request, f func(string, error)) { d.refresh(r.Context(), f) }

// refresh looks for modules that have been added, changed or removed.
func (d *Directory) refresh(ctx context.Context, f func(string, error)) {
	err := d.look()
	d.plan(err)
	if err != nil {
		f(d.name, err)
		return
	}
	// Several at once: what has changed is to be compiled, bounded by the engine.
	functions := d.present.Load().functions
	var next atomic.Int64
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(functions) {
					return
				}
				if changed, err := functions[i].refresh(ctx); changed || err != nil {
					mu.Lock()
					f(functions[i].name, err)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
}

// plan has the folder looked at again if it could not be read, which is logged once: that
// it can be need not be a change which a file system tells.
func (d *Directory) plan(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.retry != nil {
		d.retry.Stop()
		d.retry = nil
	}
	if err == nil || d.closed {
		d.unread = ""
		return
	}
	d.retry = time.AfterFunc(10*minDelay, func() { d.refresh(d.life, func(string, error) {}) })
	if text := printable(err.Error()); text != d.unread {
		d.unread = text
		d.logger.Error("not looked at; what was served before goes on", zap.String("function", d.name), zap.String("error", text))
	}
}

// close ends all functions.
func (d *Directory) close() {
	d.mu.Lock()
	d.closed = true
	if d.retry != nil {
		d.retry.Stop()
	}
	folder := d.present.Load()
	d.mu.Unlock()
	if folder == nil {
		return
	}
	for _, f := range folder.functions {
		f.close()
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Directory)(nil)
	_ caddy.Validator             = (*Directory)(nil)
	_ caddy.CleanerUpper          = (*Directory)(nil)
	_ caddyhttp.MiddlewareHandler = (*Directory)(nil)
)
