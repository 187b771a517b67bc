package rewrite

import "slices"

// module writes the sections. The code must have been written before: it is what decides which types and functions are
// added.
func (w *writer) module() []byte {
	m := w.m
	out := make([]byte, 0, len(m.wasm)-m.codeBytes()+len(w.bodies)+64<<10)
	out = append(out, m.wasm[:8]...)
	section := func(id byte, n int, items func(dst []byte) []byte) {
		if n > 0 {
			out = appendBytes(append(out, id), items(appendUleb(nil, uint32(n))))
		}
	}
	// The type of our imports and wrappers has to be known before the types are written.
	void := w.typeOf(nil, nil)

	section(sectionType, w.typeCount, func(b []byte) []byte {
		for _, t := range m.types {
			b = appendType(b, t.params, t.results)
		}
		return append(b, w.newTypes...)
	})
	section(sectionImport, len(m.imports)+ownImports, func(b []byte) []byte {
		for i := range m.imports {
			b = appendImport(b, &m.imports[i])
		}
		for _, name := range []string{TickImport, StackImport, ExitImport} {
			b = appendImport(b, &importEntry{module: HostModule, name: name, kind: kindFunc, typ: void})
		}
		return b
	})
	section(sectionFunction, len(m.code)+len(w.added), func(b []byte) []byte {
		for _, t := range m.funcs[m.importedFuncs:] {
			b = appendUleb(b, t)
		}
		for _, f := range w.added {
			b = appendUleb(b, f.typ)
		}
		return b
	})
	section(sectionTable, len(m.tables)-m.importedTables, func(b []byte) []byte {
		for _, t := range m.tables[m.importedTables:] {
			b = appendLimits(append(b, t.typ), t.limits)
		}
		return b
	})
	if m.memory != nil && !m.importedMemory {
		section(sectionMemory, 1, func(b []byte) []byte { return appendLimits(b, *m.memory) })
	}
	section(sectionGlobal, len(m.globals)+ownGlobals, w.globals)
	section(sectionExport, w.exportCount(), w.exports)
	section(sectionElement, len(m.elems), w.elements)
	if m.hasDataCount {
		out = appendBytes(append(out, sectionDataCount), appendUleb(nil, uint32(w.data.dataSegments())))
	}
	if n := len(m.code) + len(w.added); n > 0 {
		for _, f := range w.added {
			w.bodies = appendBytes(w.bodies, f.body)
		}
		out = append(out, sectionCode)
		out = appendUleb(out, uint32(ulebLen(uint32(n))+len(w.bodies)))
		out = append(appendUleb(out, uint32(n)), w.bodies...)
	}
	if w.data.dataSegments() > 0 {
		out = appendBytes(append(out, sectionData), w.data.section(nil))
	}
	return w.nameSection(out)
}

func (m *module) codeBytes() int {
	if len(m.code) == 0 {
		return 0
	}
	return m.code[len(m.code)-1].end - m.code[0].start
}

func appendLimits(dst []byte, l limits) []byte {
	if l.hasMax {
		return appendUleb(appendUleb(append(dst, 1), l.min), l.max)
	}
	return appendUleb(append(dst, 0), l.min)
}

func appendImport(dst []byte, i *importEntry) []byte {
	dst = appendBytes(appendBytes(dst, []byte(i.module)), []byte(i.name))
	dst = append(dst, i.kind)
	switch i.kind {
	case kindFunc:
		return appendUleb(dst, i.typ)
	case kindTable:
		return appendLimits(append(dst, i.table.typ), i.table.limits)
	case kindMemory:
		return appendLimits(dst, i.memory)
	}
	return appendGlobalType(dst, i.global)
}

func appendGlobalType(dst []byte, g globalType) []byte {
	mutable := byte(0)
	if g.mutable {
		mutable = 1
	}
	return append(dst, g.typ, mutable)
}

func (w *writer) appendConstExpr(dst []byte, e *constExpr) []byte {
	if e.op == opRefFunc {
		return append(appendUleb(append(dst, opRefFunc), w.funcIndex(e.index)), opEnd)
	}
	return append(dst, e.raw...)
}

func (w *writer) globals(b []byte) []byte {
	for i := range w.m.globals {
		g := &w.m.globals[i]
		b = w.appendConstExpr(appendGlobalType(b, g.globalType), &g.init)
	}
	elements := int64(MaxTableElements)
	for _, t := range w.m.tables {
		elements -= int64(t.min)
	}
	own := asm(b)
	own.op(typeI64, 1)
	own.i64(0)
	own.op(opEnd)
	own.op(typeI64, 1)
	own.i64(StackBudget)
	own.op(opEnd)
	own.op(typeI32, 1)
	own.i32(int32(elements))
	own.op(opEnd)
	own.op(typeI64, 1)
	own.i64(paceSlice)
	own.op(opEnd)
	return own
}

func (w *writer) exportCount() int {
	n := len(w.m.exports) + len(w.state) + ownGlobals
	if w.m.start >= 0 {
		n++
	}
	if w.program != 0 {
		n++
	}
	return n
}

func (w *writer) exports(b []byte) []byte {
	add := func(name string, kind byte, index uint32) {
		b = appendUleb(append(appendBytes(b, []byte(name)), kind), index)
	}
	for _, e := range w.m.exports {
		if e.kind == kindFunc {
			e.index = w.funcIndex(e.index)
		}
		add(e.name, e.kind, e.index)
	}
	for _, e := range slices.Concat(w.ownState(), w.state) {
		add(e.name, e.kind, e.index)
	}
	if w.m.start >= 0 {
		add(StartExport, kindFunc, w.funcIndex(uint32(w.m.start)))
	}
	if w.program != 0 {
		add(EnterExport, kindFunc, w.program)
	}
	return b
}

func (w *writer) elements(b []byte) []byte {
	d := decoder{module: *w.m} // to read expressions once more
	for i := range w.m.elems {
		e := &w.m.elems[i]
		b = appendUleb(b, e.flags)
		if e.active() {
			if e.flags&elemExplicit != 0 {
				b = appendUleb(b, e.table)
			}
			b = w.appendConstExpr(b, &e.offset)
		}
		if e.flags&(elemNotActive|elemExplicit) != 0 {
			b = append(b, e.typ)
		}
		b = appendUleb(b, uint32(e.count))
		d.cursor = cursor{buf: e.items, end: len(e.items)}
		for range e.count {
			if e.flags&elemExprs == 0 {
				b = appendUleb(b, w.funcIndex(d.u32()))
			} else {
				x := d.constExpr()
				b = w.appendConstExpr(b, &x)
			}
		}
	}
	return b
}
