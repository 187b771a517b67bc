package rewrite

import "unicode/utf8"

// names is what remains of the name section: enough for stack traces.
type names struct {
	seen   bool
	module []byte
	funcs  cursor // at a vector of indices and names that has been checked
}

// The subsections of the name section.
const (
	namesOfModule = iota
	namesOfFuncs
	namesOfLocals
)

// nameSection reads the name section the way wazero does, which does not hold a subsection to its size: it only counts
// the sizes down, and accepts the section if it has read exactly its bytes when the count says that none are left, or
// when the file ends.
func (d *decoder) nameSection() {
	if d.names.seen {
		d.fail(Malformed, "the name section is there twice")
		return
	}
	d.names.seen = true
	left := uint64(d.end - d.pos)
	for left > 0 && d.err == nil {
		if d.pos == d.end {
			if d.end < len(d.buf) {
				d.fail(Malformed, "the name section ends too early")
			}
			return
		}
		id := d.byte()
		before := d.pos
		size := d.u32()
		left -= 1 + uint64(d.pos-before)
		switch id {
		case namesOfModule:
			d.names.module = d.name()
		case namesOfFuncs:
			d.names.funcs = d.cursor
			d.nameMap()
		case namesOfLocals:
			for range d.count("names", 2, MaxModuleBytes) {
				d.u32()
				d.nameMap()
			}
		default:
			d.bytes(size)
		}
		left -= uint64(size)
	}
}

func (d *decoder) nameMap() {
	for range d.count("names", 2, MaxModuleBytes) {
		d.u32()
		d.name()
	}
}

// nameSection writes the names of functions in ascending order, with our imports where they stand and our own
// functions behind all others. Names of locals are left out: stack traces don't show them, and wazero goes through
// all of them for every function.
func (w *writer) nameSection(dst []byte) []byte {
	content := append(appendUleb(nil, 4), "name"...)
	if len(w.m.names.module) > 0 {
		sub := appendBytes(nil, clip(w.m.names.module))
		content = appendBytes(append(content, namesOfModule), sub)
	}
	var list []byte
	n := uint32(0)
	add := func(index uint32, name []byte) {
		list = appendBytes(appendUleb(list, index), clip(name))
		n++
	}
	next := 0 // index of the original that may come next: wazero expects them to ascend
	addImports := func(below int) {
		if next <= w.m.importedFuncs && below > w.m.importedFuncs {
			add(w.tick, []byte("gojinn."+TickImport))
			add(w.overflow, []byte("gojinn."+StackImport))
			add(w.exit, []byte("gojinn."+ExitImport))
		}
	}
	c := w.m.names.funcs
	for range c.count("names", 2, MaxModuleBytes) {
		index, name := int64(c.u32()), c.name()
		if index >= int64(next) && index < int64(len(w.m.funcs)) {
			addImports(int(index) + 1)
			add(w.moved(uint32(index)), name)
			next = int(index) + 1
		}
	}
	addImports(len(w.m.funcs) + 1)
	for i, f := range w.added {
		add(w.addedFrom+uint32(i), []byte(f.name))
	}
	content = append(content, namesOfFuncs)
	content = appendBytes(content, append(appendUleb(nil, n), list...))
	return appendBytes(append(dst, sectionCustom), content)
}

// clip shortens a name to what a stack trace can bear.
func clip(name []byte) []byte {
	const most = 512
	if len(name) <= most {
		return name
	}
	name = name[:most]
	for len(name) > 0 && !utf8.Valid(name) {
		name = name[:len(name)-1]
	}
	return name
}
