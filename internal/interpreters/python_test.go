package interpreters

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

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
    "/half": {"a": "\ud800é"},
    "/halves": ["\udfff\ud800"],
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
		"/half":           {Status: 200, Body: `{"a":"\ud800é"}`, Headers: typed(data)},
		"/halves":         {Status: 200, Body: `["\udfff\ud800"]`, Headers: typed(data)},
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

	if r := run(t, f, request(with(members, object{"body": strings.Repeat("[", 100_000)}))); r.Status != 200 || !strings.Contains(r.Body, `"json":"ValueError"`) {
		t.Errorf("deep JSON: got %d %.200q", r.Status, r.Body)
	}

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
		{"main:make_app()", "def make_app(): return lambda *args: factory()(*args)", "made"},
		{"main", "app = lambda request: 'no application'", "no application"},
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

// pythonEcho is a WSGI application that tells its environment.
const pythonEcho = `
import json

def app(environ, start_response):
    plain = {name: value for name, value in environ.items() if isinstance(value, (str, bool, tuple))}
    plain["body"] = environ["wsgi.input"].read().decode()
    plain["request"] = environ["gojinn.request"].id
    start_response("200 Whatever", [("Content-Type", "application/json"), ("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X-Latin", "\xc3\xa9"), ("X-Text", "\u20ac")])
    return [json.dumps(plain).encode()]
`

// A WSGI application sees what PEP 3333 promises.
func TestPythonWSGI(t *testing.T) {
	t.Parallel()
	f := python(t, "main", "main.py", pythonEcho)
	members := object{
		"method": "POST", "uri": "/a%20b/%C3%A9?x=%20", "original_uri": "/mounted/a%20b/%C3%A9?x=%20", "path": "/a b/é", "scheme": "https", "host": "example.com:8443", "proto": "HTTP/2.0",
		"headers": object{
			"Content-Type": []string{"text/plain"}, "Content-Length": []string{"2"}, "Accept": []string{"a", "b"}, "Cookie": []string{"a=1", "b=2"},
			"X-Latin": []string{"é"}, "Proxy": []string{"evil"}, "X_Under": []string{"evil"},
		},
		"body": "é",
	}
	want := object{
		"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/mounted", "PATH_INFO": "/a b/Ã©", "QUERY_STRING": "x=%20", "SERVER_NAME": "example.com", "SERVER_PORT": "8443",
		"HTTP_HOST": "example.com:8443", "SERVER_PROTOCOL": "HTTP/2.0", "REMOTE_ADDR": "203.0.113.9", "CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "2",
		"HTTP_ACCEPT": "a,b", "HTTP_COOKIE": "a=1; b=2", "HTTP_X_LATIN": "Ã©", "HTTP_PROXY": nil, "HTTP_X_UNDER": nil, "HTTP_CONTENT_TYPE": nil, "HTTP_CONTENT_LENGTH": nil,
		"REQUEST_URI": "/mounted/a%20b/%C3%A9?x=%20", "wsgi.url_scheme": "https", "wsgi.run_once": true, "body": "é", "request": "7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3",
	}
	wantHeaders := map[string]any{"Content-Type": "application/json", "Set-Cookie": []any{"a=1", "b=2"}, "X-Latin": "é", "X-Text": "€"}
	same := func(name, body string, headers map[string]any) {
		t.Helper()
		var got object
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		for member, value := range want {
			if got[member] != value {
				t.Errorf("%s: %s: got %v, want %v", name, member, got[member], value)
			}
		}
		if !reflect.DeepEqual(headers, wantHeaders) {
			t.Errorf("%s: got %v, want %v", name, headers, wantHeaders)
		}
	}
	for range 2 {
		r := run(t, f, request(members))
		same("json", r.Body, r.Headers)
	}
	head, body, _, err := pythonStream(t, f, request(members), "é")
	if err != nil {
		t.Fatal(err)
	}
	headers, _ := head["headers"].(map[string]any)
	same("stream", body, headers)

	// A query is whatever bytes the client sends; every text of the environment is of bytes.
	want = object{"QUERY_STRING": "x=\u00e2\u0082\u00ac\u00c3\u00a9", "REQUEST_URI": "/?x=\u00e2\u0082\u00ac\u00c3\u00a9"}
	r := run(t, f, request(object{"uri": "/?x=€é", "original_uri": "/?x=€é"}))
	same("bytes", r.Body, r.Headers)
	want = object{"SERVER_NAME": "[::1]", "SERVER_PORT": "80", "CONTENT_LENGTH": "0", "CONTENT_TYPE": "", "SCRIPT_NAME": "", "PATH_INFO": "/"}
	r = run(t, f, request(object{"host": "[::1]:80"}))
	same("no body", r.Body, r.Headers)
	for before, script := range map[string]string{"/app": "/app", "/app/": "/app", "//app": "/app", "//evil.example/": "/evil.example", "/a/b": "/a/b", "/": ""} {
		want = object{"SCRIPT_NAME": script, "PATH_INFO": "/"}
		r = run(t, f, request(object{"original_uri": before}))
		same(before, r.Body, r.Headers)
	}
	delete(members["headers"].(object), "Content-Length") // as of a client that sends it in chunks
	want = object{"CONTENT_LENGTH": nil, "body": "é"}
	head, body, _, err = pythonStream(t, f, request(members), "é")
	if err != nil {
		t.Fatal(err)
	}
	headers, _ = head["headers"].(map[string]any)
	same("chunks", body, headers)
	if kind, why := f.settled(t); kind != engine.StartSnapshot {
		t.Errorf("got %s: %s", kind, why)
	}
}

// Python's own judge of WSGI servers finds nothing.
func TestPythonWSGIValidator(t *testing.T) {
	t.Parallel()
	f := python(t, "main", "main.py", `
import warnings
from wsgiref.validate import validator
warnings.simplefilter("error")

@validator
def app(environ, start_response):
    write = start_response("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/write":
        write(b"written,")
    read = environ["wsgi.input"]
    return [read.readline(), b"|", read.read(3), b"|", *read.readlines(), b"|", read.read(1)]
`)
	for _, r := range []object{
		pythonGet("/"),
		request(object{"method": "POST", "uri": "/a?b=%C3%A9", "headers": object{"X-É": []string{"é"}, "Content-Length": []string{"4"}}, "body": "text"}),
		request(object{"scheme": "https", "host": "[::1]:1", "original_uri": "/a/b/"}),
		request(object{"host": "", "proto": "HTTP/1.0"}),
	} {
		if got, err := try(t, f, r); err != nil || got.Status != 200 || got.Log != "" {
			t.Errorf("%v: got %v, log %q", r, err, got.Log)
		}
	}
	const body, want = "a\nb\nc\nd", "written,a\n|b\nc|\nd|"
	if r := run(t, f, with(pythonGet("/write"), object{"body": body})); r.Body != want || r.Log != "" {
		t.Errorf("got %q, log %q", r.Body, r.Log)
	}
	if _, got, log, err := pythonStream(t, f, pythonGet("/write"), body); err != nil || got != want || log != "" {
		t.Errorf("got %v, %q, log %q", err, got, log)
	}
}

// An application may change its mind until it has sent something, and is always closed.
func TestPythonWSGIErrors(t *testing.T) {
	t.Parallel()
	f := python(t, "main", "main.py", `
import sys

class Body:
    def __init__(self, *pieces):
        self.pieces = iter(pieces)

    def __iter__(self):
        return self

    def __next__(self):
        piece = next(self.pieces)
        if isinstance(piece, Exception):
            raise piece
        return piece

    def close(self):
        print("closed", file=sys.stderr)

def app(environ, start):
    path = environ["PATH_INFO"]
    if path == "/never": return Body(b"")
    if path == "/early": return Body(b"a")
    def late():
        start("200 OK", [])
        yield b"late"
    if path == "/late": return late()
    write = start("200 OK", [("X-A", "1")])
    if path == "/twice": start("200 OK", [])
    if path in ("/again", "/sent"):
        if path == "/sent": write(b"secret")
        try:
            raise ValueError("on purpose")
        except ValueError:
            start("500 No", [("X-B", "1")], sys.exc_info())
        return [b"sorry"]
    if path == "/middle": return Body(b"secret", ValueError("on purpose"))
    if path == "/text": return Body("text")
    if path == "/status": start("abc", [], (ValueError, ValueError("x"), None))
    if path == "/empty": return Body()
    return Body(b"a", b"", b"b")
`)
	for path, want := range map[string]response{
		"/":      {Status: 200, Body: "ab", Headers: map[string]any{"X-A": "1"}, Log: "closed\n"},
		"/empty": {Status: 200, Headers: map[string]any{"X-A": "1"}, Log: "closed\n"},
		"/again": {Status: 500, Body: "sorry", Headers: map[string]any{"X-B": "1"}},
		"/late":  {Status: 200, Body: "late", Headers: map[string]any{}},
	} {
		got := run(t, f, pythonGet(path))
		if got.Status != want.Status || got.Body != want.Body || !reflect.DeepEqual(got.Headers, want.Headers) || got.Log != want.Log {
			t.Errorf("%s: got %d %v %q, log %q", path, got.Status, got.Headers, got.Body, got.Log)
		}
		head, body, log, err := pythonStream(t, f, pythonGet(path), "")
		if err != nil || head["status"] != float64(want.Status) || body != want.Body || log != want.Log {
			t.Errorf("%s as a stream: got %v, %v %q, log %q", path, err, head, body, log)
		}
	}
	for path, want := range map[string]string{
		"/never": "RuntimeError: the application", "/early": "RuntimeError: the application writes before", "/twice": "start_response was called twice", "/sent": "ValueError: on purpose",
		"/middle": "closed\nTraceback", "/text": "TypeError: a WSGI application's body is bytes", "/status": "ValueError",
	} {
		if log := pythonFails(t, f, pythonGet(path), 1); !strings.Contains(log, want) {
			t.Errorf("%s: log %q", path, log)
		}
	}
}

// By the contract stream bodies go both ways in pieces.
func TestPythonStream(t *testing.T) {
	t.Parallel()
	f := python(t, "main", "main.py", `
import time
from gojinn import Response

def late():
    yield "begun"
    raise ValueError("on purpose")

def handler(request):
    match request.path:
        case "/whole": return request.body
        case "/text": return request.text()
        case "/dict": return {"a": len(request.body)}
        case "/upper": return Response((line.upper() for line in request.stream), headers={"Content-Type": "text/plain"})
        case "/bytes": return 200, {"Content-Type": "x/y"}, iter(lambda: request.stream.read1(70000), b"")
        case "/unread": return "unread"
        case "/empty": return Response(status=204)
        case "/late": return late()
        case "/fail": raise ValueError("on purpose")
`)
	long := strings.Repeat("many lines\n", 100_000)
	for _, test := range []struct {
		path, body string
		status     float64
		want       string
	}{
		{"/whole", "", 200, ""},
		{"/whole", "one\ntwo\xff", 200, "one\ntwo\xff"},
		{"/whole", long, 200, long},
		{"/text", "é", 200, "é"},
		{"/dict", "12345", 200, `{"a":5}`},
		{"/upper", "a\nb", 200, "A\nB"},
		{"/upper", long, 200, strings.ToUpper(long)},
		{"/bytes", long, 200, long},
		{"/unread", long, 200, "unread"},
		{"/empty", "", 204, ""},
	} {
		head, got, log, err := pythonStream(t, f, pythonGet(test.path), test.body)
		if err != nil || got != test.want || head["status"] != test.status || head["body"] != nil || log != "" {
			t.Errorf("%s: got %v, %v, %d bytes %.50q, log %q", test.path, err, head, len(got), got, log)
		}
	}
	for path, want := range map[string]string{"/late": "begun", "/fail": ""} {
		_, got, log, err := pythonStream(t, f, pythonGet(path), "")
		var exit *engine.ExitError
		if !errors.As(err, &exit) || got != want || !strings.Contains(log, "ValueError: on purpose\n") {
			t.Errorf("%s: got %v, %q, log %q", path, err, got, log)
		}
	}

	// What comes is answered as it comes.
	in, feed := io.Pipe()
	out, tell := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		_, err := f.Run(t.Context(), in, tell, io.Discard)
		tell.CloseWithError(err)
		ended <- err
	}()
	head := pythonGet("/upper")
	delete(head, "body")
	line, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := feed.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	for i, word := range []string{"one", "two", "three"} {
		if _, err := io.WriteString(feed, word+"\n"); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if got, err := answers.ReadString('\n'); err != nil || !strings.HasPrefix(got, `{"status":200,`) {
				t.Fatalf("got %q, %v", got, err)
			}
		}
		if got, err := answers.ReadString('\n'); err != nil || got != strings.ToUpper(word)+"\n" {
			t.Fatalf("got %q, %v", got, err)
		}
	}
	feed.Close()
	if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
		t.Errorf("got %q, %v", rest, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// What is written to a file that isn't closed isn't lost, and what is to be done at exit is done.
func TestPythonExit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := launch(t, program{
		language: "python", args: []string{"python", "/app/gojinn.py", "main"},
		dir: pythonFolder(t, "main.py", `
import atexit, sys
kept = []

@atexit.register
def bye():
    print("bye", file=sys.stderr)

def handler(request):
    open("/rw/a", "w").write("written")
    with open("/rw/b", "wb") as file:
        file.write(b"closed")
    kept.append(open("/rw/c", "w"))
    kept[0].write("kept")
    kept.append(open("/rw/d", "wb"))
    kept[1].write(b"bytes")
    kept.append(open("/rw/e", "w+b"))
    kept[2].write(b"both")
    kept.append(kept)
    return ""
`),
		grant: func(g *engine.Grants) error { return g.Mount("/rw", &vfs.HostDir{Path: dir, Writable: true}) },
	})
	if r := run(t, f, request(nil)); r.Log != "bye\n" {
		t.Errorf("log %q", r.Log)
	}
	for name, want := range map[string]string{"a": "written", "b": "closed", "c": "kept", "d": "bytes", "e": "both"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

// Modules that were compiled are not compiled again.
func TestPythonCompile(t *testing.T) {
	t.Parallel()
	dir := pythonFolder(t, "main.py", "import part\nhandler = lambda request: part.text\n", "part.py", "text = 'one'\n")
	f := launch(t, program{
		language: "python", args: []string{"python", "/app/gojinn.py", "--compile", "/rw"}, dir: dir,
		grant: func(g *engine.Grants) error { return g.Mount("/rw", &vfs.HostDir{Path: dir, Writable: true}) },
	})
	if r := run(t, f, request(nil)); r.Status != 200 || r.Body != `{"compiled":["/rw"],"failed":[]}` {
		t.Errorf("got %d %s, log %q", r.Status, r.Body, r.Log)
	}
	// Other text of the same size and age: what is seen of it is what was compiled.
	path := filepath.Join(dir, "part.py")
	stat, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, []byte("text = 'two'\n"), 0o600), os.Chtimes(path, stat.ModTime(), stat.ModTime())); err != nil {
		t.Fatal(err)
	}
	served := func() *function {
		return launch(t, program{language: "python", args: []string{"python", "/app/gojinn.py", "main"}, dir: dir})
	}
	if r := run(t, served(), request(nil)); r.Body != "one" {
		t.Errorf("got %q: it was compiled again", r.Body)
	}
	later := stat.ModTime().Add(2 * time.Second)
	if err := errors.Join(os.Chtimes(path, later, later), os.WriteFile(filepath.Join(dir, "bad.py"), []byte("1 +\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if r := run(t, served(), request(nil)); r.Body != "two" {
		t.Errorf("got %q of a module that has changed", r.Body)
	}
	if r := run(t, f, request(nil)); r.Status != 500 || r.Body != `{"compiled":["/rw"],"failed":["/rw"]}` || !strings.Contains(r.Log, "bad.py") {
		t.Errorf("got %d %s, log %q", r.Status, r.Body, r.Log)
	}
}

// pythonSite serves a program with these options, by Caddy, until the test ends.
func pythonSite(t *testing.T, options string, namesAndTexts ...string) (address string) {
	t.Helper()
	return site(t, "python", "python /app/gojinn.py main", pythonFolder(t, namesAndTexts...), options)
}

// pythonCheck collects what isn't as it should be.
const pythonCheck = `
import sys
wrong = []
def check(got, want):
    if got != want:
        wrong.append("line %d: got %.200r, want %.200r" % (sys._getframe(1).f_lineno, got, want))

def kind(function, *args, **named):
    try:
        return "nothing", function(*args, **named)
    except OSError as e:
        return getattr(e, "kind", type(e).__name__)

def handler(request):
    checks()
    return "\n".join(wrong + ["done\n"])
`

// Key-value namespaces do what they say. The server's process has one Caddy, so this isn't parallel.
func TestPythonKV(t *testing.T) {
	address := pythonSite(t, "allow kv test {\n max_value 64KiB\n }\n allow kv other /at/other ro\n", "main.py", pythonCheck+`
import gojinn, os
kv = gojinn.kv("test")

def checks():
    check(kv.get("a"), None)
    check(kv.get("a", "default"), "default")
    check(kind(lambda: "a" in kv), ("nothing", False))
    check(kv.delete("a"), False)
    try:
        kv["a"]
    except KeyError as e:
        check(e.args, ("a",))
    else:
        check("no KeyError", "")
    kv["a"] = "1"
    check([kv["a"], kv.get("a"), "a" in kv, open("/kv/test/a").read()], [b"1", b"1", True, "1"])
    for value in b"two\n\0\xff", "é".encode(), b"", b"x" * 65536:
        kv.put("a", value)
        check(kv["a"], value)
        kv.put("a", value, ttl=100)
        check(kv.item("a")[0], value)
    check(kind(kv.put, "a", "x" * 65537) in ("OSError", "too_large"), True)
    check(kind(kv.put, "a", "x" * 65537, ttl=1), "too_large")
    check(kind(kv.put, "a", "x" * 1000000) in ("OSError", "too_large"), True)
    check(kv.item("none"), (None, 0))
    kv["a"] = "v1"
    value, version = kv.item("a")
    check([value, version > 0], [b"v1", True])
    check(kind(kv.cas, "a", version + 1000, "v2"), "conflict")
    check(kind(kv.cas, "a", 0, "v2"), "exists")
    try:
        kv.cas("a", 0, "v2")
    except gojinn.KVError as e:
        check(e.version, version)
    check(kv.cas("a", version, "v2") > version, True)
    check([kv.create("a", "x"), kv.create("new", "made"), kv["new"], kv["a"]], [False, True, b"made", b"v2"])
    del kv["a"]
    check("a" in kv, False)
    check([kv.incr("n"), kv.incr("n", 10), kv.incr("n", -1), kv["n"]], [1, 11, 10, b"10"])
    check(kv.incr("n", 2**62) > 2**62, True)
    check(kind(kv.incr, "new"), "not_integer")
    check(kind(kv.get, ""), "invalid")
    for key in "..", ".", ".do", "a/b", b"\xff\0", "é ~%", "é" * 120, "%2E":
        check(key in kv, False)
        kv[key] = key
        check([kv[key], key in kv], [key if isinstance(key, bytes) else key.encode(), True])
    check(list(kv.keys("\udcff")), ["\udcff\0"])
    check(kv["\udcff\0"], b"\xff\0")
    with open("/kv/test/log", "a") as file:
        file.write("one\n")
    with open("/kv/test/log", "a") as file:
        file.write("two\n")
    check(kv["log"], b"one\ntwo\n")
    names = ["many/%04d" % n for n in range(1100)]
    for name in names:
        kv.put(name, b"", ttl=60)
    check(list(kv.keys("many/")), names)
    check(list(kv.items("many/010"))[-1], ("many/0109", b""))
    check(list(kv.keys("none")), [])
    check(sorted(kv)[:2], sorted(kv.keys())[:2])
    kv.put("short", "x", ttl=0.02)
    import time
    time.sleep(0.1)
    check(kv.get("short"), None)
    other = gojinn.kv("/at/other")
    check(other.get("a"), None)
    check(kind(other.put, "a", "1"), "OSError")
    check(kind(other.put, "a", "1", ttl=1), "read_only")
    check(kind(other.incr, "a"), "read_only")
    check(kind(gojinn.kv("none").incr, "a"), "FileNotFoundError")
`)
	checks(t, address)
}

// Requests go out as they were meant and their answers come back.
func TestPythonHTTP(t *testing.T) {
	modulePath(t, "python")
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("X-Many", "1")
		w.Header().Add("X-Many", "2")
		switch r.URL.Path {
		case "/missing":
			w.WriteHeader(404)
			_, _ = io.WriteString(w, "no such page")
		case "/bytes":
			_, _ = w.Write([]byte("\x00\xff"))
		case "/long":
			_, _ = w.Write(bytes.Repeat([]byte("0123456789"), 100_000))
		case "/size":
			fmt.Fprint(w, len(body))
		case "/moved":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/slow":
			<-r.Context().Done()
		case "/json":
			w.Header().Set("Content-Type", "application/json; charset=utf-8")
			_, _ = io.WriteString(w, `{"a":"é"}`)
		case "/cut":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "half")
		default:
			fmt.Fprintf(w, "%s %s %s|%s|%s", r.Method, r.RequestURI, body, r.Header.Get("Content-Type"), r.Header.Get("X-A"))
		}
	}))
	defer echo.Close()
	address := pythonSite(t, "allow http "+echo.URL+" {\n private 127.0.0.0/8\n }\nallow env URL "+echo.URL+"\n", "main.py", pythonCheck+`
import http.client, io, json, os, urllib.error, urllib.parse, urllib.request
from gojinn import fetch, NetError
from urllib.request import urlopen, Request

def fails(function, *args, **named):
    try:
        return "nothing", function(*args, **named)
    except Exception as e:
        return e

def checks():
    url = os.environ["URL"]

    # gojinn.fetch
    a = fetch(url + "/a?b=1")
    check([a.status, a.body, a.text(), a.headers.get("x-many"), a.headers.get_all("X-MANY")], [200, b"GET /a?b=1 ||", "GET /a?b=1 ||", "1", ["1", "2"]])
    check(fetch(url + "/p", body="é", headers={"X-A": "1", "Content-Type": "text/plain"}).text(), "POST /p é|text/plain|1")
    check(fetch(url, "PUT", body={"é": [1]}).text(), 'PUT / {"é":[1]}|application/json|')
    check(fetch(url, method="PATCH", body=[1], headers={"content-type": "x/y"}).text(), "PATCH / [1]|x/y|")
    check(fetch(url + "/missing").status, 404)
    check(fetch(url + "/bytes").body, b"\0\xff")
    check(fetch(url + "/json").json(), {"a": "é"})
    check(len(fetch(url + "/long").body), 1000000)
    check(fetch(url + "/size", body=b"\xff" * 3000000).text(), "3000000")
    check(fetch(url + "/size", body=b"\xff" * 300000).text(), "300000")
    check(fetch(url + "/moved").headers.get("location"), "/there")
    check(kind(fetch, "http://example.com/"), "refused")
    check(kind(fetch, "nonsense"), "invalid")
    check(kind(fetch, "http://example.com/", body=b"x" * 2000000), "refused")
    check(isinstance(fails(fetch, url + "/slow", timeout=0.1), TimeoutError), True)
    check(fetch(url, timeout=50).status, 200)
    check(kind(fetch, url + "/cut"), "protocol")

    # urllib
    with urlopen(url + "/a?b=1") as r:
        check([r.status, r.reason, r.read(), r.headers["X-Many"], r.headers.get_all("x-many"), r.url], [200, "OK", b"GET /a?b=1 ||", "1", ["1", "2"], url + "/a?b=1"])
    check(urlopen(url + "/a?u=http://b/").read(), b"GET /a?u=http://b/ ||")
    check(json.load(urlopen(url + "/json")), {"a": "é"})
    check(urlopen(url + "/json").headers.get_content_charset(), "utf-8")
    check(urlopen(url + "/f", data=urllib.parse.urlencode({"a b": "é&"}).encode()).read(), b"POST /f a+b=%C3%A9%26|application/x-www-form-urlencoded|")
    check(urlopen(Request(url, b"{}", {"X-A": "1", "Content-Type": "application/json"}, method="PUT")).read(), b"PUT / {}|application/json|1")
    check(urlopen(Request(url + "/size", iter([b"a", b"bc"]), method="POST")).read(), b"3")
    check(urlopen(Request(url + "/size", (b"x" * 100 for _ in range(20000)), method="POST")).read(), b"2000000")
    check(urlopen(Request(url + "/size", b"x" * 3000000)).read(), b"3000000")
    check(urlopen(url + "/moved").read(), b"GET /there ||")
    check(urlopen(Request(url, method="HEAD")).read(), b"")
    r = urlopen(url + "/long")
    pieces = list(iter(lambda: r.read(65537), b""))
    check([sum(map(len, pieces)), len(pieces) > 10], [1000000, True])
    check(len(urlopen(url + "/long").readline(10)), 10)
    e = fails(urlopen, url + "/missing")
    check([type(e), e.code, e.read()], [urllib.error.HTTPError, 404, b"no such page"])
    for bad in "http://example.com/", "https://example.com/":
        e = fails(urlopen, bad)
        check([type(e), type(getattr(e, "reason", None)), e.reason.kind], [urllib.error.URLError, NetError, "refused"])
    e = fails(urlopen, url + "/slow", timeout=0.1)
    check(isinstance(getattr(e, "reason", e), TimeoutError), True)
    check(type(fails(lambda: urlopen(url + "/cut").read())).__name__ in ("OSError", "IncompleteRead"), True)

    # http.client
    c = http.client.HTTPConnection(url[7:], timeout=30)
    for n in range(2):
        c.request("POST", "/x", body=io.BytesIO(b"file"), headers={"X-A": str(n)})
        r = c.getresponse()
        check([r.status, r.getheader("X-Many"), r.read()], [200, "1, 2", b"POST /x file||%d" % n])
    c.putrequest("PUT", "/low")
    c.putheader("Content-Length", "4")
    c.endheaders()
    c.send(b"ab")
    c.send(b"cd")
    check(c.getresponse().read(), b"PUT /low abcd||")
    c.close()
    check(type(c).__name__, "HTTPConnection")
`)
	checks(t, address)
}

// Flask, as Debian's package python3-flask has it, works and starts ahead of its requests.
func TestPythonFlask(t *testing.T) {
	t.Parallel()
	modulePath(t, "python")
	dir := pythonFolder(t, "main.py", `
from flask import Flask, request, jsonify, render_template_string, redirect, session, url_for

app = Flask(__name__)
app.secret_key = "secret"

@app.get("/hello/<name>")
def hello(name):
    return render_template_string("<p>Hello, {{ name }}! {{ url_for('hello', name='x') }}</p>", name=name)

@app.post("/json")
def data():
    return jsonify(got=request.get_json(), args=request.args.to_dict(False), agent=request.headers.get("User-Agent")), 201

@app.post("/form")
def form():
    file = request.files["file"]
    return {"name": request.form["name"], "file": file.filename, "size": len(file.read())}

@app.get("/count")
def count():
    session["n"] = session.get("n", 0) + 1
    return str(session["n"])

@app.get("/away")
def away():
    return redirect(url_for("hello", name="é"))

@app.get("/fail")
def fail():
    raise ValueError("on purpose")

@app.get("/events")
def events():
    return app.response_class((f"data: {n}\n\n" for n in range(3)), mimetype="text/event-stream")
`)
	const packages = "/usr/lib/python3/dist-packages"
	for _, name := range []string{"flask", "werkzeug", "jinja2", "click", "itsdangerous", "markupsafe", "blinker"} {
		from := filepath.Join(packages, name)
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
			t.Skipf("there is no %s: python3-flask is not installed", from)
		}
		if err := os.CopyFS(filepath.Join(dir, "lib", name), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	f := launch(t, program{language: "python", args: []string{"python", "/app/gojinn.py", "--warm", "/hello/x", "main"}, dir: dir})
	for range 2 {
		if r := run(t, f, pythonGet("/hello/a%3Cb")); r.Status != 200 || r.Body != "<p>Hello, a&lt;b! /hello/x</p>" || r.header("Content-Type") != "text/html; charset=utf-8" {
			t.Errorf("got %d %q, log %q", r.Status, r.Body, r.Log)
		}
	}
	r := run(t, f, with(pythonGet("/json?a=1"), object{"method": "POST", "headers": object{"Content-Type": []string{"application/json"}, "User-Agent": []string{"me"}}, "body": `{"é":1}`}))
	if want := `{"agent":"me","args":{"a":["1"]},"got":{"\u00e9":1}}` + "\n"; r.Status != 201 || r.Body != want {
		t.Errorf("got %d %q, want %q", r.Status, r.Body, want)
	}
	upload := with(pythonGet("/form"), object{"method": "POST", "headers": object{"Content-Type": []string{"multipart/form-data; boundary=b"}}})
	body := "--b\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\né\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n" + strings.Repeat("x", 100_000) + "\r\n--b--\r\n"
	const uploaded = `{"file":"f","name":"\u00e9","size":100000}` + "\n"
	if r := run(t, f, with(upload, object{"body": body})); r.Body != uploaded {
		t.Errorf("got %d %q, log %q", r.Status, r.Body, r.Log)
	}
	if _, got, log, err := pythonStream(t, f, maps.Clone(upload), body); err != nil || got != uploaded {
		t.Errorf("as a stream: got %v, %q, log %q", err, got, log)
	}
	r = run(t, f, pythonGet("/count"))
	cookie, _, _ := strings.Cut(r.header("Set-Cookie"), ";")
	for range 2 { // it is the cookie that counts, not the interpreter
		if r := run(t, f, with(pythonGet("/count"), object{"headers": object{"Cookie": []string{cookie}}})); r.Body != "2" {
			t.Errorf("got %q for cookie %q", r.Body, cookie)
		}
	}
	if r := run(t, f, pythonGet("/away")); r.Status != 302 || r.header("Location") != "/hello/%C3%A9" {
		t.Errorf("got %d to %q", r.Status, r.header("Location"))
	}
	if r := run(t, f, pythonGet("/fail")); r.Status != 500 || !strings.Contains(r.Log, "ValueError: on purpose") {
		t.Errorf("got %d, log %q", r.Status, r.Log)
	}
	if r := run(t, f, pythonGet("/nothing")); r.Status != 404 {
		t.Errorf("got %d", r.Status)
	}
	if _, got, _, err := pythonStream(t, f, pythonGet("/events"), ""); err != nil || got != "data: 0\n\ndata: 1\n\ndata: 2\n\n" {
		t.Errorf("got %v, %q", err, got)
	}
	if kind, why := f.settled(t); kind != engine.StartSnapshot {
		t.Errorf("got %s: %s", kind, why)
	}
}

// Event loops work, as far as they need neither threads nor sockets, and are imported ahead of requests.
func TestPythonAsyncio(t *testing.T) {
	t.Parallel()
	f := python(t, "main", "main.py", `
import asyncio, socket

async def after(seconds, what):
    await asyncio.sleep(seconds)
    return what

async def answer(request):
    found = await asyncio.gather(after(0.02, "a"), after(0, "b"))
    try:
        await asyncio.wait_for(after(600, "c"), 0.01)
    except TimeoutError:
        found.append("timeout")
    queue = asyncio.Queue()
    asyncio.get_running_loop().call_later(0.01, queue.put_nowait, "d")
    found.append(await queue.get())
    async with asyncio.TaskGroup() as group:
        group.create_task(after(0, "e"))
    return found

def handler(request):
    return asyncio.run(answer(request)) + asyncio.run(answer(request))
`)
	for range 2 {
		if r, want := run(t, f, request(nil)), `["a","b","timeout","d","a","b","timeout","d"]`; r.Body != want || r.Log != "" {
			t.Errorf("got %s, log %q", r.Body, r.Log)
		}
	}
	if kind, why := f.settled(t); kind != engine.StartSnapshot {
		t.Errorf("got %s: %s", kind, why)
	}
}

// The README's programs run, and what it says of this Python is so.
func TestPythonReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../guest/python/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "\n```python\n")[1:]
	wanted := []struct{ args, want string }{
		{"python /app/gojinn.py main", `{"hello":"Ada"}`},
		{"python /app/main.py", "Hello, Ada!\n"},
		{"python /app/gojinn.py main:app", "Hello, Ada!\n"},
	}
	if len(blocks) != len(wanted) {
		t.Fatalf("got %d programs, want %d", len(blocks), len(wanted))
	}
	for i, want := range wanted {
		if !strings.Contains(string(readme), "args "+want.args) {
			t.Errorf("it doesn't say %q", want.args)
		}
		text, _, _ := strings.Cut(blocks[i], "```\n")
		f := launch(t, program{language: "python", dir: pythonFolder(t, "main.py", text), args: strings.Fields(want.args)})
		if r := run(t, f, pythonGet("/?name=Ada")); r.Body != want.want {
			t.Errorf("program %d: got %q, want %q", i+1, r.Body, want.want)
		}
		if i != 1 {
			continue
		}
		if r := run(t, f, with(pythonGet("/"), object{"method": "POST", "body": "[1]"})); r.Status != 201 || r.Body != "[1]" || r.header("X-Size") != "3" {
			t.Errorf("program %d: got %+v", i+1, r)
		}
	}

	f := python(t, "main", "main.py", `
import importlib, threading

def attempt(f, *args, **named):
    try:
        f(*args, **named)
        return "ok"
    except Exception as e:
        return type(e).__name__

def handler(request):
    found = {name: attempt(importlib.import_module, name) for name in request.query["name"]}
    found["thread"] = attempt(threading.Thread(target=print).start)
    return found
`)
	want := map[string]string{
		"thread": "RuntimeError", "asyncio": "ok", "multiprocessing": "ModuleNotFoundError", "ssl": "ModuleNotFoundError", "ctypes": "ModuleNotFoundError",
		"mmap": "ModuleNotFoundError", "lzma": "ModuleNotFoundError", "zlib": "ok", "bz2": "ok", "sqlite3": "ok", "decimal": "ok", "hashlib": "ok", "pyexpat": "ok",
	}
	names := []string{}
	for name := range want {
		if name != "thread" {
			names = append(names, name)
		}
	}
	got := map[string]string{}
	if err := json.Unmarshal([]byte(run(t, f, with(request(nil), object{"query": object{"name": names}})).Body), &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

// BenchmarkPython answers requests with JSON.
func BenchmarkPython(b *testing.B) {
	f := python(b, "main", "main.py", "def handler(request): return {'hello': request.query.get('name', ['world'])[0]}\n")
	in, err := json.Marshal(pythonGet("/?name=Ada"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := f.Run(b.Context(), bytes.NewReader(in), io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
