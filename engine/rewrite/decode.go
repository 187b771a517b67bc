package rewrite

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	sectionCustom = iota
	sectionType
	sectionImport
	sectionFunction
	sectionTable
	sectionMemory
	sectionGlobal
	sectionExport
	sectionStart
	sectionElement
	sectionCode
	sectionData
	sectionDataCount
	sectionTag
)

var sectionNames = [...]string{"custom", "type", "import", "function", "table", "memory", "global", "export", "start",
	"element", "code", "data", "data count"}

// decode reads everything but the instructions, and checks everything that wazero would allocate or shift by.
func decode(wasm []byte) (*module, *Error) {
	if e := checkHeader(wasm); e != nil {
		return nil, e
	}
	d := &decoder{
		cursor: cursor{buf: wasm, pos: 8, end: len(wasm)},
		module: module{wasm: wasm, start: -1, declared: map[uint32]struct{}{}},
	}
	last, custom := 0, 0
	for d.pos < len(wasm) && d.err == nil {
		d.end, d.section = len(wasm), ""
		id := int(d.byte())
		size := d.u32()
		if d.err != nil {
			break
		}
		if id != sectionCustom {
			if !inOrder(id, last) {
				d.fail(outOfOrder(id))
				break
			}
			last = id
		}
		d.section = sectionNames[id]
		if int64(size) > int64(len(wasm)-d.pos) {
			d.fail(Malformed, "%d bytes, but only %d follow", size, len(wasm)-d.pos)
			d.err.overrun = true // nobody has looked at the counts in it
			break
		}
		d.end = d.pos + int(size)
		if id == sectionCustom {
			if custom++; custom > MaxCustomSections {
				d.fail(OverLimit, "more than %d custom sections", MaxCustomSections)
				break
			}
		}
		d.decodeSection(id)
		if d.err == nil && d.pos != d.end {
			d.fail(Malformed, "%d bytes are left over", d.end-d.pos)
		}
	}
	if d.err == nil {
		d.section = ""
		d.checkWhole()
	}
	if d.err != nil {
		d.err.overrun = d.err.overrun || d.hasManyLocals()
		return nil, d.err
	}
	return &d.module, nil
}

// hasManyLocals says whether a function declares more locals than are allowed. It is for modules that are refused for
// something else, when nobody has looked at the functions, or not at all of them.
func (m *module) hasManyLocals() bool {
	for _, c := range m.code {
		body := m.wasm[c.start:c.end]
		groups, p := uleb(body, 0)
		total := uint64(0)
		for ; groups > 0 && p >= 0 && p < len(body); groups-- {
			var n uint32
			if n, p = uleb(body, p); p < 0 {
				break
			}
			p++ // the type
			if total += uint64(n); total > MaxLocals {
				return true
			}
		}
	}
	return false
}

func checkHeader(wasm []byte) *Error {
	switch {
	case len(wasm) == 0:
		return &Error{Reason: "the file is empty"}
	case !bytes.HasPrefix(wasm, []byte("\x00asm")):
		return &Error{Reason: "not a WebAssembly module: it does not begin with \\0asm"}
	case len(wasm) < 8:
		return &Error{Reason: "the file ends after its first bytes"}
	case string(wasm[4:8]) == "\x0d\x00\x01\x00":
		return &Error{Offset: 4, Kind: Unsupported, Reason: "this is a WebAssembly component; Gojinn runs core modules: " +
			"build for wasip1 (Rust: --target wasm32-wasip1, Go: GOOS=wasip1, C and Zig: wasm32-wasi), without wasm-tools component new or jco"}
	case string(wasm[4:8]) != "\x01\x00\x00\x00":
		return &Error{Offset: 4, Reason: "unknown version of WebAssembly"}
	case len(wasm) > MaxModuleBytes:
		return &Error{Kind: OverLimit, Reason: limitReason("bytes", len(wasm), MaxModuleBytes)}
	}
	return nil
}

// inOrder says whether a section may follow another one: each at most once, by number, but the data count
// stands before the code.
func inOrder(id, last int) bool {
	rank := func(id int) int {
		if id == sectionDataCount {
			return sectionElement*2 + 1
		}
		return id * 2
	}
	return id <= sectionDataCount && rank(id) > rank(last)
}

func outOfOrder(id int) (Kind, string) {
	switch {
	case id == sectionTag:
		return Unsupported, "the module uses exceptions (a tag section), which are not enabled"
	case id > sectionTag:
		return Malformed, "unknown section"
	}
	return Malformed, "sections are out of order, or one is there twice"
}

type decoder struct {
	cursor
	module

	typesOfFuncs int // entries of the function section
	dataCount    uint32
}

func (d *decoder) decodeSection(id int) {
	switch id {
	case sectionCustom:
		d.customSection()
	case sectionType:
		d.typeSection()
	case sectionImport:
		d.importSection()
	case sectionFunction:
		n := d.count("functions", 1, MaxFunctions)
		d.typesOfFuncs = n
		for range n {
			d.funcs = append(d.funcs, d.index("type", len(d.types)))
		}
	case sectionTable:
		for range d.count("tables", 3, MaxTables) {
			d.tables = append(d.tables, d.table())
		}
	case sectionMemory:
		d.memorySection()
	case sectionGlobal:
		d.globalSection()
	case sectionExport:
		d.exportSection()
	case sectionStart:
		d.startSection()
	case sectionElement:
		d.elementSection()
	case sectionCode:
		d.codeSection()
	case sectionData:
		d.dataSection()
	case sectionDataCount:
		d.dataCountSection()
	}
}

func (d *decoder) customSection() {
	name := d.name()
	if d.err != nil {
		return
	}
	if string(name) == "name" {
		d.nameSection()
		return
	}
	d.pos = d.end
}

func (d *decoder) typeSection() {
	n := d.count("types", 3, MaxTypes)
	d.types = make([]funcType, 0, n)
	total := 0
	for range n {
		switch form := d.byte(); {
		case d.err != nil:
			return
		case form == 0x60:
		case form == 0x4e || form == 0x50 || form == 0x5e || form == 0x5f:
			d.fail(Unsupported, "types beyond functions (garbage collection) are not enabled")
			return
		default:
			d.fail(Malformed, "a type begins with 0x%02x", form)
			return
		}
		t := funcType{params: d.valueTypes("parameters", MaxParams), results: d.valueTypes("results", MaxResults)}
		if total += len(t.params) + len(t.results); total > MaxSignatureValues {
			d.fail(OverLimit, "all types together have more than %d parameters and results", MaxSignatureValues)
		}
		d.types = append(d.types, t)
	}
}

func (d *decoder) valueTypes(what string, limit int) []byte {
	n := d.count(what, 1, limit)
	start := d.pos
	for range n {
		d.valueType()
	}
	if d.err != nil {
		return nil
	}
	return d.buf[start:d.pos:d.pos]
}

func (d *decoder) valueType() byte {
	t := d.byte()
	if d.err == nil {
		if kind, reason := checkValueType(t); reason != "" {
			d.fail(kind, "%s", reason)
		}
	}
	return t
}

// checkValueType returns why a byte is not a type of WebAssembly 2.0, or "" if it is.
func checkValueType(t byte) (Kind, string) {
	switch t {
	case typeI32, typeI64, typeF32, typeF64, typeV128, typeFuncref, typeExternref:
		return 0, ""
	case 0x63, 0x64, 0x69:
		return Unsupported, "typed references (function references, exceptions) are not enabled"
	}
	return Malformed, "not a value type"
}

func (d *decoder) refType() byte {
	t := d.byte()
	if d.err == nil {
		if kind, reason := checkRefType(t); reason != "" {
			d.fail(kind, "%s", reason)
		}
	}
	return t
}

// checkRefType returns why a byte is not a reference type of WebAssembly 2.0, or "" if it is.
func checkRefType(t byte) (Kind, string) {
	kind, reason := checkValueType(t)
	if reason == "" && t != typeFuncref && t != typeExternref {
		return Malformed, "not a reference type"
	}
	return kind, reason
}

func (d *decoder) importSection() {
	n := d.count("imports", 4, MaxImports)
	d.imports = make([]importEntry, 0, n)
	for range n {
		i := importEntry{module: string(d.name()), name: string(d.name()), kind: d.byte()}
		if d.err != nil {
			return
		}
		switch {
		case i.module == "":
			d.fail(Malformed, "the module name of an import is empty")
		case i.module == HostModule:
			d.fail(Reserved, "imports from %q, which belongs to the server", HostModule)
		}
		switch i.kind {
		case kindFunc:
			i.typ = d.index("type", len(d.types))
			d.funcs = append(d.funcs, i.typ)
			d.importedFuncs++
		case kindTable:
			i.table = d.table()
			d.tables = append(d.tables, i.table)
			d.importedTables++
		case kindMemory:
			i.memory = d.memoryType()
			if d.memory != nil {
				d.fail(Unsupported, "more than one memory")
			}
			d.memory, d.importedMemory = &i.memory, true
		case kindGlobal:
			i.global = d.globalTypeOf()
			d.globalType = append(d.globalType, i.global)
			d.importedGlobals++
		case 4:
			d.fail(Unsupported, "imports an exception tag: exceptions are not enabled")
		default:
			d.fail(Malformed, "an import is of unknown kind 0x%02x", i.kind)
		}
		if d.err != nil {
			return
		}
		d.imports = append(d.imports, i)
	}
}

func (d *decoder) limits() (l limits, shared bool) {
	flags := d.byte()
	if flags > 3 {
		d.fail(Malformed, "unknown limits 0x%02x", flags)
	}
	l.min = d.u32()
	if l.hasMax = flags&1 != 0; l.hasMax {
		l.max = d.u32()
	}
	return l, flags&2 != 0
}

func (d *decoder) table() (t table) {
	if d.more() && d.buf[d.pos] == 0x40 {
		d.fail(Unsupported, "tables with an initial value (function references) are not enabled")
	}
	// wazero takes any byte for the type of an imported table: one we don't know is not malformed to it.
	if t.typ = d.byte(); d.err == nil {
		if _, reason := checkRefType(t.typ); reason != "" {
			d.fail(Unsupported, "%s", reason)
		}
	}
	var shared bool
	t.limits, shared = d.limits()
	switch {
	case d.err != nil:
	case shared:
		d.fail(Malformed, "a table cannot be shared")
	case t.hasMax && t.max < t.min:
		d.fail(Malformed, "a table's maximum is below its minimum")
	}
	return t
}

func (d *decoder) memoryType() limits {
	l, shared := d.limits()
	const pages = 1 << 16
	switch {
	case d.err != nil:
	case shared:
		d.fail(Unsupported, "shared memory (threads) is not enabled")
	case l.min > pages || l.hasMax && l.max > pages:
		d.fail(Malformed, "memory over %d pages", pages)
	case l.hasMax && l.max < l.min:
		d.fail(Malformed, "the memory's maximum is below its minimum")
	}
	return l
}

func (d *decoder) memorySection() {
	switch n := d.u32(); {
	case d.err != nil || n == 0:
	case n > 1 || d.memory != nil:
		d.fail(Malformed, "more than one memory")
	default:
		l := d.memoryType()
		d.memory = &l
	}
}

func (d *decoder) globalTypeOf() (g globalType) {
	g.typ = d.valueType()
	m := d.byte()
	if m > 1 {
		d.fail(Malformed, "a global is neither constant nor mutable")
	}
	g.mutable = m == 1
	return g
}

func (d *decoder) globalSection() {
	n := d.count("globals", 4, MaxGlobals)
	d.globals = make([]global, 0, n)
	for range n {
		g := global{d.globalTypeOf(), d.constExpr()}
		if g.init.op == opRefFunc {
			d.declared[g.init.index] = struct{}{}
		}
		d.globals = append(d.globals, g)
		d.globalType = append(d.globalType, g.globalType)
	}
}

// constExpr reads one instruction that yields a constant, and end. wazero reads longer ones, but finds them invalid:
// without the extended constants no instruction takes a value, so that two of them leave two.
func (d *decoder) constExpr() (e constExpr) {
	start := d.pos
	e.op = d.byte()
	b := d.buf[:d.end]
	next := d.pos
	switch e.op {
	case opI32Const:
		e.value, next = sleb32(b, d.pos)
	case opI64Const:
		next = skipSleb64(b, d.pos)
	case opF32Const:
		next = d.pos + 4
	case opF64Const:
		next = d.pos + 8
	case opGlobalGet:
		e.index = d.index("imported global", d.importedGlobals)
		next = d.pos
	case opRefNull:
		d.refType()
		next = d.pos
	case opRefFunc:
		e.index = d.index("function", len(d.funcs))
		next = d.pos
	case opVector:
		if d.byte() != vecV128Const {
			d.fail(Malformed, "not a constant expression")
		}
		next = d.pos + 16
	case opI32Add, opI32Sub, 0x6c, opI64Add, opI64Sub, 0x7e:
		d.fail(Malformed, "extended constant expressions are not enabled")
	default:
		d.fail(Malformed, "not a constant expression")
	}
	if next < 0 || next > d.end {
		d.fail(Malformed, "a constant expression ends too early")
	}
	if d.err != nil {
		return e
	}
	d.pos = next
	if d.byte() != opEnd {
		d.fail(Malformed, "a constant expression has more than one instruction")
	}
	e.raw = d.buf[start:d.pos:d.pos]
	return e
}

func (d *decoder) exportSection() {
	n := d.count("exports", 3, MaxExports)
	d.exports = make([]export, 0, n)
	seen := make(map[string]struct{}, n)
	for range n {
		e := export{name: string(d.name()), kind: d.byte()}
		switch e.kind {
		case kindFunc:
			e.index = d.index("function", len(d.funcs))
			d.declared[e.index] = struct{}{}
		case kindTable:
			e.index = d.index("table", len(d.tables))
		case kindMemory:
			e.index = d.index("memory", d.memories())
		case kindGlobal:
			e.index = d.index("global", len(d.globalType))
		default:
			d.fail(Malformed, "an export is of unknown kind 0x%02x", e.kind)
		}
		if d.err != nil {
			return
		}
		if strings.HasPrefix(e.name, ReservedPrefix) {
			d.fail(Reserved, "exports %q: names that begin with %q belong to the server", e.name, ReservedPrefix)
		}
		if _, dup := seen[e.name]; dup {
			d.fail(Malformed, "exports %q twice", e.name)
		}
		seen[e.name] = struct{}{}
		d.exports = append(d.exports, e)
	}
}

func (d *decoder) memories() int {
	if d.memory == nil {
		return 0
	}
	return 1
}

func (d *decoder) startSection() {
	f := d.index("function", len(d.funcs))
	if d.err != nil {
		return
	}
	if t := d.types[d.funcs[f]]; len(t.params)+len(t.results) > 0 {
		d.fail(Malformed, "the start function has parameters or results")
	}
	d.start = int64(f)
}

func (d *decoder) elementSection() {
	n := d.count("element segments", 2, MaxElementSegments)
	d.elems = make([]element, 0, n)
	total := 0
	for range n {
		e := d.element()
		if total += e.count; total > MaxElements {
			d.fail(OverLimit, "more than %d elements in all segments", MaxElements)
		}
		if d.err != nil {
			return
		}
		d.elems = append(d.elems, e)
	}
}

func (d *decoder) element() (e element) {
	e.flags = d.u32()
	if e.flags > 7 {
		d.fail(Malformed, "unknown element segment 0x%x", e.flags)
	}
	if e.active() {
		n := len(d.tables)
		if e.flags&elemExplicit != 0 {
			e.table = d.index("table", n)
		} else if n == 0 {
			d.fail(Malformed, "an element segment, but no table")
		}
		e.offset = d.constExpr()
	}
	if e.flags&(elemNotActive|elemExplicit) != 0 {
		if e.flags&elemExprs != 0 {
			e.typ = d.refType()
		} else if e.typ = d.byte(); e.typ != 0 {
			d.fail(Malformed, "unknown element kind 0x%02x", e.typ)
		}
	}
	size := 1
	if e.flags&elemExprs != 0 {
		size = 3
	}
	e.count = d.count("elements", size, MaxElements)
	start := d.pos
	for range e.count {
		if e.flags&elemExprs == 0 {
			d.declared[d.index("function", len(d.funcs))] = struct{}{}
		} else if x := d.constExpr(); x.op == opRefFunc {
			d.declared[x.index] = struct{}{}
		}
		if d.err != nil {
			return e
		}
	}
	e.items = d.buf[start:d.pos:d.pos]
	return e
}

func (d *decoder) codeSection() {
	n := d.count("function bodies", 3, MaxFunctions)
	if d.end-d.pos > MaxCodeBytes {
		d.fail(OverLimit, "%s", limitReason("bytes of code", d.end-d.pos, MaxCodeBytes))
	}
	d.code = make([]code, 0, n)
	for range n {
		size := d.u32()
		start := d.pos
		body := d.bytes(size)
		if len(body) > MaxBodyBytes {
			d.fail(OverLimit, "%s", limitReason("bytes in one function", len(body), MaxBodyBytes))
		}
		if d.err != nil {
			return
		}
		d.code = append(d.code, code{start, d.pos})
	}
}

func (d *decoder) dataSection() {
	n := d.count("data segments", 2, MaxDataSegments)
	d.data = make([]dataSegment, 0, n)
	for range n {
		var s dataSegment
		switch flags := d.u32(); flags {
		case 0, 2:
			if flags == 2 && d.u32() != 0 {
				d.fail(Malformed, "unknown memory")
			}
			if d.memory == nil {
				d.fail(Malformed, "a data segment, but no memory")
			}
			s.offset = d.constExpr()
		case 1:
			s.passive = true
		default:
			d.fail(Malformed, "unknown data segment 0x%x", flags)
		}
		s.init = d.bytes(d.u32())
		if d.err != nil {
			return
		}
		d.data = append(d.data, s)
	}
}

// dataCountSection reads a number. wazero takes it for 0 if the file ends before it does.
func (d *decoder) dataCountSection() {
	d.hasDataCount = true
	if d.end == len(d.buf) {
		complete := false
		for _, b := range d.buf[d.pos:d.end] {
			complete = complete || b < 0x80
		}
		if !complete && d.end-d.pos < 5 {
			d.pos = d.end
			return
		}
	}
	d.dataCount = d.u32()
}

// checkWhole checks what only the whole module can tell.
func (d *decoder) checkWhole() {
	if d.typesOfFuncs != len(d.code) {
		d.fail(Malformed, "%d functions, but %d bodies", d.typesOfFuncs, len(d.code))
	}
	if d.hasDataCount && int64(d.dataCount) != int64(len(d.data)) {
		d.fail(Malformed, "the data count says %d segments, there are %d", d.dataCount, len(d.data))
	}
	elements := int64(0)
	for _, t := range d.tables {
		elements += int64(t.min)
	}
	if elements > MaxTableElements {
		d.fail(OverLimit, "%s", limitReason("elements in all tables", int(elements), MaxTableElements))
	}
}

func limitReason(what string, got, limit int) string {
	return fmt.Sprintf("%d %s, the limit is %d", got, what, limit)
}
