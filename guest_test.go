package gojinn

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/internal/wasmtest"
)

// guest is a WASI program in the making.
type guest struct {
	*wasmtest.Module
	read, write, exit, poll uint32
}

func i32s(n int) []byte {
	return []byte(strings.Repeat(string(rune(wasmtest.I32)), n))
}

func newGuest(pages uint32) guest {
	m := wasmtest.New(pages)
	const wasi = "wasi_snapshot_preview1"
	return guest{
		Module: m,
		read:   m.Import(wasi, "fd_read", i32s(4), i32s(1)),
		write:  m.Import(wasi, "fd_write", i32s(4), i32s(1)),
		exit:   m.Import(wasi, "proc_exit", i32s(1), nil),
		poll:   m.Import(wasi, "poll_oneoff", i32s(4), i32s(1)),
	}
}

// The few instructions that the guests below are made of.
var (
	code  = wasmtest.Code
	num   = wasmtest.I32Const
	drop  = code(0x1a)
	add   = code(0x6a)
	load  = func(at int32) []byte { return code(num(at), 0x28, 2, 0) }
	store = func(at int32, value ...any) []byte { return code(num(at), code(value...), 0x36, 2, 0) }
	loop  = func(body ...any) []byte { return code(0x03, 0x40, code(body...), 0x0b) }
	again = func(depth int) []byte { return code(0x0c, depth) }
)

// transfer calls fd_read or fd_write for n bytes, which is code, at an address.
func (g guest) transfer(f uint32, fd, at int32, n ...any) []byte {
	return code(store(0, num(at)), store(4, n...), num(fd), num(0), num(1), num(16), wasmtest.Call(f), drop)
}

// print makes the program write text, which is put into memory at an address.
func (g guest) print(fd, at int32, text string) []byte {
	g.Data(at, text)
	return g.transfer(g.write, fd, at, num(int32(len(text))))
}

// answer is a program that answers every request with text as its output.
func answer(text string) []byte {
	g := newGuest(1 + uint32(len(text))>>16)
	g.Main(g.print(1, 1024, text)...)
	return g.Bytes()
}

// exits is a program that writes text to its standard error and ends with code.
func exits(text string, status int32) []byte {
	g := newGuest(1 + uint32(len(text))>>16)
	g.Main(code(g.print(2, 1024, text), num(status), wasmtest.Call(g.exit))...)
	return g.Bytes()
}

// talks is a program that writes text to its standard error and answers {}.
func talks(text string) []byte {
	g := newGuest(1 + uint32(len(text))>>16)
	g.Main(code(g.print(1, 64, "{}"), g.print(2, 1024, text))...)
	return g.Bytes()
}

// spins is a program that never ends.
func spins() []byte {
	g := newGuest(1)
	g.Main(loop(again(0))...)
	return g.Bytes()
}

// traps is a program that does what it must not.
func traps() []byte {
	g := newGuest(1)
	g.Main(0x00)
	return g.Bytes()
}

// recurses is a program without a bottom.
func recurses() []byte {
	g := newGuest(1)
	f := g.Func(i32s(1), i32s(1), code(0x20, 0, num(1), add, wasmtest.Call(4), num(1), add)...)
	g.Main(code(num(0), wasmtest.Call(f), drop)...)
	return g.Bytes()
}

// grows is a program that asks for memory until it is refused, and then traps.
func grows() []byte {
	g := newGuest(1)
	g.Main(code(loop(num(16), 0x40, 0, num(-1), 0x47, 0x0d, 0), 0x00)...)
	return g.Bytes()
}

// floods is a program that writes to its standard output for ever.
func floods() []byte {
	g := newGuest(2)
	g.Main(loop(g.transfer(g.write, 1, 1024, num(65536)), again(0))...)
	return g.Bytes()
}

// echoes is a program whose response has the request as it got it, in
// hexadecimal digits, which is what wasm can do in a few instructions.
func echoes() []byte {
	const in, out, digits, chunk = 4096, 16384, 2048, 4096
	g := newGuest(1)
	g.Data(digits, "0123456789abcdef")
	i, n, b := code(0x20, 0), load(16), code(0x20, 1)
	digit := func(offset int32, value ...any) []byte {
		return code(num(out+offset), i, num(1), 0x74, add, // out + offset + 2i
			num(digits), code(value...), add, 0x2d, 0, 0, 0x3a, 0, 0)
	}
	translate := code(num(0), 0x21, 0, loop(
		num(in), i, add, 0x2d, 0, 0, 0x21, 1, // b = in[i]
		digit(0, b, num(4), 0x76),
		digit(1, b, num(15), 0x71),
		i, num(1), add, 0x22, 0, n, 0x49, 0x0d, 0, // i++; again if i < n
	))
	body := code(
		g.print(1, 1024, `{"headers":{"X-Guest":"echo"},"body":"`),
		0x02, 0x40, loop(
			g.transfer(g.read, 0, in, num(chunk)),
			n, 0x45, 0x0d, 1, // end of file
			translate,
			g.transfer(g.write, 1, out, n, num(1), 0x74),
			again(0),
		), 0x0b,
		g.print(1, 1100, `"}`),
	)
	f := g.FuncLocals(nil, nil, i32s(2), body...)
	g.Export("_start", 0, f)
	return g.Bytes()
}

// request is what a function reads, see docs/contract.md.
type request struct {
	ID, Method, URI, Scheme, Host, Proto, Path, Traceparent string
	OriginalURI                                             string `json:"original_uri"`
	RemoteAddr                                              string `json:"remote_addr"`
	Query, Headers                                          map[string][]string
	Body                                                    *string
	BodyBase64                                              []byte `json:"body_base64"`
}

// echoed decodes the body of a response of the program echoes.
func echoed(t *testing.T, body string) request {
	t.Helper()
	raw, err := hex.DecodeString(body)
	if err != nil {
		t.Fatalf("decoding the echo: %v in %.100q", err, body)
	}
	var r request
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatalf("decoding the request: %v in %.1000q", err, raw)
	}
	return r
}

// moduleFile writes a module to a file of its own.
func moduleFile(t testing.TB, name string, wasm []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, wasm, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
