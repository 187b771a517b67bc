package gojinn

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
)

// refusing is a capability that can be told where to fail. It counts how often
// it was cleaned up.
type refusing struct {
	At string `json:"at,omitempty"` // provision, validate or grant
}

func init() { caddy.RegisterModule(new(refusing)) }

func (*refusing) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gojinn.capabilities.refusing", New: func() caddy.Module { return new(refusing) }}
}

func (r *refusing) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&r.At) {
		return d.ArgErr()
	}
	return nil
}

func (r *refusing) fail(at string) error {
	if r.At == at {
		return errors.New("refused at " + at)
	}
	return nil
}

func (r *refusing) Provision(caddy.Context) error { return r.fail("provision") }
func (r *refusing) Validate() error               { return r.fail("validate") }
func (r *refusing) Grant(*engine.Grants) error    { return r.fail("grant") }

// notOne is in the capabilities' namespace, but is none.
type notOne struct{}

func init() { caddy.RegisterModule(new(notOne)) }

func (*notOne) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gojinn.capabilities.not_one", New: func() caddy.Module { return new(notOne) }}
}

var provisioning sync.Mutex

// provision loads a handler from JSON as Caddy would, with app as the
// configuration of the app. All is cleaned up when the test ends.
func provision(t *testing.T, app, handler string) (*Handler, error) {
	t.Helper()
	config := new(caddy.Config)
	provisioning.Lock() // Caddy sets a global
	base, err := caddy.ProvisionContext(config)
	provisioning.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if app != "" {
		config.AppsRaw = caddy.ModuleMap{"gojinn": json.RawMessage(app)}
	}
	ctx, cancel := caddy.NewContext(base)
	t.Cleanup(cancel)
	v, err := ctx.LoadModuleByID("http.handlers.gojinn", json.RawMessage(handler))
	if err != nil {
		return nil, err
	}
	return v.(*Handler), nil
}

// TestProvisionErrors fails at every position of Provision, and looks for what
// was left behind. The engine is asked for by its key, since other tests run
// beside this one.
func TestProvisionErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := moduleFile(t, "good.wasm", answer("{}"))
	file := func(name string, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	large := filepath.Join(dir, "large.wasm")
	f, err := os.Create(large)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(1<<30), f.Close()); err != nil {
		t.Fatal(err)
	}
	noStart := newGuest(1).Bytes()
	stranger := newGuest(1)
	stranger.Import("env", "launch_missiles", nil, nil)
	stranger.Main()

	tests := []struct {
		name, app, module, options string
		want                       []string
	}{
		{"option", "", good, `"timeout":0`, []string{"timeout: must be more than 0"}},
		{"script_root without cgi", "", good, `"script_root":"/www"`, []string{"script_root: is for the contract cgi only"}},
		{"script_root that is no path", "", good, `"script_root":"www","contract":"cgi"`, []string{`script_root: "www" is not an absolute path`}},
		{"option of another contract", "", good, `"idle_timeout":"5m"`, []string{"idle_timeout: is for the contracts stream and cgi only"}},
		{"unknown option", "", good, `"tiemout":"1s"`, []string{`unknown field "tiemout"`}},
		{"option of another type", "", good, `"max_files":"many"`, []string{`"many" is not a whole number`}},
		{"negative size", "", good, `"memory":-1`, []string{`-1 is negative; to switch a limit off write "off"`}},
		{"fraction", "", good, `"fuel":1.5`, []string{"1.5 is neither a whole number nor a string"}},
		{"memory off", "", good, `"memory":"off"`, []string{"memory: can't be off"}},
		{"concurrency without calls", "", good, `"concurrency":{"queue":1}`, []string{"concurrency: calls: 0 is outside 1 to 100000"}},
		{"concurrency with an unknown member", "", good, `"concurrency":{"calls":1,"line":1}`, []string{`unknown field "line"`}},
		{"name", "", good, `"name":"a b"`, []string{"name: ", "has something else than letters"}},
		{"name's placeholder", "", good, `"name":"{env.GOJINN_TEST_UNSET}"`, []string{"name: ", "is empty"}},
		{"module's placeholder", "", "{http.request.uri}", ``, []string{"module: unrecognized placeholder"}},
		{"argument's file", "", good, `"args":["{file./does/not/exist}"]`, []string{"args: placeholder {file./does/not/exist} has no value"}},

		{"app option", `{"compilers":0}`, good, ``, []string{"loading gojinn app module", "compilers: 0 is outside 1 to 1024"}},
		{"store without a kind", `{"store":{"cart":{}}}`, good, ``, []string{"cart: no kind; known are bolt, memory"}},
		{"store of an unknown kind", `{"store":{"cart":{"kind":"clay"}}}`, good, ``, []string{`"clay" is not a kind of store in this build`}},
		{"store without a name", `{"store":{"":{"kind":"memory"}}}`, good, ``, []string{"the name is empty"}},
		{"app option unknown", `{"cachedir":"x"}`, good, ``, []string{`unknown field "cachedir"`}},
		{"default", `{"defaults":{"timeout":"0s"}}`, good, ``, []string{"defaults: timeout: must be more than 0"}},
		{"snapshot", "", good, `"snapshot":"maybe"`, []string{`snapshot: "maybe" is not one of auto, on, off`}},
		{"warm", "", good, `"warm":"off"`, []string{"warm: can't be off"}},
		{"default that is no path", `{"defaults":{"script_root":"www"}}`, good, ``, []string{`defaults: script_root: "www" is not an absolute path`}},
		{"default allow", `{"defaults":{"allow":[]}}`, good, ``, []string{`unknown field "allow"`}},
		{"cache directory's placeholder", `{"cache_dir":"{env.GOJINN_TEST_UNSET}"}`, good, ``, []string{"cache_dir: ", "is empty"}},

		{"unknown capability", "", good, `"allow":[{"capability":"everything"}]`, []string{"allow: ", "unknown module: gojinn.capabilities.everything"}},
		{"capability without a name", "", good, `"allow":[{}]`, []string{"allow: "}},
		{"capability's option", "", good, `"allow":[{"capability":"refusing","bad":1}]`, []string{"allow: ", `unknown field "bad"`}},
		{"capability's provision", "", good, `"allow":[{"capability":"refusing","at":"provision"}]`, []string{"allow: ", "refused at provision"}},
		{"capability's validate", "", good, `"allow":[{"capability":"refusing","at":"validate"}]`, []string{"allow: ", "refused at validate"}},
		{"second capability's grant", "", good, `"allow":[{"capability":"refusing"},{"capability":"refusing","at":"grant"}]`, []string{"allow refusing: refused at grant"}},
		{"same grant twice", "", good, `"allow":[{"capability":"probe","word":"a"},{"capability":"probe","word":"b"}]`, []string{"allow probe: ", "PROBE", "twice"}},
		{"not a capability", "", good, `"allow":[{"capability":"not_one"}]`, []string{"allow not_one: ", "is not a capability"}},

		{"no module", "", "", ``, []string{"module : no path is given"}},
		{"missing", "", filepath.Join(dir, "missing.wasm"), ``, []string{"missing.wasm", "no such file"}},
		{"directory", "", dir, ``, []string{dir, "is a directory, not a WebAssembly file"}},
		{"empty", "", file("empty.wasm", ""), ``, []string{"empty.wasm", "is empty"}},
		{"too large", "", large, ``, []string{"large.wasm", "is larger than 128MiB"}},
		{"text", "", file("text.wasm", "(module)"), ``, []string{"text.wasm"}},
		{"truncated", "", file("truncated.wasm", string(answer("{}")[:50])), ``, []string{"truncated.wasm"}},
		{"component", "", file("component.wasm", "\x00asm\x0d\x00\x01\x00"), ``, []string{"component.wasm"}},
		{"no _start", "", file("nostart.wasm", string(noStart)), ``, []string{"nostart.wasm", "_start"}},
		{"unknown import", "", file("stranger.wasm", string(stranger.Bytes())), ``, []string{"stranger.wasm", "launch_missiles"}},
		{"more memory than allowed", "", moduleFile(t, "fat.wasm", newFat()), `"memory":"1MiB"`, []string{"fat.wasm", "limit"}},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			// A cache directory of its own, and so an engine of its own.
			cache := filepath.Join(t.TempDir(), fmt.Sprint(i))
			app := test.app
			if app == "" {
				app = `{"cache_dir":"` + cache + `"}`
			}
			module, err := json.Marshal(test.module)
			if err != nil {
				t.Fatal(err)
			}
			handler := `{"module":` + string(module)
			if test.options != "" {
				handler += "," + test.options
			}
			t.Run("load", func(t *testing.T) {
				h, err := provision(t, app, handler+"}")
				checkConfigError(t, err, test.want...)
				if h != nil {
					t.Error("a handler was returned")
				}
			})
			engines.Range(func(key, _ any) bool {
				if key := key.(engineKey); key.cacheDir == cache {
					t.Errorf("the engine is left")
				}
				return true
			})
		})
	}
}

// TestProgramsReleased: compiled code is given up, by a Provision that fails
// after it was compiled and by Cleanup, while others still use the engine.
func TestProgramsReleased(t *testing.T) {
	t.Parallel()
	key := engineKey{cacheDir: filepath.Join(t.TempDir(), "cache"), cacheSize: defaultCacheSize, memory: 1 << 30}
	e, err := acquireEngine(key)
	if err != nil {
		t.Fatal(err)
	}
	defer releaseEngine(key)
	wasm := newFat()
	module := moduleFile(t, "fat.wasm", wasm)
	for name, options := range map[string]string{"refused": `,"memory":"1MiB"`, "accepted": ""} {
		t.Run(name, func(t *testing.T) { // at whose end all is cleaned up
			_, err := provision(t, `{"cache_dir":"`+key.cacheDir+`","memory":"1GiB"}`, `{"module":"`+module+`"`+options+`}`)
			if refused := err != nil; refused != (options != "") {
				t.Errorf("got %v", err)
			}
		})
		// A program that nobody uses any more is another one when it comes back.
		first, err := e.Compile(t.Context(), wasm)
		if err != nil {
			t.Fatal(err)
		}
		first.Close()
		second, err := e.Compile(t.Context(), wasm)
		if err != nil {
			t.Fatal(err)
		}
		second.Close()
		if first == second {
			t.Errorf("%s: the program is still in use", name)
		}
	}
}

// newFat is a program with 2 MiB of memory.
func newFat() []byte {
	g := newGuest(32)
	g.Main()
	return g.Bytes()
}

func TestValidateUnprovisioned(t *testing.T) {
	t.Parallel()
	if err := new(Handler).Validate(); err == nil {
		t.Error("no error for a handler that was never provisioned")
	}
	if err := new(Handler).Cleanup(); err != nil {
		t.Errorf("cleaning it up: %v", err)
	}
	if err := new(App).Cleanup(); err != nil {
		t.Errorf("cleaning up an app: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	cpus := runtime.GOMAXPROCS(0)
	var none Options
	if got, want := none.limits(), (engine.Limits{
		Timeout: 10e9, Memory: 128 << 20, Output: 8 << 20, Log: 64<<10 + 1, Files: 64,
	}); got != want {
		t.Errorf("limits: got %+v, want %+v", got, want)
	}
	if got, want := none.concurrency(), (engine.Concurrency{Calls: 4 * cpus, Queue: 64 * cpus, Wait: 1e9}); got != want {
		t.Errorf("concurrency: got %+v, want %+v", got, want)
	}
	if got := none.maxRequest(); got != 8<<20 {
		t.Errorf("max_request: got %d", got)
	}

	var app App
	if err := json.Unmarshal([]byte(`{"defaults":{"name":"n","contract":"json","args":["a"],"timeout":"1s","fuel":2,"memory":"3MiB",
		"max_request":4,"max_response":5,"max_log":6,"max_files":7,"concurrency":{"calls":8,"queue":9,"wait":"10s"}}}`), &app); err != nil {
		t.Fatal(err)
	}
	if err := app.Defaults.check(); err != nil {
		t.Fatal(err)
	}
	o := none.withDefaults(*app.Defaults)
	if got, want := o.limits(), (engine.Limits{Timeout: 1e9, Fuel: 2, Memory: 3 << 20, Output: 5, Log: 7, Files: 7}); got != want {
		t.Errorf("limits: got %+v, want %+v", got, want)
	}
	if got, want := o.concurrency(), (engine.Concurrency{Calls: 8, Queue: 9, Wait: 10e9}); got != want {
		t.Errorf("concurrency: got %+v, want %+v", got, want)
	}
	if o.Name != "n" || o.Contract != "json" || o.Args[0] != "a" || o.maxRequest() != 4 {
		t.Errorf("got %+v", o)
	}

	// What a function sets itself stays.
	own := new(Options)
	if err := json.Unmarshal([]byte(`{"name":"o","args":["b"],"timeout":"off","fuel":"off","memory":"1GiB",
		"max_request":"off","max_response":"off","max_log":0,"max_files":1,"concurrency":{"calls":1,"queue":0,"wait":0}}`), own); err != nil {
		t.Fatal(err)
	}
	o = own.withDefaults(*app.Defaults)
	if got, want := o.limits(), (engine.Limits{Memory: 1 << 30, Log: 1, Files: 1}); got != want {
		t.Errorf("limits: got %+v, want %+v", got, want)
	}
	if got, want := o.concurrency(), (engine.Concurrency{Calls: 1}); got != want {
		t.Errorf("concurrency: got %+v, want %+v", got, want)
	}
	if o.Name != "o" || o.Args[0] != "b" || o.maxRequest() != off {
		t.Errorf("got %+v", o)
	}
}

func TestUnits(t *testing.T) {
	t.Parallel()
	var got struct {
		D []Duration
		S []Size
		C []Count
	}
	const in = `{"D":["10s","1m30s","2d",1000000,"off",0],"S":["8MiB","8MB","1.5KiB",123,"off","1 GiB"],"C":[5,"6","off",9223372036854775807]}`
	if err := json.Unmarshal([]byte(in), &got); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"D":["10s","1m30s","48h0m0s","1ms","off","0s"],"S":["8MiB",8000000,1536,123,"off","1GiB"],"C":[5,6,"off","9223372036854775807"]}`
	if string(out) != want {
		t.Errorf("got  %s\nwant %s", out, want)
	}
	for _, bad := range []string{
		`{"D":[-1]}`, `{"D":["-1s"]}`, `{"D":["x"]}`, `{"D":[true]}`, `{"D":[{}]}`, `{"D":[1.5]}`, `{"D":[""]}`,
		`{"S":[-1]}`, `{"S":["-1"]}`, `{"S":["x"]}`, `{"S":["20EiB"]}`, `{"S":[null]}`, `{"S":[1e30]}`, `{"S":[""]}`,
		`{"C":[-1]}`, `{"C":["-1"]}`, `{"C":["1e3"]}`, `{"C":[1e3]}`, `{"C":["9223372036854775808"]}`,
	} {
		if err := json.Unmarshal([]byte(bad), &got); err == nil && !strings.Contains(bad, "null") {
			t.Errorf("no error for %s", bad)
		}
	}
}

// TestNames: the file's base name, unless there is a name; numbered when
// repeated.
func TestNames(t *testing.T) {
	t.Parallel()
	app := &App{names: make(map[string]bool)}
	for _, test := range []struct{ name, path, want string }{
		{"", "/srv/contact.wasm", "contact"},
		{"", "other/contact.wasm", "contact#2"},
		{"contact", "x.wasm", "contact#3"},
		{"", "contact#2.wasm", "contact#2#2"},
		{"", "module", "module"},
		{"", "two words.wasm", "two words"},
		{"", "évil\x1b[2J.wasm", `évil\x1b[2J`},
		{"given", "contact.wasm", "given"},
		{"", "/.wasm", "function"},
	} {
		base, err := (&Options{Name: test.name}).baseName(test.path)
		if err != nil {
			t.Errorf("%s %s: %v", test.name, test.path, err)
		}
		if got := app.uniqueName(base); got != test.want {
			t.Errorf("%q %q: got %q, want %q", test.name, test.path, got, test.want)
		}
	}
}
