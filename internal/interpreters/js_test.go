package interpreters

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine"
)

// js returns a program of these files and the launcher.
func js(tb testing.TB, namesAndTexts ...string) program {
	tb.Helper()
	launcher, err := os.ReadFile("../../guest/js/gojinn.js")
	if err != nil {
		tb.Fatal(err)
	}
	return program{
		language: "quickjs",
		dir:      folder(tb, append([]string{"gojinn.js", string(launcher)}, namesAndTexts...)...),
		args:     []string{"quickjs", "/app/gojinn.js", "main.js"},
	}
}

// launchJS makes a function of a main.js.
func launchJS(tb testing.TB, main string) *function {
	tb.Helper()
	return launch(tb, js(tb, "main.js", main))
}

// The file checks itself: what is wrong is in the answer.
func TestJSPlatform(t *testing.T) {
	t.Parallel()
	cases, err := os.ReadFile("../../guest/js/testdata/platform.js")
	if err != nil {
		t.Fatal(err)
	}
	f := launch(t, js(t, "platform.js", string(cases), "main.js", `
		import { failures } from "./platform.js"
		export default { async fetch() { return Response.json(await failures()) } }`))
	var got struct {
		Count  int
		Failed []string
	}
	if err := json.Unmarshal([]byte(run(t, f, request(nil)).Body), &got); err != nil || got.Count < 250 {
		t.Fatalf("%v, %d cases", err, got.Count)
	}
	for _, failed := range got.Failed {
		t.Error(failed)
	}
}

func TestJSHandlers(t *testing.T) {
	t.Parallel()
	hello := object{"uri": "/hello?name=you"}
	const text = "text/plain;charset=UTF-8"
	for _, test := range []struct {
		name, main string
		request    object
		status     int
		kind, body string // the Content-Type
	}{
		{"an object", `export default { greeting: "Hello", fetch() { return new Response(this.greeting) } }`, hello, 200, text, "Hello"},
		{"a function", `export default () => new Response("Hello")`, hello, 200, text, "Hello"},
		{"a promise", `export default async request => { await null; return new Response(new URL(request.url).searchParams.get("name")) }`, hello, 200, text, "you"},
		{"a timer", `export default () => new Promise(done => setTimeout(done, 10, new Response("late")))`, hello, 200, text, "late"},
		{"a named export", `export function fetch(request) { return new Response(request.url) }`, hello, 200, text, "http://example.com/hello?name=you"},
		{"JSON", `export default async request => Response.json({ got: await request.json() }, { status: 201 })`,
			object{"method": "POST", "body": `{"a":[1,"é"]}`}, 201, "application/json", `{"got":{"a":[1,"é"]}}`},
		{"bytes", `export default async request => new Response((await request.bytes()).reverse(), { headers: { "content-type": "a/b" } })`,
			object{"method": "POST", "body_base64": base64.StdEncoding.EncodeToString([]byte{0, 1, 254, 255})}, 200, "a/b", "\xff\xfe\x01\x00"},
		{"bytes that are text", `export default () => new Response(new TextEncoder().encode("é\0"))`, hello, 200, "", "é\x00"},
		{"half a pair", `export default () => new Response("a\ud800b\\ud800")`, hello, 200, text, `a�b\ud800`},
		{"nothing", `export default () => new Response(null, { status: 204 })`, hello, 204, "", ""},
		{"a generator", `export default () => new Response((function* () { yield "a"; yield new Uint8Array([98]) })())`, hello, 200, "", "ab"},
		{"an asynchronous one", `export default () => new Response((async function* () { yield "a"; await new Promise(done => setTimeout(done, 1)); yield "b" })())`, hello, 200, "", "ab"},
		{"a form", `export default async request => { const form = await request.formData(); return Response.json([form.get("a"), form.getAll("b")]) }`,
			object{"method": "POST", "headers": object{"Content-Type": []string{"application/x-www-form-urlencoded"}}, "body": "a=1+2&b=3&b=%C3%A9"}, 200, "application/json", `["1 2",["3","é"]]`},
		{"headers", `export default request => new Response(request.headers.get("x-two") + request.headers.get("ACCEPT"))`,
			object{"headers": object{"Accept": []string{"*/*"}, "X-Two": []string{"a", "b"}}}, 200, text, "a, b*/*"},
		{"headers there and back", `export default request => new Response(null, { headers: { ...Object.fromEntries(request.headers), ["__proto__"]: "c" } })`,
			object{"headers": object{"__Proto__": []string{"a"}, "Content-Type": []string{"b"}}}, 200, "b", ""},
		{"the contract's members", `export default request => Response.json(request.gojinn)`,
			object{"params": object{"id": "7"}, "body": "x", "method": "POST", "headers": object{"A": []string{"b"}}}, 200, "application/json",
			`{"host":"example.com","id":"7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3","original_uri":"/","params":{"id":"7"},"path":"/","proto":"HTTP/1.1","query":{},"remote_addr":"203.0.113.9","scheme":"http","uri":"/"}`},
		{"a global of old", `export default () => new Response([typeof print, typeof setTimeout, typeof process.env].join())`, hello, 200, text, "undefined,function,object"},
		{"a large body", `export default async request => new Response((await request.text()).length + "")`, object{"method": "POST", "body": strings.Repeat("é", 300_000)}, 200, text, "300000"},
		{"a large answer", `export default () => new Response("é".repeat(300000))`, hello, 200, text, strings.Repeat("é", 300_000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := launchJS(t, test.main)
			for range 2 { // the second is of a restored sandbox
				r := run(t, f, request(test.request))
				if r.Status != test.status || r.header("content-type") != test.kind || r.Body != test.body {
					t.Errorf("got %d %q %.300q, want %d %q %.300q", r.Status, r.header("content-type"), r.Body, test.status, test.kind, test.body)
				}
			}
		})
	}
}

// What the launcher puts together itself is what a URL that is parsed would be.
func TestJSRequestURL(t *testing.T) {
	t.Parallel()
	f := launchJS(t, `export default request => {
		const url = new URL(request.url), parsed = new URL(request.url + "#")
		parsed.hash = ""
		const parts = ["href", "origin", "host", "hostname", "port", "pathname", "search"]
		return Response.json([request.url, parts.every(p => url[p] === parsed[p]) && String(url.searchParams) === String(parsed.searchParams)])
	}`)
	for _, test := range []struct{ scheme, host, uri, want string }{
		{"http", "example.com", "/", "http://example.com/"},
		{"https", "example.com:8443", "/a/b?c=d+e%20f&g", "https://example.com:8443/a/b?c=d+e%20f&g"},
		{"http", "example.com:80", "/a", "http://example.com/a"},
		{"https", "example.com:443", "/a", "https://example.com/a"},
		{"http", "example.com:080", "/a", "http://example.com/a"},
		{"http", "example.com:", "/a", "http://example.com/a"},
		{"http", "EXAMPLE.com", "/A", "http://example.com/A"},
		{"http", "127.0.0.1:8080", "/", "http://127.0.0.1:8080/"},
		{"https", "10.0.255.9:8443", "/a?b", "https://10.0.255.9:8443/a?b"},
		{"http", "127.0.00.1:80", "/", "http://127.0.0.1/"},
		{"http", "1.2.3.256", "/", "http://invalid/"},
		{"http", "1.2.3.-0", "/", "http://1.2.3.-0/"},
		{"http", "[::1]:8080", "/", "http://[::1]:8080/"},
		{"http", "0x7f.1", "/", "http://127.0.0.1/"},
		{"http", "", "/a", "http://localhost/a"},
		{"http", "a b", "/a", "http://invalid/a"},
		{"http", "a:99999", "/a", "http://invalid/a"},
		{"http", "a/b", "/c", "http://a/b/c"},
		{"http", "example.com", "/a/../b/./c", "http://example.com/b/c"},
		{"http", "example.com", "/a/%2E%2e/b", "http://example.com/b"},
		{"http", "example.com", "/a%2e", "http://example.com/a%2e"},
		{"http", "example.com", "/a?b'c", "http://example.com/a?b%27c"},
		{"http", "example.com", "/a\"b?<c>", "http://example.com/a%22b?%3Cc%3E"},
		{"http", "example.com", "//a//b", "http://example.com//a//b"},
		{"http", "example.com", "/a?b?c", "http://example.com/a?b?c"},
		{"http", "example.com", "/%?%zz", "http://example.com/%?%zz"},
		{"http", "example.com", "*", "http://example.com/*"},
		{"http", "example.com", "/é", "http://example.com/%C3%A9"},
	} {
		r := run(t, f, request(object{"scheme": test.scheme, "host": test.host, "uri": test.uri}))
		if want, _ := json.Marshal([]any{test.want, true}); !jsonEqual(r.Body, string(want)) {
			t.Errorf("%s %q %q: got %s, want %s", test.scheme, test.host, test.uri, r.Body, want)
		}
	}
}

func jsonEqual(a, b string) bool {
	var x, y any
	if json.Unmarshal([]byte(a), &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}

// A handler that fails answers nothing, and what it did wrong is in the log.
func TestJSErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, main, log string }{
		{"an exception", "const inner = () => { null.x }\nexport default function handle() { inner() }", `(?s)^TypeError: .*null.*\n +at inner \(/app/main.js:?\d*\)\n +at handle \(/app/main.js`},
		{"a rejection", `export default async () => { throw new RangeError("so\nfar") }`, `(?s)^RangeError: so\nfar\n +at `},
		{"what is no error", `export default () => { throw { a: 1 } }`, `^Uncaught \{ a: 1 \}\n`},
		{"several", `export default () => Promise.any([Promise.reject(new Error("one")), Promise.reject(new Error("two"))])`, `(?s)^AggregateError.*Error: one.*Error: two`},
		{"errors in circles", `export default () => { const a = new Error("one"), b = new Error("two"); a.cause = b; b.cause = a; throw a }`, `(?s)^Error: one\n.*caused by: Error: two\n.*caused by: \[Circular\]\n$`},
		{"in a timer", `export default () => new Promise(() => setTimeout(() => { throw new Error("later") }, 1))`, `^Error: later\n`},
		{"in a microtask", `export default () => new Promise(() => queueMicrotask(() => { throw new Error("soon") }))`, `^Error: soon\n`},
		{"a promise of nothing", `export default () => new Promise(() => {})`, `^Error: the handler waits for a promise that nothing can settle\n`},
		{"no response", `export default () => "text"`, `^TypeError: the handler returned "text", want a Response\n`},
		{"nothing returned", `export default () => {}`, `^TypeError: the handler returned undefined, want a Response\n`},
		{"a response twice", `const r = new Response("x"); export default async () => { await r.text(); return r }`, `^TypeError: the body of the response has been read already\n`},
		{"a chunk of no bytes", `export default () => new Response((function* () { yield "a"; yield 1 })())`, `^TypeError: a chunk of a body is 1, want bytes or a string\n`},
		{"a body that breaks", `export default () => new Response((function* () { yield "a"; throw new Error("half") })())`, `^Error: half\n`},
		{"no handler", `export const a = 1`, `^TypeError: main.js has no default export\n`},
		{"a handler of no kind", `export default 1`, `^TypeError: a handler is a function, or an object with a method fetch\n`},
		{"syntax", "export default () => {\n  const = 1\n}", `(?s)^SyntaxError: .*/app/main.js:2`},
		{"a module that isn't there", `import "./nowhere.js"`, `nowhere.js`},
		{"an error at the start", `throw new Error("at the start")`, `^Error: at the start\n`},
		{"the end", `export default () => process.exit(3)`, `^$`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := launchJS(t, test.main)
			var log, out bytes.Buffer
			in, err := json.Marshal(request(nil))
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.Run(t.Context(), bytes.NewReader(in), &out, &log)
			if _, ok := err.(*engine.ExitError); !ok || out.Len() > 0 || !regexp.MustCompile(test.log).MatchString(log.String()) {
				t.Errorf("got %v, %q and the log %q, want an exit, nothing and %q", err, out.String(), log.String(), test.log)
			}
		})
	}
}

func TestJSConsole(t *testing.T) {
	t.Parallel()
	f := launchJS(t, `export default () => {
		console.log("plain", 1, null, undefined, true, 2n, Symbol("s"))
		console.log({ a: [1, "two", { b: { c: { d: 1 } } }], "e-f": new Map([["k", new Set([1])]]) }, [], {})
		console.log("%s is %d of %j%%, %o", "it", "42", { a: 1 }, ["x"], "rest")
		const round = { name: "round" }
		round.self = round
		console.info(round, new Date(0), /x/g, new URL("http://h/"), new Uint8Array(2), class A {}, () => 0)
		console.warn("careful\nnow")
		console.error("bad \ud800")
		console.debug("detail")
		console.log('{"level":"error","msg":"not mine"}')
		return new Response("ok")
	}`)
	const want = `plain 1 null undefined true 2n Symbol(s)
{"level":"info","msg":"{ a: [1, \"two\", { b: [Object] }], \"e-f\": Map(1) { \"k\" => Set(1) { 1 } } } [] {}"}
it is 42 of {"a":1}%, ["x"] rest
{"level":"info","msg":"{ name: \"round\", self: [Circular] } 1970-01-01T00:00:00.000Z /x/g http://h/ Uint8Array(2) [0, 0] [class A] [Function (anonymous)]"}
{"level":"warn","msg":"careful\nnow"}
{"level":"error","msg":"bad �"}
{"level":"debug","msg":"detail"}
{"level":"info","msg":"{\"level\":\"error\",\"msg\":\"not mine\"}"}
`
	if r := run(t, f, request(nil)); r.Body != "ok" || r.Log != want {
		t.Errorf("got %q and the log\n%s, want ok and\n%s", r.Body, r.Log, want)
	}
}

func TestJSLibrary(t *testing.T) {
	t.Parallel()
	p := js(t, "main.js", `
		import { serve } from "./gojinn.js"
		import { greet } from "./lib/greet.js"
		serve((request, env) => new Response(greet(env.WHO)))`,
		"lib/greet.js", `import { who } from "./who"; export const greet = name => who(name)`, "lib/who.js", "export const who = name => `Hello, ${name}`")
	p.args = []string{"quickjs", "/app/main.js"}
	p.env = map[string]string{"WHO": "wörld=1"}
	f := launch(t, p)
	if r := run(t, f, request(nil)); r.Body != "Hello, wörld=1" {
		t.Errorf("got %q", r.Body)
	}
	kind, why := f.settled(t)
	if want := "snapshot"; kind != want {
		t.Errorf("got %s (%s), want %s", kind, why, want)
	}
}

// What a start-up has done is there for every request, and what a request does for no other.
func TestJSFresh(t *testing.T) {
	t.Parallel()
	f := launchJS(t, `
		let n = 0
		globalThis.seen = []
		export default request => { seen.push(request.url); Array.prototype.mine = n; return new Response([++n, seen.length].join()) }`)
	for range 5 {
		if r := run(t, f, request(nil)); r.Body != "1,1" {
			t.Errorf("got %q, want 1,1", r.Body)
		}
	}
}

// Numbers never repeat across the requests of a restored function, also when some were drawn at start.
func TestJSUnique(t *testing.T) {
	t.Parallel()
	calls := 3000
	if testing.Short() {
		calls = 300
	}
	f := launchJS(t, `
		const early = [Math.random(), crypto.randomUUID()]
		export default () => Response.json([
			Math.random(), Math.random(), crypto.randomUUID(), crypto.getRandomValues(new Uint32Array(3)).join(), Date.now() > 1.7e12, early[0],
		])`)
	seen, early := map[any]bool{}, map[any]bool{}
	for range calls {
		var got []any
		if err := json.Unmarshal([]byte(run(t, f, request(nil)).Body), &got); err != nil || len(got) != 6 || got[4] != true {
			t.Fatalf("%v: %v", err, got)
		}
		early[got[5]] = true
		for _, v := range got[:4] {
			if seen[v] {
				t.Fatalf("%v came twice", v)
			}
			seen[v] = true
		}
	}
	if kind, why := f.settled(t); kind != "snapshot" {
		t.Errorf("the function starts by %s (%s), want snapshot", kind, why)
	}
	if len(early) > calls/2 {
		t.Errorf("%d start-ups for %d calls, want few: the others are restored", len(early), calls)
	}
	t.Logf("%d start-ups", len(early))
}

// Under contract stream bodies go both ways as they come.
func TestJSStream(t *testing.T) {
	t.Parallel()
	head := func(members object) string {
		r := request(members)
		delete(r, "body")
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		return string(text) + "\n"
	}
	post := object{"method": "POST"}
	for _, test := range []struct{ name, main, in, want string }{
		{"no bodies", `export default () => new Response(null, { status: 204 })`, head(nil), `{"status":204,"headers":{}}` + "\n"},
		{"a text", `export default async request => new Response("got " + await request.text(), { headers: { "content-type": "a/b" } })`, head(post) + "some\nlines",
			`{"status":200,"headers":{"content-type":"a/b"}}` + "\ngot some\nlines"},
		{"the same bytes", `export default request => new Response(request.body)`, head(post) + "\x00\xff\r\n\n", `{"status":200,"headers":{}}` + "\n\x00\xff\r\n\n"},
		{"a large body", `export default async request => { let n = 0; for await (const chunk of request.body) n += chunk.length; return new Response(n + "") }`,
			head(post) + strings.Repeat("0123456789", 300_000), `{"status":200,"headers":{"content-type":"text/plain;charset=UTF-8"}}` + "\n3000000"},
		{"a large head", `export default request => new Response(request.headers.get("a").length + "")`, head(object{"headers": object{"A": []string{strings.Repeat("b", 200_000)}}}) + "x",
			`{"status":200,"headers":{"content-type":"text/plain;charset=UTF-8"}}` + "\n200000"},
		{"events", `export default () => new Response((async function* () {
				for (let i = 0; i < 3; i++) {
					yield "data: " + i + "\n\n"
					await new Promise(done => setTimeout(done, 1))
				}
			})(), { headers: { "content-type": "text/event-stream" } })`, head(nil),
			`{"status":200,"headers":{"content-type":"text/event-stream"}}` + "\ndata: 0\n\ndata: 1\n\ndata: 2\n\n"},
		{"half a pair", `export default () => new Response("a\ud800\0")`, head(nil), `{"status":200,"headers":{"content-type":"text/plain;charset=UTF-8"}}` + "\na\xef\xbf\xbd\x00"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := launchJS(t, test.main)
			for range 2 {
				var out, log bytes.Buffer
				if _, err := f.Run(t.Context(), strings.NewReader(test.in), &out, &log); err != nil || out.String() != test.want || log.Len() > 0 {
					t.Errorf("got %v %.300q and the log %q, want %.300q", err, out.String(), log.String(), test.want)
				}
			}
		})
	}
}

// What is asked for without a grant is refused in words.
func TestJSNothingGranted(t *testing.T) {
	t.Parallel()
	f := launchJS(t, `
		import { kv } from "./gojinn.js"
		export default async () => {
			const said = []
			await fetch("https://example.com/").catch(e => said.push(e.name, e.code, e.message))
			try { kv("links").get("a") } catch (e) { said.push(e.message) }
			return Response.json(said)
		}`)
	const want = `["TypeError","refused","refused: the function has no “allow http”","opening /kv/links: No such file or directory"]`
	if r := run(t, f, request(nil)); r.Body != want {
		t.Errorf("got %s, want %s", r.Body, want)
	}
}

var codeBlocks = regexp.MustCompile("(?s)```js\n(?:// (\\S+\\.js)\n)?(.*?)```")

// Each program in the README answers what its comment says.
func TestJSReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile(filepath.FromSlash("../../guest/js/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	says := regexp.MustCompile(`(?m)^// (GET|POST) (\S+)(?: (.*?))? → (.*)$`)
	programs := 0
	for _, block := range codeBlocks.FindAllStringSubmatch(string(readme), -1) {
		lines := says.FindAllStringSubmatch(block[2], -1)
		if len(lines) == 0 {
			continue
		}
		programs++
		f := launch(t, func() program {
			p := js(t, "main.js", block[2])
			if strings.Contains(block[2], "serve(") {
				p.args = []string{"quickjs", "/app/main.js"}
			}
			return p
		}())
		for _, line := range lines {
			r := run(t, f, request(object{"method": line[1], "uri": line[2], "body": line[3]}))
			if r.Body != line[4] {
				t.Errorf("%s: got %q, want %q", line[0], r.Body, line[4])
			}
		}
	}
	if programs < 2 {
		t.Errorf("the README has %d programs that say what they answer, want 2", programs)
	}
}
