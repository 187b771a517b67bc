package tmp

import (
	"cmp"
	"math"
	"slices"
	"sync"

	"github.com/gojinn/gojinn/engine/vfs"
)

const (
	pageSize   = 4 << 10
	blockPages = 64
	blockSize  = blockPages * pageSize
)

type page [pageSize]byte

// pages are those that are not in use, all zero. A guest that writes, truncates and writes again
// would otherwise keep the garbage collector busy. The collector empties it.
var pages = sync.Pool{New: func() any { return new(page) }}

// free gives a page back, without what was in it: the next to have it may be another function.
func (p *page) free() {
	clear(p[:])
	pages.Put(p)
}

// content is the bytes of a file. What was never written takes no space, and reads as zeros.
type content struct {
	size   int64
	blocks []*block // by index
}

// block is a part of a file of which some pages have been written.
type block struct {
	index int64 // its place in the file, in blocks
	pages [blockPages]*page
}

// find returns where the block with an index is, or would be. Most files are written at their end.
func (c *content) find(index int64) (at int, found bool) {
	if n := len(c.blocks); n == 0 || c.blocks[n-1].index < index {
		return n, false
	}
	return slices.BinarySearchFunc(c.blocks, index, func(b *block, index int64) int { return cmp.Compare(b.index, index) })
}

// page returns the page in which an offset lies, nil if nothing was written there.
func (c *content) page(offset int64) *page {
	at, found := c.find(offset / blockSize)
	if !found {
		return nil
	}
	return c.blocks[at].pages[offset%blockSize/pageSize]
}

// newPage makes the page in which an offset lies, if there is space for it.
func (c *content) newPage(s *space, offset int64) (*page, error) {
	at, found := c.find(offset / blockSize)
	cost := int64(pageSize)
	if !found {
		cost += costBlock
	}
	if err := s.take(cost); err != nil {
		return nil, err
	}
	if !found {
		c.blocks = slices.Insert(c.blocks, at, &block{index: offset / blockSize})
	}
	p := pages.Get().(*page)
	c.blocks[at].pages[offset%blockSize/pageSize] = p
	return p, nil
}

// readAt fills p, up to the end of the file.
func (c *content) readAt(p []byte, offset int64) int {
	if offset >= c.size {
		return 0
	}
	p = p[:min(int64(len(p)), c.size-offset)]
	for rest := p; len(rest) > 0; {
		in := offset % pageSize
		n := int(min(int64(len(rest)), pageSize-in))
		if from := c.page(offset); from != nil {
			copy(rest[:n], from[in:])
		} else {
			clear(rest[:n])
		}
		rest, offset = rest[n:], offset+int64(n)
	}
	return len(p)
}

// writeAt writes as much of p as there is space for; less is ENOSPC, or EFBIG.
func (c *content) writeAt(s *space, p []byte, offset int64) (n int, err error) {
	if int64(len(p)) > math.MaxInt64-offset {
		return 0, vfs.EFBIG
	}
	for n < len(p) {
		to := c.page(offset)
		if to == nil {
			if to, err = c.newPage(s, offset); err != nil {
				break
			}
		}
		copied := copy(to[offset%pageSize:], p[n:])
		n, offset = n+copied, offset+int64(copied)
		c.size = max(c.size, offset)
	}
	return n, err
}

// truncate sets the size. What is behind it is gone: were the file to grow again, there would be
// zeros.
func (c *content) truncate(s *space, size int64) {
	if size < c.size {
		at, found := c.find(size / blockSize)
		if found && c.blocks[at].cut(s, size%blockSize) {
			at++
		}
		for _, b := range c.blocks[at:] {
			b.cut(s, 0)
			s.give(costBlock)
		}
		clear(c.blocks[at:])
		c.blocks = c.blocks[:at]
		// What the list takes is counted by what is in it.
		if cap(c.blocks) > 2*at+16 {
			c.blocks = slices.Clone(c.blocks)
		}
	}
	c.size = size
}

// cut frees what a block has from an offset in it on, and tells whether anything is left.
func (b *block) cut(s *space, from int64) (some bool) {
	for i, p := range b.pages {
		switch start := int64(i) * pageSize; {
		case p == nil:
		case start >= from:
			p.free()
			b.pages[i] = nil
			s.give(pageSize)
		default:
			some = true
			if start+pageSize > from {
				clear(p[from-start:])
			}
		}
	}
	return some
}
