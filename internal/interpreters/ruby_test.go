package interpreters

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

// rubyFolder is a folder with the launcher and these files.
func rubyFolder(tb testing.TB, namesAndTexts ...string) string {
	tb.Helper()
	launcher, err := os.ReadFile("../../guest/ruby/gojinn.rb")
	if err != nil {
		tb.Fatal(err)
	}
	return folder(tb, append(namesAndTexts, "gojinn.rb", string(launcher))...)
}

// ruby makes a function of a file, which may have a name in it behind a colon, with these files.
func ruby(tb testing.TB, target string, namesAndTexts ...string) *function {
	tb.Helper()
	return launch(tb, program{
		language: "ruby",
		dir:      rubyFolder(tb, namesAndTexts...),
		args:     []string{"ruby", "--disable=gems", "/app/gojinn.rb", target},
	})
}

// get is a GET request for a path, with a query as Ruby is to see it.
func rubyGet(path string, query ...string) object {
	q := object{}
	for i := 0; i+1 < len(query); i += 2 {
		q[query[i]] = []string{query[i+1]}
	}
	return request(object{"path": path, "uri": path, "original_uri": path, "query": q})
}

// Whatever a handler returns is the answer.
func TestRubyAnswers(t *testing.T) {
	t.Parallel()
	f := ruby(t, "main.rb", "main.rb", `
def handler(request)
  case request.path
  when "/string" then "é\u0000\n"
  when "/bytes" then "\xff\x00".b
  when "/binary" then "é".b
  when "/hash" then { "a" => [1, nil, "é"], b: 1.5 }
  when "/triple" then [201, { "X-A" => "1", "X-B" => %w[2 3] }, "text"]
  when "/rack" then [200, {}, ["a", "", "b"]]
  when "/nothing" then [204, {}, nil]
  when "/response" then Gojinn::Response.new("<p>", status: 404, headers: { "Content-Type" => "text/html" })
  when "/json" then Gojinn::Response.json([1], status: 202, headers: { "X-A" => "1" })
  when "/writer" then [200, {}, ->(out) { out << "a" << "b"; out.write("c", "d"); out.flush; out.close }]
  when "/enumerator" then [200, {}, Enumerator.new { |y| y << "a"; y << "b" }]
  when "/fiber" then [200, {}, [Fiber.new { Fiber.yield("a"); "b" }.then { |fiber| fiber.resume + fiber.resume }]]
  when "/rescue" then [1, 2].map { |n| begin; Integer("x#{n}"); rescue ArgumentError => e; e.message; end }.join(",")
  when "/gc" then 3.times.map { Array.new(100_000) { "x" }.size }.sum.to_s.tap { GC.start }
  end
end
`)
	for path, want := range map[string]response{
		"/string":     {Status: 200, Body: "é\x00\n", Headers: map[string]any{}},
		"/bytes":      {Status: 200, Body: "\xff\x00", Headers: map[string]any{}},
		"/binary":     {Status: 200, Body: "é", Headers: map[string]any{}},
		"/hash":       {Status: 200, Body: `{"a":[1,null,"é"],"b":1.5}`, Headers: map[string]any{"Content-Type": "application/json"}},
		"/triple":     {Status: 201, Body: "text", Headers: map[string]any{"X-A": "1", "X-B": []any{"2", "3"}}},
		"/rack":       {Status: 200, Body: "ab", Headers: map[string]any{}},
		"/nothing":    {Status: 204, Headers: map[string]any{}},
		"/response":   {Status: 404, Body: "<p>", Headers: map[string]any{"Content-Type": "text/html"}},
		"/json":       {Status: 202, Body: "[1]", Headers: map[string]any{"Content-Type": "application/json", "X-A": "1"}},
		"/writer":     {Status: 200, Body: "abcd", Headers: map[string]any{}},
		"/enumerator": {Status: 200, Body: "ab", Headers: map[string]any{}},
		"/fiber":      {Status: 200, Body: "ab", Headers: map[string]any{}},
		"/rescue":     {Status: 200, Body: `invalid value for Integer(): "x1",invalid value for Integer(): "x2"`, Headers: map[string]any{}},
		"/gc":         {Status: 200, Body: "300000", Headers: map[string]any{}},
	} {
		for range 2 { // the second time it has been restored
			got := run(t, f, rubyGet(path))
			if got.Status != want.Status || got.Body != want.Body || !reflect.DeepEqual(got.Headers, want.Headers) || got.Log != "" {
				t.Errorf("%s: got %d %v %q, log %q", path, got.Status, got.Headers, got.Body, got.Log)
			}
		}
	}
	if kind, why := f.settled(t); kind != engine.StartSnapshot {
		t.Errorf("got %s: %s", kind, why)
	}
}

// A handler sees what was asked.
func TestRubyRequest(t *testing.T) {
	t.Parallel()
	f := ruby(t, "main:inspect_request", "main.rb", `
def inspect_request(request)
  { method: request.method, path: request.path, uri: request.uri, query: request.query, host: request.host, id: request.id,
    cookie: request["cookie"], accept: request["ACCEPT"], odd: request["x-oDd"], none: request["None"], route: request.route, params: request.params,
    size: request.body.bytesize, encoding: request.body.encoding.to_s, read: request.input.read.bytesize,
    form: (request.form if request["content-type"] == "application/x-www-form-urlencoded"), json: (request.json if request["Content-Type"] == "application/json") }
end
`)
	members := object{
		"method": "POST", "path": "/a b", "uri": "/a%20b?x=1&x=2", "query": object{"x": []string{"1", "2"}}, "route": "/[p]", "params": object{"p": "a b"},
		"headers": object{"Cookie": []string{"a=1", "b=2"}, "Accept": []string{"a/b", "c/d"}, "X-oDD": []string{"3"}, "Content-Type": []string{"application/json"}},
		"body":    `{"é":1}`,
	}
	want := object{
		"method": "POST", "path": "/a b", "uri": "/a%20b?x=1&x=2", "query": object{"x": []any{"1", "2"}}, "host": "example.com", "id": "7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3",
		"cookie": "a=1; b=2", "accept": "a/b, c/d", "odd": "3", "none": nil, "route": "/[p]", "params": object{"p": "a b"},
		"size": 8, "encoding": "UTF-8", "read": 8, "form": nil, "json": object{"é": 1},
	}
	same := func(r *response, want object) {
		t.Helper()
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got, wanted any
		if err := errors.Join(json.Unmarshal([]byte(r.Body), &got), json.Unmarshal(text, &wanted)); err != nil || !reflect.DeepEqual(got, wanted) {
			t.Errorf("got %s, want %s", r.Body, text)
		}
	}
	same(run(t, f, request(members)), want)

	members["headers"] = object{"Content-Type": []string{"application/x-www-form-urlencoded"}}
	members["body"] = "a=1&a=%C3%A9+%2B&b&=c&&d=%zz"
	want["cookie"], want["accept"], want["odd"], want["json"], want["size"], want["read"] = nil, nil, nil, nil, 28, 28
	want["form"] = object{"a": []any{"1", "é +"}, "b": []any{""}, "": []any{"c"}, "d": []any{"%zz"}}
	same(run(t, f, request(members)), want)

	delete(members, "headers")
	binary := request(members)
	delete(binary, "body")
	binary["body_base64"] = "AP8="
	want["form"], want["size"], want["read"], want["encoding"] = nil, 2, 2, "ASCII-8BIT"
	same(run(t, f, binary), want)
}

// Programs may call serve themselves, and what they load, write and read before is as usual.
func TestRubyLibrary(t *testing.T) {
	t.Parallel()
	f := launch(t, program{
		language: "ruby", args: []string{"ruby", "/app/main.rb", "one"},
		dir: rubyFolder(t, "main.rb", `
require_relative "gojinn"
require_relative "lib/other"
puts "starting"
Words = File.readlines(File.join(__dir__, "words"), chomp: true)
Gojinn.serve do |request|
  puts "print"
  $stdout.puts "puts"
  STDOUT.write "write\n"
  $stderr.puts "err"
  warn "warn"
  Other.answer(Words, ARGV, $stdin.gets, STDIN.read, $0)
end
`, "words", "a\nb\n", "lib/other.rb", "require 'erb'\nmodule Other; def self.answer(*all) = ERB.new('<%= all.inspect %>').result(binding); end\n"),
	})
	for range 2 {
		r := run(t, f, request(nil))
		if want := `[["a", "b"], ["one"], nil, "", "/app/main.rb"]`; r.Body != want {
			t.Errorf("got %s, want %s", r.Body, want)
		}
		if want := "starting\nprint\nputs\nwrite\nerr\nwarn\n"; r.Log != want && r.Log != strings.TrimPrefix(want, "starting\n") {
			t.Errorf("got %q", r.Log)
		}
	}
}

// What goes wrong is in the log, and nowhere else.
func TestRubyFails(t *testing.T) {
	t.Parallel()
	f := ruby(t, "main.rb", "main.rb", `
def handler(request)
  case request.path
  when "/raise" then raise ArgumentError, "on purpose"
  when "/not-a-standard-error" then raise NotImplementedError, "on purpose"
  when "/exit" then exit
  when "/exit3" then exit 3
  when "/abort" then abort "on purpose"
  when "/throw" then throw :on_purpose
  when "/nil" then nil
  when "/array" then [1, 2]
  when "/body" then [200, {}, 1]
  when "/nan" then { a: Float::NAN }
  when "/deep" then deep(0)
  when "/piece" then [200, {}, Enumerator.new { |y| y << "secret"; raise "on purpose" }]
  else "ok"
  end
end

def deep(n) = deep(n + 1) + 1
`)
	for path, want := range map[string]struct {
		code uint32
		log  string
	}{
		"/raise":                {1, "/app/main.rb:4:in `handler': on purpose (ArgumentError)\n"},
		"/not-a-standard-error": {1, "on purpose (NotImplementedError)\n"},
		"/exit":                 {1, "called exit"},
		"/exit3":                {3, ""},
		"/abort":                {1, "on purpose\n"},
		"/throw":                {1, "uncaught throw :on_purpose"},
		"/nil":                  {1, "NilClass is no answer"},
		"/array":                {1, "an Array is an answer only as"},
		"/body":                 {1, "Integer is no body"},
		"/nan":                  {1, "NaN not allowed in JSON"},
		"/deep":                 {1, "stack level too deep (SystemStackError)\n"},
		"/piece":                {1, "on purpose (RuntimeError)\n"},
	} {
		in, err := json.Marshal(rubyGet(path))
		if err != nil {
			t.Fatal(err)
		}
		var out, log bytes.Buffer
		_, err = f.Run(t.Context(), bytes.NewReader(in), &out, &log)
		var exit *engine.ExitError
		if !errors.As(err, &exit) || exit.Code != want.code || !strings.Contains(log.String(), want.log) || out.Len() > 0 {
			t.Errorf("%s: got %v, output %q, log %q", path, err, out.String(), log.String())
		}
		if r := run(t, f, rubyGet("/")); r.Body != "ok" || r.Log != "" {
			t.Errorf("after %s: got %q, log %q", path, r.Body, r.Log)
		}
	}
}

// A program that can't start says why.
func TestRubyDoesNotStart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ target, text, log string }{
		{"main.rb", "def handler(r)\n  1 +\nend\n", "/app/main.rb:3: syntax error"},
		{"main.rb", "require 'nope'\n", "cannot load such file -- nope (LoadError)"},
		{"main.rb", "def other(r) = ''\n", "has no method handler(request) and no Rack application App"},
		{"main.rb:nope", "def handler(r) = ''\n", "has no nope"},
		{"main.rb:Nope", "def handler(r) = ''\n", "has no Nope"},
		{"none.rb", "", "cannot load such file -- /app/none.rb"},
		{"main.rb", "Gojinn.serve\n", "needs a handler"},
		{"main.rb", "Gojinn.warm '/'\ndef handler(r) = raise('cold')\n", "cold (RuntimeError)"},
		{"config.ru", "use Object\n", "runs no application"},
	} {
		f := ruby(t, test.target, "main.rb", test.text, "config.ru", test.text)
		r, err := try(t, f, request(nil))
		var exit *engine.ExitError
		if !errors.As(err, &exit) || exit.Code != 1 || !strings.Contains(r.Log, test.log) {
			t.Errorf("%s %q: got %v, log %q", test.target, test.text, err, r.Log)
		}
	}
}

// rubyEcho is a Rack application that tells its environment.
const rubyEcho = `
class Echo
  def call(env)
    body = env["rack.input"].read
    plain = env.reject { |name, value| name.start_with?("rack.") || name.start_with?("gojinn.") }
    [200, { "content-type" => "application/json", "x-many" => ["1", "2"], "x-old" => "3\n4", "rack.ignored" => "5" },
     [JSON.generate(plain.merge("body" => body.force_encoding("UTF-8"), "scheme" => env["rack.url_scheme"], "binary" => env["HTTP_X_LATIN"]&.encoding.to_s, "id" => env["gojinn.request"].id))]]
  end
end
`

func TestRubyRack(t *testing.T) {
	t.Parallel()
	for target, text := range map[string]string{
		"config.ru":   rubyEcho + "run Echo.new\n",
		"main.rb:App": rubyEcho + "App = Echo.new\n",
		"main.rb":     rubyEcho + "App = Echo.new\n",
	} {
		name, _, _ := strings.Cut(target, ":")
		f := ruby(t, target, name, text)
		r := run(t, f, request(object{
			"method": "POST", "uri": "/a%20b?x=1", "original_uri": "/mounted/a%20b?x=1", "path": "/a b", "scheme": "https", "host": "example.com:8443", "proto": "HTTP/2.0",
			"headers": object{
				"Content-Type": []string{"text/plain"}, "Content-Length": []string{"2"}, "Accept": []string{"a", "b"}, "Cookie": []string{"a=1", "b=2"},
				"X-Latin": []string{"é"}, "Proxy": []string{"evil"}, "X_Under": []string{"evil"},
			},
			"body": "é",
		}))
		var got object
		if err := json.Unmarshal([]byte(r.Body), &got); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]any{
			"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/mounted", "PATH_INFO": "/a%20b", "QUERY_STRING": "x=1", "SERVER_NAME": "example.com", "SERVER_PORT": "8443",
			"HTTP_HOST": "example.com:8443", "SERVER_PROTOCOL": "HTTP/2.0", "REMOTE_ADDR": "203.0.113.9", "CONTENT_TYPE": "text/plain", "CONTENT_LENGTH": "2", "HTTPS": "on",
			"HTTP_ACCEPT": "a, b", "HTTP_COOKIE": "a=1; b=2", "HTTP_PROXY": nil, "HTTP_X_UNDER": nil, "HTTP_CONTENT_TYPE": nil,
			"body": "é", "scheme": "https", "binary": "ASCII-8BIT", "id": "7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3",
		} {
			if got[name] != want {
				t.Errorf("%s: %s: got %v, want %v", target, name, got[name], want)
			}
		}
		if want := map[string]any{"content-type": "application/json", "x-many": []any{"1", "2"}, "x-old": []any{"3", "4"}}; !reflect.DeepEqual(r.Headers, want) {
			t.Errorf("got %v, want %v", r.Headers, want)
		}
		for before, script := range map[string]string{"/app": "/app", "/app/": "/app", "//app": "/app", "//evil.example/": "/evil.example", "/a/b?x": "/a/b", "/": ""} {
			var got object
			r := run(t, f, request(object{"original_uri": before}))
			if err := json.Unmarshal([]byte(r.Body), &got); err != nil || got["SCRIPT_NAME"] != script || got["PATH_INFO"] != "/" {
				t.Errorf("%s: got %q + %q, want %q + /", before, got["SCRIPT_NAME"], got["PATH_INFO"], script)
			}
		}
	}
}

// The builder of config.ru has middleware, maps and bodies of all kinds, and bodies are closed.
func TestRubyRackBuilder(t *testing.T) {
	t.Parallel()
	f := ruby(t, "config.ru", "config.ru", `
require_relative "parts"
use Mark, "outer", key: 1
use Mark, "inner" do "block" end
warmup { |app| $warm = app.class.name }
map "/api" do
  use Mark, "api"
  run ->(env) { [200, {}, [env["SCRIPT_NAME"], "|", env["PATH_INFO"]]] }
end
run do |env|
  body = case env["PATH_INFO"]
         when "/closed" then Closing.new
         when "/stream" then proc { |stream| stream << "a"; stream.write("b"); stream.close }
         when "/hijack" then next [200, { "rack.hijack" => proc { |stream| stream << "hijacked" } }, []]
         when "/finished" then env["rack.response_finished"] = [proc { |_, status| warn "finished #{status}" }]; ["body"]
         else [$warm]
         end
  [200, {}, body]
end
`, "parts.rb", `
class Mark
  def initialize(app, name, key: nil, &block)
    @app, @mark = app, [name, key, block&.call].compact.join("-")
  end

  def call(env)
    status, headers, body = @app.call(env)
    [status, { "x-marks" => [@mark, *headers["x-marks"]] }.merge(headers.slice("rack.hijack")), body]
  end
end

class Closing
  def each
    yield "a"
    yield "b"
  end

  def close = warn("closed")
end
`)
	for path, want := range map[string]struct {
		body, log string
		marks     []any
	}{
		"/":         {"Mark", "", []any{"outer-1", "inner-block"}},
		"/api":      {"/api|", "", []any{"outer-1", "inner-block", "api"}},
		"/api/a/b":  {"/api|/a/b", "", []any{"outer-1", "inner-block", "api"}},
		"/apis":     {"Mark", "", []any{"outer-1", "inner-block"}},
		"/closed":   {"ab", "closed\n", []any{"outer-1", "inner-block"}},
		"/stream":   {"ab", "", []any{"outer-1", "inner-block"}},
		"/hijack":   {"hijacked", "", []any{"outer-1", "inner-block"}},
		"/finished": {"body", "finished 200\n", []any{"outer-1", "inner-block"}},
	} {
		r := run(t, f, rubyGet(path))
		if r.Body != want.body || r.Log != want.log || !reflect.DeepEqual(r.Headers["x-marks"], any(want.marks)) {
			t.Errorf("%s: got %q, %v, log %q", path, r.Body, r.Headers, r.Log)
		}
	}
}

// Rack's own judge finds nothing, where there is one: Debian's package ruby-rack.
func TestRubyRackLint(t *testing.T) {
	t.Parallel()
	modulePath(t, "ruby")
	const gems = "/usr/share/rubygems-integration/all/gems"
	found, err := filepath.Glob(filepath.Join(gems, "rack-[0-9]*", "lib"))
	if err != nil || len(found) == 0 {
		t.Skip("there is no ruby-rack")
	}
	dir := rubyFolder(t, "config.ru", `
require "uri"
require "rack"
use Rack::Lint
run ->(env) { [200, { "Content-Type" => "text/plain" }, [env["rack.input"].read, Rack::Request.new(env).url]] }
`)
	if err := os.CopyFS(filepath.Join(dir, "lib"), os.DirFS(found[0])); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	f := launch(t, program{language: "ruby", dir: dir, args: []string{"ruby", "--disable=gems", "/app/gojinn.rb", "config.ru"}})
	for _, r := range []object{
		rubyGet("/"),
		request(object{"method": "POST", "uri": "/a?b=%C3%A9", "headers": object{"X-É": []string{"é"}, "Content-Length": []string{"4"}}, "body": "text"}),
		request(object{"scheme": "https", "host": "[::1]:1", "uri": "/"}),
		request(object{"host": "", "proto": "HTTP/1.0"}),
	} {
		if got, err := try(t, f, r); err != nil || got.Status != 200 || got.Log != "" {
			t.Errorf("%v: got %v, log %q", r, err, got.Log)
		}
	}
}

// By the contract stream bodies go both ways in pieces.
func TestRubyStream(t *testing.T) {
	t.Parallel()
	f := ruby(t, "main.rb", "main.rb", `
def handler(request)
  case request.path
  when "/whole" then "#{request.stream?} #{request.body}"
  when "/hash" then { a: request.body.bytesize }
  when "/upper" then [200, { "Content-Type" => "text/plain" }, ->(out) { while (line = request.input.gets); out << line.upcase; end }]
  when "/each" then [200, {}, %w[a b]]
  when "/rewind"
    request.input.rewind
    text = request.input.read
    request.input.rewind
    again = begin
      request.input.read
    rescue Errno::ESPIPE => e
      e.message
    end
    "#{text}, #{again}"
  when "/late" then [200, {}, ->(out) { out << "begun"; raise "on purpose" }]
  end
end
`)
	stream := func(path, body string) (head object, rest, log string, err error) {
		r := rubyGet(path)
		delete(r, "body")
		in, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var out, logged bytes.Buffer
		_, err = f.Run(t.Context(), io.MultiReader(bytes.NewReader(append(in, '\n')), strings.NewReader(body)), &out, &logged)
		line, rest, _ := strings.Cut(out.String(), "\n")
		if err := json.Unmarshal([]byte(line), &head); err != nil {
			t.Errorf("%s: head %q: %v", path, line, err)
		}
		return head, rest, logged.String(), err
	}
	long := strings.Repeat("many lines\n", 100_000)
	for _, test := range []struct{ path, body, want string }{
		{"/whole", "", "true "},
		{"/whole", "one\ntwo", "true one\ntwo"},
		{"/whole", long, "true " + long},
		{"/hash", "12345", `{"a":5}`},
		{"/upper", "a\nb", "A\nB"},
		{"/upper", long, strings.ToUpper(long)},
		{"/each", "", "ab"},
		{"/rewind", "text", "text, Invalid seek - the body can be read only once"},
	} {
		head, got, log, err := stream(test.path, test.body)
		if err != nil || got != test.want || head["status"] != 200.0 || head["body"] != nil || log != "" {
			t.Errorf("%s: got %v, %v, %d bytes %.50q, log %q", test.path, err, head, len(got), got, log)
		}
	}
	_, got, log, err := stream("/late", "")
	var exit *engine.ExitError
	if !errors.As(err, &exit) || got != "begun" || !strings.Contains(log, "on purpose") {
		t.Errorf("got %v, %q, log %q", err, got, log)
	}
}

// No two requests draw the same, although all of them go on from the same point.
func TestRubyUnique(t *testing.T) {
	t.Parallel()
	f := ruby(t, "main.rb", "main.rb", `
require "securerandom"
Random.rand
SecureRandom.hex
OWN = Random.new
SEEDED = Random.new(42)
class Sub < Random; def initialize(name) = super(); end
SUB = Sub.new("a")
def handler(_)
  { kernel: rand(1 << 62), random: Random.rand(1 << 62), bytes: Random.bytes(8).unpack1("H*"), new: Random.new.rand(1 << 62), seed: Random.new_seed, default: Random.seed,
    urandom: Random.urandom(8).unpack1("H*"), secure: SecureRandom.hex(8), number: SecureRandom.random_number(1 << 62), uuid: SecureRandom.uuid,
    own: OWN.rand(1 << 62), sub: SUB.rand(1 << 62), own_seed: OWN.seed, shuffle: (0...30).to_a.shuffle.join(","), sample: (0...64).to_a.sample(20).join(","), time: Process.clock_gettime(Process::CLOCK_REALTIME, :nanosecond) }
end
`)
	seen := map[string]bool{}
	const requests = 3000
	for range requests {
		r := run(t, f, request(nil))
		var numbers map[string]any
		decoder := json.NewDecoder(strings.NewReader(r.Body))
		decoder.UseNumber()
		if err := decoder.Decode(&numbers); err != nil || len(numbers) != 16 {
			t.Fatalf("got %q", r.Body)
		}
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
}

// What start-up has made is there, and what requests make is gone.
func TestRubyState(t *testing.T) {
	t.Parallel()
	f := ruby(t, "main.rb", "main.rb", `
Gojinn.warm "/warm?a=1", "/b"
Seen = []
def handler(request)
  Seen << request.uri
  $count = $count.to_i + 1
  File.write("/rw/#{request.query["name"].first}", "x") if request.query["name"]
  { seen: Seen, count: $count }
end
`)
	for range 3 {
		if r, want := run(t, f, rubyGet("/c")), `{"seen":["/warm?a=1","/b","/c"],"count":3}`; r.Body != want {
			t.Errorf("got %s, want %s", r.Body, want)
		}
	}
}

// What is written to a file that isn't closed isn't lost.
func TestRubyOpenFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := launch(t, program{
		language: "ruby", args: []string{"ruby", "--disable=gems", "/app/gojinn.rb", "main.rb"},
		dir: rubyFolder(t, "main.rb", `
def handler(_)
  open("/rw/a", "w") << "written"
  File.open("/rw/b", "w") { |file| file.puts "closed" }
  $keep = File.new("/rw/c", "w").tap { |file| file.print "kept" }
  ""
end
`),
		grant: func(g *engine.Grants) error { return g.Mount("/rw", &vfs.HostDir{Path: dir, Writable: true}) },
	})
	run(t, f, request(nil))
	for name, want := range map[string]string{"a": "written", "b": "closed\n", "c": "kept"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
}

// rubySite serves a program in Ruby with these options, by Caddy, until the test ends.
func rubySite(t *testing.T, options string, namesAndTexts ...string) (address string) {
	t.Helper()
	return site(t, "ruby", "ruby --disable=gems /app/gojinn.rb main.rb", rubyFolder(t, namesAndTexts...), options)
}

// rubyCheck collects what isn't as it should be.
const rubyCheck = `
$wrong = []
def check(got, want)
  $wrong << "#{caller(1, 1).first}: got #{got.inspect}, want #{want.inspect}" unless got == want
end

def error(of)
  yield
  nil
rescue of => e
  e.code
end
`

// Key-value namespaces do what they say. The server's process has one Caddy, so this isn't parallel.
func TestRubyKV(t *testing.T) {
	address := rubySite(t, "allow kv test {\n max_value 64KiB\n }\n allow kv other /at/other ro\n", "main.rb", rubyCheck+`
def handler(_)
  kv = Gojinn::KV.new("test")
  check kv["a"], nil
  check kv.key?("a"), false
  check kv.delete("a"), false
  kv["a"] = "1"
  check kv["a"], "1"
  check kv["a"].encoding, Encoding::UTF_8
  check File.read(kv.file("a")), "1"
  ["two\n\x00\xFF".b, "é", "", "x" * 65_536].each { |value| kv.put("a", value); check kv["a"], value }
  check error(Gojinn::KV::Error) { kv["a"] = "x" * 65_537 }, "too_large"
  check error(Gojinn::KV::Error) { kv["a"] = "x" * 1_000_000 }, "too_large"
  version = kv.put("a", "v1", ttl: 100)
  entry = kv.entry("a")
  check [entry.value, entry.version, (entry.expires - Time.now).between?(90, 101), (Time.now - entry.modified).between?(-1, 10)], ["v1", version, true, true]
  check kv.cas("a", version + 1000, "v2"), nil
  check kv.cas("a", 0, "v2"), nil
  check kv.cas("a", version, "v2") > version, true
  check error(Gojinn::KV::Error) { kv.delete("a", version: version) }, "conflict"
  check kv["a"], "v2"
  check kv.delete("a"), true
  check kv.cas("new", 0, "made").is_a?(Integer), true
  check [kv.incr("n"), kv.incr("n", 10), kv.incr("n", -1)], [1, 11, 10]
  check error(Gojinn::KV::Error) { kv.incr("new") }, "not_integer"
  ["..", ".", ".do", "a/b", "\xFF\x00".b, "é ~%", "é" * 120].each do |key|
    kv[key] = key
    check kv[key], key
    check File.binread(kv.file(key)), key.b unless File.basename(kv.file(key)).size > 255
  end
  File.open(kv.file("log"), "a") { |file| file.write("one\n") }
  File.open(kv.file("log"), "a") { |file| file.write("two\n") }
  check kv["log"], "one\ntwo\n"
  250.times { |n| kv.put(format("many/%03d", n), "") }
  check kv.each_key("many/").to_a, 250.times.map { |n| format("many/%03d", n) }
  check kv.each_key("many/", page: 7).first(9).last, "many/008"
  keys, cursor = kv.list("many/", limit: 2)
  check keys, %w[many/000 many/001]
  check kv.list("many/", cursor: cursor, limit: 1).first, %w[many/002]
  check kv.list("\xFF".b), [["\xFF\x00".b], nil]
  check kv.list("none"), [[], nil]
  other = Gojinn::KV.new("other", path: "/at/other")
  check other["a"], nil
  check error(Gojinn::KV::Error) { other["a"] = "1" }, "read_only"
  check (begin; Gojinn::KV.new("none")["a"]; rescue Errno::ENOENT; "none"; end), "none"
  [200, {}, ($wrong << "done\n").join("\n")]
end
`)
	checks(t, address)
}

// Requests go out as they were meant and their answers come back.
func TestRubyHTTP(t *testing.T) {
	modulePath(t, "ruby")
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("X-Many", "1")
		w.Header().Add("X-Many", "2")
		switch r.URL.Path {
		case "/missing":
			w.WriteHeader(404)
		case "/bytes":
			_, _ = w.Write([]byte("\x00\xff"))
		case "/long":
			_, _ = w.Write(bytes.Repeat([]byte("0123456789"), 100_000))
		default:
			fmt.Fprintf(w, "%s %s %s|%s|%s|%s", r.Method, r.RequestURI, body, r.Header.Get("Content-Type"), r.Header.Get("X-A"), r.Header.Get("Authorization"))
		}
	}))
	defer echo.Close()
	address := rubySite(t, "allow http "+echo.URL+" {\n private 127.0.0.0/8\n }\n", "main.rb", rubyCheck+`
URL = "`+echo.URL+`"
def handler(_)
  host, port = URL.delete_prefix("http://").split(":")
  check Gojinn::HTTP.get(URL + "/a?b=1"), "GET /a?b=1 ||||".delete_suffix("|")
  check Gojinn::HTTP.get(URL, { "X-A" => "é" }), "GET / |||é|".sub("|||", "||")
  r = Gojinn::HTTP.get_response(URL + "/missing")
  check [r.code, r.body, r.success?, r["x-many"], r.get_fields("X-Many"), r["none"]], ["404", "", false, "1, 2", %w[1 2], nil]
  check error(Gojinn::HTTP::Error) { r.value }, "status"
  check Gojinn::HTTP.post(URL + "/p", "text", "Content-Type" => "text/plain").body, "POST /p text|text/plain||"
  check Gojinn::HTTP.post_form(URL, "a b" => "é&", c: 1).body, "POST / a%20b=%C3%A9%26&c=1|application/x-www-form-urlencoded||"
  check Gojinn::HTTP.put(URL, "\xFF".b).code, "200"
  check Gojinn::HTTP.get(URL + "/bytes"), "\x00\xFF".b
  check Gojinn::HTTP.get(URL + "/long").size, 1_000_000
  body = Gojinn::HTTP.start(host, port.to_i) do |http|
    request = Gojinn::HTTP::Patch.new("/x", "X-A" => "1")
    request.basic_auth("me", "secret")
    request.body = "{}"
    request.content_type = "application/json"
    http.request(request).body
  end
  check body, "PATCH /x {}|application/json|1|Basic bWU6c2VjcmV0"
  http = Gojinn::HTTP.new(host, port.to_i)
  check http.get("/g").body, "GET /g |||"
  check http.head("/").body, ""
  check http.delete("/d").body, "DELETE /d |||"
  check http.post("/s", "x") { |answer| check answer.body, "POST /s x|||" }.code, "200"
  sizes = []
  http.get("/long") { |answer| check answer["X-Many"], "1, 2"; answer.read_body { |piece| sizes << piece.bytesize } }
  check [sizes.sum, sizes.size > 10], [1_000_000, true]
  check error(Gojinn::HTTP::Error) { Gojinn::HTTP.get("http://example.com/") }, "refused"
  check error(Gojinn::HTTP::Error) { Gojinn::HTTP.get("nonsense") }, "invalid"
  check error(Gojinn::HTTP::Error) { http.get("/") { |answer| raise Gojinn::HTTP::Error.new("mine", "") } }, "mine"
  [200, {}, ($wrong << "done\n").join("\n")]
end
`)
	checks(t, address)
}

// The README's programs run, and what it says of them is so.
func TestRubyReadme(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../guest/ruby/README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(readme), "\n```ruby\n")[1:]
	wanted := []struct{ target, path, want string }{
		{"main.rb", "/hello", `{"hello":"Ada"}`},
		{"main.rb", "/", "Hello, Ada!\n"},
		{"config.ru", "/", "Hello, Ada!\n"},
	}
	if len(blocks) != len(wanted) {
		t.Fatalf("got %d programs, want %d", len(blocks), len(wanted))
	}
	for i, want := range wanted {
		text, _, _ := strings.Cut(blocks[i], "```\n")
		args := []string{"ruby", "--disable=gems", "/app/gojinn.rb", want.target}
		if strings.Contains(text, "require_relative") {
			args = []string{"ruby", "--disable=gems", "/app/" + want.target}
		}
		f := launch(t, program{language: "ruby", dir: rubyFolder(t, want.target, text), args: args})
		r := run(t, f, request(object{"path": want.path, "uri": want.path + "?name=Ada", "original_uri": want.path + "?name=Ada", "query": object{"name": []string{"Ada"}}}))
		if r.Body != want.want {
			t.Errorf("program %d: got %q, want %q", i+1, r.Body, want.want)
		}
	}
}

// BenchmarkRuby answers requests with JSON.
func BenchmarkRuby(b *testing.B) {
	f := ruby(b, "main.rb", "main.rb", "def handler(request) = { hello: request.query['name']&.first || 'world' }\n")
	in, err := json.Marshal(rubyGet("/", "name", "Ada"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := f.Run(b.Context(), bytes.NewReader(in), io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}
