package gojinn

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// filesModule is the file of a program that does with files what its requests say.
func filesModule(t *testing.T) string {
	t.Helper()
	return moduleFile(t, "files.wasm", toolchaintest.Build(t, filepath.Join("testdata", "guests", "files-go")))
}

// files has a function do what the lines say, and returns what came of each.
func (s *server) files(path string, lines ...string) string {
	s.t.Helper()
	reply := s.do("POST", path, nil, strings.NewReader(strings.Join(lines, "\n")))
	if reply.status != 200 {
		s.t.Fatalf("%s %q: got status %d: %s", path, lines, reply.status, reply.body)
	}
	return reply.body
}

// check has a function do what the lines say, and checks what came of it.
func (s *server) check(path string, steps ...[2]string) {
	s.t.Helper()
	var asked, want []string
	for _, step := range steps {
		asked, want = append(asked, step[0]), append(want, step[1])
	}
	got := strings.Split(s.files(path, asked...), "\n")
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			s.t.Fatalf("%s %s: got %q, want %q", path, asked[min(i, len(asked)-1)], got, want)
		}
	}
}

// TestKeyValue: functions keep values in stores, share what they name alike, and see nothing else.
func TestKeyValue(t *testing.T) {
	module, file := filesModule(t), filepath.Join(t.TempDir(), "kv", "gojinn.db")
	global := "gojinn {\n store default bolt " + file + "\n store cache memory\n}"
	site := fmt.Sprintf(`
		gojinn /a %[1]s {
			allow kv shared
			allow kv private {
				max_value 10
				max_keys 2
			}
			allow kv shared /cache {
				store cache
			}
		}
		gojinn /b %[1]s {
			allow kv shared /kv ro
		}
		gojinn /c %[1]s {
			allow kv shared_admin
		}`, module)
	s := serveWith(t, global, site)
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("before the first use: got %v, want no file", err)
	}
	s.check("/a",
		[2]string{"read /kv/shared/x", "ENOENT"}, [2]string{"write /kv/shared/x one", "ok"}, [2]string{"append /kv/shared/x +two", "ok"}, [2]string{"read /kv/shared/x", "one+two"},
		[2]string{"create /kv/shared/x three", "EEXIST"}, [2]string{"write /kv/shared/a%2Fb y", "ok"}, [2]string{"write /kv/shared/a+b y", "EINVAL"}, [2]string{"list /kv/shared", "a%2Fb x"},
		[2]string{"list /kv", "private shared"}, [2]string{"write /cache/x cached", "ok"},
		[2]string{"write /kv/private/x 12345678901", "EFBIG"}, [2]string{"write /kv/private/x 1", "ok"}, [2]string{"write /kv/private/y 1", "ok"}, [2]string{"write /kv/private/z 1", "ENOSPC"},
		[2]string{"rename /kv/private/x /kv/private/z", "ok"}, [2]string{"remove /kv/private/y", "ok"}, [2]string{"list /kv/private", "z"},
		[2]string{`ask /kv/private/.do {"op":"incr","key":"n","by":5}`, `{"value":"5","version":7}`},
		[2]string{`ask /kv/private/.do {"op":"list"}`, `{"keys":[{"key":"n","size":1},{"key":"z","size":1}]}`})
	s.check("/b",
		[2]string{"read /kv/x", "one+two"}, [2]string{"list /kv", "a%2Fb x"}, [2]string{"write /kv/x two", "EROFS"}, [2]string{"remove /kv/x", "EROFS"},
		[2]string{`ask /kv/.do {"op":"delete","key":"x"}`, `{"error":"read_only","message":"the function may only read"}`})
	s.check("/c", [2]string{"list /kv/shared_admin", ""}, [2]string{"read /kv/shared/x", "ENOENT"})

	// A file left open is written if the program ends well.
	s.check("/a", [2]string{"keep /kv/shared/x kept", "ok"}, [2]string{"read /kv/shared/x", "one+two"})
	s.check("/a", [2]string{"read /kv/shared/x", "kept"})
	if got := s.do("POST", "/a", nil, strings.NewReader("keep /kv/shared/x lost\nexit 1")); got.status != 502 {
		t.Errorf("exit 1: got status %d, want 502", got.status)
	}
	s.check("/a", [2]string{"read /kv/shared/x", "kept"})

	// Both stores stay over a reload.
	if err := s.load(global, site+"\nheader X-Reloaded yes"); err != nil {
		t.Fatal(err)
	}
	s.check("/a", [2]string{"read /kv/shared/x", "kept"}, [2]string{"read /cache/x", "cached"})
}

// TestDamagedStore: the server starts and serves with a store that can't be used; functions get
// errors, the log says why.
func TestDamagedStore(t *testing.T) {
	module, dir := filesModule(t), t.TempDir()
	bad := filepath.Join(dir, "bad.db")
	if err := os.WriteFile(bad, bytes.Repeat([]byte("no database\n"), 10_000), 0o600); err != nil {
		t.Fatal(err)
	}
	s := serveWith(t, fmt.Sprintf("gojinn {\n store default bolt %s\n store good bolt %s\n}", bad, filepath.Join(dir, "good.db")), fmt.Sprintf(`
		gojinn /bad %[1]s {
			allow kv test /kv
		}
		gojinn /good %[1]s {
			allow kv test /kv {
				store good
			}
		}`, module))
	for range 3 {
		s.check("/bad", [2]string{"read /kv/x", "EIO"}, [2]string{"write /kv/x one", "EIO"}, [2]string{"list /kv", "EIO"},
			[2]string{`ask /kv/.do {"op":"get","key":"x"}`, `{"error":"unavailable","message":"the store can't do this at the moment"}`})
		s.check("/good", [2]string{"write /kv/x one", "ok"}, [2]string{"read /kv/x", "one"})
	}
	var entries []map[string]any
	for _, entry := range logBuffer.entries(t) {
		if entry["logger"] == "gojinn.capabilities.kv" && entry["msg"] == "the key-value store fails" {
			entries = append(entries, entry)
		}
	}
	if len(entries) != 1 || entries[0]["store"] != "default" || !strings.Contains(fmt.Sprint(entries[0]["error"]), bad) {
		t.Errorf("got log entries %v, want one that names %s", entries, bad)
	}
}

// TestStoreErrors: what is wrong with stores is found when a configuration is loaded, none of them
// being opened.
func TestStoreErrors(t *testing.T) {
	t.Parallel()
	module := moduleFile(t, "good.wasm", answer("{}"))
	for _, test := range []struct{ name, app, allow, want string }{
		{"unknown store", `{"store":{"cache":{"kind":"memory"}}}`, `{"capability":"kv","namespace":"a","store":"cash"}`, `no store is called "cash"; known are cache, default`},
		{"unknown kind", `{"store":{"cache":{"kind":"redis"}}}`, "", `store: cache: "redis" is not a kind of store in this build; known are bolt, memory`},
		{"no kind", `{"store":{"cache":{}}}`, "", "store: cache: no kind; known are bolt, memory"},
		{"no name", `{"store":{"":{"kind":"memory"}}}`, "", "the name is empty"},
		{"not an object", `{"store":{"cache":"memory"}}`, "", "store: cache: "},
		{"of the kind", `{"store":{"cache":{"kind":"memory","size":1}}}`, "", "the size 1 is less than 64KiB"},
		{"unknown member", `{"store":{"cache":{"kind":"memory","path":"x"}}}`, "", `unknown field "path"`},
		{"placeholder", `{"store":{"cache":{"kind":"bolt","path":"{env.GOJINN_TEST_UNSET}"}}}`, "", "GOJINN_TEST_UNSET"},
		{"bad namespace", "", `{"capability":"kv","namespace":"a/b"}`, "holds something else"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := provision(t, test.app, fmt.Sprintf(`{"module":%q,"allow":[%s]}`, module, test.allow))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestValidateOpensNoStore: neither does a configuration that is loaded, until a function uses it.
func TestValidateOpensNoStore(t *testing.T) {
	dir := t.TempDir()
	config, err := adapt(fmt.Sprintf(`{
		admin off
		persist_config off
		auto_https off
		gojinn {
			cache_dir %[1]s/cache
			store default bolt %[1]s/one/gojinn.db
			store other bolt %[1]s/two.db
		}
	}
	http://:1 {
		gojinn %[2]s {
			allow kv a
			allow kv b {
				store other
			}
		}
	}`, dir, moduleFile(t, "good.wasm", answer("{}"))))
	if err != nil {
		t.Fatal(err)
	}
	var c *caddy.Config
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(c); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".db") {
			t.Errorf("%s was made", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestCallOutlivesStore: a call that still runs when its configuration is replaced uses its store
// to the end.
func TestCallOutlivesStore(t *testing.T) {
	module, dir := filesModule(t), t.TempDir()
	global := func(name string) string { return "gojinn {\n store default bolt " + filepath.Join(dir, name) + "\n}" }
	site := "gojinn " + module + " {\n timeout 1m\n allow kv test /kv\n allow dir " + dir + " /dir rw\n}"
	s := serveWith(t, global("one.db"), site)
	answered := make(chan reply)
	go func() {
		answered <- s.do("POST", "/", nil, strings.NewReader("write /kv/x one\nwrite /dir/begun yes\nwait /dir/reloaded\nwrite /kv/y two\nread /kv/x"))
	}()
	eventually(t, "the call runs", func() bool { _, err := os.Stat(filepath.Join(dir, "begun")); return err == nil })
	if err := s.load(global("two.db"), site); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "reloaded"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := <-answered; got.status != 200 || got.body != "ok\nok\nok\nok\none" {
		t.Errorf("got %d %q, want five lines", got.status, got.body)
	}
	s.check("/", [2]string{"list /kv", ""})
	if err := s.load(global("one.db"), site); err != nil {
		t.Fatal(err)
	}
	s.check("/", [2]string{"list /kv", "x y"})
}
