package gojinn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/spf13/cobra"
)

// functionFlags are how the commands that run or examine a module are told
// what it may use.
type functionFlags struct {
	config, function string
	allow, args      []string
}

func (f *functionFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "a Caddyfile (or JSON configuration) with a gojinn line for the module")
	flags.StringVar(&f.function, "function", "", "the function's name in it, if several have the module")
	allowFlag(cmd, &f.allow)
	flags.StringArrayVar(&f.args, "arg", nil, "an `argument` of the program; repeatable")
}

// functionConfig is the configuration of one function, as JSON.
type functionConfig struct {
	handler json.RawMessage
	apps    caddy.ModuleMap // the app that it shares with other functions
}

// with returns the configuration with other options.
func (c *functionConfig) with(change func(*Options)) (*functionConfig, error) {
	h := new(Handler)
	if err := json.Unmarshal(c.handler, h); err != nil {
		return nil, err
	}
	change(&h.Options)
	text, err := json.Marshal(h)
	return &functionConfig{handler: text, apps: c.apps}, err
}

// options are what the function's configuration says, and the app's defaults.
func (c *functionConfig) options(app *App) (Options, error) {
	h := new(Handler)
	err := json.Unmarshal(c.handler, h)
	if app.Defaults != nil {
		h.Options = h.Options.withDefaults(*app.Defaults)
	}
	return h.Options, err
}

// keepNone has every call get a sandbox made for it, whatever the defaults are.
func keepNone(o *Options) { o.Idle, o.Warm = new(Duration), new(Count) }

// load returns the configuration of the function that the module is, or
// becomes by the flags.
func (f *functionFlags) load(module string) (*functionConfig, error) {
	if f.config == "" {
		if f.function != "" {
			return nil, errors.New("--function names a function of --config, which is missing")
		}
		return f.configured(&Handler{Module: module}, nil)
	}
	text, err := readConfig(f.config)
	if err != nil {
		return nil, err
	}
	h, apps, err := findFunction(text, f.function, func(configured string) bool {
		return sameFile(configured, module, filepath.Dir(f.config))
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.config, err)
	}
	h.Module = module
	return f.configured(h, apps)
}

// configured adds what the flags say to a function's configuration.
func (f *functionFlags) configured(h *Handler, apps caddy.ModuleMap) (*functionConfig, error) {
	h.Args = append(h.Args, f.args...)
	grants, err := parseAllowLines(f.allow)
	if err != nil {
		return nil, err
	}
	h.AllowRaw = append(h.AllowRaw, grants...)
	text, err := json.Marshal(h)
	return &functionConfig{handler: text, apps: apps}, err
}

// allowFlag registers the flag --allow.
func allowFlag(cmd *cobra.Command, lines *[]string) {
	cmd.Flags().StringArrayVar(lines, "allow", nil, "what follows `allow` in a Caddyfile; repeatable")
}

// parseAllowLines parses the values of --allow.
func parseAllowLines(lines []string) (grants []json.RawMessage, err error) {
	for _, line := range lines {
		grant, err := parseAllowLine(line)
		if err != nil {
			return nil, fmt.Errorf("--allow %q: %w", line, err)
		}
		grants = append(grants, grant)
	}
	return grants, nil
}

// parseAllowLine parses what follows `allow` in a Caddyfile, by the directive's own parser, so that it
// means what the line would.
func parseAllowLine(line string) (json.RawMessage, error) {
	tokens, err := caddyfile.Tokenize([]byte("gojinn module {\n allow "+line+"\n}"), "--allow")
	if err != nil {
		return nil, err
	}
	var h Handler
	d := caddyfile.NewDispenser(tokens)
	err = h.UnmarshalCaddyfile(d)
	switch {
	case err != nil:
		return nil, err
	case d.Next() || len(h.AllowRaw) != 1:
		return nil, errors.New("holds more than one allow line")
	}
	return h.AllowRaw[0], nil
}

// configuredFunction is a gojinn handler found in a configuration.
type configuredFunction struct {
	name    string
	handler *Handler
}

// readConfig returns a configuration as JSON, which it is if its name says so;
// otherwise it is a Caddyfile.
func readConfig(file string) ([]byte, error) {
	text, err := os.ReadFile(file)
	if err != nil || filepath.Ext(file) == ".json" {
		return text, err
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	if adapter == nil {
		return nil, errors.New("this Caddy has no adapter for Caddyfiles")
	}
	text, _, err = adapter.Adapt(text, map[string]any{"filename": file})
	return text, err
}

// findFunction returns the function with a name, or without a name the one whose
// module is the one wanted, and the app's part of the configuration.
func findFunction(config []byte, name string, wanted func(module string) bool) (*Handler, caddy.ModuleMap, error) {
	var parts struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &parts); err != nil {
		return nil, nil, err
	}
	var found []configuredFunction
	if err := collectFunctions(parts.Apps["http"], map[string]bool{}, &found); err != nil {
		return nil, nil, err
	}
	var fits []configuredFunction
	for _, f := range found {
		if name == "" && wanted(f.handler.Module) || name != "" && f.name == name {
			fits = append(fits, f)
		}
	}
	if len(fits) != 1 {
		return nil, nil, noSingleFunction(fits, found, name)
	}
	apps := caddy.ModuleMap{}
	if app, ok := parts.Apps["gojinn"]; ok {
		apps["gojinn"] = app
	}
	return fits[0].handler, apps, nil
}

func noSingleFunction(fits, found []configuredFunction, name string) error {
	names := make([]string, len(found))
	for i, f := range found {
		names[i] = f.name
	}
	switch {
	case len(found) == 0:
		return errors.New("no gojinn line in it")
	case name != "":
		return fmt.Errorf("no function has the name %q; there are %s", name, strings.Join(names, ", "))
	case len(fits) == 0:
		return fmt.Errorf("no function in it has this module; name one with --function: %s", strings.Join(names, ", "))
	}
	return fmt.Errorf("%d functions in it have this module; name one with --function: %s", len(fits), strings.Join(names, ", "))
}

// sameFile compares a path of a configuration with one of the command line. The
// former is relative to wherever Caddy is started: here, or where the
// configuration lies.
func sameFile(configured, given, folder string) bool {
	configured = caddy.NewReplacer().ReplaceKnown(configured, "")
	wanted, err := filepath.Abs(given)
	if err != nil {
		return false
	}
	if filepath.IsAbs(configured) {
		return filepath.Clean(configured) == wanted
	}
	here, errHere := filepath.Abs(configured)
	there, errThere := filepath.Abs(filepath.Join(folder, configured))
	return errHere == nil && here == wanted || errThere == nil && there == wanted
}

// collectFunctions walks a configuration in the order in which it is written,
// which is that in which Caddy provisions handlers of one route.
func collectFunctions(value json.RawMessage, taken map[string]bool, found *[]configuredFunction) error {
	value = bytes.TrimSpace(value)
	if len(value) == 0 {
		return nil
	}
	switch value[0] {
	case '[':
		var items []json.RawMessage
		if err := json.Unmarshal(value, &items); err != nil {
			return err
		}
		for _, item := range items {
			if err := collectFunctions(item, taken, found); err != nil {
				return err
			}
		}
	case '{':
		var members map[string]json.RawMessage
		if err := json.Unmarshal(value, &members); err != nil {
			return err
		}
		if string(members["handler"]) == `"gojinn"` {
			return addFunction(members, taken, found)
		}
		names := make([]string, 0, len(members))
		for name := range members {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if err := collectFunctions(members[name], taken, found); err != nil {
				return err
			}
		}
	}
	return nil
}

func addFunction(members map[string]json.RawMessage, taken map[string]bool, found *[]configuredFunction) error {
	delete(members, "handler")
	text, err := json.Marshal(members)
	if err != nil {
		return err
	}
	h := new(Handler)
	if err := caddy.StrictUnmarshalJSON(text, h); err != nil {
		return err
	}
	base, err := h.baseName(h.Module)
	if err != nil {
		return err
	}
	name := base
	for n := 2; taken[name]; n++ {
		name = base + "#" + strconv.Itoa(n)
	}
	taken[name] = true
	*found = append(*found, configuredFunction{name, h})
	return nil
}
