package gojinn

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/gojinn/gojinn/engine"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// probe is a capability that takes exactly one word.
type probe struct {
	Word string `json:"word,omitempty"`
}

func init() { caddy.RegisterModule(new(probe)) }

func (*probe) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "gojinn.capabilities.probe", New: func() caddy.Module { return new(probe) }}
}

func (p *probe) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&p.Word) {
		return d.Errf("allow probe: wrong number of arguments; usage: allow probe <word>")
	}
	return nil
}

func (p *probe) Grant(g *engine.Grants) error {
	return g.Env("PROBE", engine.Value{Fixed: p.Word})
}

// adapt turns a Caddyfile into JSON; its errors name the file "Caddyfile".
func adapt(config string) ([]byte, error) {
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config), map[string]any{"filename": "Caddyfile"})
	return out, err
}

func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/adapt/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			t.Parallel()
			const divider = "----------\n"
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			config, want, _ := strings.Cut(string(raw), divider)
			adapted, err := adapt(config)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if err := json.Indent(&got, adapted, "", "\t"); err != nil {
				t.Fatal(err)
			}
			if *update {
				err := os.WriteFile(file, []byte(config+divider+got.String()+"\n"), 0o644)
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if got := got.String() + "\n"; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			checkRoundTrip(t, adapted)
		})
	}
}

// checkRoundTrip loads every handler and app of ours in a configuration and
// writes it again.
func checkRoundTrip(t *testing.T, config []byte) {
	t.Helper()
	var loaded struct {
		Apps map[string]json.RawMessage `json:"apps"`
	}
	if err := json.Unmarshal(config, &loaded); err != nil {
		t.Fatal(err)
	}
	if raw, ok := loaded.Apps["gojinn"]; ok {
		sameAfterLoad(t, raw, new(App))
	}
	var whole any
	if err := json.Unmarshal(config, &whole); err != nil {
		t.Fatal(err)
	}
	found := 0
	walkJSON(whole, func(object map[string]any) {
		var handler any = new(Handler)
		switch object["handler"] {
		case "gojinn":
		case "gojinn_dir":
			handler = new(Directory)
		default:
			return
		}
		found++
		delete(object, "handler")
		raw, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		sameAfterLoad(t, raw, handler)
	})
	if found == 0 {
		t.Error("no handler of ours in the configuration")
	}
}

func sameAfterLoad(t *testing.T, raw []byte, into any) {
	t.Helper()
	if err := caddy.StrictUnmarshalJSON(raw, into); err != nil {
		t.Fatalf("loading %s: %v", raw, err)
	}
	again, err := json.Marshal(into)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := normalJSON(t, again), normalJSON(t, raw); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func normalJSON(t *testing.T, raw []byte) string {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func walkJSON(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(v)
		for _, member := range v {
			walkJSON(member, visit)
		}
	case []any:
		for _, element := range v {
			walkJSON(element, visit)
		}
	}
}

// TestDirectiveErrors has every option wrong in every way. Each error must
// name the file and the line, and say what was allowed.
func TestDirectiveErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		line string // the third of the Caddyfile, in the directive's block
		want []string
	}{
		{"unknown word", "tiemout 5s", []string{`"tiemout" is not an option here`, "timeout", "allow", "max_request", "concurrency"}},
		{"unknown word with block", "banana {\n}", []string{`"banana" is not an option here`}},

		{"name: nothing", "name", []string{"name: wrong number of arguments", "usage: name <name>"}},
		{"name: empty", `name ""`, []string{"name: must not be empty", "usage: name <name>"}},
		{"name: two", "name a b", []string{"name: wrong number of arguments", "usage: name <name>"}},
		{"name: slash", "name a/b", []string{`name: "a/b" has something else than letters`}},
		{"name: space", `name "a b"`, []string{`name: "a b" has something else than letters`}},
		{"name: number sign", `name a#2`, []string{`name: "a#2" has something else than letters`}},
		{"name: not UTF-8", "name a\xff", []string{`name: `, "has something else than letters"}},
		{"name: long", "name " + strings.Repeat("a", 101), []string{"name: is longer than 100 bytes"}},
		{"name: block", "name a {\n}", []string{"name takes no block"}},

		{"contract: nothing", "contract", []string{"contract: wrong number of arguments", "usage: contract json | stream | cgi"}},
		{"contract: unknown", "contract xml", []string{`contract: "xml" is not one of json, stream, cgi`}},
		{"contract: case", "contract JSON", []string{`contract: "JSON" is not one of json, stream, cgi`}},
		{"contract: two", "contract json stream", []string{"contract: wrong number of arguments"}},

		{"args: nothing", "args", []string{"args: wrong number of arguments", "usage: args <arg> …"}},
		{"args: NUL", "args \"a\x00b\"", []string{"args: ", "holds a NUL byte"}},
		{"args: block", "args a {\nb\n}", []string{"args takes no block"}},

		{"timeout: nothing", "timeout", []string{"timeout: wrong number of arguments", "usage: timeout <duration> | off"}},
		{"timeout: two", "timeout 1s 2s", []string{"timeout: wrong number of arguments"}},
		{"timeout: word", "timeout soon", []string{`timeout: "soon" is not a duration such as 500ms, 10s or 2m`, "usage: timeout <duration> | off"}},
		{"timeout: bare number", "timeout 10", []string{`timeout: "10" is not a duration`}},
		{"timeout: negative", "timeout -1s", []string{`timeout: "-1s" is negative`}},
		{"timeout: zero", "timeout 0s", []string{"timeout: must be more than 0; for no limit write off"}},
		{"timeout: overflow", "timeout 99999999999h", []string{`is not a duration`}},
		{"timeout: none", "timeout none", []string{`timeout: "none" is not a duration`}},
		{"timeout: block", "timeout 1s {\nx\n}", []string{"timeout takes no block"}},
		{"timeout: empty block", "timeout 1s {\n}", []string{"timeout takes no block"}},

		{"fuel: nothing", "fuel", []string{"fuel: wrong number of arguments", "usage: fuel <n> | off"}},
		{"fuel: word", "fuel much", []string{`fuel: "much" is not a whole number`}},
		{"fuel: negative", "fuel -1", []string{`fuel: "-1" is not a whole number`}},
		{"fuel: fraction", "fuel 1.5", []string{`fuel: "1.5" is not a whole number`}},
		{"fuel: exponent", "fuel 1e9", []string{`fuel: "1e9" is not a whole number`}},
		{"fuel: zero", "fuel 0", []string{"fuel: must be at least 1; for no limit write off"}},
		{"fuel: overflow", "fuel 9223372036854775808", []string{"is not a whole number"}},

		{"memory: nothing", "memory", []string{"memory: wrong number of arguments", "usage: memory <size>"}},
		{"memory: word", "memory lots", []string{`memory: "lots" is not a size such as 64KiB`}},
		{"memory: unit", "memory 5parsec", []string{`memory: "5parsec" is not a size`}},
		{"memory: negative", "memory -1MiB", []string{`memory: "-1MiB" is not a size`}},
		{"memory: off", "memory off", []string{"memory: can't be off"}},
		{"memory: less than a page", "memory 65535", []string{"memory: 65535 is outside 64KiB to 4GiB"}},
		{"memory: zero", "memory 0", []string{"memory: 0 is outside 64KiB to 4GiB"}},
		{"memory: more than addresses reach", "memory 4097MiB", []string{"memory: 4097MiB is outside 64KiB to 4GiB"}},
		{"memory: overflow", "memory 99EB", []string{"memory: ", "is not a size"}},
		{"memory: two words", "memory 8 MiB", []string{"memory: wrong number of arguments"}},

		{"max_request: nothing", "max_request", []string{"max_request: wrong number of arguments", "usage: max_request <size> | off"}},
		{"max_request: word", "max_request big", []string{`max_request: "big" is not a size`}},
		{"max_request: negative", "max_request -1", []string{`max_request: "-1" is not a size`}},

		{"max_response: nothing", "max_response", []string{"max_response: wrong number of arguments", "usage: max_response <size> | off"}},
		{"max_response: word", "max_response big", []string{`max_response: "big" is not a size`}},
		{"max_response: zero", "max_response 0", []string{"max_response: must be at least 1; for no limit write off"}},

		{"max_log: nothing", "max_log", []string{"max_log: wrong number of arguments", "usage: max_log <size>"}},
		{"max_log: off", "max_log off", []string{"max_log: can't be off"}},
		{"max_log: large", "max_log 2GiB", []string{"max_log: 2GiB is outside 0 to 1GiB"}},

		{"max_files: nothing", "max_files", []string{"max_files: wrong number of arguments", "usage: max_files <n>"}},
		{"max_files: zero", "max_files 0", []string{"max_files: 0 is outside 1 to 65536"}},
		{"max_files: large", "max_files 65537", []string{"max_files: 65537 is outside 1 to 65536"}},
		{"max_files: off", "max_files off", []string{"max_files: can't be off"}},
		{"max_files: word", "max_files some", []string{`max_files: "some" is not a whole number`}},

		{"concurrency: nothing", "concurrency", []string{"concurrency: wrong number of arguments", "usage: concurrency <n> [queue <n>] [wait <duration>]"}},
		{"concurrency: zero", "concurrency 0", []string{"concurrency: calls: 0 is outside 1 to 100000"}},
		{"concurrency: off", "concurrency off", []string{"concurrency: calls: can't be off"}},
		{"concurrency: word first", "concurrency queue 5", []string{`concurrency: "queue" is not a whole number`}},
		{"concurrency: unknown word", "concurrency 5 line 3", []string{`concurrency: "line" is neither queue nor wait`}},
		{"concurrency: queue without value", "concurrency 5 queue", []string{"concurrency: queue needs a value"}},
		{"concurrency: queue twice", "concurrency 5 queue 1 queue 2", []string{"concurrency: queue is given twice"}},
		{"concurrency: wait twice", "concurrency 5 wait 1s wait 2s", []string{"concurrency: wait is given twice"}},
		{"concurrency: bad queue", "concurrency 5 queue x", []string{`concurrency: queue: "x" is not a whole number`}},
		{"concurrency: large queue", "concurrency 5 queue 1000001", []string{"concurrency: queue: 1000001 is outside 0 to 1000000"}},
		{"concurrency: bad wait", "concurrency 5 wait 3", []string{`concurrency: wait: "3" is not a duration`}},
		{"concurrency: endless wait", "concurrency 5 wait off", []string{"concurrency: wait: can't be off"}},

		{"idle_timeout: zero", "idle_timeout 0s", []string{"idle_timeout: must be more than 0; for no limit write off"}},
		{"idle_timeout: text", "idle_timeout soon", []string{"idle_timeout: "}},
		{"warm: nothing", "warm", []string{"warm: wrong number of arguments", "usage: warm <n>"}},
		{"warm: word", "warm all", []string{`warm: "all" is not a whole number`}},
		{"warm: off", "warm off", []string{"warm: can't be off"}},
		{"warm: large", "warm 100001", []string{"warm: 100001 is outside 0 to 100000"}},
		{"idle: nothing", "idle", []string{"idle: wrong number of arguments", "usage: idle <duration>"}},
		{"idle: number", "idle 30", []string{`idle: "30" is not a duration`}},
		{"idle: off", "idle off", []string{"idle: can't be off"}},
		{"idle: negative", "idle -1s", []string{`idle: "-1s" is negative`}},
		{"unload: nothing", "unload", []string{"unload: wrong number of arguments", "usage: unload <duration>"}},
		{"unload: number", "unload 5", []string{`unload: "5" is not a duration`}},
		{"unload: off", "unload off", []string{"unload: can't be off"}},
		{"snapshot: nothing", "snapshot", []string{"snapshot: wrong number of arguments", "usage: snapshot auto | on | off"}},
		{"snapshot: word", "snapshot maybe", []string{`snapshot: "maybe" is not one of auto, on, off`}},
		{"snapshot: two words", "snapshot on off", []string{"snapshot: wrong number of arguments"}},
		{"check: nothing", "check", []string{"check: wrong number of arguments", "usage: check <path>"}},
		{"check: no path", "check health", []string{`check: "health" is not a path such as /health`}},
		{"check: another host", "check http://example.com/", []string{`check: "http://example.com/" is not a path`}},
		{"check: not a URL", "check /%zz", []string{`check: "/%zz" is not a path`}},
		{"script_root: nothing", "script_root", []string{"script_root: wrong number of arguments", "usage: script_root <guest dir>"}},
		{"script_root: two", "script_root /a /b", []string{"script_root: wrong number of arguments"}},
		{"script_root: relative", "script_root www", []string{`script_root: "www" is not an absolute path such as /www`}},
		{"script_root: not clean", "script_root /www/../x", []string{`script_root: "/www/../x" is not an absolute path`}},
		{"script_root: a slash at the end", "script_root /www/", []string{`script_root: "/www/" is not an absolute path`}},

		{"allow: nothing", "allow", []string{"allow: no capability", "usage: allow <capability> …", "probe"}},
		{"allow: unknown", "allow everything", []string{`allow: "everything" is not a capability; known are`, "probe"}},
		{"allow: path", "allow ../handlers", []string{`allow: "../handlers" is not a capability`}},
		{"allow: capability's own error", "allow probe a b", []string{"allow probe: wrong number of arguments"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := adapt(":80\ngojinn fn.wasm {\n" + test.line + "\n}\n")
			checkConfigError(t, err, append(test.want, "Caddyfile:3")...)
		})
	}
	for _, opt := range options {
		if opt.name == "contract" {
			continue // has its rows above
		}
		t.Run(opt.name+" twice", func(t *testing.T) {
			t.Parallel()
			line := opt.name + " " + exampleOf(opt.name) + "\n"
			_, err := adapt(":80\ngojinn fn.wasm {\n" + line + line + "}\n")
			if errors := "is not available yet"; err != nil && strings.Contains(err.Error(), errors) {
				return
			}
			checkConfigError(t, err, opt.name+" is given twice", "Caddyfile:4")
		})
	}
}

func exampleOf(option string) string {
	switch option {
	case "timeout", "idle_timeout", "idle", "unload":
		return "1s"
	case "check", "script_root":
		return "/path"
	case "snapshot":
		return "auto"
	case "memory", "max_request", "max_response", "max_log":
		return "1MiB"
	}
	return "1"
}

func checkConfigError(t *testing.T, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one with %q", want)
	}
	for _, want := range want {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want it to have %q", err, want)
		}
	}
}

func TestArgumentErrors(t *testing.T) {
	t.Parallel()
	const usage = "usage: gojinn [<matcher>] <module> { … }"
	tests := []struct {
		name, line string
		want       []string
	}{
		{"none", "gojinn", []string{"wrong number of arguments", usage}},
		{"none but a block", "gojinn {\n}", []string{"wrong number of arguments", usage}},
		{"three", "gojinn /a b.wasm c.wasm", []string{"wrong number of arguments", usage}},
		{"no matcher first", "gojinn a.wasm b.wasm", []string{`"a.wasm" is not a matcher, which is *, /<path> or @<name>`, usage}},
		{"unknown matcher", "gojinn @nobody b.wasm", []string{"unrecognized matcher name: @nobody"}},
		{"empty module", `gojinn ""`, []string{"the module's path is empty", usage}},
		{"empty module after matcher", `gojinn /a ""`, []string{"the module's path is empty", usage}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := adapt(":80\n" + test.line + "\n")
			checkConfigError(t, err, append(test.want, "Caddyfile:2")...)
		})
	}
}

func TestGlobalOptionErrors(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, line string
		want       []string
	}{
		{"unknown word", "cachedir /tmp", []string{`"cachedir" is not an option here; allowed are`, "cache_dir", "memory", "compilers", "defaults"}},
		{"cache_dir: nothing", "cache_dir", []string{"cache_dir: wrong number of arguments", "usage: cache_dir <path>"}},
		{"cache_dir: empty", `cache_dir ""`, []string{"cache_dir: must not be empty"}},
		{"cache_dir: two", "cache_dir a b", []string{"cache_dir: wrong number of arguments"}},
		{"cache_dir: block", "cache_dir a {\n}", []string{"cache_dir takes no block"}},
		{"memory: word", "memory half", []string{`memory: "half" is not a size`, "usage: memory <size>"}},
		{"memory: off", "memory off", []string{"memory: can't be off"}},
		{"memory: small", "memory 1KiB", []string{"memory: 1KiB is outside 1MiB to"}},
		{"compilers: zero", "compilers 0", []string{"compilers: 0 is outside 1 to 1024", "usage: compilers <n>"}},
		{"compilers: many", "compilers 1025", []string{"compilers: 1025 is outside 1 to 1024"}},
		{"compilers: off", "compilers off", []string{"compilers: can't be off"}},
		{"compilers: word", "compilers all", []string{`compilers: "all" is not a whole number`}},
		{"cache_size: word", "cache_size all", []string{`cache_size: "all" is not a size`, "usage: cache_size <size>"}},
		{"cache_size: small", "cache_size 1KiB", []string{"cache_size: 1KiB is outside 1MiB to"}},
		{"cache_size: off", "cache_size off", []string{"cache_size: can't be off"}},
		{"store: nothing", "store", []string{"store: it has a name and a kind", "usage: store <name> <kind> …", "bolt, memory"}},
		{"store: no kind", "store default", []string{"store: it has a name and a kind"}},
		{"store: empty name", `store "" memory`, []string{"store: the name is empty"}},
		{"store: unknown kind", "store default redis", []string{`store: "redis" is not a kind of store in this build; known are bolt, memory`, "stores/nats"}},
		{"store: twice", "store a memory\nstore a memory", []string{"store a is given twice", "Caddyfile:4"}},
		{"store: its own error", "store a memory 1KiB", []string{"store: memory: the size 1KiB is less than 64KiB"}},
		{"store: too many", "store a bolt x y", []string{`store: bolt: unexpected argument "y"`}},
		{"metrics: another", "metrics per_route", []string{`metrics: "per_route" is not per_function`, "usage: metrics per_function"}},
		{"metrics: nothing", "metrics", []string{"metrics: wrong number of arguments"}},
		{"defaults: argument", "defaults json {\n}", []string{`defaults: unexpected argument "json"; usage: defaults { … }`}},
		{"defaults twice on", "defaults {\ntimeout 1s\n}\nmemory x", []string{`memory: "x" is not a size`, "Caddyfile:6"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := adapt("{\ngojinn {\n" + test.line + "\n}\n}\n")
			want := test.want
			if !strings.Contains(strings.Join(want, ""), "Caddyfile:") {
				want = append(want, "Caddyfile:3")
			}
			checkConfigError(t, err, want...)
		})
	}
	inDefaults := []struct {
		name, line string
		want       []string
	}{
		{"allow", "allow probe a", []string{`"allow" is not an option here; allowed are name, contract`}},
		{"bad value", "timeout never", []string{`timeout: "never" is not a duration`}},
		{"relative", "script_root www", []string{`script_root: "www" is not an absolute path`}},
	}
	for _, test := range inDefaults {
		t.Run("defaults: "+test.name, func(t *testing.T) {
			t.Parallel()
			_, err := adapt("{\ngojinn {\ndefaults {\n" + test.line + "\n}\n}\n}\n")
			checkConfigError(t, err, append(test.want, "Caddyfile:4")...)
		})
	}
	for name, config := range map[string]string{
		"argument":       "{\ngojinn yes\n}\n",
		"twice":          "{\ngojinn\ngojinn\n}\n",
		"defaults twice": "{\ngojinn {\ndefaults {\n}\ndefaults {\n}\n}\n}\n",
		"memory twice":   "{\ngojinn {\nmemory 1GiB\nmemory 1GiB\n}\n}\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := adapt(config)
			checkConfigError(t, err, "Caddyfile:")
		})
	}
}
