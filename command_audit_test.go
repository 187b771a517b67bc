package gojinn

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain"
)

// auditedFunction does what its request's body says, a word and its argument on each line, and ends with
// exit code 1 at the first thing that it can't do.
const auditedFunction = `package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func do(word, path string) error {
	switch word {
	case "read":
		_, err := os.ReadFile(path)
		return err
	case "list":
		_, err := os.ReadDir(path)
		return err
	case "write":
		return os.WriteFile(path, []byte("x"), 0o666)
	case "mkdir":
		return os.MkdirAll(path, 0o777)
	case "http":
		f, err := os.OpenFile("/net/http", os.O_RDWR, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		method, url, _ := strings.Cut(path, " ")
		fmt.Fprintf(f, "{\"method\":%q,\"url\":%q}\n", method, url)
		_, err = f.Read(make([]byte, 1000))
		return err
	}
	return fmt.Errorf("what?")
}

func main() {
	var request struct{ Body string }
	in, _ := io.ReadAll(os.Stdin)
	_ = json.Unmarshal(in, &request)
	for _, line := range strings.Split(request.Body, "\n") {
		word, path, _ := strings.Cut(line, " ")
		if line == "" {
			continue
		}
		optional := strings.HasPrefix(word, "?")
		if err := do(strings.TrimPrefix(word, "?"), strings.ReplaceAll(path, "^", "\n")); err != nil && !optional {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	fmt.Println("{\"status\":200}")
}
`

// auditedModule is auditedFunction, compiled once.
var auditedModule = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "gojinn-audited-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	for name, text := range map[string]string{"main.go": auditedFunction, "go.mod": "module example.com/audited\n\ngo 1.24\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	out := filepath.Join(dir, "out.wasm")
	var said strings.Builder
	if err := toolchain.Build(context.Background(), dir, out, &said); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, &said)
	}
	return os.ReadFile(out)
})

func auditedFile(t *testing.T) string {
	t.Helper()
	wasm, err := auditedModule()
	if err != nil {
		t.Fatal(err)
	}
	return moduleFile(t, "audited.wasm", wasm)
}

func TestAuditCommand(t *testing.T) {
	module := auditedFile(t)
	data := t.TempDir()
	for _, test := range []struct {
		name     string
		requests []string // what they do; lines are apart by "; "
		flags    []string
		lines    []string // in the order of the output
		remarks  []string
		said     string
	}{
		{"nothing", []string{""}, nil, nil, []string{"needs no other allow lines"}, "ok, status 200"},
		{"no request", nil, nil, nil, []string{"needs no other allow lines"}, "round 1, GET /: ok"},
		{"one thing after the other", []string{"write /tmp/a; list /spool; write /spool/b; write /kv/orders/1; http GET https://api.example.com/x; ?http POST https://api.example.com/y; ?read /net/tcp/db:5432"}, nil,
			[]string{"allow dir /CHANGE-ME/spool /spool rw", "allow tmp /tmp", "allow http https://api.example.com {", "\tmethods GET POST", "}", "allow tcp db:5432", "allow kv orders"},
			nil, "round 5"},
		{"several requests", []string{"?read /templates/a.html", "?read /kv/sessions/x"}, nil,
			[]string{"allow dir /CHANGE-ME/templates /templates", "allow kv sessions ro"}, nil, ""},
		{"a file that isn't there", []string{"read /templates/a.html"}, nil,
			[]string{"allow dir /CHANGE-ME/templates /templates"}, []string{"ended with exit, even so: it may need more"}, "exit"},
		{"probes", []string{"?read /etc/localtime"}, nil, nil, []string{"    /etc/localtime"}, ""},
		{"granted", []string{"list /data; write /data/x; write /tmp/x"}, []string{"--allow", "dir " + data + " /data rw", "--allow", "tmp /tmp"},
			nil, []string{"needs no other allow lines"}, "status 200"},
		{"granted for reading", []string{"list /data; write /data/y"}, []string{"--allow", "dir " + data + " /data"},
			[]string{"allow dir " + data + " /data rw"}, []string{"takes the place"}, "exit"},
		{"hostile", []string{"?read /a^}^respond x/b; ?read /{$HOME}/x; ?read /{env.HOME}/x; ?read /x\"/y; ?list /#/"}, nil,
			nil, []string{`no line can allow this: /a\n\u007d\nrespond x`, `/\u007b$HOME\u007d`, `/\u007benv.HOME\u007d`, `/x"`}, ""},
		{"directories", []string{"mkdir /work/a/b; write /work/a/b/c; list /work"}, nil, []string{"allow dir /CHANGE-ME/work /work rw"}, nil, "status 200"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := []string{"audit", module}
			for i, request := range test.requests {
				body, err := json.Marshal(map[string]string{"body": strings.ReplaceAll(request, "; ", "\n")})
				if err != nil {
					t.Fatal(err)
				}
				args = append(args, writeFile(t, filepath.Join(t.TempDir(), fmt.Sprintf("%d.json", i)), string(body)))
			}
			stdout, stderr, err := runCommand(t, "", append(args, test.flags...)...)
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for line := range strings.Lines(stdout) {
				if !strings.HasPrefix(line, "#") {
					lines = append(lines, strings.TrimSuffix(line, "\n"))
				}
			}
			if !slices.Equal(lines, test.lines) {
				t.Errorf("got lines %q, want %q\n%s", lines, test.lines, stderr)
			}
			for _, want := range append(test.remarks, "# variables of the environment can't be seen") {
				if !strings.Contains(stdout, want) {
					t.Errorf("got\n%s\nwant %q in it", stdout, want)
				}
			}
			if !strings.Contains(stderr, test.said) {
				t.Errorf("got\n%s\nwant %q in it", stderr, test.said)
			}
			if err := adapts(stdout); err != nil {
				t.Errorf("%v:\n%s", err, stdout)
			}
		})
	}
	if _, _, err := runCommand(t, "", "call", module, "--allow", "dir /CHANGE-ME/x /x"); err == nil || !strings.Contains(err.Error(), "CHANGE-ME") {
		t.Errorf("a line that is to be changed: got %v, want an error", err)
	}
	if left, err := filepath.Glob(filepath.Join(os.TempDir(), "gojinn-audit-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestAuditOnAServer: refusals are logged once and shown by the admin API, of each function its own.
func TestAuditOnAServer(t *testing.T) {
	wasm, err := auditedModule()
	if err != nil {
		t.Fatal(err)
	}
	root := functionDir(t, map[string][]byte{"a.wasm": wasm, "b.wasm": wasm})
	plain := moduleFile(t, "plain.wasm", wasm)
	s, admin := adminOf(t, lines("gojinn_dir "+root+" {", "allow audit", "}", "gojinn /plain "+plain))
	for range 3 {
		if got := s.do(http.MethodPost, "/a", nil, strings.NewReader("?read /templates/x\n?write /data/y\n?read /net/http\n?read /x^y/z")); got.status != 200 {
			t.Fatalf("got %d %q", got.status, got.body)
		}
	}
	if got := s.do(http.MethodPost, "/plain", nil, strings.NewReader("?read /templates/x")); got.status != 200 {
		t.Fatalf("got %d %q", got.status, got.body)
	}
	a := decoded[functionInfo](t, admin.get("/gojinn/functions/fns/a"))
	want := []refusalInfo{{"path", "/data/y", "rw"}, {"path", "/net/http", "ro"}, {"path", "/templates/x", "ro"}, {"path", `/x\ny/z`, "ro"}}
	if !slices.Equal(a.Refused, want) || a.RefusedMore {
		t.Errorf("got %+v, more: %t, want %+v", a.Refused, a.RefusedMore, want)
	}
	said := 0
	for _, entry := range logBuffer.entries(t) {
		if entry["msg"] == "refused" && entry["function"] == "fns/a" && entry["what"] == `/x\ny/z` && entry["kind"] == "path" && entry["how"] == "ro" && entry["level"] == "info" {
			said++
		}
	}
	if said != 1 {
		t.Errorf("logged %d times, want once", said)
	}
	if b := admin.get("/gojinn/functions/fns/b"); !strings.Contains(b.body, `"refused":[]`) {
		t.Errorf("got %s, want nothing refused", b.body)
	}
	if p := admin.get("/gojinn/functions/plain"); strings.Contains(p.body, "refused") {
		t.Errorf("got %s of a function that is not audited", p.body)
	}
	if all := admin.get("/gojinn/functions"); strings.Contains(all.body, "refused") {
		t.Errorf("the list has them: %s", all.body)
	}
}
