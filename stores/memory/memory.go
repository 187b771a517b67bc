// Package memory is the key-value store that is the server's memory: fast, and empty after
// every start.
package memory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/internal/units"
	"github.com/gojinn/gojinn/stores"
)

func init() {
	caddy.RegisterModule(new(Memory))
}

// Memory keeps keys and values in the memory of the server. They are there for all
// configurations that have a store of the same name, and lost when the server ends.
type Memory struct {
	// The most bytes that keys and values may take, with what it takes to keep them. What is over it
	// is refused, nothing makes room for it. Default: 64MiB.
	Size *units.Size `json:"size,omitempty"`

	limit int64
	name  string
	data  *data // nil until SetName
}

const (
	defaultSize = 64 << 20
	minSize     = 64 << 10
)

// pool holds the contents of the stores by name, for as long as a configuration has one of the
// name. Configurations follow each other without a gap, so what is kept stays over
// a reload.
var pool = caddy.NewUsagePool()

// CaddyModule returns the Caddy module information.
func (*Memory) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  stores.ModuleNamespace + ".memory",
		New: func() caddy.Module { return new(Memory) },
	}
}

// UnmarshalCaddyfile sets up the store from a Caddyfile. Syntax:
//
//	store <name> memory [<size>]
func (m *Memory) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // memory
	if d.NextArg() {
		size, err := units.ParseSize(d.Val())
		if err != nil {
			return d.WrapErr(fmt.Errorf("store: memory: %w", err))
		}
		m.Size = &size
	}
	if d.NextArg() {
		return d.Errf("store: memory: unexpected argument %q; usage: store <name> memory [<size>]", d.Val())
	}
	if err := m.check(); err != nil {
		return d.WrapErr(fmt.Errorf("store: memory: %w", err))
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("store: memory: takes no options, such as %q", d.Val())
	}
	return nil
}

func (m *Memory) check() error {
	if m.Size != nil && *m.Size < minSize {
		return fmt.Errorf("the size %s is less than %s", m.Size, units.Size(minSize))
	}
	return nil
}

// Provision checks the size.
func (m *Memory) Provision(caddy.Context) error {
	m.limit = defaultSize
	if m.Size != nil {
		m.limit = int64(*m.Size)
	}
	return m.check()
}

// SetName finds the contents that stores of this name have.
func (m *Memory) SetName(name string) {
	v, _, err := pool.LoadOrNew(name, func() (caddy.Destructor, error) { return newData(), nil })
	if err != nil {
		panic(err) // impossible: making it has no error
	}
	m.name, m.data = name, v.(*data)
}

// Cleanup gives up the contents, which are lost if no other configuration has them. Calls that
// still run see them as they were.
func (m *Memory) Cleanup() error {
	if m.data == nil {
		return nil
	}
	_, err := pool.Delete(m.name)
	return err
}

var errUnnamed = errors.New("the memory store has no name yet")

func (m *Memory) begin(ctx context.Context, ns stores.Namespace, keys ...string) error {
	if m.data == nil {
		return errUnnamed
	}
	return stores.Check(ctx, ns, keys...)
}

// Get implements [stores.Store].
func (m *Memory) Get(ctx context.Context, ns stores.Namespace, key string) (stores.Item, error) {
	if err := m.begin(ctx, ns, key); err != nil {
		return stores.Item{}, err
	}
	return m.data.get(ns.Name, key)
}

// Put implements [stores.Store].
func (m *Memory) Put(ctx context.Context, ns stores.Namespace, key string, value []byte, expires time.Time) (uint64, error) {
	item, err := m.Update(ctx, ns, key, func(*stores.Item) (*stores.Item, error) {
		return &stores.Item{Value: value, Expires: expires}, nil
	})
	return item.Version, err
}

// Update implements [stores.Store].
func (m *Memory) Update(ctx context.Context, ns stores.Namespace, key string, edit stores.Edit) (stores.Item, error) {
	if err := m.begin(ctx, ns, key); err != nil {
		return stores.Item{}, err
	}
	return m.data.update(ns, key, edit, m.limit)
}

// Rename implements [stores.Store].
func (m *Memory) Rename(ctx context.Context, ns stores.Namespace, from, to string) error {
	if err := m.begin(ctx, ns, from, to); err != nil {
		return err
	}
	return m.data.rename(ns.Name, from, to)
}

// List implements [stores.Store].
func (m *Memory) List(ctx context.Context, ns stores.Namespace, q stores.Query) ([]stores.Entry, error) {
	if err := m.begin(ctx, ns); err != nil {
		return nil, err
	}
	return m.data.list(ns.Name, q), nil
}

// Interface guards
var (
	_ stores.Store          = (*Memory)(nil)
	_ stores.Named          = (*Memory)(nil)
	_ caddy.Provisioner     = (*Memory)(nil)
	_ caddy.CleanerUpper    = (*Memory)(nil)
	_ caddyfile.Unmarshaler = (*Memory)(nil)
)
