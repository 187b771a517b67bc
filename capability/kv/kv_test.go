package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/stores"
	"github.com/gojinn/gojinn/stores/memory"
)

// registry has one store, the default one.
type registry struct{ store stores.Store }

func (r registry) Store(name string) (stores.Store, error) {
	if name != stores.DefaultName {
		return nil, fmt.Errorf("no store is called %q; known are default", name)
	}
	return r.store, nil
}

// newStore returns an empty store in memory.
func newStore(t testing.TB) stores.Store {
	t.Helper()
	m := new(memory.Memory)
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	m.SetName(t.Name())
	t.Cleanup(func() { _ = m.Cleanup() })
	return m
}

// newGrant returns what a line grants, of a store.
func newGrant(t testing.TB, line string, store stores.Store) *grant {
	t.Helper()
	var k KV
	if err := k.UnmarshalCaddyfile(caddyfile.NewTestDispenser(line)); err != nil {
		t.Fatal(err)
	}
	if err := k.provision(registry{store}, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	return k.grant
}

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       string // JSON, or what the error says after "!"
	}{
		{"namespace", "kv users", `{"namespace":"users"}`},
		{"with a path", "kv users /data/users", `{"namespace":"users","path":"/data/users"}`},
		{"read-only", "kv users ro", `{"namespace":"users","mode":"ro"}`},
		{"both", "kv users /u ro", `{"namespace":"users","path":"/u","mode":"ro"}`},
		{"all options", "kv users {\n store cache\n max_value 64KiB\n max_keys 1000\n ttl 1h\n}",
			`{"namespace":"users","store":"cache","max_value":"64KiB","max_keys":1000,"ttl":"1h0m0s"}`},
		{"off", "kv users {\n max_keys off\n ttl off\n}", `{"namespace":"users","max_keys":"off","ttl":"off"}`},
		{"placeholder", "kv {env.TENANT}", `{"namespace":"{env.TENANT}"}`},
		{"nothing", "kv", "!no namespace; usage: allow kv <namespace> [<guest path>] [ro]"},
		{"too many", "kv users /u ro now", `!unexpected argument "now"; usage`},
		{"wrong order", "kv users ro /u", `!unexpected argument "/u"; usage`},
		{"unknown mode", "kv users rw", `!unexpected argument "rw"; usage`},
		{"bad namespace", "kv users/a", "!holds something else"},
		{"hidden namespace", "kv .users", "!begins with a dot"},
		{"bad path", "kv users /x/../y", `!".."`},
		{"a device", "kv users /dev/null", "!already"},
		{"unknown option", "kv users {\n quota 1\n}", `!"quota" is not an option; allowed are max_keys, max_value, store, ttl`},
		{"option twice", "kv users {\n ttl 1s\n ttl 1s\n}", "!ttl is given twice"},
		{"no value", "kv users {\n store\n}", "!store: it has one argument"},
		{"two values", "kv users {\n ttl 1s 2s\n}", "!ttl: it has one argument"},
		{"block in an option", "kv users {\n ttl 1s {\n x\n}\n}", "!ttl takes no block"},
		{"bad size", "kv users {\n max_value big\n}", `!max_value: "big" is not a size`},
		{"no size", "kv users {\n max_value off\n}", "!max_value: off is outside 1 to 64MiB"},
		{"large size", "kv users {\n max_value 1GiB\n}", "!max_value: 1GiB is outside 1 to 64MiB"},
		{"no keys", "kv users {\n max_keys 0\n}", "!max_keys: 0 is no number"},
		{"no time", "kv users {\n ttl 0s\n}", "!ttl: 0s is less than 1ms"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var k KV
			err := k.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.text))
			if want, ok := strings.CutPrefix(test.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
					t.Errorf("got %v, want %q with file and line", err, want)
				}
				return
			}
			got, errJSON := json.Marshal(&k)
			if err != nil || errJSON != nil || string(got) != test.want {
				t.Errorf("got %s, %v, %v, want %s", got, err, errJSON, test.want)
			}
		})
	}
}

func TestGrant(t *testing.T) {
	t.Setenv("GOJINN_TEST_TENANT", "acme")
	t.Setenv("GOJINN_TEST_BAD", "a/b")
	store := newStore(t)
	for _, test := range []struct {
		name       string
		kv         KV
		path, want string // what the error says; "": none
	}{
		{"default path", KV{Namespace: "users"}, "/kv/users", ""},
		{"own path", KV{Namespace: "users", Path: "/u"}, "/u", ""},
		{"placeholder", KV{Namespace: "{env.GOJINN_TEST_TENANT}"}, "/kv/acme", ""},
		{"bad placeholder", KV{Namespace: "{env.GOJINN_TEST_BAD}"}, "", "holds something else"},
		{"empty placeholder", KV{Namespace: "{env.GOJINN_TEST_UNSET}"}, "", "GOJINN_TEST_UNSET"},
		{"no namespace", KV{}, "", "the namespace has no name"},
		{"unknown store", KV{Namespace: "users", Store: "cache"}, "", `no store is called "cache"; known are default`},
		{"unknown mode", KV{Namespace: "users", Mode: "rw"}, "", `the mode "rw" is not ro`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var grants engine.Grants
			err := test.kv.provision(registry{store}, zap.NewNop())
			if err == nil {
				err = test.kv.Grant(&grants)
			}
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				return
			}
			if err != nil || test.kv.path != test.path {
				t.Errorf("got %s, %v, want %s", test.kv.path, err, test.path)
			}
			if err := test.kv.Grant(&grants); err == nil {
				t.Error("the same path twice: got no error")
			}
		})
	}
}

func TestModule(t *testing.T) {
	t.Parallel()
	info, err := caddy.GetModule("gojinn.capabilities.kv")
	if err != nil {
		t.Fatal(err)
	}
	if info.New() == info.New() {
		t.Error("got the same module twice")
	}
}

// broken is a store whose operations fail.
type broken struct {
	stores.Store
	err error
}

func (b broken) Get(ctx context.Context, _ stores.Namespace, _ string) (stores.Item, error) {
	if b.err == nil { // it hangs
		<-ctx.Done()
		return stores.Item{}, fmt.Errorf("cut off: %w", ctx.Err())
	}
	return stores.Item{}, b.err
}

func (b broken) Update(ctx context.Context, ns stores.Namespace, key string, _ stores.Edit) (stores.Item, error) {
	return b.Get(ctx, ns, key)
}

func (b broken) List(ctx context.Context, ns stores.Namespace, _ stores.Query) ([]stores.Entry, error) {
	_, err := b.Get(ctx, ns, "")
	return nil, err
}

var errDown = errors.New("the store is down")
