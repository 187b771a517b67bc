// Package storetest holds the tests that every store has to pass.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojinn/gojinn/stores"
)

// LargeValue is the size in bytes of a value that every store keeps.
const LargeValue = 256 << 10

// namespaces counts those given out, so that all tests may use one store, and a store that
// lasts may be tested again.
var namespaces atomic.Int64

// Run tests what open returns, a store for one test: a new one, or one that other tests use too.
// Each test keeps to namespaces of its own.
func Run(t *testing.T, open func(t *testing.T) stores.Store) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, subject)
	}{
		{"values", testValues},
		{"keys", testKeys},
		{"bad keys", testBadKeys},
		{"namespaces", testNamespaces},
		{"versions", testVersions},
		{"update", testUpdate},
		{"edits that fail", testFailedEdits},
		{"rename", testRename},
		{"expiry", testExpiry},
		{"list", testList},
		{"full", testFull},
		{"full by many", testFullByMany},
		{"full of what has expired", testFullOfExpired},
		{"too late", testTooLate},
		{"increments", testIncrements},
		{"two writers", testTwoWriters},
		{"create only", testCreateOnly},
		{"rename under readers", testRenameUnderReaders},
		{"many at once", testManyAtOnce},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := fmt.Sprintf("t%d-%d", time.Now().UnixNano(), namespaces.Add(1))
			test.run(t, subject{t, open(t), stores.Namespace{Name: name}})
		})
	}
}

// subject is a store with a namespace, and what tests do with it.
type subject struct {
	*testing.T
	store stores.Store
	ns    stores.Namespace
}

// with is the same with another bound.
func (s subject) with(maxKeys int64) subject {
	s.ns.MaxKeys = maxKeys
	return s
}

func (s subject) get(key string) stores.Item {
	s.Helper()
	item, err := s.store.Get(s.Context(), s.ns, key)
	if err != nil {
		s.Fatalf("get %q: %v", key, err)
	}
	return item
}

// gone checks that there is no such key.
func (s subject) gone(key string) {
	s.Helper()
	if item, err := s.store.Get(s.Context(), s.ns, key); !errors.Is(err, stores.ErrNotFound) {
		s.Fatalf("get %q: got %.20q, %v, want %v", key, item.Value, err, stores.ErrNotFound)
	}
}

// holds checks the value of a key.
func (s subject) holds(key, want string) {
	s.Helper()
	if got := s.get(key); string(got.Value) != want {
		s.Fatalf("get %q: got %.40q, want %.40q", key, got.Value, want)
	}
}

func (s subject) put(key, value string) uint64 {
	s.Helper()
	version, err := s.store.Put(s.Context(), s.ns, key, []byte(value), time.Time{})
	if err != nil {
		s.Fatalf("put %q: %v", key, err)
	}
	return version
}

func (s subject) update(key string, edit stores.Edit) stores.Item {
	s.Helper()
	item, err := s.store.Update(s.Context(), s.ns, key, edit)
	if err != nil {
		s.Fatalf("update %q: %v", key, err)
	}
	return item
}

func (s subject) delete(key string) {
	s.Helper()
	if item := s.update(key, remove); item.Version != 0 || item.Value != nil {
		s.Fatalf("delete %q: got %+v, want no item", key, item)
	}
}

func remove(*stores.Item) (*stores.Item, error) { return nil, nil }

func set(value string) stores.Edit {
	return func(*stores.Item) (*stores.Item, error) { return &stores.Item{Value: []byte(value)}, nil }
}

func (s subject) list(q stores.Query) []string {
	s.Helper()
	entries, err := s.store.List(s.Context(), s.ns, q)
	if err != nil {
		s.Fatalf("list %+v: %v", q, err)
	}
	var keys []string
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return keys
}

func testValues(t *testing.T, s subject) {
	for _, value := range []string{"value", "", "\x00\xff\n", strings.Repeat("large", LargeValue/5)} {
		before := time.Now()
		version := s.put("key", value)
		got := s.get("key")
		if string(got.Value) != value || got.Version != version || version == 0 {
			t.Errorf("%.20q: got %.20q, version %d, want version %d", value, got.Value, got.Version, version)
		}
		const skew = 10 * time.Second // of a store's own clock
		if got.Modified.Before(before.Add(-skew)) || got.Modified.After(time.Now().Add(skew)) {
			t.Errorf("%.20q: modified %v, want about %v", value, got.Modified, before)
		}
		if !got.Expires.IsZero() {
			t.Errorf("%.20q: expires %v, want never", value, got.Expires)
		}
	}
	// Stores may refuse what is larger, in no other way than this.
	huge := bytes.Repeat([]byte("x"), 64*LargeValue)
	switch _, err := s.store.Put(t.Context(), s.ns, "huge", huge, time.Time{}); {
	case err == nil:
		if got := s.get("huge"); !bytes.Equal(got.Value, huge) {
			t.Errorf("got %d bytes, want %d", len(got.Value), len(huge))
		}
	case errors.Is(err, stores.ErrTooLarge):
		s.gone("huge")
	default:
		t.Errorf("%d bytes: got %v", len(huge), err)
	}
}

func testKeys(t *testing.T, s subject) {
	keys := []string{
		"\x00", "\x00\x00", "\x00a", " ", "*", ".", "..", ".do", "/", "//", ">", "A", "a", "a.", "a.b", "a/b", "a/b/", "aa",
		"key=1", "ä", strings.Repeat("\x00", stores.MaxKey), strings.Repeat("k", stores.MaxKey), "\xff", strings.Repeat("\xff", stores.MaxKey),
	}
	for _, key := range keys {
		s.gone(key)
		s.put(key, "of "+key)
	}
	for _, key := range keys {
		s.holds(key, "of "+key)
	}
	slices.Sort(keys)
	if got := s.list(stores.Query{Limit: 100}); !slices.Equal(got, keys) {
		t.Errorf("got %q, want %q", got, keys)
	}
	for i, key := range keys {
		s.delete(key)
		s.gone(key)
		if got := s.list(stores.Query{Limit: 100}); !slices.Equal(got, keys[i+1:]) {
			t.Fatalf("without %q: got %q, want %q", key, got, keys[i+1:])
		}
	}
}

func testBadKeys(t *testing.T, s subject) {
	s.put("key", "value")
	for _, key := range []string{"", strings.Repeat("k", stores.MaxKey+1), strings.Repeat("k", 10<<10)} {
		s.refuses(key)
	}
	for _, name := range []string{"", "a/b", "..", "a\x00", strings.Repeat("n", 200)} {
		bad := s
		bad.ns.Name = name
		bad.refuses("key")
	}
}

// refuses checks that nothing can be done with a key.
func (s subject) refuses(key string) {
	s.Helper()
	ctx := s.Context()
	for name, do := range map[string]func() error{
		"get":    func() error { _, err := s.store.Get(ctx, s.ns, key); return err },
		"put":    func() error { _, err := s.store.Put(ctx, s.ns, key, nil, time.Time{}); return err },
		"update": func() error { _, err := s.store.Update(ctx, s.ns, key, set("x")); return err },
		"from":   func() error { return s.store.Rename(ctx, s.ns, key, "to") },
		"to":     func() error { return s.store.Rename(ctx, s.ns, "key", key) },
	} {
		if err := do(); err == nil || errors.Is(err, stores.ErrNotFound) {
			s.Errorf("%s %.20q in %q: got %v, want another error", name, key, s.ns.Name, err)
		}
	}
}

func testNamespaces(t *testing.T, s subject) {
	others := []subject{s, s, s, s}
	for i, suffix := range []string{"", "_admin", "-", "."} {
		others[i].ns.Name += suffix
		others[i].put("key", "of "+others[i].ns.Name)
	}
	for _, s := range others {
		s.holds("key", "of "+s.ns.Name)
		if got := s.list(stores.Query{Limit: 10}); !slices.Equal(got, []string{"key"}) {
			t.Errorf("%s: got %q, want one key", s.ns.Name, got)
		}
	}
	others[0].delete("key")
	others[1].holds("key", "of "+others[1].ns.Name)
}

func testVersions(t *testing.T, s subject) {
	var last uint64
	grew := func(how string, version uint64) {
		t.Helper()
		if version <= last {
			t.Errorf("%s: got version %d after %d", how, version, last)
		}
		if got := s.get("key"); got.Version != version {
			t.Errorf("%s: got version %d, want %d", how, got.Version, version)
		}
		last = version
	}
	grew("put", s.put("key", "1"))
	grew("the same again", s.put("key", "1"))
	grew("update", s.update("key", set("2")).Version)
	s.delete("key")
	s.gone("key")
	grew("put after delete", s.put("key", "3"))
	s.delete("key")
	grew("update after delete", s.update("key", set("4")).Version)
	s.put("other", "5")
	if err := s.store.Rename(t.Context(), s.ns, "other", "key"); err != nil {
		t.Fatal(err)
	}
	grew("rename over it", s.get("key").Version)
	if err := s.store.Rename(t.Context(), s.ns, "key", "other"); err != nil {
		t.Fatal(err)
	}
	grew("put after rename", s.put("key", "6"))
}

func testUpdate(t *testing.T, s subject) {
	s.update("key", func(old *stores.Item) (*stores.Item, error) {
		if old != nil {
			t.Errorf("got %+v, want none", old)
		}
		return nil, nil
	})
	s.gone("key")
	first := s.update("key", set("one"))
	if string(first.Value) != "one" || first.Version == 0 || first.Modified.IsZero() {
		t.Errorf("got %+v, want what was stored", first)
	}
	second := s.update("key", func(old *stores.Item) (*stores.Item, error) {
		if old == nil || string(old.Value) != "one" || old.Version != first.Version {
			return nil, fmt.Errorf("got %+v, want %+v", old, first)
		}
		return &stores.Item{Value: []byte("two")}, nil
	})
	s.holds("key", "two")
	same := s.update("key", func(old *stores.Item) (*stores.Item, error) { return old, nil })
	if same.Version != second.Version || string(same.Value) != "two" {
		t.Errorf("unchanged: got %+v, want %+v", same, second)
	}
	if got := s.get("key"); got.Version != second.Version {
		t.Errorf("unchanged: got version %d, want %d", got.Version, second.Version)
	}
	empty := s.update("key", func(*stores.Item) (*stores.Item, error) { return &stores.Item{}, nil })
	if empty.Version <= second.Version {
		t.Errorf("an empty value: got version %d after %d", empty.Version, second.Version)
	}
	s.holds("key", "")
	s.delete("key")
	s.delete("key") // again is nothing
	s.gone("key")
}

func testFailedEdits(t *testing.T, s subject) {
	refused := errors.New("refused")
	refuse := func(*stores.Item) (*stores.Item, error) { return &stores.Item{Value: []byte("wrong")}, refused }
	if _, err := s.store.Update(t.Context(), s.ns, "none", refuse); !errors.Is(err, refused) {
		t.Errorf("got %v, want the edit's error", err)
	}
	s.gone("none")
	version := s.put("key", "value")
	if _, err := s.store.Update(t.Context(), s.ns, "key", refuse); !errors.Is(err, refused) {
		t.Errorf("got %v, want the edit's error", err)
	}
	if got := s.get("key"); string(got.Value) != "value" || got.Version != version {
		t.Errorf("got %+v, want it as it was", got)
	}
	// Neither do they spoil what others do at the same time.
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			key := "k" + strconv.Itoa(i)
			if i%2 == 0 {
				if _, err := s.store.Update(t.Context(), s.ns, key, refuse); !errors.Is(err, refused) {
					t.Errorf("got %v, want the edit's error", err)
				}
				return
			}
			if _, err := s.store.Put(t.Context(), s.ns, key, []byte("good"), time.Time{}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range 32 {
		if key := "k" + strconv.Itoa(i); i%2 == 0 {
			s.gone(key)
		} else {
			s.holds(key, "good")
		}
	}
}

func testRename(t *testing.T, s subject) {
	rename := func(from, to string) error { return s.store.Rename(t.Context(), s.ns, from, to) }
	if err := rename("none", "to"); !errors.Is(err, stores.ErrNotFound) {
		t.Errorf("nothing: got %v, want %v", err, stores.ErrNotFound)
	}
	if err := rename("none", "none"); !errors.Is(err, stores.ErrNotFound) {
		t.Errorf("nothing to itself: got %v, want %v", err, stores.ErrNotFound)
	}
	expires := time.Now().Add(time.Hour)
	if _, err := s.store.Put(t.Context(), s.ns, "a", []byte("one"), expires); err != nil {
		t.Fatal(err)
	}
	if err := rename("a", "b"); err != nil {
		t.Fatal(err)
	}
	s.gone("a")
	s.holds("b", "one")
	if got := s.get("b").Expires; got.Sub(expires).Abs() > time.Second {
		t.Errorf("expires %v, want %v", got, expires)
	}
	s.put("c", "two")
	if err := rename("c", "b"); err != nil {
		t.Fatal(err)
	}
	s.gone("c")
	s.holds("b", "two")
	if got := s.get("b").Expires; !got.IsZero() {
		t.Errorf("expires %v, want never", got)
	}
	version := s.get("b").Version
	if err := rename("b", "b"); err != nil {
		t.Errorf("to itself: %v", err)
	}
	if got := s.get("b"); got.Version != version || string(got.Value) != "two" {
		t.Errorf("to itself: got %+v, want nothing changed", got)
	}
	if got := s.list(stores.Query{Limit: 10}); !slices.Equal(got, []string{"b"}) {
		t.Errorf("got %q, want b", got)
	}
	// A name that is taken costs no more keys, and a new one takes the place of the old.
	full := s.with(2)
	full.put("d", "three")
	for _, to := range []string{"e", "b"} {
		from := map[string]string{"e": "d", "b": "e"}[to]
		if err := full.store.Rename(t.Context(), full.ns, from, to); err != nil {
			t.Errorf("from %s to %s in a full namespace: %v", from, to, err)
		}
	}
	s.holds("b", "three")
}

// until waits until a moment has passed.
func until(moment time.Time) { time.Sleep(time.Until(moment) + time.Millisecond) }

func testExpiry(t *testing.T, s subject) {
	later := time.Now().Add(time.Hour)
	if _, err := s.store.Put(t.Context(), s.ns, "later", []byte("x"), later); err != nil {
		t.Fatal(err)
	}
	if got := s.get("later").Expires; got.Sub(later).Abs() > time.Second {
		t.Errorf("expires %v, want %v", got, later)
	}
	soon := time.Now().Add(500 * time.Millisecond)
	for _, key := range []string{"put", "update", "prolonged", "kept", "moved"} {
		if _, err := s.store.Put(t.Context(), s.ns, key, []byte("x"), soon); err != nil {
			t.Fatal(err)
		}
	}
	version := s.get("update").Version
	s.update("update", func(old *stores.Item) (*stores.Item, error) {
		return &stores.Item{Value: []byte("y"), Expires: soon}, nil
	})
	s.update("prolonged", func(old *stores.Item) (*stores.Item, error) {
		return &stores.Item{Value: old.Value, Expires: later}, nil
	})
	s.put("kept", "for ever")
	if err := s.store.Rename(t.Context(), s.ns, "moved", "here"); err != nil {
		t.Fatal(err)
	}
	until(soon)
	for _, key := range []string{"put", "update", "here"} {
		s.gone(key)
		if err := s.store.Rename(t.Context(), s.ns, key, "to"); !errors.Is(err, stores.ErrNotFound) {
			t.Errorf("renaming %s: got %v, want %v", key, err, stores.ErrNotFound)
		}
	}
	if got, want := s.list(stores.Query{Limit: 10}), []string{"kept", "later", "prolonged"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	again := s.update("update", func(old *stores.Item) (*stores.Item, error) {
		if old != nil {
			t.Errorf("got %+v, want none", old)
		}
		return &stores.Item{Value: []byte("new")}, nil
	})
	if again.Version <= version {
		t.Errorf("got version %d after %d", again.Version, version)
	}
	s.holds("update", "new")
	// What has expired before it is stored was never there.
	if _, err := s.store.Put(t.Context(), s.ns, "update", []byte("late"), soon); err != nil {
		t.Error(err)
	}
	s.gone("update")
}

func testList(t *testing.T, s subject) {
	if got := s.list(stores.Query{Limit: 10}); len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
	var all, some []string
	for i := range 300 {
		key := fmt.Sprintf("%c/%03d", 'a'+i%3, i*7%300)
		s.put(key, strings.Repeat("x", i))
		all = append(all, key)
		if strings.HasPrefix(key, "b/") {
			some = append(some, key)
		}
	}
	slices.Sort(all)
	slices.Sort(some)
	for _, test := range []struct {
		name  string
		query stores.Query
		want  []string
	}{
		{"all", stores.Query{Limit: 1000}, all},
		{"exactly", stores.Query{Limit: 300}, all},
		{"the first", stores.Query{Limit: 7}, all[:7]},
		{"after one", stores.Query{After: all[6], Limit: 7}, all[7:14]},
		{"after none of them", stores.Query{After: all[6] + "\x00", Limit: 7}, all[7:14]},
		{"after the last", stores.Query{After: all[299], Limit: 7}, nil},
		{"with a prefix", stores.Query{Prefix: "b/", Limit: 1000}, some},
		{"with a prefix, after one", stores.Query{Prefix: "b/", After: some[9], Limit: 5}, some[10:15]},
		{"with a prefix, after one before", stores.Query{Prefix: "b/", After: "a/100", Limit: 5}, some[:5]},
		{"with a prefix, after one behind", stores.Query{Prefix: "b/", After: "c", Limit: 5}, nil},
		{"a prefix that nothing has", stores.Query{Prefix: "bb", Limit: 5}, nil},
		{"a prefix that is a key", stores.Query{Prefix: all[5], Limit: 5}, all[5:6]},
		{"a prefix of the last byte", stores.Query{Prefix: "\xff", Limit: 5}, nil},
		{"none", stores.Query{Limit: 0}, nil},
	} {
		if got := s.list(test.query); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	var paged []string
	for q := (stores.Query{Limit: 64}); ; {
		page := s.list(q)
		paged = append(paged, page...)
		if len(page) < q.Limit {
			break
		}
		q.After = page[len(page)-1]
	}
	if !slices.Equal(paged, all) {
		t.Errorf("page by page: got %q, want %q", paged, all)
	}
	entries, err := s.store.List(t.Context(), s.ns, stores.Query{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if want := int64(len(s.get(e.Key).Value)); e.Size != want && e.Size != -1 {
			t.Errorf("%s: got %d bytes, want %d or -1", e.Key, e.Size, want)
		}
	}
}

// refusesNew checks that there is no room for a new key.
func (s subject) refusesNew(key string) {
	s.Helper()
	if _, err := s.store.Put(s.Context(), s.ns, key, []byte("x"), time.Time{}); !errors.Is(err, stores.ErrFull) {
		s.Errorf("put %s: got %v, want %v", key, err, stores.ErrFull)
	}
	if _, err := s.store.Update(s.Context(), s.ns, key, set("x")); !errors.Is(err, stores.ErrFull) {
		s.Errorf("update %s: got %v, want %v", key, err, stores.ErrFull)
	}
	s.gone(key)
}

func testFull(t *testing.T, s subject) {
	s = s.with(3)
	for _, key := range []string{"a", "b", "c"} {
		s.put(key, "1")
	}
	s.refusesNew("d")
	s.put("a", "2") // is no new key
	s.update("b", set("2"))
	s.delete("d") // neither
	s.delete("a")
	s.put("d", "1")
	s.refusesNew("a")
	s.with(4).put("a", "1") // who may have more has more
	s.refusesNew("e")
	s.with(0).put("e", "1")
	if got := s.list(stores.Query{Limit: 10}); len(got) != 5 {
		t.Errorf("got %q, want five keys", got)
	}
}

func testFullByMany(t *testing.T, s subject) {
	s = s.with(10)
	var all sync.WaitGroup
	var stored, refused atomic.Int64
	for i := range 64 {
		all.Go(func() {
			switch _, err := s.store.Put(t.Context(), s.ns, strconv.Itoa(i), nil, time.Time{}); {
			case err == nil:
				stored.Add(1)
			case errors.Is(err, stores.ErrFull):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := s.list(stores.Query{Limit: 100}); len(got) != 10 || stored.Load() != 10 || refused.Load() != 54 {
		t.Errorf("got %d keys, %d stored, %d refused, want 10, 10 and 54", len(got), stored.Load(), refused.Load())
	}
}

func testFullOfExpired(t *testing.T, s subject) {
	s = s.with(3)
	soon := time.Now().Add(300 * time.Millisecond)
	for _, key := range []string{"a", "b", "c"} {
		if _, err := s.store.Put(t.Context(), s.ns, key, nil, soon); err != nil {
			t.Fatal(err)
		}
	}
	until(soon)
	for _, key := range []string{"d", "e", "a"} {
		s.put(key, "1")
	}
	s.refusesNew("b")
	if got, want := s.list(stores.Query{Limit: 10}), []string{"a", "d", "e"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func testTooLate(t *testing.T, s subject) {
	s.put("key", "value")
	late, cancel := context.WithCancel(t.Context())
	cancel()
	for name, do := range map[string]func() error{
		"get": func() error { _, err := s.store.Get(late, s.ns, "key"); return err },
		"put": func() error {
			_, err := s.store.Put(late, s.ns, "key", []byte("late"), time.Time{})
			return err
		},
		"update": func() error { _, err := s.store.Update(late, s.ns, "key", set("late")); return err },
		"rename": func() error { return s.store.Rename(late, s.ns, "key", "to") },
		"list":   func() error { _, err := s.store.List(late, s.ns, stores.Query{Limit: 10}); return err },
	} {
		if err := do(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: got %v, want %v", name, err, context.Canceled)
		}
	}
	s.holds("key", "value")
	s.gone("to")
}

func testIncrements(t *testing.T, s subject) {
	const workers, each = 64, 10
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			var last uint64
			for range each {
				item, err := s.store.Update(t.Context(), s.ns, "counter", func(old *stores.Item) (*stores.Item, error) {
					n := 0
					if old != nil {
						var err error
						if n, err = strconv.Atoi(string(old.Value)); err != nil {
							return nil, err
						}
					}
					return &stores.Item{Value: strconv.AppendInt(nil, int64(n+1), 10)}, nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				if item.Version <= last {
					t.Errorf("got version %d after %d", item.Version, last)
				}
				last = item.Version
			}
		})
	}
	all.Wait()
	s.holds("counter", strconv.Itoa(workers*each))
}

func testTwoWriters(t *testing.T, s subject) {
	// Each writes values of one letter: what is read is never a mixture, and the version says
	// whose it is.
	letters := []string{"a", "b"}
	var all sync.WaitGroup
	var written sync.Map // version: letter
	for _, letter := range letters {
		all.Go(func() {
			for i := range 50 {
				version, err := s.store.Put(t.Context(), s.ns, "key", bytes.Repeat([]byte(letter), 1000+i), time.Time{})
				if err != nil {
					t.Error(err)
					return
				}
				if other, taken := written.LoadOrStore(version, letter); taken {
					t.Errorf("version %d is of %s and %s", version, other, letter)
				}
			}
		})
	}
	type read struct {
		version uint64
		letter  string
	}
	var reads []read
	all.Go(func() {
		for range 200 {
			item, err := s.store.Get(t.Context(), s.ns, "key")
			if errors.Is(err, stores.ErrNotFound) && len(reads) == 0 {
				continue
			}
			if err != nil {
				t.Error(err)
				return
			}
			letter := string(item.Value[:1])
			if strings.Trim(string(item.Value), letter) != "" {
				t.Errorf("got a mixture: %.40q", item.Value)
			}
			reads = append(reads, read{item.Version, letter})
		}
	})
	all.Wait()
	for i, r := range reads {
		if wrote, ok := written.Load(r.version); !ok || wrote != r.letter {
			t.Errorf("read %s of version %d, which is %v", r.letter, r.version, wrote)
		}
		if i > 0 && r.version < reads[i-1].version {
			t.Errorf("read version %d after %d", r.version, reads[i-1].version)
		}
	}
}

func testCreateOnly(t *testing.T, s subject) {
	taken := errors.New("taken")
	for round := range 20 {
		var won atomic.Int64
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				_, err := s.store.Update(t.Context(), s.ns, strconv.Itoa(round), func(old *stores.Item) (*stores.Item, error) {
					if old != nil {
						return nil, taken
					}
					return &stores.Item{Value: []byte{byte(i)}}, nil
				})
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, taken):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if won.Load() != 1 {
			t.Fatalf("round %d: %d created the same key", round, won.Load())
		}
	}
}

// testRenameUnderReaders: a key that others are renamed to is there all the time, with the value
// of one or the other.
func testRenameUnderReaders(t *testing.T, s subject) {
	s.put("to", "0")
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		defer close(done)
		for i := range 50 {
			from := "from" + strconv.Itoa(i)
			_, err := s.store.Put(t.Context(), s.ns, from, strconv.AppendInt(nil, int64(i+1), 10), time.Time{})
			if err == nil {
				err = s.store.Rename(t.Context(), s.ns, from, "to")
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 4 {
		all.Go(func() {
			for last := 0; !closed(done); {
				item, err := s.store.Get(t.Context(), s.ns, "to")
				n, errNumber := strconv.Atoi(string(item.Value))
				if err != nil || errNumber != nil || n < last {
					t.Errorf("got %q, %v after %d", item.Value, err, last)
					return
				}
				last = n
			}
		})
	}
	all.Wait()
	if got := s.list(stores.Query{Limit: 100}); !slices.Equal(got, []string{"to"}) {
		t.Errorf("got %q, want one key", got)
	}
}

func closed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// RunSnapshots tests what stores do whose listings show one moment: of two keys that
// take turns, each shows exactly one.
func RunSnapshots(t *testing.T, open func(t *testing.T) stores.Store) {
	s := subject{t, open(t), stores.Namespace{Name: fmt.Sprintf("t%d", namespaces.Add(1))}}
	s.put("a", "x")
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		defer close(done)
		from, to := "a", "b"
		for range 100 {
			if err := s.store.Rename(t.Context(), s.ns, from, to); err != nil {
				t.Error(err)
				return
			}
			from, to = to, from
		}
	})
	for range 4 {
		all.Go(func() {
			for !closed(done) {
				entries, err := s.store.List(t.Context(), s.ns, stores.Query{Limit: 10})
				if err != nil || len(entries) != 1 {
					t.Errorf("got %v, %v, want one key", entries, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// testManyAtOnce does all operations at once, for the race detector, and checks that the
// namespace never has more keys than it may.
func testManyAtOnce(t *testing.T, s subject) {
	s = s.with(20)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := range 20 {
				key, other := strconv.Itoa((i*7+n)%30), strconv.Itoa((i+n*11)%30)
				errs := []error{nil, nil, nil, nil, nil}
				var entries []stores.Entry
				_, errs[0] = s.store.Get(t.Context(), s.ns, key)
				_, errs[1] = s.store.Put(t.Context(), s.ns, key, []byte(key), time.Now().Add(time.Duration(n%3)*time.Millisecond))
				_, errs[2] = s.store.Update(t.Context(), s.ns, other, remove)
				errs[3] = s.store.Rename(t.Context(), s.ns, key, other)
				entries, errs[4] = s.store.List(t.Context(), s.ns, stores.Query{Limit: 100})
				if len(entries) > 20 {
					t.Errorf("got %d keys of 20", len(entries))
				}
				for _, err := range errs {
					if err != nil && !errors.Is(err, stores.ErrNotFound) && !errors.Is(err, stores.ErrFull) {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}
