package rewrite

import (
	"bytes"
	"strconv"
)

// What lets the engine restore a sandbox in place instead of making a new one. It keeps what an instance was at some
// point, and puts that back: memory, globals, and the stack that a call left behind when it was waiting in the host.
//
//   - Imports that read go through a loop of ours, so that the host can have itself called again by a guest that it has
//     restored, before that guest sees an answer.
//   - A program is entered through one function: the stack that is kept has always the same root.
//   - All mutable globals are exported.
//   - What can't be put back (tables, dropped segments) is noted.

// parkModule is where the imports come from that a guest can be parked in.
const parkModule = "wasi_snapshot_preview1"

// mayPark says whether a guest can be parked in an import: in those that wait for input.
func (m *module) mayPark(i *importEntry) bool {
	if i.kind != kindFunc || i.module != parkModule || i.name != "fd_read" && i.name != "poll_oneoff" {
		return false
	}
	t, four := &m.types[i.typ], []byte{typeI32, typeI32, typeI32, typeI32}
	return bytes.Equal(t.params, four) && bytes.Equal(t.results, four[:1])
}

// park adds a function for each import in which a guest can be parked, that takes its place everywhere in the module. An
// import that is there twice is one.
func (w *writer) park() {
	f := uint32(0)
	wrappers := map[string]uint32{}
	for i := range w.m.imports {
		entry := &w.m.imports[i]
		if entry.kind != kindFunc {
			continue
		}
		if w.m.mayPark(entry) {
			if _, ok := wrappers[entry.name]; !ok {
				wrappers[entry.name] = w.add(entry.name, entry.typ, parking(f))
			}
			w.parking[f] = wrappers[entry.name]
		}
		f++
	}
}

// parking calls a function of four parameters until it returns something else than ParkErrno. It doesn't check: every
// turn is a call of the host.
func parking(f uint32) []byte {
	const errno = 4
	a := asm{1, 1, typeI32} // one local
	a.op(opLoop, typeI32)
	a.get(0, 1, 2, 3)
	a.with(opCall, f)
	a.with(opLocalTee, errno)
	a.i32(ParkErrno)
	a.op(opI32Eq)
	a.with(opBrIf, 0)
	a.get(errno)
	a.op(opEnd, opEnd)
	return a
}

// enterProgram adds EnterExport if there is a program to enter.
func (w *writer) enterProgram() {
	for _, e := range w.m.exports {
		if e.name != mainExport || e.kind != kindFunc {
			continue
		}
		if t := &w.m.types[w.m.funcs[e.index]]; len(t.params)+len(t.results) > 0 {
			return
		}
		a := asm{0} // no locals
		if w.m.start >= 0 {
			a.with(opCall, w.funcIndex(uint32(w.m.start)))
		}
		a.with(opCall, w.funcIndex(e.index))
		a.with(opCall, w.exit)
		a.op(opEnd)
		w.program = w.add("gojinn.enter", w.typeOf(nil, nil), a)
		return
	}
}

// mainExport is what WASI calls a program's main function.
const mainExport = "_start"

// ownState are the globals of ours, which are exported from every module.
func (w *writer) ownState() []export {
	return []export{
		{FuelExport, kindGlobal, w.fuel},
		{StackExport, kindGlobal, w.stack},
		{ElementsExport, kindGlobal, w.elems},
		{PaceExport, kindGlobal, w.pace},
	}
}

// findState finds out, when all code has been written, whether a sandbox can be restored, and what its globals are.
func (w *writer) findState() {
	if w.unrestorable = w.whyNot(); w.unrestorable != "" {
		return
	}
	for i, g := range w.m.globalType {
		if g.mutable {
			w.state = append(w.state, export{GlobalPrefix + strconv.Itoa(i), kindGlobal, uint32(i)})
		}
	}
}

// whyNot says why a sandbox can't be restored, as what the module does or has.
func (w *writer) whyNot() string {
	m := w.m
	switch {
	case w.program == 0:
		return `exports no main function "_start"`
	case m.importedMemory:
		return "imports a memory"
	case m.importedTables > 0:
		return "imports a table"
	case m.importedGlobals > 0:
		return "imports globals"
	case w.changesTables:
		return "changes its tables"
	case w.dropsElems:
		return "drops element segments"
	case w.dropsData:
		return "drops data segments"
	}
	mutable := 0
	for _, g := range m.globalType {
		if !g.mutable {
			continue
		}
		switch g.typ {
		case typeI32, typeI64, typeF32, typeF64:
		default:
			return "has mutable globals of type " + typeNames[g.typ]
		}
		if mutable++; mutable > MaxState {
			return "has more than " + strconv.Itoa(MaxState) + " mutable globals"
		}
	}
	return ""
}
