package memory

import (
	"bytes"
	"container/heap"
	"strings"
	"sync"
	"time"

	"github.com/gojinn/gojinn/stores"
)

// data is the contents of a store. What has expired is removed by whoever needs its room, by a
// few with every change, and by a timer.
type data struct {
	mu       sync.RWMutex
	spaces   map[string]*space // none is empty
	expiring expiring
	used     int64  // bytes
	version  uint64 // the last that was given out
	sweeper  *time.Timer
	sweeps   time.Time // when the sweeper will; zero: it doesn't
	over     bool
}

const (
	// sweepPause is the least time between two sweeps.
	sweepPause = time.Second
	// sweepSome and sweepMany are how many records that have expired a change and the sweeper
	// remove at once.
	sweepSome, sweepMany = 4, 10_000
)

func newData() *data { return &data{spaces: make(map[string]*space)} }

// Destruct stops the sweeper.
func (d *data) Destruct() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.sweeper != nil {
		d.sweeper.Stop()
	}
	return nil
}

func expired(item *stores.Item, now time.Time) bool {
	return !item.Expires.IsZero() && !item.Expires.After(now)
}

// find returns the record of a key, or nil if there is none or it has expired.
func (d *data) find(name, key string, now time.Time) *record {
	s := d.spaces[name]
	if s == nil {
		return nil
	}
	r := s.get(key)
	if r == nil || expired(&r.item, now) {
		return nil
	}
	return r
}

func (d *data) get(name, key string) (stores.Item, error) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	r := d.find(name, key, time.Now())
	if r == nil {
		return stores.Item{}, stores.ErrNotFound
	}
	return r.item, nil
}

func (d *data) update(ns stores.Namespace, key string, edit stores.Edit, limit int64) (stores.Item, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	d.sweep(now, sweepSome)
	r := d.find(ns.Name, key, now)
	var old *stores.Item
	if r != nil {
		copied := r.item
		old = &copied
	}
	item, err := edit(old)
	switch {
	case err != nil:
		return stores.Item{}, err
	case item == nil:
		d.remove(r)
		return stores.Item{}, nil
	case item == old:
		return *old, nil
	case r == nil && !d.roomForKey(ns, now), !d.roomFor(key, r, item.Value, limit, now):
		return stores.Item{}, stores.ErrFull
	}
	d.remove(d.any(ns.Name, key)) // what has expired, too
	return d.add(ns.Name, key, stores.Item{Value: bytes.Clone(item.Value), Expires: item.Expires, Modified: now}), nil
}

// roomForKey is whether a namespace may have one more key.
func (d *data) roomForKey(ns stores.Namespace, now time.Time) bool {
	full := func() bool {
		s := d.spaces[ns.Name]
		return ns.MaxKeys > 0 && s != nil && s.count >= ns.MaxKeys
	}
	for full() && d.sweep(now, sweepSome) {
	}
	return !full()
}

// roomFor is whether there is room for a key with a value, in the place of r.
func (d *data) roomFor(key string, r *record, value []byte, limit int64, now time.Time) bool {
	full := func() bool {
		used := d.used + int64(len(key)+len(value)) + overhead
		if r != nil {
			used -= r.size()
		}
		return used > limit
	}
	for full() && d.sweep(now, sweepSome) {
	}
	return !full()
}

func (d *data) rename(name, from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	r := d.find(name, from, now)
	switch {
	case r == nil:
		return stores.ErrNotFound
	case from == to:
		return nil
	}
	item := r.item
	item.Modified = now
	d.remove(r)
	d.remove(d.any(name, to))
	d.add(name, to, item)
	return nil
}

// any returns the record of a key even if it has expired.
func (d *data) any(name, key string) *record {
	if s := d.spaces[name]; s != nil {
		return s.get(key)
	}
	return nil
}

// add adds an item whose key has none, and returns it with its version.
func (d *data) add(name, key string, item stores.Item) stores.Item {
	s := d.spaces[name]
	if s == nil {
		s = &space{name: name}
		d.spaces[name] = s
	}
	d.version++
	item.Version = d.version
	r := &record{space: s, key: strings.Clone(key), item: item, at: -1}
	s.add(r)
	d.used += r.size()
	if !item.Expires.IsZero() {
		heap.Push(&d.expiring, r)
		d.sweepLater()
	}
	return item
}

// remove removes r, which may be nil.
func (d *data) remove(r *record) {
	if r == nil {
		return
	}
	r.space.remove(r.key)
	if r.space.count == 0 {
		delete(d.spaces, r.space.name)
	}
	d.used -= r.size()
	if r.at >= 0 {
		heap.Remove(&d.expiring, r.at)
	}
}

// sweep removes up to n records that have expired, and is false if there was none.
func (d *data) sweep(now time.Time, n int) bool {
	removed := false
	for ; n > 0 && len(d.expiring) > 0 && expired(&d.expiring[0].item, now); n-- {
		d.remove(d.expiring[0])
		removed = true
	}
	return removed
}

// sweepLater has the sweeper come when the first record expires, but not at once.
func (d *data) sweepLater() {
	if d.over || len(d.expiring) == 0 {
		return
	}
	at := d.expiring[0].item.Expires
	if soonest := time.Now().Add(sweepPause); at.Before(soonest) {
		at = soonest
	}
	if !d.sweeps.IsZero() && !at.Before(d.sweeps) {
		return
	}
	if d.sweeper != nil {
		d.sweeper.Stop()
	}
	d.sweeps = at
	d.sweeper = time.AfterFunc(time.Until(at), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.sweep(time.Now(), sweepMany)
		d.sweeps = time.Time{}
		d.sweepLater()
	})
}

func (d *data) list(name string, q stores.Query) []stores.Entry {
	d.mu.RLock()
	defer d.mu.RUnlock()
	s, now := d.spaces[name], time.Now()
	if s == nil || q.Limit <= 0 {
		return nil
	}
	var entries []stores.Entry
	s.from(max(q.Prefix, q.After), func(r *record) bool {
		if !strings.HasPrefix(r.key, q.Prefix) {
			return r.key < q.Prefix
		}
		if r.key > q.After && !expired(&r.item, now) {
			entries = append(entries, stores.Entry{Key: r.key, Size: int64(len(r.item.Value))})
		}
		return len(entries) < q.Limit
	})
	return entries
}

// expiring are the records that expire, those that do so first in front: a heap.
type expiring []*record

func (e expiring) Len() int           { return len(e) }
func (e expiring) Less(i, j int) bool { return e[i].item.Expires.Before(e[j].item.Expires) }

func (e expiring) Swap(i, j int) {
	e[i], e[j] = e[j], e[i]
	e[i].at, e[j].at = i, j
}

// Push is for package heap.
func (e *expiring) Push(r any) {
	r.(*record).at = len(*e)
	*e = append(*e, r.(*record))
}

// Pop is for package heap.
func (e *expiring) Pop() any {
	last := len(*e) - 1
	r := (*e)[last]
	(*e)[last] = nil
	*e = (*e)[:last]
	r.at = -1
	return r
}
