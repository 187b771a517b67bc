package gojinn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/spf13/cobra"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/toolchain"
)

const defaultListen = "localhost:8080"

func devCommand() *cobra.Command {
	dev := &devServer{modules: make(map[string]*devModule)}
	cmd := subcommand("dev <dir> [--listen localhost:8080] [--allow <line>] [--interpreters <dir>]", "Builds, serves, and rebuilds on save", `
Builds the function in a folder, or the functions in its folders, and serves each
at /<its folder's name>. When a file is saved, its function is built and loaded
again; one that doesn't build or can't be loaded leaves the version before it in
place. A function whose toolchain is missing is served as the module that lies
beside its source, if there is one.

Functions in Python, Ruby, JavaScript and PHP are folders with main.py, main.rb,
main.js or index.php. An interpreter runs them as they are: python.wasm, ruby.wasm,
quickjs.wasm or php-cgi.wasm, in the function's folder or in that of --interpreters;
default $GOJINN_INTERPRETERS, or gojinn/interpreters in Caddy's data directory. Without
it the function is left out, and how to get it is printed. They see their folder,
to read it, and start anew when what they have read at their start is saved.

What --allow says, as allow lines in a Caddyfile do, all of them may use.

If the folder has a Caddyfile, that is served instead, with the folder as
working directory and the modules built into the functions' folders.`,
		cobra.ExactArgs(1),
		func(ctx context.Context, cmd *cobra.Command, args []string) error {
			dev.dir, dev.out = args[0], cmd.ErrOrStderr()
			return dev.run(ctx, cmd.Flags().Changed("listen"))
		})
	allowFlag(cmd, &dev.allow)
	cmd.Flags().StringVar(&dev.listen, "listen", defaultListen, "the address to listen on")
	cmd.Flags().StringVar(&dev.interpreters, "interpreters", "", "the `folder` with interpreters")
	return cmd
}

// devServer serves the functions of a folder while they are being written.
type devServer struct {
	dir, listen  string
	allow        []string              // lines, for every function
	grants       []json.RawMessage     // what they say
	interpreters string                // a folder of them
	out          io.Writer             // what happens, for people
	config       string                // the folder's Caddyfile, "" without one
	work         string                // folder for modules; "" if they go beside their source
	engine       *engine.Engine        // to try modules in before they are served
	modules      map[string]*devModule // by name
	loaded       map[string]bool       // interpreters that can be, as interpreterOf has them
	reported     map[*function]started // what was last told of functions whose start-ups read files
}

// devModule is a function as it was last seen, and what is served of it.
type devModule struct {
	sources     []toolchain.Source
	interpreter string   // of a function that isn't built, as interpreterOf has it
	serves      string   // the module file; "" before one could be built or found
	runs        *Handler // how an interpreter runs it; nil if it is the module itself
	site        string   // the folder, if its other files are served too
}

const (
	// watchInterval is how often the sources are looked at. A change is acted
	// upon when the next look finds them unchanged: editors save in steps.
	watchInterval = 300 * time.Millisecond
	devGrace      = time.Second // for requests, when the server stops
)

func (s *devServer) run(ctx context.Context, listenGiven bool) error {
	defer s.end()
	if err := s.prepare(listenGiven); err != nil {
		return err
	}
	seen, config := s.state(), fileState(s.config) // what changes while they are built is built again
	if _, err := s.look(ctx); err != nil {
		return err
	}
	if err := s.serve(); err != nil {
		return err
	}
	defer func() { _ = caddy.Stop() }() // the process ends with it
	s.begin(ctx)
	s.announce()
	return s.watch(ctx, seen, config)
}

// end gives up what prepare has got so far.
func (s *devServer) end() {
	if s.work != "" {
		_ = os.RemoveAll(s.work) // a temporary folder, at the end of the process
	}
	if s.engine != nil {
		_ = s.engine.Close()
	}
}

// prepare finds the folder's Caddyfile, or makes a place for modules.
func (s *devServer) prepare(listenGiven bool) (err error) {
	// The code cache is the one that Caddy will use: what was compiled to be
	// checked isn't compiled again to be served.
	if s.engine, err = engine.New(engine.Config{CacheDir: filepath.Join(caddy.AppDataDir(), "gojinn")}); err != nil {
		fmt.Fprintf(s.out, "compiled code will not be kept: %v\n", err)
		if s.engine, err = engine.New(engine.Config{}); err != nil {
			return err
		}
	}
	if s.dir, err = filepath.Abs(s.dir); err != nil {
		return err
	}
	file := filepath.Join(s.dir, "Caddyfile")
	switch _, err := os.Stat(file); {
	case err == nil && listenGiven:
		return fmt.Errorf("%s says where to listen; --listen has no effect with it", file)
	case err == nil && len(s.allow) > 0:
		return fmt.Errorf("%s says what is allowed; --allow has no effect with it", file)
	case err == nil && s.interpreters != "":
		return fmt.Errorf("%s says where interpreters are; --interpreters has no effect with it", file)
	case err == nil:
		s.config = file
		return os.Chdir(s.dir)
	}
	if _, _, err := net.SplitHostPort(s.listen); err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	if s.grants, err = parseAllowLines(s.allow); err != nil {
		return err
	}
	if err := s.findInterpreters(); err != nil {
		return err
	}
	s.work, err = os.MkdirTemp("", "gojinn-dev-")
	return err
}

// look finds the functions, builds those that have changed, and tells whether
// there is anything new to serve. What can't be built is left as it was.
func (s *devServer) look(ctx context.Context) (changed bool, err error) {
	functions, err := toolchain.Find(s.dir)
	if err != nil && (s.config == "" || !errors.Is(err, toolchain.ErrNoSource)) {
		return false, fmt.Errorf("%s: %w", s.dir, err)
	}
	found := make(map[string]bool)
	for _, f := range functions {
		if s.config != "" && f.Language.Interpreter() != nil {
			continue // nothing is built, and the rest is for the Caddyfile to say
		}
		found[f.Name] = true
		if err := ctx.Err(); err != nil {
			return false, err
		}
		changed = s.update(ctx, f) || changed
	}
	for name := range s.modules {
		if !found[name] {
			fmt.Fprintf(s.out, "%s: gone\n", name)
			delete(s.modules, name)
			changed = true
		}
	}
	return changed, nil
}

// update builds one function, if it has changed, and notes which module serves
// it from now on.
func (s *devServer) update(ctx context.Context, f toolchain.Function) (changed bool) {
	m := s.modules[f.Name]
	if m == nil {
		m = new(devModule)
		s.modules[f.Name] = m
	}
	if i := f.Language.Interpreter(); i != nil {
		return s.updateInterpreted(ctx, f, i, m)
	}
	m.interpreter = "" // it may have been one in another language
	sources, err := toolchain.Sources(f.Dir, s.output(f))
	if err != nil {
		fmt.Fprintf(s.out, "%s: %v\n", f.Name, err)
		return false
	}
	if m.sources != nil && slices.Equal(sources, m.sources) {
		return false
	}
	m.sources = sources
	start := time.Now()
	built, err := s.build(ctx, f)
	if err != nil {
		s.complain(f.Name, m, err)
		return false
	}
	m.serves, m.runs, m.site = built, nil, ""
	fmt.Fprintf(s.out, "%s: ready in %s\n", f.Name, time.Since(start).Round(10*time.Millisecond))
	return true
}

func (s *devServer) complain(name string, m *devModule, err error) {
	fmt.Fprintf(s.out, "%s: %v\n", name, err)
	if m.serves != "" {
		fmt.Fprintf(s.out, "%s: the version before it goes on serving\n", name)
	}
}

// build makes a function's module, checks that it can be loaded, and only then
// puts it where it is served from.
func (s *devServer) build(ctx context.Context, f toolchain.Function) (string, error) {
	out := s.output(f)
	fresh := filepath.Join(filepath.Dir(out), ".new-"+filepath.Base(out))
	defer os.Remove(fresh)
	err := toolchain.Build(ctx, f.Dir, fresh, s.out)
	if missing, ok := errors.AsType[*toolchain.MissingError](err); ok && f.Built != "" {
		fmt.Fprintf(s.out, "%s: %v; the module beside the source is served\n", f.Name, missing)
		return f.Built, s.check(ctx, f.Built, new(Options))
	}
	if err == nil {
		err = s.check(ctx, fresh, new(Options))
	}
	if err == nil {
		err = os.Rename(fresh, out)
	}
	return out, err
}

// output is where a function's module is served from.
func (s *devServer) output(f toolchain.Function) string {
	if s.work != "" {
		return filepath.Join(s.work, f.Name+".wasm")
	}
	out, err := toolchain.Output(f.Dir)
	if err != nil {
		return filepath.Join(f.Dir, f.Name+".wasm")
	}
	return out
}

// check tells whether a server could load the module with these options. Nothing of it is run.
func (s *devServer) check(ctx context.Context, module string, o *Options) error {
	wasm, err := readModule(module)
	if err != nil {
		return err
	}
	program, err := s.engine.Compile(ctx, wasm)
	if err != nil {
		return err
	}
	defer program.Close()
	if s.config != "" {
		return nil // which has its own limits
	}
	function, err := program.Function(engine.Options{Limits: o.limits()})
	if err != nil {
		return err
	}
	return function.Close()
}

// serve starts Caddy, or lets it load the configuration anew.
func (s *devServer) serve() error {
	config, err := s.configuration()
	if err != nil {
		return err
	}
	return caddy.Load(config, true) // a module may have changed though the configuration has not
}

// configuration is the folder's own, without admin endpoint, or one route for
// each function.
func (s *devServer) configuration() ([]byte, error) {
	if s.config != "" {
		text, err := readConfig(s.config)
		if err != nil {
			return nil, err
		}
		var config map[string]json.RawMessage
		if err := json.Unmarshal(text, &config); err != nil {
			return nil, err
		}
		config["admin"] = json.RawMessage(`{"disabled":true,"config":{"persist":false}}`)
		return json.Marshal(config)
	}
	var routes []any
	for _, name := range s.served() {
		h := s.modules[name].handler(s.grants)
		if checkName(name) == nil { // a folder's name may be one that a function can't have
			h.Name = name
		}
		routes = append(routes, map[string]any{
			"match":    []any{map[string]any{"path": []string{"/" + name, "/" + name + "/*"}}},
			"handle":   s.modules[name].route(name, json.RawMessage(caddyconfig.JSONModuleObject(h, "handler", "gojinn", nil))),
			"terminal": true,
		})
	}
	text := func(status int, body string) any {
		return map[string]any{"handler": "static_response", "status_code": status, "body": body,
			"headers": map[string][]string{"Content-Type": {"text/plain; charset=utf-8"}}}
	}
	routes = append(routes,
		map[string]any{"match": []any{map[string]any{"path": []string{"/"}}}, "handle": []any{text(200, s.urls())}, "terminal": true},
		map[string]any{"handle": []any{text(404, "There is no function here. There are:\n"+s.urls())}})
	return json.Marshal(map[string]any{
		"admin":   map[string]any{"disabled": true, "config": map[string]any{"persist": false}},
		"logging": devLogging,
		"apps": map[string]any{"http": map[string]any{
			"grace_period": caddy.Duration(devGrace),
			"servers": map[string]any{"dev": map[string]any{
				"listen":          []string{s.listen},
				"automatic_https": map[string]any{"disable": true},
				"routes":          routes,
				"errors": map[string]any{"routes": []any{map[string]any{"handle": []any{map[string]any{
					"handler": "static_response",
					"body":    "{http.error.status_code} {http.error.status_text}: {http.error.message}\n",
				}}}}},
			}},
		}},
	})
}

// devLogging shows what functions write and how they fail, and little else.
var devLogging = map[string]any{"logs": map[string]any{"default": map[string]any{
	"level":   "INFO",
	"encoder": map[string]any{"format": "console"},
	"include": []string{"http.handlers.gojinn", "http.log.error"},
}}}

// served lists the functions that have a module.
func (s *devServer) served() []string {
	var names []string
	for name, m := range s.modules {
		if m.serves != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *devServer) urls() string {
	var text strings.Builder
	for _, name := range s.served() {
		fmt.Fprintf(&text, "http://%s/%s\n", s.listen, url.PathEscape(name))
	}
	return text.String()
}

func (s *devServer) announce() {
	if s.config != "" {
		fmt.Fprintf(s.out, "\nserving %s\n", s.config)
		return
	}
	fmt.Fprintf(s.out, "\nserving:\n%s\n", s.urls())
}

// watch looks at the sources until ctx ends, which is how the command ends. It is given their state, and that of the
// configuration, from before they were built.
func (s *devServer) watch(ctx context.Context, before, config string) error {
	settling := false
	for ticker := time.Tick(watchInterval); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker:
		}
		s.report()
		now := s.state()
		changed := now != before
		before = now
		if changed {
			settling = true
			continue
		}
		if settling {
			settling = false
			s.reload(ctx, fileState(s.config) != config)
			config = fileState(s.config)
		}
	}
}

// reload builds what has changed and serves it.
func (s *devServer) reload(ctx context.Context, configChanged bool) {
	changed, err := s.look(ctx)
	if err == nil && (changed || configChanged) {
		if err = s.serve(); err == nil {
			s.begin(ctx)
			s.announce()
		}
	}
	if err != nil && ctx.Err() == nil {
		fmt.Fprintf(s.out, "%v\nwhat was served before goes on\n", err)
	}
}

// state is a digest of everything that is watched.
func (s *devServer) state() string {
	var text strings.Builder
	functions, err := toolchain.Find(s.dir)
	fmt.Fprint(&text, err)
	for _, f := range functions {
		if i := f.Language.Interpreter(); i != nil {
			fmt.Fprint(&text, f.Name, i.Main, interpreterOf(s.find(f, i))) // its sources are the function's own to watch
			continue
		}
		sources, err := toolchain.Sources(f.Dir, s.output(f))
		fmt.Fprint(&text, f.Name, sources, err)
	}
	return text.String() + fileState(s.config)
}

func fileState(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
}
