package gojinn

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/contract"
)

// TestCommandsOfStreams: functions of the contract stream get a line and a body, and answer so.
func TestCommandsOfStreams(t *testing.T) {
	module := moduleFile(t, "fn.wasm", steps(takes(1<<16), prints("{\"status\":202}\nbody: "), repeats()))
	bad := moduleFile(t, "bad.wasm", steps(prints("no head\n")))
	config := writeFile(t, filepath.Join(t.TempDir(), "Caddyfile"), "http://localhost:1 {\n"+
		"gojinn /a "+module+" {\ncontract stream\n}\ngojinn /b "+bad+" {\ncontract stream\n}\n}\n")
	for _, test := range []struct {
		name, request  string
		args           []string
		stdout, stderr string
		err            string
	}{
		// All is there at once, so that the program's first read has the body too.
		{"call", `{"id":"1","body":"x"}`, []string{"call", module, "-"}, "{\"status\":202}\nbody: ", "status    202", ""},
		{"call with base64", `{"id":"1","body_base64":"_"}`, []string{"call", module, "-"}, "", "", "body"},
		{"bad head", "{}", []string{"call", bad, "-"}, "", "reason    bad_response", "response"},
		{"bench", "{}", []string{"bench", module, "-", "--calls", "2"}, "status 202", "", ""},
		{"audit", "{}", []string{"audit", module, "-"}, "", "status 202", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, err := runCommand(t, test.request, append(test.args, "--config", config)...)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("got %v, want %q\n%s", err, test.err, stderr)
			}
			if !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("got %q and %q", stdout, stderr)
			}
		})
	}
	if input, err := streamInput([]byte("{\"b\":1,\n\"a\":[2],\"body_base64\":\"/wA=\"}")); err != nil || string(input) != "{\"a\":[2],\"b\":1}\n\xff\x00" {
		t.Errorf("got %q, %v", input, err)
	}
}

// TestCommandsOfCGI: programs for CGI get the variables and the body of a request object, as a server gives them.
func TestCommandsOfCGI(t *testing.T) {
	program := cgiProgram(t, "tool.wasm")
	config := writeFile(t, filepath.Join(t.TempDir(), "Caddyfile"),
		"http://localhost:1 {\ngojinn "+program+" {\ncontract cgi\nallow env GREETING hello\n}\n}\n")
	scripts := writeFile(t, filepath.Join(t.TempDir(), "Caddyfile"),
		"http://localhost:1 {\ngojinn "+program+" {\ncontract cgi\nscript_root /www\nallow dir "+siteFolder(t)+" /www\n}\n}\n")
	for _, test := range []struct {
		name, config, request string
		body                  string
		want                  []string
	}{
		{"nothing", config, "{}", "", []string{
			"REQUEST_METHOD", "GET", "PATH_INFO", "/", "SCRIPT_NAME", "", "QUERY_STRING", "", "REMOTE_ADDR", "127.0.0.1", "SERVER_NAME", "localhost",
			"SERVER_PORT", "80", "CONTENT_LENGTH", "-", "HTTPS", "-", "GREETING", "hello", "SERVER_PROTOCOL", "HTTP/1.1"}},
		{"all", config, `{"id":"7","method":"POST","uri":"/a%20b/c?x=1&y","original_uri":"/app/a%20b/c?x=1&y","scheme":"https","host":"example.com",
			"proto":"HTTP/2.0","remote_addr":"192.0.2.1","headers":{"Content-Type":["text/plain"],"cookie":["a=1","b=2"]},"body_base64":"AAH/"}`, "\x00\x01\xff", []string{
			"REQUEST_ID", "7", "REQUEST_METHOD", "POST", "SCRIPT_NAME", "/app", "PATH_INFO", "/a b/c", "QUERY_STRING", "x=1&y", "HTTPS", "on",
			"REQUEST_URI", "/app/a%20b/c?x=1&y", "HTTP_HOST", "example.com", "SERVER_PORT", "443", "SERVER_PROTOCOL", "HTTP/2.0",
			"REMOTE_ADDR", "192.0.2.1", "CONTENT_TYPE", "text/plain", "CONTENT_LENGTH", "3", "HTTP_COOKIE", "a=1; b=2"}},
		{"index", scripts, "{}", "", []string{"SCRIPT_FILENAME", "/www/index.php", "SCRIPT_NAME", "/index.php", "PATH_INFO", "-"}},
		{"script", scripts, `{"uri":"/a.php/x?q"}`, "", []string{"SCRIPT_FILENAME", "/www/a.php", "PATH_INFO", "/x", "QUERY_STRING", "q"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, err := runCommand(t, test.request, "call", program, "-", "--config", test.config)
			if err != nil || !strings.Contains(stderr, "status    200") {
				t.Fatalf("got %v\n%s", err, stderr)
			}
			answer := stdout[contract.EndOfFields([]byte(stdout), 0):]
			variables, body := told(t, reply{status: 200, body: answer})
			checkVariables(t, variables, test.want...)
			if body != test.body {
				t.Errorf("it has read %q", body)
			}
		})
	}

	answers := func(name string, list ...step) (module, config string) {
		module = moduleFile(t, name, steps(list...))
		return module, writeFile(t, filepath.Join(t.TempDir(), "Caddyfile"), "http://localhost:1 {\ngojinn "+module+" {\ncontract cgi\n}\n}\n")
	}
	failing, failingConfig := answers("failing.wasm", prints("Status: 500\nContent-Type: text/plain\n\nsorry"), leaves(255))
	local, localConfig := answers("local.wasm", prints("Location: /other\n\n"))
	bad, badConfig := answers("bad.wasm", prints("no fields at all"))
	early, earlyConfig := answers("early.wasm", prints("Content-Type: text/plain\n\nhalf"), leaves(1))
	nph, nphConfig := answers("nph-own.wasm", prints("HTTP/1.1 202 Own\r\n\r\n"))
	for _, test := range []struct {
		name, request  string
		args           []string
		stdout, stderr string
		err            string
	}{
		{"an error of its own", "{}", []string{"call", failing, "-", "--config", failingConfig}, "sorry", "status    500", ""},
		{"another path", "{}", []string{"call", local, "-", "--config", localConfig}, "Location: /other", "reason    ok", ""},
		{"no fields", "{}", []string{"call", bad, "-", "--config", badConfig}, "", "reason    bad_response", "response"},
		{"exit", "{}", []string{"call", early, "-", "--config", earlyConfig}, "", "reason    exit", "exit code 1"},
		{"its own head", "{}", []string{"call", nph, "-", "--config", nphConfig}, "202 Own", "status    202", ""},
		{"bench", `{"method":"POST","body":"x"}`, []string{"bench", program, "-", "--calls", "2", "--config", config}, "status 200", "", ""},
		{"bench of another path", "{}", []string{"bench", local, "-", "--calls", "2", "--config", localConfig}, "that of another path", "", ""},
		{"audit", "{}", []string{"audit", program, "-", "--config", config}, "", "status 200", ""},
		{"not a script", `{"uri":"/style.css"}`, []string{"call", program, "-", "--config", scripts}, "", "", "no script answers /style.css"},
		{"hidden", `{"uri":"/.hidden.php"}`, []string{"call", program, "-", "--config", scripts}, "", "", "no script answers /.hidden.php"},
		{"folder", `{"uri":"/sub?x"}`, []string{"call", program, "-", "--config", scripts}, "", "", "redirects to ./sub/?x"},
		{"a URI of another kind", `{"uri":"http:admin/x"}`, []string{"call", program, "-", "--config", config}, "", "", "admin/x"},
		{"no URI", `{"uri":"a b"}`, []string{"call", program, "-", "--config", config}, "", "", "invalid"},
		{"a field that is no list", `{"headers":{"A":"b"}}`, []string{"call", program, "-", "--config", config}, "", "", "Headers"},
		{"a method that is none", `{"method":"A B"}`, []string{"call", program, "-", "--config", config}, "", "", "invalid method"},
		{"a host that is none", `{"host":"a/b?"}`, []string{"call", program, "-", "--config", config}, "", "", "a/b?"},
		{"base64 that is none", `{"body_base64":"_"}`, []string{"call", program, "-", "--config", config}, "", "", "body"},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, err := runCommand(t, test.request, test.args...)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("got %v, want %q\n%s", err, test.err, stderr)
			}
			if !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("got %q and %q", stdout, stderr)
			}
		})
	}
}
