package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/gojinn/gojinn/internal/toolchain"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// A guest is a function to measure. Its source is a folder of this repository,
// or it is made byte by byte.
type guest struct {
	name     string // in URLs, metrics and the module's file name
	language string
	work     string // "echo", "contact", "prime"; or work of the metering table
	source   string
	module   []byte
}

// guests are all functions measured, in the order of the tables.
func guests() []guest {
	return []guest{
		{name: "echo-go", language: "Go", work: "echo", source: "bench/guests/echo"},
		{name: "echo-go-sdk", language: "Go with the SDK", work: "echo", source: "bench/guests/echo-go-sdk"},
		{name: "echo-rust", language: "Rust", work: "echo", source: "bench/guests/echo-rust"},
		{name: "echo-zig", language: "Zig", work: "echo", source: "bench/guests/echo-zig"},
		{name: "echo-c", language: "C", work: "echo", source: "bench/guests/echo-c"},
		{name: "contact-go", language: "Go", work: "contact", source: "examples/contact"},
		{name: "contact-go-sdk", language: "Go with the SDK", work: "contact", source: "bench/guests/contact-go-sdk"},
		{name: "contact-rust", language: "Rust", work: "contact", source: "examples/contact-rust"},
		{name: "contact-zig", language: "Zig", work: "contact", source: "examples/contact-zig"},
		{name: "contact-c", language: "C", work: "contact", source: "examples/contact-c"},
		{name: "prime-go", language: "Go", work: "prime", source: "bench/guests/prime"},
		{name: "prime-rust", language: "Rust", work: "prime", source: "bench/guests/prime-rust"},
		{name: "prime-zig", language: "Zig", work: "prime", source: "bench/guests/prime-zig"},
		{name: "prime-c", language: "C", work: "prime", source: "bench/guests/prime-c"},
		{name: "json", language: "Go", work: "json", source: "bench/guests/json"},
		{name: "loop", language: "wasm", work: "loop", module: emptyLoop(loopTurns)},
	}
}

// loopTurns is how often the empty loop turns: about a tenth of a second.
const loopTurns = 100_000_000

// emptyLoop is a module that counts to n and answers with an empty response.
func emptyLoop(n int32) []byte {
	m := wasmtest.New(1)
	fdWrite := m.Import("wasi_snapshot_preview1", "fd_write", []byte{wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I32}, []byte{wasmtest.I32})
	const response = "{}"
	m.Data(0, response)
	m.Data(8, "\x00\x00\x00\x00\x02\x00\x00\x00") // an iovec: where response is, and its length
	main := m.FuncLocals(nil, nil, []byte{wasmtest.I32}, wasmtest.Code(
		0x03, 0x40, // loop
		0x20, 0, wasmtest.I32Const(1), 0x6a, 0x22, 0, // local 0 += 1
		wasmtest.I32Const(n), 0x48, 0x0d, 0, // br_if 0 while it is less than n
		0x0b,                                                                                                                  // end
		wasmtest.I32Const(1), wasmtest.I32Const(8), wasmtest.I32Const(1), wasmtest.I32Const(16), wasmtest.Call(fdWrite), 0x1a, // drop
	)...)
	m.Export("_start", 0, main)
	return m.Bytes()
}

// file is where the guest's module lies.
func (g guest) file(dir string) string { return filepath.Join(dir, g.name+".wasm") }

// build puts the guest's module into dir. The module checked in beside the
// source is preferred; without one and without its toolchain the error is a
// *toolchain.MissingError.
func (g guest) build(ctx context.Context, dir string) error {
	out := g.file(dir)
	if g.module != nil {
		return os.WriteFile(out, g.module, 0o600)
	}
	function, err := toolchain.Find(g.source)
	if err != nil {
		return err
	}
	if built := function[0].Built; built != "" && function[0].Language != toolchain.Go {
		module, err := os.ReadFile(built)
		if err != nil {
			return err
		}
		return os.WriteFile(out, module, 0o600)
	}
	return toolchain.Build(ctx, g.source, out, os.Stderr)
}

// buildGuests builds all guests it can. notes says which are missing, and why.
func buildGuests(ctx context.Context, dir string) (built []guest, notes []string, err error) {
	for _, g := range guests() {
		progress("building %s", g.name)
		err := g.build(ctx, dir)
		var missing *toolchain.MissingError
		switch {
		case errors.As(err, &missing):
			notes = append(notes, fmt.Sprintf("%s was not measured: %v.", g.name, missing))
		case err != nil:
			return nil, nil, err
		default:
			built = append(built, g)
		}
	}
	return built, notes, nil
}
