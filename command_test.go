package gojinn

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/gojinn/gojinn/engine"
)

// runCommand runs a subcommand of "function" as the command line would.
func runCommand(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	root := &cobra.Command{Use: "function", SilenceErrors: true}
	root.AddCommand(newCommand(), buildCommand(), callCommand(), devCommand(), compileCommand(), benchCommand(), inspectCommand(), auditCommand())
	var out, errs bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	root.SetArgs(args)
	provisioning.Lock() // Caddy sets a global
	defer provisioning.Unlock()
	err = root.ExecuteContext(t.Context())
	checkNothingLeft(t)
	return out.String(), errs.String(), err
}

func writeFile(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCallCommand(t *testing.T) {
	dir := t.TempDir()
	module := moduleFile(t, "answer.wasm", answer(`{"status":201,"body":"made"}`))
	trap := newGuest(1)
	trap.Main(0x00)
	traps := moduleFile(t, "traps.wasm", trap.Bytes())
	garbage := moduleFile(t, "garbage.wasm", answer("no JSON"))
	echo := newGuest(2)
	echo.Main(code(store(0, num(1024)), store(4, num(60000)), num(0), num(0), num(1), num(16), 0x10, int(echo.read), drop,
		store(4, load(16)), num(1), num(0), num(1), num(16), 0x10, int(echo.write), drop)...)
	echoes := moduleFile(t, "echoes.wasm", echo.Bytes())

	request := writeFile(t, filepath.Join(dir, "request.json"), `{"status":203,"body":"of a file"}`)
	config := writeFile(t, filepath.Join(dir, "Caddyfile"), `http://localhost:1 {
	gojinn /a `+module+` {
		allow env A b
	}
	gojinn /b `+module+` {
		name second
		fuel 1
	}
	gojinn /c `+echoes+`
}`)
	empty := writeFile(t, filepath.Join(dir, "Empty"), "http://localhost:1 {\n\trespond hello\n}")

	tests := []struct {
		name, stdin    string
		args           []string
		stdout, stderr string // what they hold
		err            string // "" for success
	}{
		{"no request", "", []string{module}, `{"status":201,"body":"made"}`, "status    201", ""},
		{"receipt", "", []string{module}, "", "reason    ok", ""},
		{"request of a file", "", []string{echoes, request}, `"of a file"`, "203", ""},
		{"request of standard input", `{"body":"of stdin"}`, []string{echoes, "-"}, `"of stdin"`, "200", ""},
		{"request that is no JSON", "nonsense", []string{echoes, "-"}, "", "", "not a JSON object"},
		{"request that is missing", "", []string{echoes, filepath.Join(dir, "none.json")}, "", "", "none.json"},
		{"trap", "", []string{traps}, "", "reason    trap", "unreachable"},
		{"bad answer", "", []string{garbage}, "", "reason    bad_response", "response"},
		{"module that is missing", "", []string{filepath.Join(dir, "none.wasm")}, "", "", "none.wasm"},
		{"allow", "", []string{module, "--allow", "env A b", "--allow", "dir " + dir + " /data"}, "made", "", ""},
		{"unknown capability", "", []string{module, "--allow", "teleport x"}, "", "", `"teleport" is not a capability`},
		{"allow with too little", "", []string{module, "--allow", "env"}, "", "", "--allow \"env\""},
		{"allow that would close the block", "", []string{module, "--allow", "env A b\n}\nrespond x"}, "", "", "--allow"},
		{"same variable twice", "", []string{module, "--allow", "env A b", "--allow", "env A c"}, "", "", "twice"},
		{"argument", "", []string{module, "--arg", "x", "--arg", "y"}, "made", "", ""},
		{"config", "", []string{echoes, request, "--config", config}, "of a file", "", ""},
		{"config with two", "", []string{module, "--config", config}, "", "", "2 functions in it have this module; name one with --function: answer, second, echoes"},
		{"config and name", "", []string{module, "--config", config, "--function", "answer"}, "made", "", ""},
		{"limits of the config", "", []string{module, "--config", config, "--function", "second"}, "", "reason    fuel", "fuel"},
		{"name that is missing", "", []string{module, "--config", config, "--function", "third"}, "", "", `no function has the name "third"`},
		{"module that is not in the config", "", []string{traps, "--config", config}, "", "", "no function in it has this module"},
		{"config without functions", "", []string{traps, "--config", empty}, "", "", "no gojinn line in it"},
		{"name without config", "", []string{module, "--function", "x"}, "", "", "--config, which is missing"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, err := runCommand(t, test.stdin, append([]string{"call"}, test.args...)...)
			switch {
			case test.err == "" && err != nil:
				t.Fatalf("got %v", err)
			case test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)):
				t.Fatalf("got %v, want an error with %q", err, test.err)
			}
			if !strings.Contains(stdout, test.stdout) {
				t.Errorf("got %q on standard output, want %q in it", stdout, test.stdout)
			}
			if !strings.Contains(stderr, test.stderr) {
				t.Errorf("got %q on standard error, want %q in it", stderr, test.stderr)
			}
		})
	}
}

// TestCallOnce: there is no second call for which a sandbox could be wanted.
func TestCallOnce(t *testing.T) {
	module := moduleFile(t, "answer.wasm", answer("{}"))
	config := writeFile(t, filepath.Join(t.TempDir(), "Caddyfile"), "{\n\tgojinn {\n\t\tdefaults {\n\t\t\twarm 1\n\t\t}\n\t}\n}\nhttp://localhost:1 {\n\tgojinn "+module+"\n}\n")
	t.Cleanup(func() { checkNothingLeft(t) })
	for _, flags := range []*functionFlags{{}, {config: config}} {
		provisioning.Lock()
		h, unload, err := loadForOneCall(t.Context(), flags, module)
		provisioning.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		defer unload()
		if err := h.callOnce(t.Context(), nil, io.Discard, io.Discard); err != nil {
			t.Fatal(err)
		}
		busy, parked := 1, 0
		for range 6000 {
			var running, restoring int
			running, restoring, parked = h.function().Sandboxes()
			if busy = running + restoring; busy == 0 {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if busy+parked != 0 {
			t.Errorf("after the call: got %d sandboxes getting ready and %d parked, want none", busy, parked)
		}
	}
}

func TestInspectCommand(t *testing.T) {
	module := moduleFile(t, "answer.wasm", answer("{}"))
	stdout, _, err := runCommand(t, "", "inspect", module)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"sha256 ", "start   ", "late: ", "memory  ", "64 KiB at the start", "image  ",
		"import  ", "wasi_snapshot_preview1.fd_write (i32, i32, i32, i32) -> (i32)", "export  ", "_start func () -> ()",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("got\n%s\nwant %q in it", stdout, want)
		}
	}
	bad := writeFile(t, filepath.Join(t.TempDir(), "bad.wasm"), "not wasm at all")
	if _, _, err := runCommand(t, "", "inspect", bad); err == nil || !strings.Contains(err.Error(), "not a WebAssembly module") {
		t.Errorf("got %v", err)
	}
	big := newGuest(3000)
	big.Main()
	if _, _, err := runCommand(t, "", "inspect", moduleFile(t, "big.wasm", big.Bytes())); err == nil || !strings.Contains(err.Error(), "its limit is") {
		t.Errorf("more memory than the limit: got %v", err)
	}
}

// prepares is a program that computes before it reads its input, and answers {}.
func prepares(g guest, before ...any) []byte {
	count := code(num(100_000), 0x21, 0, loop(0x20, 0, num(1), 0x6b, 0x22, 0, 0x0d, 0))
	g.Export("_start", 0, g.FuncLocals(nil, nil, i32s(1), code(
		count, code(before...), g.transfer(g.read, 0, 4096, num(4096)), g.print(1, 1024, "{}"))...))
	return g.Bytes()
}

func TestInspectStart(t *testing.T) {
	restored := func() string {
		e, err := engine.New(engine.Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		how, _ := e.Restoring()
		return "restored by " + how
	}()
	short := newGuest(1)
	short.Main(short.transfer(short.read, 0, 4096, num(4096))...)
	changesTable := newGuest(1)
	changesTable.Table(2)
	for _, test := range []struct {
		name    string
		module  []byte
		options string // in a Caddyfile
		want    string
		other   string // that is there too
		isnt    string
	}{
		{"nothing to assume", short.Bytes(), "", "reset: its start-up takes next to nothing, ", restored, "kept"},
		{"pure", prepares(newGuest(1)), "", "snapshot: its start-up depends on nothing", restored, "repeats"},
		{"kept", prepares(newGuest(1), store(8192, num(1))), "", "snapshot: ", "in each sandbox that waits for a call", "repeats"},
		{"off", prepares(newGuest(1)), "snapshot off", "reset: snapshot is off", restored, "kept"},
		{"writes first", answer("{}"), "", "late: its start-up can't run ahead of a call: it writes to its standard output", restored, "kept"},
		{"argument of the call", prepares(newGuest(1)), "args {http.request.uri}", "late: its start-up can't run ahead of a call: its arguments", restored, ""},
		{"never reads", spins(), "timeout 50ms", "late: its start-up can't run ahead of a call: ", restored, "kept"},
		{"traps first", traps(), "", "late: its start-up can't run ahead of a call: ", "unreachable", "kept"},
		{"changes a table", prepares(changesTable, num(0), 0xd0, 0x70, 0x26, 0), "", "fresh: the module ", "tables", "restored"},
		{"nothing is kept", prepares(newGuest(1)), "idle 0", "fresh: idle and warm are 0", "", "restored"},
		{"what is warm is kept", prepares(newGuest(1)), "idle 0\n\t\twarm 1", "snapshot: ", restored, ""},
		{"no memory", prepares(newGuest(20)), "memory 2MiB", "not known: ", "function call says why", "kept"},
	} {
		t.Run(test.name, func(t *testing.T) {
			module := moduleFile(t, "fn.wasm", test.module)
			config := writeFile(t, filepath.Join(t.TempDir(), "Caddyfile"),
				"{\n\tgojinn {\n\t\tmemory 1MiB\n\t}\n}\nhttp://localhost:1 {\n\tgojinn "+module+" {\n\t\t"+test.options+"\n\t}\n}\n")
			stdout, _, err := runCommand(t, "", "inspect", module, "--config", config)
			if err != nil {
				t.Fatal(err)
			}
			stdout = strings.Join(strings.Fields(stdout), " ")
			for _, want := range []string{"start " + test.want, strings.Join(strings.Fields(test.other), " ")} {
				if !strings.Contains(stdout, want) {
					t.Errorf("got\n%s\nwant %q in it", stdout, want)
				}
			}
			if test.isnt != "" && strings.Contains(stdout, test.isnt) {
				t.Errorf("got\n%s\nwant no %q in it", stdout, test.isnt)
			}
		})
	}
}

// TestNewBuildAndCall goes the way of a newcomer.
func TestNewBuildAndCall(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hello")
	if _, _, err := runCommand(t, "", "new", dir, "--lang", "go"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := runCommand(t, "", "new", dir, "--lang", "go"); err == nil {
		t.Error("a folder that is in use was overwritten")
	}
	if _, _, err := runCommand(t, "", "new", dir+"2", "--lang", "cobol"); err == nil || !strings.Contains(err.Error(), "cobol") {
		t.Errorf("unknown language: got %v", err)
	}
	out := filepath.Join(t.TempDir(), "out.wasm")
	stdout, stderr, err := runCommand(t, "", "build", dir, "-o", out)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	if strings.TrimSpace(stdout) != out {
		t.Errorf("got %q, want the module's path", stdout)
	}
	if stdout, stderr, err = runCommand(t, "", "call", out); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	var response map[string]any
	if err := json.Unmarshal([]byte(stdout), &response); err != nil {
		t.Errorf("got %q: %v", stdout, err)
	}

	if stdout, _, err = runCommand(t, "", "inspect", out); err != nil || !strings.Contains(stdout, "snapshot: it is a Go program") || !strings.Contains(stdout, "repeats  ") {
		t.Errorf("inspect: got %v\n%s\nwant a snapshot and what it repeats", err, stdout)
	}

	writeFile(t, filepath.Join(dir, "main.go"), "package main\n\nfunc main() { undefined() }\n")
	if _, stderr, err = runCommand(t, "", "build", dir, "-o", out); err == nil || !strings.Contains(stderr, "undefined") {
		t.Errorf("a build that fails: got %v and %q", err, stderr)
	}
	if _, _, err := runCommand(t, "", "call", out); err != nil {
		t.Errorf("the module before it: %v", err)
	}
	if _, _, err := runCommand(t, "", "build", t.TempDir()); err == nil {
		t.Error("an empty folder was built")
	}
}

// syncBuffer can be read while it is written.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

const devFunction = `package main

import "fmt"

func main() { fmt.Print("{\"body\":\"WORD\"}") }
`

// startDev runs "function dev" until the test ends, or stop is called.
func startDev(t *testing.T, dir string, extra ...string) (said *syncBuffer, stop func() error) {
	t.Helper()
	said = new(syncBuffer)
	cmd := devCommand()
	cmd.SilenceErrors = true
	cmd.SetErr(said)
	cmd.SetArgs(append([]string{dir}, extra...))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(time.Minute):
			t.Error("function dev doesn't end")
			return nil
		}
	})
	t.Cleanup(func() { _ = stop() })
	return said, stop
}

// comesTo waits until a URL answers with a text.
func comesTo(t *testing.T, said *syncBuffer, url, want string) {
	t.Helper()
	got := ""
	for range 6000 {
		if r, err := http.Get(url); err == nil {
			body, _ := io.ReadAll(r.Body)
			r.Body.Close()
			if got = string(body); strings.Contains(got, want) {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("%s: got %q, want %q\n%s", url, got, want, said)
}

func TestDevCommand(t *testing.T) {
	dir, addr := t.TempDir(), freeAddr(t)
	main := func(name string) string { return filepath.Join(dir, name, "main.go") }
	write := func(name, text string) { writeFile(t, main(name), text) }
	write("one", strings.Replace(devFunction, "WORD", "first", 1))
	write("broken", "package main\n\nthis is not Go\n")
	for _, name := range []string{"one", "broken", "two"} {
		writeFile(t, filepath.Join(dir, name, "go.mod"), "module example.com/"+name+"\n\ngo 1.24\n")
	}
	write("two", `package main

import "os"

func main() { os.Stdout.WriteString("{\"body\":\"" + os.Getenv("WORD") + "\"}") }
`)
	said, stop := startDev(t, dir, "--listen", addr, "--allow", "env WORD other")

	comesTo(t, said, "http://"+addr+"/one", "first")
	comesTo(t, said, "http://"+addr+"/two/below", "other")
	comesTo(t, said, "http://"+addr+"/", "http://"+addr+"/one\nhttp://"+addr+"/two\n")
	comesTo(t, said, "http://"+addr+"/broken", "There is no function here")
	if !strings.Contains(said.String(), "syntax error") {
		t.Errorf("the compiler's words are missing:\n%s", said)
	}

	write("one", strings.Replace(devFunction, "WORD", "second", 1))
	comesTo(t, said, "http://"+addr+"/one", "second")
	write("one", "package main\n\nfunc main() { undefinedFunction() }\n")
	for range 6000 {
		if strings.Contains(said.String(), "undefinedFunction") && strings.Contains(said.String(), "the version before it goes on serving") {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if !strings.Contains(said.String(), "undefinedFunction") {
		t.Errorf("the compiler's words are missing:\n%s", said)
	}
	comesTo(t, said, "http://"+addr+"/one", "second")
	write("broken", strings.Replace(devFunction, "WORD", "mended", 1))
	comesTo(t, said, "http://"+addr+"/broken", "mended")
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	if _, err := http.Get("http://" + addr + "/one"); err == nil {
		t.Error("it still serves after its end")
	}
}

// TestDevNames: a folder may have a name that a function can't have.
func TestDevNames(t *testing.T) {
	s := &devServer{listen: freeAddr(t), modules: map[string]*devModule{
		"two words": {serves: moduleFile(t, "two words.wasm", answer("{}"))},
		"plain":     {serves: moduleFile(t, "fn.wasm", answer("{}"))},
		"broken":    {},
	}}
	text, err := s.configuration()
	if err != nil {
		t.Fatal(err)
	}
	var config caddy.Config
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&config); err != nil {
		t.Error(err)
	}
	if got, want := s.urls(), "http://"+s.listen+"/plain\nhttp://"+s.listen+"/two%20words\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDevCommandWithCaddyfile(t *testing.T) {
	dir, addr := t.TempDir(), freeAddr(t)
	writeFile(t, filepath.Join(dir, "hi", "main.go"), strings.Replace(devFunction, "WORD", "hi there", 1))
	writeFile(t, filepath.Join(dir, "hi", "go.mod"), "module example.com/hi\n\ngo 1.24\n")
	config := func(path string) {
		writeFile(t, filepath.Join(dir, "Caddyfile"), "http://"+addr+" {\n\tgojinn "+path+" hi/hi.wasm\n}\n")
	}
	config("/greet")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	defer os.Chdir(here)

	if _, _, err := runCommand(t, "", "dev", dir, "--listen", "localhost:1"); err == nil || !strings.Contains(err.Error(), "--listen has no effect") {
		t.Errorf("--listen beside a Caddyfile: got %v", err)
	}
	if _, _, err := runCommand(t, "", "dev", dir, "--allow", "env A b"); err == nil || !strings.Contains(err.Error(), "--allow has no effect") {
		t.Errorf("--allow beside a Caddyfile: got %v", err)
	}
	said, stop := startDev(t, dir)
	comesTo(t, said, "http://"+addr+"/greet", "hi there")
	config("/welcome")
	comesTo(t, said, "http://"+addr+"/welcome", "hi there")
	if err := stop(); err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestDevCommandRefuses(t *testing.T) {
	empty := t.TempDir()
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"an empty folder", []string{empty}, "source file"},
		{"no folder", []string{filepath.Join(empty, "none")}, "none"},
		{"no port", []string{empty, "--listen", "localhost"}, "--listen"},
		{"no capability", []string{empty, "--allow", "everything"}, "everything"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, _, err := runCommand(t, "", append([]string{"dev"}, test.args...)...); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}
