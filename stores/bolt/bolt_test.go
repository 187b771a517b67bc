package bolt

import (
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gojinn/gojinn/stores"
	"github.com/gojinn/gojinn/stores/storetest"
)

// open returns a store in a file until the test ends.
func open(t testing.TB, path string) *Bolt {
	t.Helper()
	b := &Bolt{Path: path}
	if err := b.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func TestStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	storetest.Run(t, func(t *testing.T) stores.Store { return open(t, path) })
	storetest.RunSnapshots(t, func(t *testing.T) stores.Store { return open(t, path) })
}
