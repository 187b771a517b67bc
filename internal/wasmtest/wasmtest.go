// Package wasmtest puts small WebAssembly modules together, byte by byte, for
// tests and benchmarks that need a module no compiler would emit.
package wasmtest

import "encoding/binary"

// Value types (WebAssembly core specification, section 5.3).
const (
	I32 = 0x7f
	I64 = 0x7e
)

// Module is a module in the making. Imports must be added before functions.
// The zero value is an empty module without a memory.
type Module struct {
	types   [][]byte
	imports [][]byte
	funcs   [][]byte // type indices
	tables  [][]byte
	memory  []byte
	globals [][]byte
	exports [][]byte
	start   []byte
	elems   [][]byte
	code    [][]byte
	data    [][]byte
}

// Header is what every module begins with: the magic number and version 1.
var Header = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// New returns a module with a memory of the given number of pages, exported
// as a WASI program's has to be.
func New(pages uint32) *Module {
	m := &Module{memory: append([]byte{0}, U32(pages)...)}
	m.Export("memory", 2, 0)
	return m
}

// Import adds an imported function and returns its index.
func (m *Module) Import(module, name string, params, results []byte) uint32 {
	entry := append(Name(module), Name(name)...)
	entry = append(append(entry, 0), U32(m.typ(params, results))...)
	m.imports = append(m.imports, entry)
	return uint32(len(m.imports) - 1)
}

// Func adds a function without local variables besides its parameters and
// returns its index. body lacks the final end.
func (m *Module) Func(params, results []byte, body ...byte) uint32 {
	return m.FuncLocals(params, results, nil, body...)
}

// FuncLocals adds a function with one local variable of each of the types.
func (m *Module) FuncLocals(params, results, locals []byte, body ...byte) uint32 {
	m.funcs = append(m.funcs, U32(m.typ(params, results)))
	code := U32(uint32(len(locals)))
	for _, t := range locals {
		code = append(code, 1, t)
	}
	code = append(append(code, body...), 0x0b)
	m.code = append(m.code, append(U32(uint32(len(code))), code...))
	return uint32(len(m.imports) + len(m.funcs) - 1)
}

// Main adds a function without parameters and results and exports it as
// _start, where a WASI program begins.
func (m *Module) Main(body ...byte) uint32 {
	f := m.Func(nil, nil, body...)
	m.Export("_start", 0, f)
	return f
}

// Export exports a function (kind 0), table (1), memory (2) or global (3).
func (m *Module) Export(name string, kind byte, index uint32) {
	m.exports = append(m.exports, append(append(Name(name), kind), U32(index)...))
}

// Global adds a mutable i64 global that starts at 0.
func (m *Module) Global() uint32 {
	m.globals = append(m.globals, []byte{I64, 1, 0x42, 0, 0x0b})
	return uint32(len(m.globals) - 1)
}

// Table adds a table of function references with the given initial size.
func (m *Module) Table(size uint32) {
	m.tables = append(m.tables, append([]byte{0x70, 0}, U32(size)...))
}

// Elem puts functions into table 0 from offset 0 on.
func (m *Module) Elem(functions ...uint32) {
	segment := append([]byte{0, 0x41, 0, 0x0b}, U32(uint32(len(functions)))...)
	for _, f := range functions {
		segment = append(segment, U32(f)...)
	}
	m.elems = append(m.elems, segment)
}

// Start names the function that runs when the module is instantiated.
func (m *Module) Start(function uint32) { m.start = U32(function) }

// Data puts bytes into memory at an offset.
func (m *Module) Data(offset int32, bytes string) {
	segment := append([]byte{0, 0x41}, S32(offset)...)
	m.data = append(m.data, append(append(segment, 0x0b), Name(bytes)...))
}

// Bytes is the module.
func (m *Module) Bytes() []byte {
	out := append([]byte(nil), Header...)
	memories := [][]byte{}
	if m.memory != nil {
		memories = append(memories, m.memory)
	}
	for _, section := range []struct {
		id    byte
		items [][]byte
	}{
		{1, m.types}, {2, m.imports}, {3, m.funcs}, {4, m.tables}, {5, memories},
		{6, m.globals}, {7, m.exports}, {9, m.elems}, {10, m.code}, {11, m.data},
	} {
		if section.id == 9 && m.start != nil {
			out = append(out, Section(8, m.start)...)
		}
		if len(section.items) == 0 {
			continue
		}
		content := U32(uint32(len(section.items)))
		for _, item := range section.items {
			content = append(content, item...)
		}
		out = append(out, Section(section.id, content)...)
	}
	return out
}

func (m *Module) typ(params, results []byte) uint32 {
	t := append([]byte{0x60}, Name(string(params))...)
	t = append(t, Name(string(results))...)
	for i, have := range m.types {
		if string(have) == string(t) {
			return uint32(i)
		}
	}
	m.types = append(m.types, t)
	return uint32(len(m.types) - 1)
}

// Section is a section with the given id and content.
func Section(id byte, content []byte) []byte {
	return append(append([]byte{id}, U32(uint32(len(content)))...), content...)
}

// Name is a vector of bytes: its length, then the bytes.
func Name(s string) []byte { return append(U32(uint32(len(s))), s...) }

// U32 is an unsigned number in LEB128.
func U32(v uint32) []byte { return binary.AppendUvarint(nil, uint64(v)) }

// S32 is a signed number in LEB128.
func S32(v int32) []byte { return S64(int64(v)) }

// S64 is a signed number in LEB128.
func S64(v int64) []byte {
	var out []byte
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// Code joins pieces of code: bytes and byte slices.
func Code(pieces ...any) []byte {
	var out []byte
	for _, piece := range pieces {
		switch p := piece.(type) {
		case int:
			out = append(out, byte(p))
		case []byte:
			out = append(out, p...)
		default:
			panic("wasmtest: a piece of code is an int or a []byte")
		}
	}
	return out
}

// I32Const is the instruction i32.const v.
func I32Const(v int32) []byte { return append([]byte{0x41}, S32(v)...) }

// I64Const is the instruction i64.const v.
func I64Const(v int64) []byte { return append([]byte{0x42}, S64(v)...) }

// Call is the instruction call f.
func Call(f uint32) []byte { return append([]byte{0x10}, U32(f)...) }
