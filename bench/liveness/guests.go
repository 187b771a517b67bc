package main

import (
	"bytes"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// A guest is a hostile module and how its calls must end.
type guest struct {
	name   string
	module []byte
	want   error
}

// Pieces of code.
var (
	c32  = wasmtest.I32Const
	code = wasmtest.Code
	i32  = []byte{wasmtest.I32}
)

// forever repeats body.
func forever(body ...any) []byte { return code(0x03, 0x40, code(body...), 0x0c, 0, 0x0b) }

// store writes v to memory at the address at.
func store(at, v int32) []byte { return code(c32(at), c32(v), 0x36, 2, 0) }

// drop discards the result of a call of f with the given operands.
func drop(f uint32, operands ...int32) []byte {
	var out []byte
	for _, v := range operands {
		out = append(out, c32(v)...)
	}
	return code(out, wasmtest.Call(f), 0x1a)
}

// wasi imports a function of preview 1 that takes four i32 and returns one.
func wasi(m *wasmtest.Module, name string) uint32 {
	return m.Import("wasi_snapshot_preview1", name, bytes.Repeat(i32, 4), i32)
}

// straight is a module whose only function is body.
func straight(pages uint32, body []byte) []byte {
	m := wasmtest.New(pages)
	m.Main(body...)
	return m.Bytes()
}

// hostileGuests are the ways to hold a processor, or a call, for ever.
func hostileGuests() []guest {
	const mib100 = 100 << 20
	return []guest{
		{"endless loop", straight(1, forever()), engine.ErrTimeout},
		{"exponential recursion", fibonacci(60), engine.ErrTimeout},
		{"deep recursion", recursion(), engine.ErrStack},
		{"memory.fill of 100 MiB", straight(mib100/65536, forever(c32(0), c32(7), c32(mib100), 0xfc, 0x0b, 0)), engine.ErrTimeout},
		{"memory.copy of 50 MiB", straight(mib100/65536, forever(c32(1), c32(0), c32(mib100/2), 0xfc, 0x0a, 0, 0)), engine.ErrTimeout},
		{"br_table loop", straight(1, code(0x03, 0x40, c32(1), 0x0e, 2, 0, 0, 0, 0x0b)), engine.ErrTimeout},
		{"flood of standard output", flood(), engine.ErrTimeout},
		{"sleep of an hour", sleep(), engine.ErrTimeout},
		{"read that never returns", blockedRead(), engine.ErrTimeout},
	}
}

// fibonacci computes fib(n) without any loop.
func fibonacci(n int32) []byte {
	m := wasmtest.New(1)
	const fib = 0 // n < 2 ? n : fib(n-1) + fib(n-2)
	m.Func(i32, i32, code(0x20, 0, c32(2), 0x48, 0x04, 0x7f, 0x20, 0, 0x05,
		0x20, 0, c32(1), 0x6b, wasmtest.Call(fib), 0x20, 0, c32(2), 0x6b, wasmtest.Call(fib), 0x6a, 0x0b)...)
	m.Main(drop(fib, n)...)
	return m.Bytes()
}

// recursion calls itself, with something left to do at every return.
func recursion() []byte {
	m := wasmtest.New(1)
	const f = 0
	m.Func(i32, i32, code(0x20, 0, c32(1), 0x6a, wasmtest.Call(f), c32(1), 0x6a)...)
	m.Main(drop(f, 0)...)
	return m.Bytes()
}

// flood writes 32 KiB to standard output, again and again.
func flood() []byte {
	m := wasmtest.New(1)
	write := wasi(m, "fd_write")
	m.Main(code(store(0, 1024), store(4, 32<<10), forever(drop(write, 1, 0, 1, 16)))...)
	return m.Bytes()
}

// sleep waits for an hour on the monotonic clock. A subscription has its kind
// at 8 (0: clock), the clock at 16 and the time in nanoseconds at 24.
func sleep() []byte {
	m := wasmtest.New(1)
	poll := wasi(m, "poll_oneoff")
	m.Main(code(store(16, 1), c32(24), wasmtest.I64Const(3600e9), 0x37, 3, 0, drop(poll, 0, 64, 1, 128))...)
	return m.Bytes()
}

// blockedRead reads standard input, which never comes.
func blockedRead() []byte {
	m := wasmtest.New(1)
	read := wasi(m, "fd_read")
	m.Main(code(store(0, 1024), store(4, 100), drop(read, 0, 0, 1, 16))...)
	return m.Bytes()
}

const politeAnswer = "{}"

// politeGuest answers at once.
func politeGuest() []byte {
	m := wasmtest.New(1)
	write := wasi(m, "fd_write")
	m.Data(8, politeAnswer)
	m.Main(code(store(0, 8), store(4, int32(len(politeAnswer))), drop(write, 1, 0, 1, 16))...)
	return m.Bytes()
}
