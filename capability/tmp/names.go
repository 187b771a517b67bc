package tmp

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/gojinn/gojinn/engine/vfs"
)

// names are the entries of a directory, found by name and listed in the order in which they came.
type names struct {
	byName      map[string]*entry
	order       []*entry // by number; with those that have been removed since the last sweep
	removed     int      // of them
	last        uint64   // number given
	parent      *inode   // nil: it is the root, or has been removed
	directories int      // among the entries
}

type entry struct {
	name   string
	number uint64
	node   *inode // nil: it has been removed
}

func (l *names) len() int { return len(l.byName) }

// get returns what has a name, or nil.
func (l *names) get(name string) *inode {
	if e := l.byName[name]; e != nil {
		return e.node
	}
	return nil
}

func (l *names) add(name string, n *inode) {
	name = strings.Clone(name) // it is a part of a longer path
	l.last++
	e := &entry{name, l.last, n}
	if l.byName == nil {
		l.byName = make(map[string]*entry)
	}
	l.byName[name] = e
	l.order = append(l.order, e)
}

// remove returns what had the name.
func (l *names) remove(name string) *inode {
	e := l.byName[name]
	n := e.node
	delete(l.byName, name)
	e.name, e.node = "", nil
	if l.removed++; l.removed > 16 && l.removed > len(l.order)/2 {
		l.sweep()
	}
	return n
}

// sweep forgets what has been removed. Maps don't shrink by themselves, and what they take is
// counted by what is in them.
func (l *names) sweep() {
	order := make([]*entry, 0, len(l.byName))
	for _, e := range l.order {
		if e.node != nil {
			order = append(order, e)
		}
	}
	byName := make(map[string]*entry, len(l.byName))
	maps.Copy(byName, l.byName)
	l.order, l.byName, l.removed = order, byName, 0
}

// lister lists a directory: what was there at the beginning and has stayed comes exactly once,
// whatever else comes and goes.
type lister struct {
	names *names
	after uint64 // the number of the entry that was listed last
}

// Next fills entries with those that come next.
func (l *lister) Next(_ context.Context, entries []vfs.Entry) (n int, _ error) {
	order := l.names.order
	at, _ := slices.BinarySearchFunc(order, l.after+1, func(e *entry, number uint64) int { return cmp.Compare(e.number, number) })
	for ; n < len(entries) && at < len(order); at++ {
		e := order[at]
		l.after = e.number
		if e.node != nil {
			entries[n] = vfs.Entry{Name: e.name, Inode: e.node.number, Type: e.node.kind}
			n++
		}
	}
	return n, nil
}

// Close ends the listing.
func (l *lister) Close() error { return nil }
