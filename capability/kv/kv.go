// Package kv is the capability to use a namespace of a key-value store, as a directory.
package kv

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/units"
	"github.com/gojinn/gojinn/stores"
)

func init() {
	caddy.RegisterModule(new(KV))
}

// KV lets a function use a namespace of a key-value store: a directory in which each key is
// a file. Functions that name the same namespace of the same store share it; others
// see nothing of it.
type KV struct {
	// The name of the namespace: letters, digits, `-`, `_` and `.`. Global placeholders are
	// supported.
	Namespace string `json:"namespace,omitempty"`

	// Where the function sees it: an absolute path. Default: `/kv/` and the namespace.
	Path string `json:"path,omitempty"`

	// `ro` if the function may only read. Default: it may change everything.
	Mode string `json:"mode,omitempty"`

	// The name of the store, one of the app's. Default: `default`.
	Store string `json:"store,omitempty"`

	// The largest value that the function may write. The store may have a limit of its own, which is
	// less. Default: `1MiB`.
	MaxValue *units.Size `json:"max_value,omitempty"`

	// How many keys the namespace may have for the function to add one. Default: no limit.
	MaxKeys *units.Count `json:"max_keys,omitempty"`

	// What the function writes vanishes after this time, if it doesn't ask for less. Default:
	// it stays.
	TTL *units.Duration `json:"ttl,omitempty"`

	grant *grant // nil until Provision
	path  string
}

const (
	readOnly        = "ro"
	defaultMaxValue = 1 << 20
	maxMaxValue     = 64 << 20
	usage           = "allow kv <namespace> [<guest path>] [ro]"
)

// CaddyModule returns the Caddy module information.
func (*KV) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gojinn.capabilities.kv",
		New: func() caddy.Module { return new(KV) },
	}
}

// UnmarshalCaddyfile sets up the capability from a Caddyfile. Syntax:
//
//	allow kv <namespace> [<guest path>] [ro] {
//	    store      <name>
//	    max_value  <size>
//	    max_keys   <n>
//	    ttl        <duration>
//	}
func (k *KV) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // kv
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("allow kv: no namespace; usage: %s", usage)
	}
	k.Namespace, args = args[0], args[1:]
	if len(args) > 0 && strings.HasPrefix(args[0], "/") {
		k.Path, args = args[0], args[1:]
	}
	if len(args) > 0 && args[0] == readOnly {
		k.Mode, args = args[0], args[1:]
	}
	if len(args) > 0 {
		return d.Errf("allow kv: unexpected argument %q; usage: %s", args[0], usage)
	}
	given := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if given[d.Val()] {
			return d.Errf("allow kv: %s is given twice", d.Val())
		}
		given[d.Val()] = true
		if err := k.unmarshalOption(d); err != nil {
			return err
		}
	}
	if err := k.check(); err != nil {
		return d.WrapErr(fmt.Errorf("allow kv: %w", err))
	}
	return nil
}

func (k *KV) unmarshalOption(d *caddyfile.Dispenser) error {
	parse := map[string]func(string) error{
		"store":     func(text string) error { k.Store = text; return nil },
		"max_value": func(text string) error { return set(&k.MaxValue, text, units.ParseSize) },
		"max_keys":  func(text string) error { return set(&k.MaxKeys, text, units.ParseCount) },
		"ttl":       func(text string) error { return set(&k.TTL, text, units.ParseDuration) },
	}
	name, value := d.Val(), ""
	if parse[name] == nil {
		return d.Errf("allow kv: %q is not an option; allowed are max_keys, max_value, store, ttl", name)
	}
	if !d.AllArgs(&value) || value == "" {
		return d.Errf("allow kv: %s: it has one argument", name)
	}
	if err := parse[name](value); err != nil {
		return d.WrapErr(fmt.Errorf("allow kv: %s: %w", name, err))
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("allow kv: %s takes no block", name)
	}
	return nil
}

func set[T any](to **T, text string, parse func(string) (T, error)) error {
	v, err := parse(text)
	*to = &v
	return err
}

// check refuses what is wrong whatever its placeholders stand for.
func (k *KV) check() error {
	if !strings.Contains(k.Namespace, "{") {
		if err := stores.CheckNamespace(k.Namespace); err != nil {
			return err
		}
		if err := new(engine.Grants).Mount(k.mountPath(k.Namespace), &grant{}); err != nil {
			return err
		}
	}
	switch {
	case k.Mode != "" && k.Mode != readOnly:
		return fmt.Errorf("the mode %q is not %s", k.Mode, readOnly)
	case k.MaxValue != nil && (*k.MaxValue < 1 || *k.MaxValue > maxMaxValue):
		return fmt.Errorf("max_value: %s is outside 1 to %s", k.MaxValue, units.Size(maxMaxValue))
	case k.MaxKeys != nil && *k.MaxKeys != units.Off && *k.MaxKeys < 1:
		return errors.New("max_keys: 0 is no number of keys; off is no limit, and ro allows none to be added")
	case k.TTL != nil && *k.TTL != units.Off && *k.TTL < units.Duration(time.Millisecond):
		return fmt.Errorf("ttl: %s is less than 1ms", k.TTL)
	}
	return nil
}

// mountPath is where the namespace is seen.
func (k *KV) mountPath(namespace string) string {
	if k.Path != "" {
		return k.Path
	}
	return "/kv/" + namespace
}

// Provision replaces the placeholders and finds the store, which is not opened.
func (k *KV) Provision(ctx caddy.Context) error {
	app, err := ctx.App("gojinn")
	if err != nil {
		return err
	}
	registry, ok := app.(stores.Registry)
	if !ok {
		return fmt.Errorf("the app is a %T, which has no stores", app)
	}
	return k.provision(registry, ctx.Logger())
}

func (k *KV) provision(registry stores.Registry, logger *zap.Logger) error {
	if err := k.check(); err != nil {
		return err
	}
	namespace, err := caddy.NewReplacer().ReplaceOrErr(k.Namespace, true, true)
	if err == nil {
		err = stores.CheckNamespace(namespace)
	}
	if err != nil {
		return fmt.Errorf("namespace %s: %w", k.Namespace, err)
	}
	name := k.Store
	if name == "" {
		name = stores.DefaultName
	}
	store, err := registry.Store(name)
	if err != nil {
		return err
	}
	k.path = k.mountPath(namespace)
	k.grant = &grant{
		store:     store,
		namespace: stores.Namespace{Name: namespace, MaxKeys: max(int64(valueOr(k.MaxKeys, 0)), 0)},
		readOnly:  k.Mode == readOnly,
		maxValue:  int64(valueOr(k.MaxValue, defaultMaxValue)),
		ttl:       time.Duration(max(valueOr(k.TTL, 0), 0)),
		id:        number(name + "/" + namespace),
		trouble:   newTrouble(logger.With(zap.String("store", name), zap.String("namespace", namespace))),
	}
	return nil
}

func valueOr[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}

// Grant mounts the namespace in a function's file tree.
func (k *KV) Grant(g *engine.Grants) error { return g.Mount(k.path, k.grant) }

// grant is what a function may do with a namespace: what is mounted. Safe for concurrent use.
type grant struct {
	store     stores.Store
	namespace stores.Namespace
	readOnly  bool
	maxValue  int64
	ttl       time.Duration // 0: none
	id        uint64        // tells its files from those of other namespaces
	trouble   *trouble
}

// expires is when what is written now is to vanish, with a lifetime that the function asks for;
// 0: it asks for none.
func (g *grant) expires(lifetime time.Duration) time.Time {
	if lifetime == 0 || g.ttl > 0 && g.ttl < lifetime {
		lifetime = g.ttl
	}
	if lifetime == 0 {
		return time.Time{}
	}
	return time.Now().Add(lifetime)
}

// maxLifetime is the longest that a function may ask for: times stay what a store can
// keep.
const maxLifetime = math.MaxInt64 / 4 * time.Nanosecond

var (
	_ caddy.Provisioner     = (*KV)(nil)
	_ caddyfile.Unmarshaler = (*KV)(nil)
)
