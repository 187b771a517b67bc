package interpreters

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

// TestPythonPlain: the interpreter runs a script that knows nothing of us.
func TestPythonPlain(t *testing.T) {
	t.Parallel()
	f := launch(t, program{
		language: "python",
		dir:      folder(t, "main.py", "import sys, json\nr = json.load(sys.stdin)\njson.dump({'headers': {'X-Path': [r['path']]}, 'body': 'hello'}, sys.stdout)\n"),
		args:     []string{"python", "/app/main.py"},
	})
	if r := run(t, f, request(object{"path": "/a"})); r.Status != 200 || r.Body != "hello" || r.header("X-Path") != "/a" {
		t.Errorf("got %+v", r)
	}
	if kind, why := f.settled(t); kind == engine.StartSnapshot {
		t.Errorf("got %s (%s) although it has drawn its hash seed", kind, why)
	}
}

// pythonFolder is a folder with the launcher and these files.
func pythonFolder(tb testing.TB, namesAndTexts ...string) string {
	tb.Helper()
	launcher, err := os.ReadFile("../../guest/python/gojinn.py")
	if err != nil {
		tb.Fatal(err)
	}
	return folder(tb, append(namesAndTexts, "gojinn.py", string(launcher))...)
}

// python makes a function of a module, which may have an attribute behind a colon, with these files.
func python(tb testing.TB, target string, namesAndTexts ...string) *function {
	tb.Helper()
	return launch(tb, program{
		language: "python",
		dir:      pythonFolder(tb, namesAndTexts...),
		args:     []string{"python", "/app/gojinn.py", target},
	})
}

// pythonGet is a GET request for a URI, with the query that the server would make of it.
func pythonGet(uri string) object {
	path, query, _ := strings.Cut(uri, "?")
	q := object{}
	if name, value, ok := strings.Cut(query, "="); ok {
		q[name] = []string{value}
	}
	return request(object{"path": path, "uri": uri, "original_uri": uri, "query": q})
}

// pythonStream calls a function by the contract stream.
func pythonStream(t *testing.T, f *function, r object, body string) (head object, rest, log string, err error) {
	t.Helper()
	delete(r, "body")
	in, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var out, logged bytes.Buffer
	_, err = f.Run(t.Context(), io.MultiReader(bytes.NewReader(append(in, '\n')), strings.NewReader(body)), &out, &logged)
	line, rest, _ := strings.Cut(out.String(), "\n")
	if err := json.Unmarshal([]byte(line), &head); err != nil && line != "" {
		t.Errorf("head %q: %v", line, err)
	}
	return head, rest, logged.String(), err
}

// pythonFails calls a function that ends with this exit code, having answered nothing, and returns its log.
func pythonFails(t *testing.T, f *function, r object, code uint32) (log string) {
	t.Helper()
	in, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var out, logged bytes.Buffer
	_, err = f.Run(t.Context(), bytes.NewReader(in), &out, &logged)
	var exit *engine.ExitError
	if !errors.As(err, &exit) || exit.Code != code || out.Len() > 0 {
		t.Errorf("%v: got %v, want exit code %d; output %q, log %q", r["uri"], err, code, out.String(), logged.String())
	}
	return logged.String()
}

// Whatever a handler returns is the answer.
func TestPythonAnswers(t *testing.T) {
	t.Parallel()
	f := python(t, "main", "main.py", `
import io
from http import HTTPStatus
from gojinn import Response

class Pieces:
    def __iter__(self):
        return iter(["a", b"\xc3", b"\xa9", "", "b"])

    def close(self):
        print("closed")

def pieces():
    yield "a"
    yield b"b"

answers = {
    "/text": "é\0\n",
    "/empty": "",
    "/bytes": b"\xff\0",
    "/utf8": "é".encode(),
    "/array": bytearray(b"a"),
    "/view": memoryview(b"abc")[1:],
    "/dict": {"a": [1, None, "é\u2028", (True, 1.5)], 2: {}},
    "/list": [1, "<"],
    "/number": 12,
    "/false": False,
    "/pair": (201, {"a": 1}),
    "/status": (HTTPStatus.CREATED, "text"),
    "/triple": (202, {"X-A": "1", "X-B": ["2", 3]}, "text"),
    "/pairs": (200, [("X-B", "1"), ("x-b", "2"), ("X-B", "3"), ("X-C", 4)], b""),
    "/nothing": (204, {}, ""),
    "/response": Response("<p>", 404, {"content-type": "text/html"}),
    "/typed": Response({"a": 1}, headers=[("CONTENT-TYPE", "application/problem+json")]),
    "/response-empty": Response(status=304),
    "/list-of-text": Response(iter(["a", "b"])),
    "/pieces": Pieces(),
    "/file": Response(io.BytesIO(b"line\nline\xff"), headers={"Content-Type": "x/y"}),
}

def handler(request):
    return pieces() if request.path == "/generator" else answers[request.path]
`)
	const text, data, plain = "text/plain; charset=utf-8", "application/json", "application/octet-stream"
	typed := func(kind string) map[string]any { return map[string]any{"Content-Type": kind} }
	for path, want := range map[string]response{
		"/text":           {Status: 200, Body: "é\x00\n", Headers: typed(text)},
		"/empty":          {Status: 200, Headers: map[string]any{}},
		"/bytes":          {Status: 200, Body: "\xff\x00", Headers: typed(plain)},
		"/utf8":           {Status: 200, Body: "é", Headers: typed(plain)},
		"/array":          {Status: 200, Body: "a", Headers: typed(plain)},
		"/view":           {Status: 200, Body: "bc", Headers: typed(plain)},
		"/dict":           {Status: 200, Body: `{"a":[1,null,"é` + "\u2028" + `",[true,1.5]],"2":{}}`, Headers: typed(data)},
		"/list":           {Status: 200, Body: `[1,"<"]`, Headers: typed(data)},
		"/number":         {Status: 200, Body: "12", Headers: typed(data)},
		"/false":          {Status: 200, Body: "false", Headers: typed(data)},
		"/pair":           {Status: 201, Body: `{"a":1}`, Headers: typed(data)},
		"/status":         {Status: 201, Body: "text", Headers: typed(text)},
		"/triple":         {Status: 202, Body: "text", Headers: map[string]any{"Content-Type": text, "X-A": "1", "X-B": []any{"2", "3"}}},
		"/pairs":          {Status: 200, Headers: map[string]any{"X-B": []any{"1", "2", "3"}, "X-C": "4"}},
		"/nothing":        {Status: 204, Headers: map[string]any{}},
		"/response":       {Status: 404, Body: "<p>", Headers: map[string]any{"content-type": "text/html"}},
		"/typed":          {Status: 200, Body: `{"a":1}`, Headers: map[string]any{"CONTENT-TYPE": "application/problem+json"}},
		"/response-empty": {Status: 304, Headers: map[string]any{}},
		"/list-of-text":   {Status: 200, Body: "ab", Headers: typed(text)},
		"/pieces":         {Status: 200, Body: "aéb", Headers: typed(text), Log: "closed\n"},
		"/file":           {Status: 200, Body: "line\nline\xff", Headers: typed("x/y")},
		"/generator":      {Status: 200, Body: "ab", Headers: typed(text)},
	} {
		for range 2 { // the second time it has been restored
			got := run(t, f, pythonGet(path))
			if got.Status != want.Status || got.Body != want.Body || !reflect.DeepEqual(got.Headers, want.Headers) || got.Log != want.Log {
				t.Errorf("%s: got %d %v %q, log %q", path, got.Status, got.Headers, got.Body, got.Log)
			}
		}
	}
	if kind, why := f.settled(t); kind != engine.StartSnapshot {
		t.Errorf("got %s: %s", kind, why)
	}
}

// A handler sees what was asked.
func TestPythonRequest(t *testing.T) {
	t.Parallel()
	f := python(t, "main:inspect", "main.py", `
def inspect(request):
    h = request.headers
    return {
        "members": {n: getattr(request, n) for n in ("id", "method", "uri", "original_uri", "scheme", "host", "proto", "path", "remote_addr", "query", "route", "traceparent", "params")},
        "headers": [h.get("x-oDd"), h.get("X-Odd"), h.get("none"), h.get("none", 1), h.get_all("x-odd"), h.get_all("none"), h["X-oDD"], "X-oDD" in h],
        "body": list(request.body), "again": request.body is request.body, "stream": list(request.stream.read()), "end": list(request.stream.read()),
        "text": attempt(request.text), "json": attempt(request.json),
    }

def attempt(f):
    try:
        return f()
    except ValueError as e:
        return type(e).__name__
`)
	members := object{
		"method": "POST", "path": "/a b", "uri": "/a%20b?x=1&x=2", "original_uri": "/o", "scheme": "https", "proto": "HTTP/2.0", "query": object{"x": []any{"1", "2"}},
		"route": "/{p}", "params": object{"p": "a b"}, "traceparent": "00-1", "headers": object{"X-oDD": []string{"3", "é"}}, "body": `{"é":1}`,
	}
	wantMembers := object{
		"id": "7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3", "method": "POST", "uri": "/a%20b?x=1&x=2", "original_uri": "/o", "scheme": "https", "host": "example.com",
		"proto": "HTTP/2.0", "path": "/a b", "remote_addr": "203.0.113.9", "query": object{"x": []any{"1", "2"}}, "route": "/{p}", "traceparent": "00-1", "params": object{"p": "a b"},
	}
	bodyOf := func(text string) (list []int) {
		list = []int{}
		for _, b := range []byte(text) {
			list = append(list, int(b))
		}
		return list
	}
	want := object{
		"members": wantMembers, "headers": []any{"3", "3", nil, 1, []string{"3", "é"}, []string{}, []string{"3", "é"}, true},
		"body": bodyOf(`{"é":1}`), "again": true, "stream": bodyOf(`{"é":1}`), "end": []int{}, "text": `{"é":1}`, "json": object{"é": 1},
	}
	same := func(name, got string, want object) {
		t.Helper()
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var is, wanted any
		if err := errors.Join(json.Unmarshal([]byte(got), &is), json.Unmarshal(text, &wanted)); err != nil || !reflect.DeepEqual(is, wanted) {
			t.Errorf("%s: got %s, want %s", name, got, text)
		}
	}
	same("json", run(t, f, request(members)).Body, want)

	head, body, log, err := pythonStream(t, f, request(members), `{"é":1}`)
	if err != nil || head["status"] != 200.0 || log != "" {
		t.Errorf("got %v, %v, log %q", err, head, log)
	}
	streamed := with(want, object{"stream": []int{}}) // the body was read before
	same("stream", body, streamed)

	for _, name := range []string{"route", "params", "traceparent"} {
		delete(members, name)
	}
	wantMembers["route"], wantMembers["params"], wantMembers["traceparent"] = nil, object{}, nil
	binary := request(members)
	delete(binary, "body")
	binary["body_base64"] = "AP8="
	same("binary", run(t, f, binary).Body, with(want, object{"body": []int{0, 255}, "stream": []int{0, 255}, "text": "UnicodeDecodeError", "json": "UnicodeDecodeError"}))

	long := strings.Repeat(`é"`, 100_000)
	large := python(t, "main", "main.py", "def handler(r): return r.text() + r.query['q'][0]\n")
	for _, query := range []string{"", long} {
		if r := run(t, large, request(object{"body": long, "query": object{"q": []string{query}}})); r.Body != long+query {
			t.Errorf("a large request: got %d bytes", len(r.Body))
		}
		if _, got, _, err := pythonStream(t, large, request(object{"query": object{"q": []string{query}}}), long); err != nil || got != long+query {
			t.Errorf("a large stream: got %v, %d bytes", err, len(got))
		}
	}
}

// with returns a copy of an object with these members changed.
func with(of, change object) object {
	changed := maps.Clone(of)
	maps.Copy(changed, change)
	return changed
}

// Programs may call serve themselves. What they import, read and print before is as usual, and nothing that is
// printed gets into the answer.
func TestPythonLibrary(t *testing.T) {
	t.Parallel()
	f := launch(t, program{
		language: "python", args: []string{"python", "/app/main.py", "one"},
		dir: pythonFolder(t, "main.py", `
import os, sys
import gojinn, other
from packed import name

print("starting")
words = open(os.path.join(os.path.dirname(__file__), "words")).read().split()

def handler(request):
    print("print")
    sys.stdout.write("write\n")
    sys.__stdout__.write("original\n")
    print("err", file=sys.stderr)
    return other.answer(words, sys.argv, __name__, name)

gojinn.serve(handler)
print("never")
`, "words", "a\nb\n", "other.py", "def answer(*all): return repr(all)\n", "lib/packed/__init__.py", "name = __name__\n"),
	})
	for range 2 {
		r := run(t, f, request(nil))
		if want := `(['a', 'b'], ['/app/main.py', 'one'], '__main__', 'packed')`; r.Body != want {
			t.Errorf("got %s, want %s", r.Body, want)
		}
		if want := "starting\nprint\nwrite\noriginal\nerr\n"; r.Log != want && r.Log != strings.TrimPrefix(want, "starting\n") {
			t.Errorf("got %q", r.Log)
		}
	}
	if kind, why := f.settled(t); kind != engine.StartSnapshot {
		t.Errorf("got %s: %s", kind, why)
	}
}

// What a module is served by.
func TestPythonTargets(t *testing.T) {
	t.Parallel()
	const text = `
import sys
class Many:
    def one(self, request): return "method " + repr(sys.argv)
    def __call__(self, request): return "called"
    @staticmethod
    def static(request, more=1): return "static"
many = Many()
def factory(): return lambda environ, start_response: start_response("200 OK", []) and [b"made"]
class Class:
    def __init__(self, environ, start_response): start_response("200 OK", []); self.body = iter([b"class"])
    def __iter__(self): return self.body
class App:
    wsgi_app = 1
    def __call__(self, *both): both[1]("200 OK", []); return [b"app"]
`
	for _, test := range []struct{ target, more, want string }{
		{"main", "handler = many", "called"},
		{"main", "app = factory()\n", "made"},
		{"main", "application = factory()\n", "made"},
		{"main:many.one", "", "method ['main:many.one']"},
		{"main:Many.static", "", "static"},
		{"main:factory()", "", "made"},
		{"main:Class", "", "class"},
		{"main:App()", "", "app"},
		{"main", "import functools\n@functools.wraps(factory())\ndef app(*args): return factory()(*args)", "made"},
		{"main", "import functools\nhandler = functools.partial(Many.one, None)", "method ['main']"},
		{"main", "import gojinn\nassert gojinn.Request is sys.modules['__main__'].Request\ndef handler(r): return type(r) is gojinn.Request and 'same'", "same"},
		{"main", "import gojinn\ngojinn.serve(wsgi=lambda e, *s, **k: s[0]('200 OK', []) and [b'wsgi='])", "wsgi="},
	} {
		if r, err := try(t, python(t, test.target, "main.py", text+test.more), request(nil)); err != nil || r.Body != test.want {
			t.Errorf("%s %q: got %v, %q, log %q", test.target, test.more, err, r.Body, r.Log)
		}
	}
}

// What goes wrong is in the log, and nowhere else.
func TestPythonFails(t *testing.T) {
	t.Parallel()
	f := python(t, "main", "main.py", `
import os, sys, gojinn

def deep(n):
    return deep(n + 1) + 1

def pieces():
    yield "secret"
    raise ValueError("on purpose")

def handler(request):
    p = request.path
    if p == "/raise": raise ValueError("on purpose")
    if p == "/exit": sys.exit()
    if p == "/exit0": sys.exit(0)
    if p == "/exit3": sys.exit(3)
    if p == "/exit-text": sys.exit("on purpose")
    if p == "/interrupt": raise KeyboardInterrupt
    if p == "/none": return None
    if p == "/object": return object()
    if p == "/tuple": return 1, 2, 3, 4
    if p == "/status": return "200", ""
    if p == "/nan": return {"a": float("nan")}
    if p == "/set": return {"a": {1}}
    if p == "/circle": a = []; a.append(a); return a
    if p == "/surrogate": return "\ud800"
    if p == "/deep": deep(0)
    if p == "/pieces": return pieces()
    if p == "/piece": return iter([1])
    if p == "/print":
        print("secret"); os.write(2, b"raw\n"); raise ValueError("on purpose")
    return "ok"
`)
	for path, want := range map[string]struct {
		code uint32
		log  string
	}{
		"/raise":     {1, "  File \"/app/main.py\", line 13, in handler\n    if p == \"/raise\": raise ValueError(\"on purpose\")\n"},
		"/exit":      {1, "exit(None)\n"},
		"/exit0":     {1, "exit(0)\n"},
		"/exit3":     {3, "exit(3)\n"},
		"/exit-text": {1, "exit('on purpose')\n"},
		"/interrupt": {1, "KeyboardInterrupt\n"},
		"/none":      {1, "TypeError: the handler returned no answer"},
		"/object":    {1, "TypeError: the handler returned a object"},
		"/tuple":     {1, "not 4 values"},
		"/status":    {1, "TypeError"},
		"/nan":       {1, "not JSON compliant"},
		"/set":       {1, "TypeError: a set can't be JSON"},
		"/circle":    {1, "RecursionError"},
		"/surrogate": {1, "UnicodeEncodeError"},
		"/deep":      {1, "RecursionError: maximum recursion depth exceeded"},
		"/pieces":    {1, "ValueError: on purpose\n"},
		"/piece":     {1, "TypeError"},
		"/print":     {1, "secret\nraw\n"},
	} {
		if log := pythonFails(t, f, pythonGet(path), want.code); !strings.Contains(log, want.log) {
			t.Errorf("%s: log %q, want %q", path, log, want.log)
		}
		if r := run(t, f, pythonGet("/")); r.Body != "ok" || r.Log != "" {
			t.Errorf("after %s: got %q, log %q", path, r.Body, r.Log)
		}
	}
}

// A program that can't start says why.
func TestPythonDoesNotStart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ target, text, log string }{
		{"main", "def handler(r):\n  return 1 +\n", "main.py\", line 2\n    return 1 +\n"},
		{"main", "import nope\n", "ModuleNotFoundError: No module named 'nope'\n"},
		{"main", "def other(r): return ''\n", "has neither handler nor app nor application"},
		{"main:nope", "", "has no attribute 'nope'"},
		{"none", "", "ModuleNotFoundError: No module named 'none'"},
		{"main", "handler = 1\n", "TypeError: a int can't be served"},
		{"main", "import gojinn\ngojinn.serve()\n", "TypeError: serve() takes a handler, or wsgi="},
		{"main", "import gojinn\ngojinn.serve(lambda r: 1 / 0, warm='/')\n", "ZeroDivisionError"},
		{"main", "print('secret')\n1 / 0\n", "secret\n"},
	} {
		if log := pythonFails(t, python(t, test.target, "main.py", test.text), request(nil), 1); !strings.Contains(log, test.log) {
			t.Errorf("%s %q: log %q", test.target, test.text, log)
		}
	}
}

// What start-up has made is there, and what requests make is gone.
func TestPythonState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := launch(t, program{
		language: "python", args: []string{"python", "/app/main.py"},
		dir: pythonFolder(t, "main.py", `
import gojinn, os, sys

seen = []

def handler(request):
    import json.tool
    seen.append(request.uri)
    os.environ["COUNT"] = str(int(os.environ.get("COUNT", "0")) + 1)
    handler.count = getattr(handler, "count", 0) + 1
    sys.path.append("/x")
    if request.query:
        os.chdir("/rw")
        with open("/rw/" + request.query["name"][0], "x") as file:
            file.write("x")
    return {"seen": seen, "count": [os.environ["COUNT"], handler.count, sys.path.count("/x")], "files": sorted(os.listdir("/rw")) if request.query else None, "query": request.query, "cwd": os.getcwd()}

gojinn.serve(handler, warm=["/warm?a=1", {"uri": "/b", "method": "POST", "body": "x"}] if len(sys.argv) > 1 else ())
`),
		grant: func(g *engine.Grants) error { return g.Mount("/rw", &vfs.HostDir{Path: dir, Writable: true}) },
	})
	for i, name := range []string{"a", "b", "c"} {
		files, err := json.Marshal([]string{"a", "b", "c"}[:i+1])
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`{"seen":["/c?name=%s"],"count":["1",1,1],"files":%s,"query":{"name":["%[1]s"]},"cwd":"/rw"}`, name, files)
		if r := run(t, f, pythonGet("/c?name="+name)); r.Body != want {
			t.Errorf("got %s, want %s", r.Body, want)
		}
		if r, want := run(t, f, pythonGet("/c")), `{"seen":["/c"],"count":["1",1,1],"files":null,"query":{},"cwd":"/"}`; r.Body != want {
			t.Errorf("got %s, want %s", r.Body, want)
		}
	}
}

// What is to be warmed is answered before there is a request, with requests as they would be, and dropped.
func TestPythonWarm(t *testing.T) {
	t.Parallel()
	const text = `
import os
seen = {}
def handler(request):
    seen.setdefault(request.uri, [request.method, request.path, request.query, request.text(), request.headers])
    return {"seen": seen}
`
	f := launch(t, program{language: "python", args: []string{"python", "/app/main.py"}, dir: pythonFolder(t, "main.py", text+`
import gojinn
gojinn.serve(handler, warm=["/a?b=%C3%A9", {"uri": "/b", "method": "POST", "headers": {"X": "1"}, "body": "x"}])
`)})
	const head = `{"Accept":["*/*"],"User-Agent":["gojinn"]}`
	want := `{"seen":{"/a?b=%C3%A9":["GET","/a",{"b":["é"]},"",` + head + `],"/b":["POST","/b",{},"x",{"X":["1"]}],"/c":["GET","/c",{},"",{}]}}`
	for range 2 {
		if r := run(t, f, pythonGet("/c")); r.Body != want {
			t.Errorf("got %s, want %s", r.Body, want)
		}
	}
	if kind, why := f.settled(t); kind != engine.StartSnapshot {
		t.Errorf("got %s: %s", kind, why)
	}

	f = launch(t, program{language: "python", args: []string{"python", "/app/gojinn.py", "--warm", "/a", "--warm", "/b", "main", "x"}, dir: pythonFolder(t, "main.py", text)})
	if r := run(t, f, pythonGet("/c")); !strings.HasPrefix(r.Body, `{"seen":{"/a":["GET","/a",{},"",`+head+`],"/b":`) {
		t.Errorf("got %s", r.Body)
	}
}

// No two requests draw the same, although all of them go on from the same point.
func TestPythonUnique(t *testing.T) {
	t.Parallel()
	f := python(t, "main", "main.py", `
import importlib.util
importlib.util.find_spec("random")  # only looked for
import os, random, secrets, tempfile, time, uuid
from random import gauss, getrandbits, random as number
own = random.Random()
copy = random.Random()
copy.seed()
class Mine(random.Random):
    pass
mine = Mine()
system = random.SystemRandom()
fixed = random.Random(42)
again = random.Random()
again.seed(42)
random.random(), gauss(0, 1), own.gauss(0, 1), secrets.token_hex(), uuid.uuid1(), uuid.uuid4(), os.urandom(8), tempfile.gettempprefix()
next(tempfile._get_candidate_names())

def handler(request):
    return {
        "random": random.random(), "number": number(), "bits": getrandbits(64), "gauss": gauss(0, 1), "choice": "%x" % random.randrange(1 << 60),
        "own": own.random(), "own gauss": own.gauss(0, 1), "copy": copy.random(), "mine": mine.random(), "system": system.random(), "new": random.Random().random(),
        "shuffle": repr(random.sample(range(100), 30)), "secret": secrets.token_hex(8), "uuid1": str(uuid.uuid1()), "node": uuid.getnode(),
        "uuid4": str(uuid.uuid4()), "urandom": os.urandom(8).hex(), "temporary": next(tempfile._get_candidate_names()), "time": time.time_ns(),
        "same": [fixed.random(), again.random()] == [0.6394267984578837] * 2,
    }
`)
	seen := map[string]bool{}
	const requests = 3000
	for range requests {
		r := run(t, f, request(nil))
		var numbers map[string]any
		decoder := json.NewDecoder(strings.NewReader(r.Body))
		decoder.UseNumber()
		if err := decoder.Decode(&numbers); err != nil || len(numbers) != 20 || numbers["same"] != true {
			t.Fatalf("got %q", r.Body)
		}
		delete(numbers, "same")
		for name, number := range numbers {
			key := fmt.Sprint(name, " ", number)
			if seen[key] {
				t.Fatalf("twice: %s", key)
			}
			seen[key] = true
		}
	}
	if kind, why := f.settled(t); kind != engine.StartSnapshot {
		t.Errorf("got %s: %s", kind, why)
	}

	// What was imported before gojinn is not forgotten.
	f = launch(t, program{language: "python", args: []string{"python", "/app/main.py"}, dir: pythonFolder(t, "main.py", `
import random
own = random.Random()
import gojinn
import importlib
older = random.random
importlib.reload(random)
gojinn.serve(lambda request: "%r %r %r" % (own.random(), older(), random.random()))
`)})
	for range 20 {
		for i, number := range strings.Fields(run(t, f, request(nil)).Body) {
			key := fmt.Sprint("before ", i, " ", number)
			if seen[key] {
				t.Errorf("twice: %s", key)
			}
			seen[key] = true
		}
	}
}
