package bolt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/gojinn/gojinn/stores"
)

// The buckets of a file:
//
//	items    namespace NUL key → format, version, modified, expires, value; its sequence is
//	         the last version that was given out
//	expiring namespace NUL expires key → nothing; of the items that expire
//	counts   namespace → the number of its items, expired ones that are still there included
//
// Numbers are 8 bytes, big-endian; times are nanoseconds since 1970, 0 for never.
var (
	itemsBucket    = []byte("gojinn/1/items")
	expiringBucket = []byte("gojinn/1/expiring")
	countsBucket   = []byte("gojinn/1/counts")
)

const (
	format     = 1
	headerSize = 1 + 3*8
	// maxValue is the largest value. bbolt keeps values of up to 2 GiB; much less is what can
	// be written without everybody else waiting for long.
	maxValue = 256 << 20
)

var errDamaged = errors.New("the file is damaged")

// records are the items of a file as one transaction sees them.
type records struct {
	now                     time.Time
	items, expiring, counts *bbolt.Bucket
	changed                 bool
	written                 int // bytes
}

// readable returns the records of a transaction, of which only the items are there.
func readable(tx *bbolt.Tx) (*records, error) {
	r := &records{now: time.Now(), items: tx.Bucket(itemsBucket)}
	if r.items == nil {
		return nil, fmt.Errorf("%w: it has no items", errDamaged)
	}
	return r, nil
}

// writable returns the records of a transaction that may change them. It makes the buckets of a
// new file.
func writable(tx *bbolt.Tx) (*records, error) {
	r := &records{now: time.Now()}
	for _, b := range []struct {
		name []byte
		to   **bbolt.Bucket
	}{{itemsBucket, &r.items}, {expiringBucket, &r.expiring}, {countsBucket, &r.counts}} {
		if *b.to = tx.Bucket(b.name); *b.to != nil {
			continue
		}
		var err error
		if *b.to, err = tx.CreateBucket(b.name); err != nil {
			return nil, err
		}
		r.changed = true
	}
	return r, nil
}

// place is the key of an item in its bucket.
func place(name, key string) []byte {
	return append(append(append(make([]byte, 0, len(name)+1+len(key)), name...), 0), key...)
}

// expiry is the key of an item among those that expire.
func expiry(name, key string, at time.Time) []byte {
	b := append(append(make([]byte, 0, len(name)+9+len(key)), name...), 0)
	return append(binary.BigEndian.AppendUint64(b, nanoseconds(at)), key...)
}

func nanoseconds(t time.Time) uint64 {
	if t.IsZero() {
		return 0
	}
	return uint64(max(t.UnixNano(), 1))
}

func moment(n uint64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n))
}

func encode(item stores.Item) []byte {
	b := append(make([]byte, 0, headerSize+len(item.Value)), format)
	b = binary.BigEndian.AppendUint64(b, item.Version)
	b = binary.BigEndian.AppendUint64(b, nanoseconds(item.Modified))
	b = binary.BigEndian.AppendUint64(b, nanoseconds(item.Expires))
	return append(b, item.Value...)
}

// decode returns an item whose value is part of b.
func decode(b []byte) (stores.Item, error) {
	if len(b) < headerSize || b[0] != format {
		return stores.Item{}, fmt.Errorf("%w: it has an item that isn't one", errDamaged)
	}
	number := func(at int) uint64 { return binary.BigEndian.Uint64(b[at:]) }
	return stores.Item{Value: b[headerSize:], Version: number(1), Modified: moment(number(9)), Expires: moment(number(17))}, nil
}

func (r *records) expired(item *stores.Item) bool {
	return !item.Expires.IsZero() && !item.Expires.After(r.now)
}

// find returns what is stored under a key, nil if nothing is, even if it has expired. Its value
// belongs to the file.
func (r *records) find(name, key string) (*stores.Item, error) {
	b := r.items.Get(place(name, key))
	if b == nil {
		return nil, nil
	}
	item, err := decode(b)
	if err != nil {
		return nil, err
	}
	return &item, nil
}

// get returns a copy of the item of a key.
func (r *records) get(name, key string) (stores.Item, error) {
	item, err := r.find(name, key)
	switch {
	case err != nil:
		return stores.Item{}, err
	case item == nil, r.expired(item):
		return stores.Item{}, stores.ErrNotFound
	}
	item.Value = bytes.Clone(item.Value)
	return *item, nil
}

func (r *records) update(ns stores.Namespace, key string, edit stores.Edit) (stores.Item, error) {
	found, err := r.find(ns.Name, key)
	if err != nil {
		return stores.Item{}, err
	}
	var old *stores.Item
	if found != nil && !r.expired(found) {
		copied := *found
		copied.Value = bytes.Clone(found.Value)
		old = &copied
	}
	item, err := call(edit, old)
	switch {
	case err != nil:
		return stores.Item{}, err
	case item == nil:
		return stores.Item{}, r.remove(ns.Name, key)
	case item == old:
		return *old, nil
	case len(item.Value) > maxValue:
		return stores.Item{}, stores.ErrTooLarge
	}
	if old == nil {
		// What has expired under this key is as gone as any other.
		if found != nil {
			if err := r.remove(ns.Name, key); err != nil {
				return stores.Item{}, err
			}
		}
		if err := r.makeRoom(ns); err != nil {
			return stores.Item{}, err
		}
	}
	if _, err := r.sweep(ns.Name, sweepSome); err != nil {
		return stores.Item{}, err
	}
	return r.put(ns.Name, key, stores.Item{Value: item.Value, Expires: item.Expires, Modified: r.now})
}

// editError is the error of an edit.
type editError struct{ error }

func (e *editError) Unwrap() error { return e.error }

// call calls edit, whose panic is its own error: it belongs to one caller of many.
func call(edit stores.Edit, old *stores.Item) (item *stores.Item, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in an edit: %v", p)
		}
		if err != nil {
			err = &editError{err}
		}
	}()
	return edit(old)
}

// makeRoom is ErrFull if a namespace may not have one more key. What has expired makes room.
func (r *records) makeRoom(ns stores.Namespace) error {
	for ns.MaxKeys > 0 && r.count(ns.Name) >= uint64(ns.MaxKeys) {
		n, err := r.sweep(ns.Name, 1)
		switch {
		case err != nil:
			return err
		case n == 0:
			return stores.ErrFull
		}
	}
	return nil
}

func (r *records) count(name string) uint64 {
	if b := r.counts.Get([]byte(name)); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// add adds n to the number of keys of a namespace.
func (r *records) add(name string, n int) error {
	count := r.count(name) + uint64(n)
	if count == 0 {
		return r.counts.Delete([]byte(name))
	}
	return r.counts.Put([]byte(name), binary.BigEndian.AppendUint64(nil, count))
}

// put stores an item under a key, and returns it with its version.
func (r *records) put(name, key string, item stores.Item) (stores.Item, error) {
	old, err := r.find(name, key)
	if err != nil {
		return stores.Item{}, err
	}
	if item.Version, err = r.items.NextSequence(); err != nil {
		return stores.Item{}, err
	}
	r.changed = true
	r.written += len(item.Value)
	switch {
	case old == nil:
		err = r.add(name, 1)
	case !old.Expires.IsZero():
		err = r.expiring.Delete(expiry(name, key, old.Expires))
	}
	if err == nil {
		err = r.items.Put(place(name, key), encode(item))
	}
	if err == nil && !item.Expires.IsZero() {
		err = r.expiring.Put(expiry(name, key, item.Expires), nil)
	}
	return item, err
}

// remove removes what is stored under a key, if anything is.
func (r *records) remove(name, key string) error {
	item, err := r.find(name, key)
	if err != nil || item == nil {
		return err
	}
	r.changed = true
	if !item.Expires.IsZero() {
		if err := r.expiring.Delete(expiry(name, key, item.Expires)); err != nil {
			return err
		}
	}
	if err := r.items.Delete(place(name, key)); err != nil {
		return err
	}
	return r.add(name, -1)
}

func (r *records) rename(name, from, to string) error {
	item, err := r.get(name, from)
	if err != nil || from == to {
		return err
	}
	if _, err := r.find(name, to); err != nil {
		return err // before anything is changed
	}
	if err := r.remove(name, from); err != nil {
		return err
	}
	item.Modified = r.now
	_, err = r.put(name, to, item)
	return err
}

// listPiece is after how many items a listing looks whether it is still wanted.
const listPiece = 1000

func (r *records) list(ctx context.Context, name string, q stores.Query) (entries []stores.Entry, _ error) {
	if q.Limit <= 0 {
		return nil, nil
	}
	prefix := place(name, q.Prefix)
	c := r.items.Cursor()
	n := 0
	for k, v := c.Seek(place(name, max(q.Prefix, q.After))); k != nil && bytes.HasPrefix(k, prefix); k, v = c.Next() {
		if n++; n%listPiece == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		item, err := decode(v)
		if err != nil {
			return nil, err
		}
		key := string(k[len(name)+1:])
		if key == q.After || r.expired(&item) {
			continue
		}
		if entries = append(entries, stores.Entry{Key: key, Size: int64(len(item.Value))}); len(entries) == q.Limit {
			break
		}
	}
	return entries, nil
}

// sweep removes up to limit items of a namespace that have expired, and returns how many.
func (r *records) sweep(name string, limit int) (n int, err error) {
	prefix := place(name, "")
	for ; n < limit; n++ {
		k, _ := r.expiring.Cursor().Seek(prefix)
		key, ok := r.due(k, prefix)
		if !ok {
			return n, nil
		}
		// The entry itself, in case the item doesn't know of it.
		if err := r.expiring.Delete(bytes.Clone(k)); err != nil {
			return n, err
		}
		r.changed = true
		if item, err := r.find(name, key); err != nil {
			return n, err
		} else if item == nil || !r.expired(item) {
			continue
		}
		if err := r.remove(name, key); err != nil {
			return n, err
		}
	}
	return n, nil
}

// due returns the key of an entry among those that expire, if it belongs to the namespace with
// this prefix and has done so.
func (r *records) due(k, prefix []byte) (key string, ok bool) {
	if !bytes.HasPrefix(k, prefix) || len(k) < len(prefix)+8 {
		return "", false
	}
	at := moment(binary.BigEndian.Uint64(k[len(prefix):]))
	return string(k[len(prefix)+8:]), !at.After(r.now)
}

// stale returns up to limit namespaces of a transaction in which something has expired, from one on,
// and from which one to go on; "" is both ends.
func stale(tx *bbolt.Tx, from string, limit int) (names []string, next string) {
	r := &records{now: time.Now(), expiring: tx.Bucket(expiringBucket)}
	if r.expiring == nil {
		return nil, ""
	}
	c := r.expiring.Cursor()
	for k, _ := c.Seek([]byte(from)); k != nil; {
		end := bytes.IndexByte(k, 0)
		if end < 0 {
			return names, ""
		}
		name := string(k[:end])
		if limit--; limit < 0 {
			return names, name
		}
		if _, ok := r.due(k, k[:end+1]); ok {
			names = append(names, name)
		}
		k, _ = c.Seek(append([]byte(name), 1)) // NUL is less, every byte of a name is more
	}
	return names, ""
}
