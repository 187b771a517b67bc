// Package stores is what a key-value store is to the capability kv: a Caddy module in the
// namespace gojinn.stores that implements [Store]. The package storetest holds the tests
// that every store has to pass.
package stores

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ModuleNamespace is where stores are registered as Caddy modules.
const ModuleNamespace = "gojinn.stores"

// DefaultName is the store of those who name none.
const DefaultName = "default"

// The errors that a Store tells apart. Any other means that the store can't do its work at the
// moment: it is down, slow, full or damaged.
var (
	// ErrNotFound: there is no such key.
	ErrNotFound = errors.New("no such key")
	// ErrFull: there is no room: a new key would be one more than the namespace may have, or
	// the value would be more than the store as a whole may keep.
	ErrFull = errors.New("the namespace or the store is full")
	// ErrTooLarge: the value is larger than the store can keep.
	ErrTooLarge = errors.New("the value is larger than the store can keep")
)

// Namespace is a set of keys that belong together, and what bounds it.
type Namespace struct {
	Name    string // 1 to 100 bytes of letters, digits, '-', '_' and '.', not beginning with '.'
	MaxKeys int64  // 0: no limit but the store's
}

// MaxKey is the longest key in bytes. Keys are any bytes, at least one.
const MaxKey = 255

// maxName is the longest name of a namespace in bytes.
const maxName = 100

// CheckNamespace refuses what can't be the name of a namespace.
func CheckNamespace(name string) error {
	switch {
	case name == "":
		return errors.New("the namespace has no name")
	case len(name) > maxName:
		return fmt.Errorf("the namespace %.20q… has a name of more than %d bytes", name, maxName)
	case name[0] == '.':
		return fmt.Errorf("the namespace %q begins with a dot", name)
	}
	for _, c := range []byte(name) {
		if !isNameByte(c) {
			return fmt.Errorf("the namespace %q holds something else than letters, digits, '-', '_' and '.'", name)
		}
	}
	return nil
}

func isNameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_' || c == '.'
}

// Check refuses what no operation can be done with: a namespace or a key that can't be one,
// and a context that is over. Every operation of a store begins with it.
func Check(ctx context.Context, ns Namespace, keys ...string) error {
	for _, key := range keys {
		if key == "" || len(key) > MaxKey {
			return fmt.Errorf("a key of %d bytes; it has 1 to %d", len(key), MaxKey)
		}
	}
	if err := CheckNamespace(ns.Name); err != nil {
		return err
	}
	return ctx.Err()
}

// Item is a value and what the store knows of it. A value that has been given to a store, or
// has come from one, is shared: nobody changes its bytes.
type Item struct {
	Value []byte
	// Version grows with every change of the key, within a store and also after it
	// was deleted; 0 is no version.
	Version  uint64
	Modified time.Time
	Expires  time.Time // when it is to vanish; zero: never
}

// Edit makes of an item what it is to be: old is nil if there is none; the result is nil if
// there is to be none, and old itself if nothing is to be changed. Of the result only Value and
// Expires count. It may be called more than once, from any goroutine, until one result has been
// stored, so it must have no effect but its result; it must not keep or change old. An error
// leaves everything as it is, and is the error of the operation.
type Edit func(old *Item) (*Item, error)

// Entry is one key of a listing.
type Entry struct {
	Key  string
	Size int64 // of the value, in bytes; -1: only reading it would tell
}

// Query says which keys a listing has: those that begin with Prefix and come after After in
// the order of their bytes, at most Limit of them.
type Query struct {
	Prefix, After string
	Limit         int
}

// Store keeps namespaces of key-value pairs. Every change is atomic, and seen by whoever reads
// after it has returned; it is then as durable as the store can make it. An item that has
// expired is not there any more, as far as anybody can see: neither does it count as one of
// the keys a namespace has. Safe for concurrent use.
//
// Operations take no longer than their context; one that is cut off may or may not have
// been done, and returns an error that wraps the context's. Nothing is opened before the first
// operation. A store that is a [caddy.CleanerUpper] works after its Cleanup too, for the
// calls that outlive the configuration.
//
// A store that can't be opened says so in each operation's error, and tries again with growing
// pauses, not with each operation.
type Store interface {
	// Get returns the item of a key, or ErrNotFound.
	Get(ctx context.Context, ns Namespace, key string) (Item, error)
	// Put stores a value whatever was there, and returns its version. expires may be zero.
	Put(ctx context.Context, ns Namespace, key string, value []byte, expires time.Time) (version uint64, err error)
	// Update replaces an item by what edit makes of it, and returns that, as stored: the zero Item
	// if there is none now.
	Update(ctx context.Context, ns Namespace, key string, edit Edit) (Item, error)
	// Rename gives the item of a key to another, whose own is replaced, in one step. The value and
	// when it expires stay. ErrNotFound if there is no such item; if both are the same key
	// nothing is done.
	Rename(ctx context.Context, ns Namespace, from, to string) error
	// List returns keys in the order of their bytes. Fewer than the limit means there are no more.
	List(ctx context.Context, ns Namespace, q Query) ([]Entry, error)
}

// Named is a Store that asks for the name that the configuration gives it. SetName is called
// once, after Provision and before the first operation.
type Named interface {
	SetName(name string)
}

// Registry is where stores are found by their name in the configuration: the app gojinn.
type Registry interface {
	// Store returns the store of a name. It is open for use until the configuration is
	// unloaded, and after that for the calls that outlive it.
	Store(name string) (Store, error)
}
