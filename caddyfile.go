package gojinn

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gojinn/gojinn/internal/routes"
	"github.com/gojinn/gojinn/stores"
)

func init() {
	// Ahead of a catch-all proxy: a function beside one wins. In this order, so that a single
	// function wins over a folder's.
	for name, parse := range map[string]httpcaddyfile.UnmarshalFunc{"gojinn": parseDirective, "gojinn_dir": parseDirectory} {
		httpcaddyfile.RegisterDirective(name, parse)
	}
	for _, name := range []string{"gojinn", "gojinn_dir"} {
		httpcaddyfile.RegisterDirectiveOrder(name, httpcaddyfile.Before, "reverse_proxy")
	}
	httpcaddyfile.RegisterGlobalOption("gojinn", parseGlobalOption)
}

// parseDirective parses the gojinn directive.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	return parseHandler(h, new(Handler), directiveUsage)
}

// parseDirectory parses the gojinn_dir directive.
func parseDirectory(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	return parseHandler(h, new(Directory), directoryUsage)
}

// handler is what our directives make.
type handler interface {
	caddyfile.Unmarshaler
	caddyhttp.MiddlewareHandler
}

// parseHandler parses a directive with a matcher that may be left out. That is told by the
// number of arguments, because a path may begin with a slash too.
func parseHandler(h httpcaddyfile.Helper, made handler, usage string) ([]httpcaddyfile.ConfigValue, error) {
	h.Next() // the directive's name
	var matcher caddy.ModuleMap
	if h.CountRemainingArgs() == 2 {
		set, is, err := h.MatcherToken()
		if err != nil {
			return nil, h.WrapErr(err)
		}
		if !is {
			return nil, h.Errf("%q is not a matcher, which is *, /<path> or @<name>; usage: %s", h.Val(), usage)
		}
		matcher = set
		h.Delete()
	}
	h.Reset()
	if err := made.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return h.NewRoute(matcher, made), nil
}

const (
	directiveUsage = "gojinn [<matcher>] <module> { … }"
	directoryUsage = "gojinn_dir [<matcher>] <root> { … }"
	functionUsage  = "function <route> { … }"
)

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	gojinn [<matcher>] <module> {
//	    name          <name>
//	    contract      json | stream | cgi
//	    args          <arg> …
//	    timeout       <duration> | off
//	    idle_timeout  <duration> | off
//	    fuel          <n> | off
//	    memory        <size>
//	    max_request   <size> | off
//	    max_response  <size> | off
//	    max_log       <size>
//	    max_files     <n>
//	    concurrency   <n> [queue <n>] [wait <duration>]
//	    warm          <n>
//	    idle          <duration>
//	    unload        <duration>
//	    snapshot      auto | on | off
//	    check         <path>
//	    script_root   <guest dir>
//	    allow         <capability> …
//	}
//
// One argument is the module, even if it begins with a slash; two are the
// matcher, which is not among the tokens any more here, and the module.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if !d.AllArgs(&h.Module) {
		return d.Errf("wrong number of arguments; usage: %s", directiveUsage)
	}
	if h.Module == "" {
		return d.Errf("the module's path is empty; usage: %s", directiveUsage)
	}
	return parseOptions(d, &h.Options, words{"allow": allowLines(d, &h.AllowRaw)})
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	gojinn_dir [<matcher>] <root> {
//	    <any option of gojinn>
//	    allow     <capability> …
//	    function  <route> {
//	        <any option of gojinn>
//	        allow  none
//	        allow  <capability> …
//	    }
//	}
//
// The options are those of every function below the root. A function's own replace
// them; its allow lines are added to theirs, of which `allow none` takes away all.
func (d *Directory) UnmarshalCaddyfile(from *caddyfile.Dispenser) error {
	from.Next() // the directive's name
	if !from.AllArgs(&d.Root) {
		return from.Errf("wrong number of arguments; usage: %s", directoryUsage)
	}
	if d.Root == "" {
		return from.Errf("the folder's path is empty; usage: %s", directoryUsage)
	}
	return parseOptions(from, &d.Options, words{
		"allow": allowLines(from, &d.AllowRaw),
		"function": func() error {
			f := new(DirectoryFunction)
			d.Functions = append(d.Functions, f)
			return f.unmarshal(from, d.Functions[:len(d.Functions)-1])
		},
	})
}

// unmarshal parses a function of a folder, of which others have been parsed before.
func (f *DirectoryFunction) unmarshal(d *caddyfile.Dispenser, others []*DirectoryFunction) error {
	if !d.NextArg() {
		return d.Errf("function: no route; usage: %s", functionUsage)
	}
	f.Route = d.Val()
	if d.NextArg() {
		return d.Errf("function: unexpected argument %q; usage: %s", d.Val(), functionUsage)
	}
	if err := routes.Check(f.Route); err != nil {
		return d.WrapErr(fmt.Errorf("function %s: %w", f.Route, err))
	}
	if slices.ContainsFunc(others, func(o *DirectoryFunction) bool { return o.Route == f.Route }) {
		return d.Errf("function %s is given twice", f.Route)
	}
	lines := allowLines(d, &f.AllowRaw)
	return parseOptions(d, &f.Options, words{"allow": func() error {
		switch {
		case !d.NextArg():
			return lines() // which says what is missing
		case d.Val() != "none":
			d.Prev()
			return lines()
		case d.NextArg():
			return d.Errf("allow none: unexpected argument %q", d.Val())
		case f.AllowNone:
			return d.Err("allow none is given twice")
		}
		f.AllowNone = true
		return nil
	}})
}

// words are the names of lines that are no options, and how they are parsed: each with the
// dispenser at its name.
type words map[string]func() error

// allowLines adds an allow line to grants.
func allowLines(d *caddyfile.Dispenser, grants *[]json.RawMessage) func() error {
	return func() error {
		grant, err := parseAllow(d)
		*grants = append(*grants, grant)
		return err
	}
}

// parseOptions parses a block of options, and what others may be among them.
func parseOptions(d *caddyfile.Dispenser, o *Options, others words) error {
	given := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if parse := others[name]; parse != nil {
			if err := parse(); err != nil {
				return err
			}
			continue
		}
		i := slices.IndexFunc(options, func(opt option) bool { return opt.name == name })
		if i < 0 {
			return d.Errf("%q is not an option here; allowed are %s", name, optionNames(others))
		}
		if given[name] {
			return d.Errf("%s is given twice", name)
		}
		given[name] = true
		if err := parseOption(d, options[i], o); err != nil {
			return err
		}
	}
	return nil
}

func parseOption(d *caddyfile.Dispenser, opt option, o *Options) error {
	args, err := argsOnly(d)
	if err != nil {
		return err
	}
	err = opt.parse(o, args)
	if err == nil {
		err = opt.check(o)
	}
	if err != nil {
		return d.Errf("%s: %w; usage: %s %s", opt.name, err, opt.name, opt.usage)
	}
	return nil
}

// argsOnly returns the arguments on the line; a block after them is an error.
func argsOnly(d *caddyfile.Dispenser) ([]string, error) {
	name := d.Val()
	args := d.RemainingArgs()
	last, errBlock := d.Token(), d.Errf("%s takes no block", name)
	// An empty block is stepped over without notice, up to its closing brace.
	if d.NextBlock(d.Nesting()) || d.Token().Line != last.Line || d.Val() != last.Text {
		return nil, errBlock
	}
	return args, nil
}

func optionNames(others words) string {
	names := slices.Sorted(maps.Keys(others))
	for _, opt := range options {
		names = append(names, opt.name)
	}
	return strings.Join(names, ", ")
}

// parseAllow parses one allow line, which belongs to the capability it names:
//
//	allow <capability> …
func parseAllow(d *caddyfile.Dispenser) ([]byte, error) {
	if !d.NextArg() {
		return nil, d.Errf("allow: no capability; usage: allow <capability> …, where <capability> is one of %s", moduleNames(capabilityNamespace))
	}
	name := d.Val()
	if _, err := caddy.GetModule(capabilityNamespace + "." + name); err != nil {
		return nil, d.Errf("allow: %q is not a capability; known are %s", name, moduleNames(capabilityNamespace))
	}
	capability, err := caddyfile.UnmarshalModule(d, capabilityNamespace+"."+name)
	if err != nil {
		return nil, err
	}
	return caddyconfig.JSONModuleObject(capability, "capability", name, nil), nil
}

// moduleNames lists the modules of a namespace.
func moduleNames(namespace string) string {
	var names []string
	for _, module := range caddy.GetModules(namespace) {
		names = append(names, module.ID.Name())
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// parseGlobalOption parses the gojinn global option. Syntax:
//
//	gojinn {
//	    cache_dir   <path>
//	    cache_size  <size>
//	    memory      <size>
//	    compilers   <n>
//	    store       <name> <kind> …
//	    metrics     per_function
//	    defaults {
//	        <any option of the directive but allow>
//	    }
//	}
//
// Several stores may be given, each with its own name.
func parseGlobalOption(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next() // the option's name
	if existing != nil {
		return nil, d.Err("the gojinn global option is given twice")
	}
	if d.NextArg() {
		return nil, d.Errf("unexpected argument %q; usage: gojinn { … }", d.Val())
	}
	app := new(App)
	if err := app.unmarshalBlock(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "gojinn", Value: caddyconfig.JSON(app, nil)}, nil
}

func (a *App) unmarshalBlock(d *caddyfile.Dispenser) error {
	given := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if name == "store" {
			if err := a.unmarshalStore(d); err != nil {
				return err
			}
			continue
		}
		if given[name] {
			return d.Errf("%s is given twice", name)
		}
		given[name] = true
		if name == "defaults" {
			if d.NextArg() {
				return d.Errf("defaults: unexpected argument %q; usage: defaults { … }", d.Val())
			}
			a.Defaults = new(Options)
			if err := parseOptions(d, a.Defaults, nil); err != nil {
				return err
			}
			continue
		}
		if err := a.unmarshalLine(d, name); err != nil {
			return err
		}
	}
	return nil
}

func (a *App) unmarshalLine(d *caddyfile.Dispenser, name string) error {
	i := slices.IndexFunc(appOptions, func(opt appOption) bool { return opt.name == name })
	if i < 0 {
		return d.Errf("%q is not an option here; allowed are %s", name, appOptionNames())
	}
	opt := appOptions[i]
	args, err := argsOnly(d)
	if err != nil {
		return err
	}
	if err = one(args, func(text string) error { return opt.parse(a, text) }); err == nil {
		err = opt.check(a)
	}
	if err != nil {
		return d.Errf("%s: %w; usage: %s %s", name, err, name, opt.usage)
	}
	return nil
}

// unmarshalStore parses one store line, which belongs to the kind it names:
//
//	store <name> <kind> …
func (a *App) unmarshalStore(d *caddyfile.Dispenser) error {
	const usage = "store <name> <kind> …"
	args := d.CountRemainingArgs()
	if args < 2 {
		return d.Errf("store: it has a name and a kind; usage: %s, where <kind> is one of %s", usage, moduleNames(stores.ModuleNamespace))
	}
	d.NextArg()
	name := d.Val()
	err := checkStoreName(name)
	if err == nil {
		d.NextArg()
		err = checkStoreKind(d.Val())
	}
	switch {
	case err != nil:
		return d.WrapErr(fmt.Errorf("store: %w", err))
	case a.StoreRaw[name] != nil:
		return d.Errf("store %s is given twice", name)
	}
	kind := d.Val()
	store, err := caddyfile.UnmarshalModule(d, stores.ModuleNamespace+"."+kind)
	if err != nil {
		return err
	}
	if a.StoreRaw == nil {
		a.StoreRaw = make(map[string]json.RawMessage)
	}
	a.StoreRaw[name] = caddyconfig.JSONModuleObject(store, "kind", kind, nil)
	return nil
}

func appOptionNames() string {
	names := []string{"defaults", "store"}
	for _, opt := range appOptions {
		names = append(names, opt.name)
	}
	return strings.Join(names, ", ")
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
	_ caddyfile.Unmarshaler = (*Directory)(nil)
	_ fmt.Stringer          = Duration(0)
)
