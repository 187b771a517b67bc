package http

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

var guestEngine = sync.OnceValues(func() (*engine.Engine, error) { return engine.New(engine.Config{}) })

// guest makes a function of a module with the grant; the path of a folder for /app is for interpreters.
func guest(t testing.TB, module []byte, app string, args []string, lines ...*HTTP) *engine.Function {
	t.Helper()
	e, err := guestEngine()
	if err != nil {
		t.Fatal(err)
	}
	p, err := e.Compile(context.Background(), module)
	if err != nil {
		t.Fatal(err)
	}
	var grants engine.Grants
	for _, line := range lines {
		if err := line.Grant(&grants); err != nil {
			t.Fatal(err)
		}
	}
	if app != "" {
		if err := grants.Mount("/app", &vfs.HostDir{Path: app}); err != nil {
			t.Fatal(err)
		}
	}
	options := engine.Options{Grants: grants, Limits: engine.Limits{Memory: 512 << 20, Timeout: time.Minute, Files: 64}}
	for _, arg := range args {
		options.Args = append(options.Args, engine.Value{Fixed: arg})
	}
	f, err := p.Function(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// TestLanguages has programs that know nothing of us make requests with what their languages have for files.
func TestLanguages(t *testing.T) {
	t.Parallel()
	server := echoes(t)
	c := provisioned(t, HTTP{Origins: []string{server.URL}, Private: loopback})
	long := strings.Repeat("0123456789", 5_000)
	var in strings.Builder
	for _, body := range []string{"one", long, ""} {
		line, _ := json.Marshal(object{"method": "POST", "url": server.URL, "body": body})
		in.Write(append(line, '\n'))
	}
	in.WriteString("no request\n")
	for _, language := range []string{"go", "c", "rust", "python"} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			dir, app, args := filepath.Join("testdata", "guests", "ask-"+language), "", []string{"ask"}
			var module []byte
			if language == "python" {
				path := os.Getenv("GOJINN_TEST_PYTHON")
				if path == "" {
					t.Skip("GOJINN_TEST_PYTHON names no python.wasm")
				}
				var err error
				if module, err = os.ReadFile(path); err != nil {
					t.Fatal(err)
				}
				app, args = dir, []string{"python", "/app/ask.py"}
			} else {
				module = toolchaintest.Build(t, dir)
			}
			var out, log bytes.Buffer
			if _, err := guest(t, module, app, args, c).Run(guestContext(t), strings.NewReader(in.String()), &out, &log); err != nil {
				t.Fatalf("%v: %s", err, log.Bytes())
			}
			answers := json.NewDecoder(&out)
			for _, want := range []string{"one", long, "", "invalid"} {
				var a answer
				if err := answers.Decode(&a); err != nil || a.Body+a.Error != want {
					t.Errorf("got %d bytes, %s, %v, want %.10q…", len(a.Body), a.Error, err, want)
				}
			}
		})
	}
}
