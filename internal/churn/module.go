package churn

import (
	"fmt"
	"strings"

	"github.com/gojinn/gojinn/internal/wasmtest"
)

// Module is a program that answers each request with [Answer] of the same
// arguments. Every one of its functions, size in number, takes part in the
// answer: one that is damaged, or another version's, shows.
func Module(name string, version, size int) []byte {
	m := wasmtest.New(1)
	i32 := []byte{wasmtest.I32}
	write := m.Import("wasi_snapshot_preview1", "fd_write", []byte(strings.Repeat(string(i32), 4)), i32)
	num, code := wasmtest.I32Const, wasmtest.Code

	sum := num(int32(version))
	for i := range size {
		var body []byte
		for j := range steps {
			f := factor(version, i, j)
			// x = (x ^ (x >>> 15)) * f + j
			body = append(body, code(0x20, 0, 0x20, 0, num(15), 0x76, 0x73, num(f), 0x6c, num(int32(j)), 0x6a, 0x21, 0)...)
		}
		f := m.Func(i32, i32, append(body, 0x20, 0)...)
		sum = append(sum, wasmtest.Call(f)...)
	}
	text := answer(name, version, 0)
	m.Data(text0, text)
	digits := int32(text0 + strings.Index(text, digitsOfZero))
	const at = 32 // where the sum is kept
	body := code(num(at), sum, 0x36, 2, 0)
	for i := range int32(8) {
		shift := 28 - 4*i
		body = append(body, code(num(digits+i), num(at), 0x28, 2, 0, num(shift), 0x76, num(15), 0x71, num('a'), 0x6a, 0x3a, 0, 0)...)
	}
	body = append(body, code(num(0), num(text0), 0x36, 2, 0, num(4), num(int32(len(text))), 0x36, 2, 0,
		num(1), num(0), num(1), num(16), wasmtest.Call(write), 0x1a)...)
	m.Main(body...)
	return m.Bytes()
}

const (
	steps        = 24 // of one function
	text0        = 64 // where the answer lies in memory
	digitsOfZero = "aaaaaaaa"
)

// factor is the constant of one step.
func factor(version, function, step int) int32 {
	return int32(uint32(version*1_000_003+function*8191+step*131)*2654435761 | 1)
}

// Answer is the body of a response of [Module].
func Answer(name string, version, size int) string {
	x := uint32(version)
	for i := range size {
		for j := range steps {
			x = (x^x>>15)*uint32(factor(version, i, j)) + uint32(j)
		}
	}
	return body(name, version, x)
}

func body(name string, version int, sum uint32) string {
	digits := make([]byte, 8)
	for i := range digits {
		digits[i] = 'a' + byte(sum>>(28-4*i)&15)
	}
	return fmt.Sprintf("%s %d %s", name, version, digits)
}

func answer(name string, version int, sum uint32) string {
	return `{"body":"` + body(name, version, sum) + `"}`
}

// versionOf is the version that an answer says it is of.
func versionOf(text, name string) (version int, ok bool) {
	_, err := fmt.Sscanf(text, name+" %d ", &version)
	return version, err == nil
}
