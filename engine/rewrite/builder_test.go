package rewrite_test

// The types of values.
const (
	i32       = 0x7f
	i64       = 0x7e
	f32       = 0x7d
	f64       = 0x7c
	v128      = 0x7b
	funcref   = 0x70
	externref = 0x6f
)

// builder puts a module together. Its methods return the index of what they add.
type builder struct {
	types, imports, funcs, tables, memories, globals, exports, elems, bodies, data [][]byte

	start     []byte
	dataCount []byte
	custom    []byte // appended as is

	importedFuncs, importedTables, importedGlobals int
}

func newBuilder() *builder { return &builder{} }

func (b *builder) typ(params, results []byte) uint32 {
	b.types = append(b.types, cat([]byte{0x60}, vec(params), vec(results)))
	return uint32(len(b.types) - 1)
}

// importFunc must come before any function.
func (b *builder) importFunc(module, name string, params, results []byte) uint32 {
	b.imports = append(b.imports, cat(str(module), str(name), []byte{0}, uleb(b.typ(params, results))))
	b.importedFuncs++
	return uint32(b.importedFuncs - 1)
}

func (b *builder) importGlobal(module, name string, typ byte, mutable bool) uint32 {
	b.imports = append(b.imports, cat(str(module), str(name), []byte{3, typ, flag(mutable)}))
	b.importedGlobals++
	return uint32(b.importedGlobals - 1)
}

func (b *builder) importTable(module, name string, typ byte, min uint32) uint32 {
	b.imports = append(b.imports, cat(str(module), str(name), []byte{1, typ, 0}, uleb(min)))
	b.importedTables++
	return uint32(b.importedTables - 1)
}

// function adds a function: code is without the last end.
func (b *builder) function(params, results, locals []byte, code ...byte) uint32 {
	decl := uleb(uint32(len(locals)))
	for _, l := range locals {
		decl = append(decl, 1, l)
	}
	return b.rawFunction(params, results, cat(decl, code, []byte{0x0b}))
}

// rawFunction adds a function whose body is given as it stands in the binary, without its size.
func (b *builder) rawFunction(params, results, body []byte) uint32 {
	b.funcs = append(b.funcs, uleb(b.typ(params, results)))
	b.bodies = append(b.bodies, vec(body))
	return uint32(b.importedFuncs + len(b.funcs) - 1)
}

// table adds a table; max 0 is none.
func (b *builder) table(typ byte, min, max uint32) uint32 {
	b.tables = append(b.tables, cat([]byte{typ}, limits(min, max)))
	return uint32(b.importedTables + len(b.tables) - 1)
}

func (b *builder) memory(min, max uint32) { b.memories = append(b.memories, limits(min, max)) }

// global adds a global: init is without end.
func (b *builder) global(typ byte, mutable bool, init ...byte) uint32 {
	b.globals = append(b.globals, cat([]byte{typ, flag(mutable)}, init, []byte{0x0b}))
	return uint32(b.importedGlobals + len(b.globals) - 1)
}

func (b *builder) export(name string, kind byte, index uint32) {
	b.exports = append(b.exports, cat(str(name), []byte{kind}, uleb(index)))
}

// elem adds an active segment of functions to table 0.
func (b *builder) elem(offset int32, funcs ...uint32) uint32 {
	e := cat([]byte{0, 0x41}, sleb(int64(offset)), []byte{0x0b}, uleb(uint32(len(funcs))))
	for _, f := range funcs {
		e = append(e, uleb(f)...)
	}
	return b.rawElem(e)
}

func (b *builder) rawElem(e []byte) uint32 {
	b.elems = append(b.elems, e)
	return uint32(len(b.elems) - 1)
}

func (b *builder) active(offset int32, bytes string) uint32 {
	b.data = append(b.data, cat([]byte{0, 0x41}, sleb(int64(offset)), []byte{0x0b}, str(bytes)))
	return uint32(len(b.data) - 1)
}

func (b *builder) passive(bytes string) uint32 {
	b.data = append(b.data, cat([]byte{1}, str(bytes)))
	return uint32(len(b.data) - 1)
}

// counted writes a data count section.
func (b *builder) counted() { b.dataCount = uleb(uint32(len(b.data))) }

func (b *builder) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, items [][]byte) {
		if len(items) > 0 {
			out = cat(out, []byte{id}, vec(cat(uleb(uint32(len(items))), cat(items...))))
		}
	}
	section(1, b.types)
	section(2, b.imports)
	section(3, b.funcs)
	section(4, b.tables)
	section(5, b.memories)
	section(6, b.globals)
	section(7, b.exports)
	if b.start != nil {
		out = cat(out, []byte{8}, vec(b.start))
	}
	section(9, b.elems)
	if b.dataCount != nil {
		out = cat(out, []byte{12}, vec(b.dataCount))
	}
	section(10, b.bodies)
	section(11, b.data)
	return append(out, b.custom...)
}

func customSection(name string, content []byte) []byte {
	return cat([]byte{0}, vec(cat(str(name), content)))
}

func limits(min, max uint32) []byte {
	if max > 0 {
		return cat([]byte{1}, uleb(min), uleb(max))
	}
	return cat([]byte{0}, uleb(min))
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func cat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func vec(b []byte) []byte { return cat(uleb(uint32(len(b))), b) }
func str(s string) []byte { return vec([]byte(s)) }
func rep(n int, b ...byte) []byte {
	out := make([]byte, 0, n*len(b))
	for range n {
		out = append(out, b...)
	}
	return out
}

func uleb(v uint32) []byte {
	var out []byte
	for ; v >= 0x80; v >>= 7 {
		out = append(out, byte(v)|0x80)
	}
	return append(out, byte(v))
}

func sleb(v int64) []byte {
	var out []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(out, c)
		}
		out = append(out, c|0x80)
	}
}
