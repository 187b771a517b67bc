package gojinn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
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
	options Options
	grants  engine.Grants
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
	d.usual.options = d.complete(d.Options)
	base, err := d.usual.options.baseName(d.root)
	if err != nil {
		return err
	}
	if err := grant(ctx, d, d.AllowRaw, &d.usual.grants); err != nil {
		return err
	}
	if err := d.override(ctx); err != nil {
		return err
	}
	d.name = d.app.uniqueName(base)
	d.onCleanup(func() error { d.close(); return nil })
	if err := d.look(); err != nil {
		return err
	}
	d.ready = true
	d.app.onStart(d.start)
	return nil
}

// override works out what is different for which function.
func (d *Directory) override(ctx caddy.Context) error {
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
		m := &made{options: f.Options.withDefaults(d.usual.options)}
		m.options.Name = f.Options.Name // the folder's is its own
		if !f.AllowNone {
			if err := grant(ctx, d, d.AllowRaw, &m.grants); err != nil {
				return doing(err)
			}
		}
		if err := grant(ctx, f, f.AllowRaw, &m.grants); err != nil {
			return doing(err)
		}
		d.overrides[f.Route] = m
	}
	return nil
}

// start compiles what has yet to be, and follows changes, from when requests may come.
func (d *Directory) start() {
	published.add(d)
	d.atCleanup(func() { published.remove(d) })
	// First watch, then look: nothing that happens in between is missed.
	again := func() { d.refresh(d.life, func(*function, error) {}) }
	watcher := watch.Tree(d.root, again)
	d.atCleanup(watcher.Stop)
	go again()
	for _, f := range d.present.Load().functions {
		f.start()
		f.precompile()
	}
}

// look reads the folder and puts what it holds in the place of what it held. Functions whose
// files are still there stay, whatever has become of their contents.
func (d *Directory) look() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	files, problems, err := routes.Scan(d.root)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	before := d.functions()
	now := &folder{}
	var paths []string
	var fresh []*function
	add := func(k place) *function {
		f := before[k]
		delete(before, k)
		if f == nil {
			f = d.function(k)
			fresh = append(fresh, f)
		}
		now.functions, paths = append(now.functions, f), append(paths, k.route)
		return f
	}
	for _, file := range files {
		add(place{file.Path, file.Route, false})
	}
	d.open(fresh)
	for _, p := range d.unplaced(problems) {
		_ = add(place{p.Path, p.Route, true}).refuse(p.Err) // logs
	}
	now.table = routes.NewTable(paths)
	d.present.Store(now)
	for _, f := range before {
		f.retire()
	}
	if d.ready {
		for _, f := range fresh {
			f.start()
			f.precompile()
		}
	}
	return nil
}

// place is where a function of a folder is.
type place struct {
	path    string // of the file, relative to the root
	route   string
	blocked bool // it can't be served
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
	f := &function{name: d.name + at.route, series: d.name, route: at.route, path: file, place: at}
	if m != &d.usual && m.options.Name != "" {
		f.name = m.options.Name
	}
	if d.perName {
		f.series = f.name
	}
	options := m.options
	options.Name = "" // the program's own name is its file's
	base, err := options.baseName(file)
	if err == nil {
		f.settings, err = d.settings(options, base, m.grants)
	}
	if err != nil {
		f.settings = &settings{engine: d.engine, logger: d.logger}
		f.failure.Store(&failure{err, time.Now()})
	}
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
				if i >= len(functions) {
					return
				}
				f := functions[i]
				if f.failure.Load() != nil {
					continue
				}
				if err := f.open(); err != nil {
					_ = f.refuse(err) // logs
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
	folder := d.present.Load()
	i, params, ok := folder.table.Match(r.URL.EscapedPath())
	if !ok {
		return next.ServeHTTP(w, r)
	}
	return d.answer(w, r, folder.functions[i], params)
}

// show and reload are for the admin API.
func (d *Directory) show(f func(*function)) {
	for _, function := range d.present.Load().functions {
		f(function)
	}
}

func (d *Directory) reload(r *http.Request, f func(*function, error)) { d.refresh(r.Context(), f) }

// refresh looks for modules that have been added, changed or removed.
func (d *Directory) refresh(ctx context.Context, f func(*function, error)) {
	if err := d.look(); err != nil {
		d.logger.Error("not looked at; what was served before goes on", zap.String("function", d.name), zap.Error(err))
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
					f(functions[i], err)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
}

// close ends all calls.
func (d *Directory) close() {
	d.mu.Lock()
	d.closed = true
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
