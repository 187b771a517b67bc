// Package examples tests the example functions, each a module of its own.
package examples

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// module returns the function in a folder: what is checked in, or else what the
// source compiles to.
func module(tb testing.TB, dir string) []byte {
	tb.Helper()
	built, err := toolchain.Output(dir)
	if err != nil {
		tb.Fatal(err)
	}
	if wasm, err := os.ReadFile(built); err == nil {
		return wasm
	}
	return toolchaintest.Build(tb, dir)
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

// call runs a function that must answer.
func call(tb testing.TB, program *toolchaintest.Program, c toolchaintest.Call) response {
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
