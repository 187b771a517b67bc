package rewrite

import (
	"slices"
	"strings"
	"time"
)

// Report says what a module imports, exports and uses.
type Report struct {
	Imports []Import
	Exports []Export

	// Memory is nil if the module neither has nor imports one.
	Memory        *Limits
	ImportsMemory bool
	// Tables are the module's own and the imported ones.
	Tables []Table

	// Functions, Globals and DataSegments count what the module itself defines, as it came.
	Functions, Globals, DataSegments int
	// MergedSegments counts the data segments of the rewritten module, those in Image not among them.
	MergedSegments int
	// CodeBytes is the size of the functions as they came, DataBytes that of the data.
	CodeBytes, DataBytes int

	// CompileTime estimates what compiling costs on one core.
	CompileTime time.Duration

	// MutatesTables: instructions that change tables or drop element segments occur.
	MutatesTables bool
	// State are the names under which all mutable globals are exported: first the module's own, in the order of their
	// indices ("gojinn:global:0"), then those of this package. It is nil if Unrestorable says something.
	State []string
	// Unrestorable says why a sandbox of this module can't be put back into an earlier state by restoring its memory,
	// its globals and its stack. The module is the subject: "changes its tables". It is "" if a sandbox can be restored.
	Unrestorable string
	// Image is what the active data segments put into memory, in ascending order, disjoint, and within the initial
	// memory. It is nil without Options.Detach, and if the segments stayed in the module, because what they do is known
	// only when it is instantiated. It is not nil, but may be empty, if the module has nothing of the kind any more.
	Image []Run

	// PassiveSegments: the module has passive data segments.
	PassiveSegments bool
	// HasStart: the module had a start section; its function is exported as StartExport.
	HasStart bool

	// ModuleName is the name that the name section gives the module.
	ModuleName string
}

// Import is something the module needs.
type Import struct {
	Module, Name string
	Kind         string // "func", "table", "memory" or "global"
	// Type is written as "(i32, i64) -> (i32)" for functions, "mut i32" for globals, "funcref" for tables.
	Type string
}

// Export is something the module offers.
type Export struct {
	Name string
	Kind string // as in Import
	Type string // as in Import
}

// Limits are sizes: pages of 64 KiB for memories, elements for tables.
type Limits struct {
	Min    uint32
	Max    uint32 // only if HasMax
	HasMax bool
}

// Table is a table's type.
type Table struct {
	Type string // "funcref" or "externref"
	Limits
}

func (w *writer) report() *Report {
	m := w.m
	r := &Report{
		ImportsMemory:  m.importedMemory,
		Functions:      len(m.code),
		Globals:        len(m.globals),
		DataSegments:   len(m.data),
		MergedSegments: w.data.dataSegments(),
		CodeBytes:      m.codeBytes(),
		MutatesTables:  w.changesTables || w.dropsElems,
		Unrestorable:   w.unrestorable,
		HasStart:       m.start >= 0,
		CompileTime:    time.Duration(w.compile),
		ModuleName:     string(clip(m.names.module)),
	}
	if r.Unrestorable == "" {
		for _, e := range slices.Concat(w.state, w.ownState()) {
			r.State = append(r.State, e.name)
		}
	}
	if w.data.detach {
		r.Image = w.data.merged
	}
	if m.memory != nil {
		r.Memory = &Limits{m.memory.min, m.memory.max, m.memory.hasMax}
	}
	for _, t := range m.tables {
		r.Tables = append(r.Tables, Table{typeNames[t.typ], Limits{t.min, t.max, t.hasMax}})
	}
	for _, s := range m.data {
		r.DataBytes += len(s.init)
		r.PassiveSegments = r.PassiveSegments || s.passive
	}
	for _, i := range m.imports {
		typ := ""
		switch i.kind {
		case kindFunc:
			typ = m.types[i.typ].String()
		case kindTable:
			typ = typeNames[i.table.typ]
		case kindGlobal:
			typ = i.global.String()
		}
		r.Imports = append(r.Imports, Import{i.module, i.name, kindNames[i.kind], typ})
	}
	for _, e := range m.exports {
		typ := ""
		switch e.kind {
		case kindFunc:
			typ = m.types[m.funcs[e.index]].String()
		case kindTable:
			typ = typeNames[m.tables[e.index].typ]
		case kindGlobal:
			typ = m.globalType[e.index].String()
		}
		r.Exports = append(r.Exports, Export{e.name, kindNames[e.kind], typ})
	}
	return r
}

var kindNames = [...]string{kindFunc: "func", kindTable: "table", kindMemory: "memory", kindGlobal: "global"}

var typeNames = map[byte]string{
	typeI32: "i32", typeI64: "i64", typeF32: "f32", typeF64: "f64", typeV128: "v128",
	typeFuncref: "funcref", typeExternref: "externref",
}

func (t funcType) String() string {
	list := func(types []byte) string {
		names := make([]string, len(types))
		for i, t := range types {
			names[i] = typeNames[t]
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	return list(t.params) + " -> " + list(t.results)
}

func (g globalType) String() string {
	if g.mutable {
		return "mut " + typeNames[g.typ]
	}
	return typeNames[g.typ]
}
