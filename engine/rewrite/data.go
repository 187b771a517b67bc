package rewrite

import "sort"

// Go's linker emits tens of thousands of data segments, and wazero evaluates and allocates for each of them at every
// instantiation. So those that lie close together become one.

const (
	// mergeGap is the most zeros that are written out to join two segments.
	mergeGap = 256
)

// dataPlan says what becomes of the data segments.
type dataPlan struct {
	merged []Run // if merge: the image of all active segments
	kept   []dataSegment
	merge  bool
	to     []uint32 // new index of each passive segment
	empty  uint32   // index of a segment without bytes
	needed bool     // whether something refers to empty
	detach bool     // merged is for the report, not for the module
}

// dropped stands for the new index of an active segment.
const dropped = 1<<32 - 1

// Run is a stretch of initial memory.
type Run struct {
	Offset uint32 // address of the first byte
	Bytes  []byte
}

// planData paints all active segments in their order. It leaves them alone where painting would not be the same as
// what the runtime does: offsets that are known only later, a memory of another module, segments beyond the memory
// (instantiation fails).
func planData(m *module, detach bool) (p dataPlan) {
	p.kept = m.data
	if m.memory == nil || m.importedMemory {
		return p
	}
	var spans []int // active segments with bytes
	for i, s := range m.data {
		if s.passive {
			continue
		}
		if s.offset.op != opI32Const || uint64(uint32(s.offset.value))+uint64(len(s.init)) > uint64(m.memory.min)*pageSize {
			return p
		}
		if len(s.init) > 0 {
			spans = append(spans, i)
		}
	}
	p.merge, p.detach = true, detach
	p.merged = paint(m.data, spans)
	p.kept = nil
	before := len(p.merged)
	if detach {
		before = 0
	}
	p.to = make([]uint32, len(m.data))
	for i, s := range m.data {
		p.to[i] = dropped
		if s.passive {
			p.to[i] = uint32(before + len(p.kept))
			p.kept = append(p.kept, s)
		}
	}
	p.empty = uint32(before + len(p.kept))
	return p
}

// index returns the new index of a segment that an instruction refers to. Active segments have been dropped by the
// time code runs: a passive one without bytes takes their place.
func (p *dataPlan) index(i uint32) uint32 {
	switch {
	case !p.merge:
		return i
	case p.gone(i):
		p.needed = true
		return p.empty
	}
	return p.to[i]
}

// gone says whether a segment has been dropped before any code runs.
func (p *dataPlan) gone(i uint32) bool { return p.merge && p.to[i] == dropped }

// written are the merged segments that stay in the module.
func (p *dataPlan) written() []Run {
	if p.detach {
		return nil
	}
	return p.merged
}

// paint makes runs of the active segments: later ones over earlier ones, as instantiation would.
func paint(data []dataSegment, spans []int) []Run {
	runs := []Run{}
	order := append([]int(nil), spans...)
	begin := func(i int) int64 { return int64(uint32(data[i].offset.value)) }
	end := func(i int) int64 { return begin(i) + int64(len(data[i].init)) }
	sort.Slice(order, func(i, j int) bool { return begin(order[i]) < begin(order[j]) })
	for i := 0; i < len(order); {
		from, to := begin(order[i]), end(order[i])
		for i++; i < len(order) && begin(order[i]) <= to+mergeGap; i++ {
			to = max(to, end(order[i]))
		}
		runs = append(runs, Run{uint32(from), make([]byte, to-from)})
	}
	for _, i := range spans {
		r := runs[sort.Search(len(runs), func(k int) bool { return int64(runs[k].Offset) > begin(i) })-1]
		copy(r.Bytes[begin(i)-int64(r.Offset):], data[i].init)
	}
	return runs
}

// dataSegments returns how many segments the new module has.
func (p *dataPlan) dataSegments() int {
	n := len(p.written()) + len(p.kept)
	if p.needed {
		n++
	}
	return n
}

// section appends the content of the data section.
func (p *dataPlan) section(dst []byte) []byte {
	dst = appendUleb(dst, uint32(p.dataSegments()))
	for _, r := range p.written() {
		dst = appendSleb(append(dst, 0, opI32Const), int64(int32(r.Offset)))
		dst = appendBytes(append(dst, opEnd), r.Bytes)
	}
	for _, s := range p.kept {
		if s.passive {
			dst = append(dst, 1)
		} else {
			dst = append(append(dst, 0), s.offset.raw...)
		}
		dst = appendBytes(dst, s.init)
	}
	if p.needed {
		dst = append(dst, 1, 0)
	}
	return dst
}
