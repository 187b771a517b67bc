package examples

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

const examples = "../../examples"

// caddyfile keeps everything that Caddy writes in folders of the test.
const caddyfile = `{
	admin off
	persist_config off
	storage file_system %s
	log {
		output discard
	}
	gojinn {
		cache_dir %s
%s	}
}
http://%s {
%s}
`

// cache has the compiled code of all tests: an interpreter takes many seconds.
var cache string

func TestMain(m *testing.M) {
	folder, err := os.MkdirTemp("", "gojinn-examples-")
	if err != nil {
		panic(err)
	}
	cache = filepath.Join(folder, "cache")
	code := m.Run()
	_ = os.RemoveAll(folder) // a temporary folder, at the end of the process
	os.Exit(code)
}

// serveSite runs Caddy with these lines in the global option gojinn and these directives until the
// test ends. The process has one Caddy, so tests that need it are not parallel.
func serveSite(t *testing.T, global, directives string) (address string) {
	t.Helper()
	t.Setenv("XDG_DATA_HOME", t.TempDir()) // where Caddy notes the number of its instance, and stores are
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	text := fmt.Sprintf(caddyfile, t.TempDir(), cache, global, address, directives)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	return address
}

// module returns the path of the module of the example of this name: of what is checked in, or, for
// Go, of what the source compiles to.
func module(t *testing.T, name string) string {
	t.Helper()
	functions, err := toolchain.Find(filepath.Join(examples, name))
	if err != nil {
		t.Fatal(err)
	}
	f := functions[0]
	if f.Language != toolchain.Go {
		return f.Built
	}
	path := filepath.Join(t.TempDir(), name+".wasm")
	if err := os.WriteFile(path, toolchaintest.Build(t, f.Dir), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// handle is a directive that serves a module below a prefix, which the function doesn't see.
func handle(prefix, module, options string) string {
	return fmt.Sprintf("handle_path %s/* {\n gojinn %s {\n timeout 1m\n concurrency 8 queue 100 wait 1m\n %s\n }\n}\n", prefix, module, options)
}
