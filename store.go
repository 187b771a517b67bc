package gojinn

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/gojinn/gojinn/stores"
)

// defaultStore is the kind of the store `default` if the configuration has none of that name.
const defaultStore = "bolt"

// checkStores refuses what can't be a store, whatever its kind says.
func (a *App) checkStores() error {
	for _, name := range slices.Sorted(maps.Keys(a.StoreRaw)) {
		var store struct {
			Kind string `json:"kind"`
		}
		err := checkStoreName(name)
		if err == nil {
			err = json.Unmarshal(a.StoreRaw[name], &store)
		}
		if err == nil {
			err = checkStoreKind(store.Kind)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func checkStoreName(name string) error {
	if name == "" {
		return errors.New("the name is empty")
	}
	return nil
}

func checkStoreKind(kind string) error {
	if kind == "" {
		return fmt.Errorf("no kind; known are %s", moduleNames(stores.ModuleNamespace))
	}
	if _, err := caddy.GetModule(stores.ModuleNamespace + "." + kind); err != nil {
		return fmt.Errorf("%q is not a kind of store in this build; known are %s; others have to be built in, "+
			"as with xcaddy build --with github.com/gojinn/gojinn/stores/nats", kind, moduleNames(stores.ModuleNamespace))
	}
	return nil
}

// loadStores sets a.stores. No store is opened.
func (a *App) loadStores(ctx caddy.Context) error {
	loaded := make(map[string]any)
	if len(a.StoreRaw) > 0 {
		v, err := ctx.LoadModule(a, "StoreRaw")
		if err != nil {
			return err
		}
		loaded = v.(map[string]any)
	}
	if loaded[stores.DefaultName] == nil {
		v, err := ctx.LoadModuleByID(stores.ModuleNamespace+"."+defaultStore, nil)
		if err != nil {
			return err
		}
		loaded[stores.DefaultName] = v
	}
	a.stores = make(map[string]stores.Store)
	for name, v := range loaded {
		store, ok := v.(stores.Store)
		if !ok {
			return fmt.Errorf("%s: a %T is no store", name, v)
		}
		if named, ok := v.(stores.Named); ok {
			named.SetName(name)
		}
		a.stores[name] = store
	}
	return nil
}

// Store returns the store that the configuration calls name, for capabilities.
func (a *App) Store(name string) (stores.Store, error) {
	if store := a.stores[name]; store != nil {
		return store, nil
	}
	return nil, fmt.Errorf("no store is called %q; known are %s", name, strings.Join(slices.Sorted(maps.Keys(a.stores)), ", "))
}

var _ stores.Registry = (*App)(nil)
