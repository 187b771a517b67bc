// Package examples tests the example functions, each a module of its own.
package examples

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// module returns the function in a folder: what is checked in, or for Go what the
// source compiles to.
func module(tb testing.TB, dir string) []byte {
	tb.Helper()
	functions, err := toolchain.Find(dir)
	if err != nil {
		tb.Fatal(err)
	}
	if functions[0].Language == toolchain.Go {
		return toolchaintest.Build(tb, dir)
	}
	wasm, err := os.ReadFile(functions[0].Built)
	if err != nil {
		tb.Fatal(err)
	}
	return wasm
}

// response is what a function writes to stdout.
type response struct {
	Status  int
	Headers map[string]string
	Body    string
	Base64  []byte `json:"body_base64"`
}

func (r response) json(tb testing.TB) any {
	tb.Helper()
	var body any
	if err := json.Unmarshal([]byte(r.Body), &body); err != nil {
		tb.Fatalf("body %q: %v", r.Body, err)
	}
	return body
}

// program is a function ready to run.
type program interface {
	Run(toolchaintest.Call) toolchaintest.Result
}

// sandboxed runs a function as the server does, with the server's default limits.
type sandboxed struct {
	tb      testing.TB
	program *engine.Program
}

// shared and programs are used by all tests, since compiling takes longer than
// all they do; they live as long as the test process.
var (
	shared   = sync.OnceValues(func() (*engine.Engine, error) { return engine.New(engine.Config{}) })
	programs sync.Map // folder → func() (*engine.Program, error)
)

// compile prepares the function in a folder.
func compile(tb testing.TB, dir string) program {
	tb.Helper()
	wasm := module(tb, dir)
	once, _ := programs.LoadOrStore(dir, sync.OnceValues(func() (*engine.Program, error) {
		e, err := shared()
		if err != nil {
			return nil, err
		}
		return e.Compile(context.Background(), wasm)
	}))
	p, err := once.(func() (*engine.Program, error))()
	if err != nil {
		tb.Fatal(err)
	}
	return &sandboxed{tb, p}
}

func (s *sandboxed) Run(c toolchaintest.Call) toolchaintest.Result {
	options := engine.Options{
		Args:   []engine.Value{{Fixed: "function"}},
		Limits: engine.Limits{Timeout: time.Minute, Memory: 128 << 20, Output: 8 << 20, Log: 64 << 10, Files: 64},
	}
	for _, arg := range c.Args {
		options.Args = append(options.Args, engine.Value{Fixed: arg})
	}
	for guest, host := range c.Mount {
		if err := options.Grants.Mount(guest, &vfs.HostDir{Path: host, Writable: true}); err != nil {
			s.tb.Fatal(err)
		}
	}
	function, err := s.program.Function(options)
	if err != nil {
		s.tb.Fatal(err)
	}
	defer function.Close()
	var stdout, stderr bytes.Buffer
	_, err = function.Run(context.Background(), bytes.NewReader(c.Stdin), &stdout, &stderr)
	result := toolchaintest.Result{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Err: err}
	if exit, ok := errors.AsType[*engine.ExitError](err); ok {
		result.Exit, result.Err = exit.Code, nil
	}
	return result
}

// call runs a function that must answer.
func call(tb testing.TB, program program, c toolchaintest.Call) response {
	tb.Helper()
	result := program.Run(c)
	if result.Exit != 0 || result.Err != nil {
		tb.Fatalf("got exit %d, %v, stderr %q", result.Exit, result.Err, result.Stderr)
	}
	var r response
	decoder := json.NewDecoder(bytes.NewReader(result.Stdout))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		tb.Fatalf("stdout %q: %v", result.Stdout, err)
	}
	return r
}

// A function is a plain WASI program: it runs under another runtime as it is.
func TestPlainRuntime(t *testing.T) {
	t.Parallel()
	cases := contactCases(t)
	for _, dir := range contacts {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			program := toolchaintest.Compile(t, module(t, dir))
			for _, c := range cases[:40] {
				checkContact(t, program, c)
			}
			inbox := t.TempDir()
			got := call(t, program, toolchaintest.Call{Args: []string{"/inbox"}, Stdin: cases[0].Request, Mount: map[string]string{"/inbox": inbox}})
			if entries, err := os.ReadDir(inbox); err != nil || len(entries) != 1 || got.Status != 201 {
				t.Errorf("got %d, %v, %v, want 201 and one message", got.Status, entries, err)
			}
		})
	}
}
