package gojinn

import (
	"encoding/binary"
	"time"

	"github.com/gojinn/gojinn/internal/wasmtest"
)

// script is a program of the contract stream in the making: a list of steps.
type script struct {
	guest
	close uint32
	data  int32 // where the next text goes
	loops int32 // where the next counter is
}

// step is something that a program does.
type step func(*script) []byte

// bufferAt is where a script has 64 KiB for what it reads, and writes by the buffer.
const bufferAt = 1 << 16

// steps is a program that does one thing after the other, and ends with exit code 0.
func steps(list ...step) []byte {
	s := &script{guest: newGuest(3), data: 4096, loops: 64}
	s.close = s.Import("wasi_snapshot_preview1", "fd_close", i32s(1), i32s(1))
	s.Main(s.all(list)...)
	return s.Bytes()
}

func (s *script) all(list []step) (body []byte) {
	for _, step := range list {
		body = append(body, step(s)...)
	}
	return body
}

// put puts text into memory.
func (s *script) put(text string) (at int32) {
	at = s.data
	s.Data(at, text)
	s.data += int32(len(text)+7) &^ 7
	return at
}

// prints writes text at once.
func prints(text string) step {
	return func(s *script) []byte { return s.transfer(s.write, 1, s.put(text), num(int32(len(text)))) }
}

// logs writes text to the standard error.
func logs(text string) step {
	return func(s *script) []byte { return s.transfer(s.write, 2, s.put(text), num(int32(len(text)))) }
}

// spells writes text byte by byte, and nothing at all before each.
func spells(text string) step {
	return func(s *script) (body []byte) {
		at := s.put(text)
		for i := range len(text) {
			body = append(body, s.transfer(s.write, 1, at, num(0))...)
			body = append(body, s.transfer(s.write, 1, at+int32(i), num(1))...)
		}
		return body
	}
}

// fills writes n times 64 KiB of the same letter.
func fills(n int32, letter string) step {
	return func(s *script) []byte {
		fill := code(num(bufferAt), num(int32(letter[0])), num(1<<16), 0xfc, 0x0b, 0)
		return code(fill, times(n, step(func(s *script) []byte { return s.transfer(s.write, 1, bufferAt, num(1<<16)) }))(s))
	}
}

// times does something n times.
func times(n int32, list ...step) step {
	return func(s *script) []byte {
		at := s.loops
		s.loops += 4
		return code(store(at, num(n)), loop(s.all(list), store(at, load(at), num(1), 0x6b), load(at), 0x0d, 0))
	}
}

// takes reads once, up to n bytes.
func takes(n int32) step {
	return func(s *script) []byte { return s.transfer(s.read, 0, bufferAt, num(n)) }
}

// drains reads to the end.
func drains() step {
	return func(s *script) []byte {
		return code(0x02, 0x40, loop(store(16, num(0)), takes(1<<16)(s), load(16), 0x45, 0x0d, 1, again(0)), 0x0b)
	}
}

// repeats writes what it reads, as it comes.
func repeats() step {
	return func(s *script) []byte {
		return code(0x02, 0x40, loop(
			store(16, num(0)), takes(1<<16)(s), load(16), 0x45, 0x0d, 1,
			s.transfer(s.write, 1, bufferAt, load(16)), again(0)), 0x0b)
	}
}

// sleeps waits for a time.
func sleeps(d time.Duration) step {
	return func(s *script) []byte {
		subscription := make([]byte, 48)
		binary.LittleEndian.PutUint32(subscription[16:], 1) // the monotonic clock
		binary.LittleEndian.PutUint64(subscription[24:], uint64(d))
		return code(num(s.put(string(subscription))), num(512), num(1), num(600), wasmtest.Call(s.poll), drop)
	}
}

// computes goes on for ever.
func computes() step { return func(*script) []byte { return loop(again(0)) } }

// crashes does what it must not.
func crashes() step { return func(*script) []byte { return []byte{0x00} } }

// leaves ends with a code.
func leaves(status int32) step {
	return func(s *script) []byte { return code(num(status), wasmtest.Call(s.exit)) }
}

// closes closes a file.
func closes(fd int32) step {
	return func(s *script) []byte { return code(num(fd), wasmtest.Call(s.close), drop) }
}

const line = "{}\n" // the smallest head

// skipsHead reads the line about the request, as long as it comes at once and is all that does.
func skipsHead() step { return takes(1 << 16) }
