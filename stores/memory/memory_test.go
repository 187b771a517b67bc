package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/internal/units"
	"github.com/gojinn/gojinn/stores"
	"github.com/gojinn/gojinn/stores/storetest"
)

var tests atomic.Int64

// name returns a name that no other test has.
func name() string { return fmt.Sprintf("test%d", tests.Add(1)) }

// open returns a store of a name until the test ends.
func open(t *testing.T, name string, size units.Size) *Memory {
	t.Helper()
	m := &Memory{Size: &size}
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	m.SetName(name)
	t.Cleanup(func() {
		if err := m.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) stores.Store { return open(t, name(), 64<<20) })
	storetest.RunSnapshots(t, func(t *testing.T) stores.Store { return open(t, name(), 64<<20) })
}

var ns = stores.Namespace{Name: "n"}

func TestKeptOverReload(t *testing.T) {
	t.Parallel()
	name, ctx := name(), t.Context()
	load := func() *Memory {
		m := new(Memory)
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		m.SetName(name)
		return m
	}
	unload := func(m *Memory) {
		if err := m.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
	first := load()
	if _, err := first.Put(ctx, ns, "key", []byte("value"), time.Time{}); err != nil {
		t.Fatal(err)
	}
	second := load()
	unload(first)
	if item, err := second.Get(ctx, ns, "key"); err != nil || string(item.Value) != "value" {
		t.Errorf("after a reload: got %q, %v", item.Value, err)
	}
	unload(second)
	// Calls that outlive the configuration.
	if item, err := second.Get(ctx, ns, "key"); err != nil || string(item.Value) != "value" {
		t.Errorf("after the end: got %q, %v", item.Value, err)
	}
	if _, err := second.Put(ctx, ns, "key", nil, time.Now().Add(time.Millisecond)); err != nil {
		t.Errorf("after the end: %v", err)
	}
	third := load()
	defer unload(third)
	if _, err := third.Get(ctx, ns, "key"); !errors.Is(err, stores.ErrNotFound) {
		t.Errorf("in a new life: got %v, want %v", err, stores.ErrNotFound)
	}
}

func TestUnnamed(t *testing.T) {
	t.Parallel()
	m := new(Memory)
	if _, err := m.Get(t.Context(), ns, "key"); !errors.Is(err, errUnnamed) {
		t.Errorf("got %v, want %v", err, errUnnamed)
	}
	if err := m.Cleanup(); err != nil {
		t.Error(err)
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	m, ctx := open(t, name(), 64<<10), t.Context()
	value := make([]byte, 1000)
	stored := 0
	for ; ; stored++ {
		_, err := m.Put(ctx, ns, fmt.Sprint(stored), value, time.Time{})
		if errors.Is(err, stores.ErrFull) {
			break
		}
		if err != nil || stored > 1000 {
			t.Fatal(stored, err)
		}
	}
	if stored < 40 || stored > 65 {
		t.Errorf("%d values of 1000 bytes fit into 64 KiB", stored)
	}
	if _, err := m.Put(ctx, ns, "0", value, time.Time{}); err != nil {
		t.Errorf("in the place of another: %v", err)
	}
	if _, err := m.Put(ctx, ns, "0", make([]byte, 64<<10), time.Time{}); !errors.Is(err, stores.ErrFull) {
		t.Errorf("more than there is: got %v", err)
	}
	if item, err := m.Get(ctx, ns, "0"); err != nil || len(item.Value) != 1000 {
		t.Errorf("what was refused replaced what was there: got %d bytes, %v", len(item.Value), err)
	}
	soon := time.Now().Add(50 * time.Millisecond)
	if _, err := m.Put(ctx, ns, "0", value, soon); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(soon) + time.Millisecond)
	if _, err := m.Put(ctx, ns, "new", value, time.Time{}); err != nil {
		t.Errorf("in the place of what has expired: %v", err)
	}
	for i := range stored {
		if _, err := m.Update(ctx, ns, fmt.Sprint(i), func(*stores.Item) (*stores.Item, error) { return nil, nil }); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.Rename(ctx, ns, "new", "newer"); err != nil {
		t.Fatal(err)
	}
	if want := int64(len("newer")+1000) + overhead; m.data.used != want || len(m.data.expiring) != 0 {
		t.Errorf("got %d bytes, %d that expire, want %d and none", m.data.used, len(m.data.expiring), want)
	}
}

// TestSweep: what has expired goes without anybody asking for it, and what is written over
// leaves nothing behind.
func TestSweep(t *testing.T) {
	t.Parallel()
	m, ctx := open(t, name(), 1<<20), t.Context()
	for range 100 {
		if _, err := m.Put(ctx, ns, "key", nil, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if len(m.data.expiring) != 1 {
		t.Errorf("got %d that expire, want 1", len(m.data.expiring))
	}
	for i := range 100 {
		if _, err := m.Put(ctx, ns, fmt.Sprint(i), nil, time.Now().Add(time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		m.data.mu.RLock()
		used, left := m.data.used, len(m.data.expiring)
		m.data.mu.RUnlock()
		if used == overhead+3 && left == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes, %d records that expire are left", used, left)
		}
	}
}

// TestSpace compares a space with a map.
func TestSpace(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	var s space
	want := make(map[string]bool)
	for range 20_000 {
		key := fmt.Sprint(random.IntN(3000))
		switch {
		case !want[key] && random.IntN(3) > 0:
			s.add(&record{key: key})
			want[key] = true
		case want[key] && random.IntN(3) == 0:
			s.remove(key)
			delete(want, key)
		}
		if r := s.get(key); (r != nil) != want[key] {
			t.Fatalf("%s: got %v, want %v", key, r, want[key])
		}
	}
	var got, sorted []string
	for key := range want {
		sorted = append(sorted, key)
	}
	slices.Sort(sorted)
	s.from("", func(r *record) bool { got = append(got, r.key); return true })
	if !slices.Equal(got, sorted) || s.count != int64(len(want)) {
		t.Errorf("got %d keys, counted %d, want %d, in order", len(got), s.count, len(want))
	}
	for _, key := range sorted {
		s.remove(key)
	}
	if s.count != 0 || len(s.pieces) != 0 {
		t.Errorf("%d keys, %d pieces are left", s.count, len(s.pieces))
	}
}

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       string // JSON, or what the error says after "!"
	}{
		{"plain", "memory", `{}`},
		{"with a size", "memory 1GiB", `{"size":"1GiB"}`},
		{"bad size", "memory big", `!"big" is not a size`},
		{"small size", "memory 1KiB", `!the size 1KiB is less than 64KiB`},
		{"no limit", "memory off", `!the size off is less than`},
		{"too many", "memory 1GiB 2GiB", `!unexpected argument "2GiB"; usage: store <name> memory [<size>]`},
		{"block", "memory {\n path x\n}", `!takes no options, such as "path"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var m Memory
			err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.text))
			if want, ok := strings.CutPrefix(test.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
					t.Errorf("got %v, want %q with file and line", err, want)
				}
				return
			}
			got, errJSON := json.Marshal(&m)
			if err != nil || errJSON != nil || string(got) != test.want {
				t.Errorf("got %s, %v, %v, want %s", got, err, errJSON, test.want)
			}
		})
	}
}

func TestModule(t *testing.T) {
	t.Parallel()
	info, err := caddy.GetModule("gojinn.stores.memory")
	if err != nil {
		t.Fatal(err)
	}
	if info.New() == info.New() {
		t.Error("got the same module twice")
	}
}
