package examples

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// TestLaunchersJS: the examples have copies of the launcher. Links would lead out of the folder
// that a function is allowed.
func TestLaunchersJS(t *testing.T) {
	want, err := os.ReadFile("../../guest/js/gojinn.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shortener-js", "weather-js"} {
		if got, err := os.ReadFile(filepath.Join(examples, name, "gojinn.js")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has another gojinn.js than guest/js (%v)", name, err)
		}
	}
}

// serveJS serves a main.js at all paths, with these options, from a folder of its own.
func serveJS(t *testing.T, global, main, options string) (address string) {
	t.Helper()
	wasm := toolchaintest.FindInterpreter(t, "GOJINN_TEST_QUICKJS")
	if wasm == "" {
		t.Skip("there is no interpreter")
	}
	launcher, err := os.ReadFile("../../guest/js/gojinn.js")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"gojinn.js": string(launcher), "main.js": main} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return serveSite(t, global, handle("", wasm, "args quickjs /app/gojinn.js main.js\n allow dir "+dir+" /app\n"+options))
}

// What fetch does, against a server that echoes, redirects and waits. The functions answer with what
// they think is not as it should be.
func TestFetchJS(t *testing.T) {
	together := make(chan struct{}) // closed when two requests are under way
	var waiting atomic.Int32
	var other *httptest.Server
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Add("X-Two", "a")
		w.Header().Add("X-Two", "b")
		w.Header().Add("Set-Cookie", "c=1")
		w.Header().Add("Set-Cookie", "d=2")
		w.WriteHeader(201)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"method": r.Method, "query": r.URL.RawQuery, "sum": fmt.Sprintf("%x", sha256.Sum256(body)), "length": len(body), "declared": r.ContentLength,
			"type": r.Header.Get("Content-Type"), "auth": r.Header.Get("Authorization"), "x": r.Header.Values("X"),
		})
	})
	mux.HandleFunc("/bytes", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte{0, 255, 10, 254}) })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, strings.Repeat("é", 500_000)) })
	mux.HandleFunc("/empty", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	mux.HandleFunc("/both", func(w http.ResponseWriter, r *http.Request) {
		if waiting.Add(1) == 2 {
			close(together)
		}
		select {
		case <-together:
		case <-r.Context().Done():
		}
		_, _ = io.WriteString(w, "both")
	})
	mux.HandleFunc("/to/{status}", func(w http.ResponseWriter, r *http.Request) {
		status, _ := strconv.Atoi(r.PathValue("status"))
		w.Header().Set("Location", "/echo?from="+r.PathValue("status"))
		w.WriteHeader(status)
	})
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/echo", http.StatusTemporaryRedirect)
	})
	mux.HandleFunc("/round", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/round", http.StatusFound) })
	service := httptest.NewServer(mux)
	defer service.Close()
	other = httptest.NewServer(mux)
	defer other.Close()

	const main = `
const failed = []
const show = v => JSON.stringify(v)
const same = (name, got, want) => { if (show(got) !== show(want)) failed.push(name + ": got " + show(got) + ", want " + show(want)) }
const thrown = async promise => { try { await promise; return "nothing" } catch (e) { return typeof e.code === "string" ? e.code : e.name } }
export default async (request, env) => {
	await all(env).catch(e => failed.push(e + "\n" + e.stack))
	return Response.json(failed)
}
async function all({ SERVICE }) {
	const sum = { empty: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" }
	const got = await fetch(SERVICE + "/echo?a=é&b#c", { headers: { X: "1, 2" } })
	same("its parts", [got.status, got.ok, got.redirected, got.url, got.headers.get("x-two"), got.headers.getSetCookie()], [201, true, false, SERVICE + "/echo?a=%C3%A9&b", "a, b", ["c=1", "d=2"]])
	const echo = await got.json()
	same("what was asked", [echo.method, echo.query, echo.sum, echo.x], ["GET", "a=%C3%A9&b", sum.empty, ["1, 2"]])
	const post = async (body, init) => (await fetch(SERVICE + "/echo", { method: "POST", body, ...init })).json()
	const text = await post("é\0")
	same("a text", [text.length, text.declared, text.type], [3, 3, "text/plain;charset=UTF-8"])
	const bytes = await post(new Uint8Array([0, 255, 1]))
	same("bytes", [bytes.length, bytes.declared, bytes.sum], [3, 3, "47ffa3ea45a70b8a41c2c0825df323c00a8b7a01c1ea06083cc41dddcc001123"])
	same("a large text", (await post("x".repeat(300000))).length, 300000)
	same("a generator", (await post((function* () { yield "a"; yield new Uint8Array(70000) })())).length, 70001)
	same("parameters", (await post(new URLSearchParams({ a: "b" }))).type, "application/x-www-form-urlencoded;charset=UTF-8")
	same("bytes answered", [...await (await fetch(SERVICE + "/bytes")).bytes()], [0, 255, 10, 254])
	same("a long answer", (await (await fetch(SERVICE + "/large")).text()).length, 500000)
	same("a long answer to a post", (await (await fetch(SERVICE + "/large", { method: "POST", body: "a" })).text()).length, 500000)
	let chunks = 0
	for await (const chunk of (await fetch(SERVICE + "/large")).body) if (++chunks === 2) break
	same("left early", chunks, 2)
	const empty = await fetch(SERVICE + "/empty")
	same("nothing", [empty.status, empty.body, await empty.text()], [204, null, ""])
	const head = await fetch(SERVICE + "/echo", { method: "HEAD" })
	same("HEAD", [head.status, await head.text()], [201, ""])
	same("at a time", await Promise.all([1, 2].map(async () => (await fetch(SERVICE + "/both")).text())), ["both", "both"])
	for (const [status, method] of [[301, "GET"], [302, "GET"], [303, "GET"], [307, "POST"], [308, "POST"]]) {
		const moved = await fetch(SERVICE + "/to/" + status, { method: "POST", body: "abc", headers: { Authorization: "secret" } })
		const to = await moved.json()
		same("a redirect of " + status, [moved.redirected, moved.url, to.method, to.length, to.type, to.auth],
			[true, SERVICE + "/echo?from=" + status, method, method === "GET" ? 0 : 3, method === "GET" ? "" : "text/plain;charset=UTF-8", "secret"])
	}
	same("to another origin", (await (await fetch(SERVICE + "/away", { headers: { Authorization: "secret" } })).json()).auth, "")
	same("a redirect by hand", (await fetch(SERVICE + "/to/302", { redirect: "manual" })).headers.get("location"), "/echo?from=302")
	same("a redirect as an error", await thrown(fetch(SERVICE + "/to/302", { redirect: "error" })), "TypeError")
	same("in circles", await thrown(fetch(SERVICE + "/round")), "TypeError")
	same("a stream that would be sent again", await thrown(fetch(SERVICE + "/to/307", { method: "POST", body: (function* () { yield "a" })() })), "TypeError")
	same("another origin", await thrown(fetch("https://example.com/")), "refused")
	same("another scheme", await thrown(fetch("ftp://example.com/")), "invalid")
	same("no URL", await thrown(fetch("/relative")), "TypeError")
	same("aborted", await thrown(fetch(SERVICE + "/echo", { signal: AbortSignal.abort() })), "AbortError")
}`
	address := serveJS(t, "", main, fmt.Sprintf("allow env SERVICE %[1]s\n allow http %[1]s %[2]s {\n private 127.0.0.1\n}", service.URL, other.URL))
	if status, body := ask(t, http.MethodGet, "http://"+address+"/", ""); status != 200 || body != "[]" {
		t.Errorf("got %d %s", status, body)
	}
}

// What kv does. Each part begins with an empty namespace.
func TestKVJS(t *testing.T) {
	const main = `
import { kv, KVError } from "./gojinn.js"
const failed = []
const show = v => JSON.stringify(v)
const same = (name, got, want) => { if (show(got) !== show(want)) failed.push(name + ": got " + show(got) + ", want " + show(want)) }
const thrown = f => { try { f(); return "nothing" } catch (e) { return [e instanceof KVError, e.code] } }
export default { async fetch() {
	const links = kv("links"), again = kv("links", "/kv/links"), fixed = kv("fixed")
	same("nothing", [links.get("a"), links.getBytes("a"), links.entry("a"), links.delete("a"), links.list().keys], [null, null, null, false, []])
	const { version } = links.put("a", "é\0\ud800")
	same("a text", [links.get("a"), again.get("a"), [...links.getBytes("a")]], ["é\0\ufffd", "é\0\ufffd", [195, 169, 0, 239, 191, 189]])
	same("its entry", links.entry("a").version, version)
	links.put(new Uint8Array([0, 255]), new Uint8Array([255, 0]), { ttl: 60 })
	same("bytes", [[...links.getBytes(new Uint8Array([0, 255]))], links.entry(new Uint8Array([0, 255])).expires > Date.now() / 1000], [[255, 0], true])
	same("cas", [links.cas("b", 0, "1").version > version, thrown(() => links.cas("b", 0, "2")), thrown(() => links.cas("b", 1e6, "2")), links.get("b")], [true, [true, "exists"], [true, "conflict"], "1"])
	same("incr", [links.incr("b"), links.incr("b", -5), links.incr("n", 9007199254740991), String(links.incr("n", 9007199254740991))], [2, -3, 9007199254740991, "18014398509481982"])
	same("no integer", thrown(() => links.incr("a")), [true, "not_integer"])
	same("a list", links.list().keys.map(k => typeof k === "string" ? k : [...k]), [[0, 255], "a", "b", "n"])
	const page = links.list({ limit: 2 })
	same("pages", [page.keys.length, links.list({ limit: 2, cursor: page.cursor }).keys, links.list({ prefix: "b" }).keys], [2, ["b", "n"], ["b"]])
	same("deleted", [thrown(() => links.delete("a", { version: 1e6 })), links.delete("a"), links.get("a")], [[true, "conflict"], true, null])
	same("read only", thrown(() => fixed.put("a", "b")), [true, "read_only"])
	same("a large value", [(links.put("l", "x".repeat(100000)), links.get("l").length), thrown(() => links.put("l", "x".repeat(3 << 20)))[0] === true], [100000, false])
	return Response.json(failed)
} }`
	address := serveJS(t, "\t\tstore default memory\n", main, "allow kv links\n allow kv fixed ro")
	if status, body := ask(t, http.MethodGet, "http://"+address+"/", ""); status != 200 || body != "[]" {
		t.Errorf("got %d %s", status, body)
	}
}
