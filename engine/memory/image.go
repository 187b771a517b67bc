package memory

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
)

// Run is a stretch of initial memory.
type Run struct {
	Offset uint64 // address of the first byte
	Bytes  []byte
}

// Image is what memories of one program start with. It never changes, and any
// number of [Linear] share it: they have pages of their own only where their
// guests wrote. On Linux it is a sealed file in memory; where there are no such
// files it lies on the heap and each memory gets a copy. Safe for concurrent
// use, except Close.
type Image struct {
	extents []extent // sorted, apart from each other
	mapped  bool     // there is a file, and memories map the extents that say so
	file    imageFile
}

// extent is a part of an image that is not all zero, in whole pages.
type extent struct {
	start, end uint64
	bytes      []byte // of [start, end), read-only
	mapped     bool   // memories map it; if not, each has a copy
}

const (
	// maxMapped bounds how many extents are mapped, the largest ones. Each takes
	// two of the mappings that the kernel allows a process (vm.max_map_count,
	// 65,530), for each memory.
	maxMapped = 4
	// maxGap is how many zero bytes are written out, at most, to join two
	// extents.
	maxGap = 256 << 10
)

// NewImage makes an image of a memory that has size bytes, a multiple of 64
// KiB, at the start, holding runs, of which later ones overwrite earlier ones,
// and zeros. A run beyond size is an error. The runs' bytes are copied: it takes
// as much heap as the image has pages that runs touch. Close must be called.
func NewImage(size uint64, runs []Run) (*Image, error) {
	if size%wasmPage != 0 || size > MaxSize {
		return nil, fmt.Errorf("image of %d bytes: not whole pages of 64 KiB up to 4 GiB", size)
	}
	for _, r := range runs {
		if r.Offset > size || uint64(len(r.Bytes)) > size-r.Offset {
			return nil, fmt.Errorf("image of %d bytes: a run of %d bytes at %d lies outside", size, len(r.Bytes), r.Offset)
		}
	}
	i := &Image{extents: join(trim(paint(runs)))}
	if len(i.extents) > 0 {
		i.mapped = i.seal()
	}
	if i.mapped {
		i.choose()
	}
	return i, nil
}

// paint returns the pages that runs touch, with the runs in them.
func paint(runs []Run) []extent {
	var spans []extent
	for _, r := range runs {
		if len(r.Bytes) > 0 {
			end := r.Offset + uint64(len(r.Bytes))
			spans = append(spans, extent{start: r.Offset / pageSize * pageSize, end: (end + pageSize - 1) / pageSize * pageSize})
		}
	}
	slices.SortFunc(spans, func(a, b extent) int { return cmp.Compare(a.start, b.start) })
	var touched []extent
	for _, s := range spans {
		if n := len(touched); n > 0 && s.start <= touched[n-1].end {
			touched[n-1].end = max(touched[n-1].end, s.end)
		} else {
			touched = append(touched, s)
		}
	}
	for n := range touched {
		touched[n].bytes = make([]byte, touched[n].length())
	}
	for _, r := range runs {
		if len(r.Bytes) == 0 {
			continue
		}
		n, _ := slices.BinarySearchFunc(touched, r.Offset, func(e extent, at uint64) int {
			if e.end <= at {
				return -1
			}
			return 1
		})
		copy(touched[n].bytes[r.Offset-touched[n].start:], r.Bytes)
	}
	return touched
}

// trim leaves the pages that are not zero.
func trim(touched []extent) []extent {
	var left []extent
	for _, t := range touched {
		open := false // whether the last of left ends where this page starts
		for at := t.start; at < t.end; at += pageSize {
			if bytes.Equal(t.bytes[at-t.start:][:pageSize], zeroPage()) {
				open = false
				continue
			}
			if !open {
				left = append(left, extent{start: at, bytes: t.bytes[at-t.start:]})
				open = true
			}
			last := &left[len(left)-1]
			last.end = at + pageSize
		}
	}
	for n := range left {
		left[n].bytes = left[n].bytes[:left[n].length()]
	}
	return left
}

// join fills gaps between extents that are small, in bytes and next to what
// lies before them: a module that scatters single bytes makes no large image.
func join(apart []extent) []extent {
	var joined []extent
	for n := 0; n < len(apart); {
		e, last := apart[n], n
		full := e.end - e.start
		for last+1 < len(apart) {
			next := apart[last+1]
			if gap := next.start - e.end; gap > min(maxGap, full) {
				break
			}
			full += next.end - next.start
			e.end = next.end
			last++
		}
		if last > n {
			e.bytes = make([]byte, e.end-e.start)
			for _, part := range apart[n : last+1] {
				copy(e.bytes[part.start-e.start:], part.bytes)
			}
		}
		joined = append(joined, e)
		n = last + 1
	}
	return joined
}

// choose says which extents are mapped.
func (i *Image) choose() {
	largest := make([]int, len(i.extents))
	for n := range largest {
		largest[n] = n
	}
	slices.SortStableFunc(largest, func(a, b int) int { return cmp.Compare(i.extents[b].length(), i.extents[a].length()) })
	for _, n := range largest[:min(maxMapped, len(largest))] {
		i.extents[n].mapped = true
	}
}

func (e *extent) length() uint64 { return e.end - e.start }

// page is the contents of the page at offset, or nil if it is zero; copied says
// that memories have a copy of it rather than a mapping.
func (i *Image) page(offset uint64) (contents []byte, copied bool) {
	if i == nil {
		return nil, false
	}
	low, high := 0, len(i.extents)
	for low < high {
		middle := (low + high) / 2
		if i.extents[middle].end <= offset {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low == len(i.extents) || offset < i.extents[low].start {
		return nil, false
	}
	e := &i.extents[low]
	return e.bytes[offset-e.start:][:pageSize], !e.mapped
}

// copyTo writes bytes [from, to) of the image, where they are neither zero nor
// mapped, to the same place in memory.
func (i *Image) copyTo(memory []byte, from, to uint64) {
	if i == nil {
		return
	}
	for _, e := range i.extents {
		if e.mapped {
			continue
		}
		start, end := max(e.start, from), min(e.end, to)
		if start < end {
			copy(memory[start:end], e.bytes[start-e.start:])
		}
	}
}

// Bytes is the memory that the image holds: the part that is not zero, with
// small gaps in it, in whole pages.
func (i *Image) Bytes() int64 {
	var n uint64
	for _, e := range i.extents {
		n += e.length()
	}
	return int64(n)
}

// Close gives the image back. No Linear may use it any more: all that were
// reserved with it must have been freed. Calling it again does nothing.
func (i *Image) Close() error {
	i.extents = nil
	if !i.mapped {
		return nil
	}
	i.mapped = false
	return i.file.close()
}
