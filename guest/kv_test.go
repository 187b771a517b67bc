package guest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// serve runs Caddy with one program for each language, at its name, until the test ends.
func serve(t *testing.T, program, options string) (address string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_DATA_HOME", dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	text := fmt.Sprintf("{\n\tadmin off\n\tpersist_config off\n\tstorage file_system %s\n\tlog {\n\t\tlevel ERROR\n\t}\n\tgojinn {\n\t\tcache_dir %s\n\t\tstore default memory\n\t}\n}\nhttp://%s {\n", dir, filepath.Join(dir, "cache"), address)
	for _, language := range languages {
		path := filepath.Join(dir, language+".wasm")
		if err := os.WriteFile(path, toolchaintest.Build(t, filepath.Join("testdata", program+"-"+language)), 0o600); err != nil {
			t.Fatal(err)
		}
		text += fmt.Sprintf("\tgojinn /%s %s {\n%s\n\t}\n", language, path, strings.ReplaceAll(options, "LANGUAGE", language))
	}
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text+"}\n"), nil)
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

// Every operation does what it says in every language, and all of them see the same.
func TestKV(t *testing.T) {
	address := serve(t, "clients", "\t\ttimeout 1m\n\t\tallow kv test-LANGUAGE /kv/test {\n\t\t\tmax_value 64KiB\n\t\t}\n\t\tallow kv shared /at/shared\n\t\tallow kv shared /kv/read ro")
	const missing = "missing"
	tests := []struct {
		namespace, op, key, by, body string
		want                         string // "!": it fails
	}{
		{op: "get", key: "a", want: "none"},
		{op: "delete", key: "a", want: "no"},
		{op: "put", key: "a", body: "1", want: "done"},
		{op: "get", key: "a", want: "1"},
		{op: "put", key: "a", body: "two\n\x00\xff", want: "done"},
		{op: "get", key: "a", want: "two\n\x00\xff"},
		{op: "create", key: "a", body: "three", want: "no"},
		{op: "get", key: "a", want: "two\n\x00\xff"},
		{op: "create", key: "b", body: "three", want: "yes"},
		{op: "get", key: "b", want: "three"},
		{op: "put", key: "b", body: "", want: "done"},
		{op: "get", key: "b", want: ""},
		{op: "put", key: "b", body: strings.Repeat("x", 64<<10), want: "done"},
		{op: "get", key: "b", want: strings.Repeat("x", 64<<10)},
		{op: "put", key: "b", body: strings.Repeat("y", 64<<10+1), want: "!"},
		{op: "get", key: "b", want: strings.Repeat("x", 64<<10)},
		{op: "list", want: "a\nb"},
		{op: "delete", key: "b", want: "yes"},
		{op: "get", key: "b", want: "none"},

		{op: "incr", key: "n", by: "1", want: "1"},
		{op: "incr", key: "n", by: "41", want: "42"},
		{op: "incr", key: "n", by: "-50", want: "-8"},
		{op: "get", key: "n", want: "-8"},
		{op: "incr", key: "n", by: "9223372036854775807", want: "9223372036854775799"},
		{op: "incr", key: "n", by: "9", want: "!"},
		{op: "incr", key: "a", by: "1", want: "!"},
		{op: "incr", key: "", by: "1", want: "!"},

		// Keys that are no names of files as they are.
		{op: "put", key: ".", body: "dot", want: "done"},
		{op: "put", key: "..", body: "dots", want: "done"},
		{op: "put", key: ".do", body: "do", want: "done"},
		{op: "put", key: ".don", body: "don", want: "done"},
		{op: "put", key: "p/q r%?+é\n*~", body: "odd", want: "done"},
		{op: "put", key: "azAZ09-._~", body: "even", want: "done"},
		{op: "put", key: strings.Repeat("k", 255), body: "long", want: "done"},
		{op: "put", key: strings.Repeat("k", 256), body: "long", want: "!"},
		{op: "put", key: "", body: "none", want: "!"},
		{op: "get", key: ".", want: "dot"},
		{op: "get", key: "..", want: "dots"},
		{op: "get", key: ".do", want: "do"},
		{op: "get", key: "p/q r%?+é\n*~", want: "odd"},
		{op: "get", key: strings.Repeat("k", 255), want: "long"},
		{op: "incr", key: "é\"\\", by: "3", want: "3"},
		{op: "list", key: ".", want: ".\n..\n.do\n.don"},
		{op: "list", key: "p/", want: "p/q r%?+é\n*~"},
		{op: "list", key: "é", want: "é\"\\"},
		{op: "list", key: missing, want: ""},
		{op: "delete", key: "..", want: "yes"},
		{op: "list", key: ".", want: ".\n.do\n.don"},

		{namespace: "/at/shared", op: "incr", key: "hits", by: "1", want: "1"},
		{namespace: "read", op: "get", key: "hits", want: "1"},
		{namespace: "read", op: "put", key: "hits", body: "7", want: "!"},
		{namespace: "read", op: "incr", key: "hits", by: "1", want: "!"},
		{namespace: "read", op: "delete", key: "hits", want: "!"},
		{namespace: "/at/shared", op: "delete", key: "hits", want: "yes"},

		{namespace: missing, op: "get", key: "a", want: "none"},
		{namespace: missing, op: "put", key: "a", body: "1", want: "!"},
		{namespace: missing, op: "incr", key: "a", by: "1", want: "!"},
		{namespace: missing, op: "list", want: "!"},
	}
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			for _, test := range tests {
				query := url.Values{"do": {"kv"}, "op": {test.op}, "key": {test.key}, "by": {test.by}}
				if test.namespace != "" {
					query.Set("namespace", test.namespace)
				}
				response, err := http.Post("http://"+address+"/"+language+"?"+query.Encode(), "application/octet-stream", strings.NewReader(test.body))
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(response.Body)
				response.Body.Close()
				failed := response.StatusCode == 500 && test.want == "!" && len(body) > 0
				if err != nil || !failed && (response.StatusCode != 200 || string(body) != test.want) {
					t.Errorf("%s %s %.40q: got %d %.100q, %v, want %.100q", test.namespace, test.op, test.key, response.StatusCode, body, err, test.want)
				}
			}
		})
	}
}

// A long list comes in pages, and keys may be any bytes.
func TestKVPages(t *testing.T) {
	t.Parallel()
	const start = `{"op":"list","limit":1000,"cursor":`
	pages := map[string]string{
		start + `"","prefix":"p"}`:     `{"keys":[{"key":"pa","size":1},{"size":3,"key_base64":"cP8="}],"cursor":"cP8="}`,
		start + `"cP8=","prefix":"p"}`: `{"keys":[],"cursor":"YQ=="}`,
		start + `"YQ==","prefix":"p"}`: `{"keys":[{"key":"pb\u0000"}],"later":[{}]}`,
		start + `"","prefix":"q"}`:     `{"error":"unavailable","message":"the store can't do this at the moment"}`,
		start + `"","prefix":"r"}`:     `{"keys":[{"key":"a"}`,
		start + `"","prefix":"s"}`:     `{"keys":[{"key_base64":"!"}]}`,
		start + `"","prefix":"t"}`:     `{"keys":{"key":"a"}}`,
	}
	for _, language := range languages {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			f := function(t, "clients-"+language, answering(t, "/kv/test/.do", func(line string) string { return pages[line] }))
			for prefix, want := range map[string]string{"p": "pa\np\xff\npb\x00", "q": "!", "r": "!", "s": "!", "t": "!", "u": "!"} {
				got := ask(t, f, url.Values{"do": {"kv"}, "op": {"list"}, "key": {prefix}}, "")
				if failed := got.Status == 500 && want == "!"; !failed && (got.Status != 200 || string(got.Body) != want) {
					t.Errorf("%s: got %d %q, want %q", prefix, got.Status, got.Body, want)
				}
			}
		})
	}
}
