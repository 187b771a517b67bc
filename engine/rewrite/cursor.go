package rewrite

import (
	"fmt"
	"unicode/utf8"
)

// cursor reads a part of the module. The first failure sticks: from then on every read returns zero and the cursor
// stands at its end, so callers check err once, where it matters. Loops over counts stay bounded because count checks
// the count against the bytes that remain.
type cursor struct {
	buf      []byte // the whole module
	pos, end int
	section  string
	err      *Error
}

func (c *cursor) fail(kind Kind, format string, args ...any) {
	if c.err == nil {
		c.err = &Error{Offset: c.pos, Section: c.section, Reason: fmt.Sprintf(format, args...), Kind: kind}
		c.pos = c.end
	}
}

// more says whether bytes remain. It is false after a failure.
func (c *cursor) more() bool { return c.pos < c.end }

func (c *cursor) byte() byte {
	if c.pos >= c.end {
		c.fail(Malformed, "ends too early")
		return 0
	}
	b := c.buf[c.pos]
	c.pos++
	return b
}

func (c *cursor) u32() uint32 {
	v, next := uleb(c.buf[:c.end], c.pos)
	if next < 0 {
		c.fail(Malformed, "bad number")
		return 0
	}
	c.pos = next
	return v
}

// count reads the length of a vector whose items take at least size bytes each, and refuses one that the remaining
// bytes cannot hold, or that is over limit.
func (c *cursor) count(what string, size, limit int) int {
	n := int64(c.u32())
	if n*int64(size) > int64(c.end-c.pos) {
		c.fail(Malformed, "%d %s do not fit into the bytes that follow", n, what)
		c.err.overrun = true
		return 0
	}
	if n > int64(limit) {
		c.fail(OverLimit, "%d %s, the limit is %d", n, what, limit)
		return 0
	}
	return int(n)
}

// bytes returns the next n bytes of the module itself.
func (c *cursor) bytes(n uint32) []byte {
	if int64(n) > int64(c.end-c.pos) {
		c.fail(Malformed, "ends too early: %d bytes do not fit into what follows", n)
		c.err.overrun = true
		return nil
	}
	b := c.buf[c.pos : c.pos+int(n) : c.pos+int(n)]
	c.pos += int(n)
	return b
}

// name reads a length and that many bytes of UTF-8.
func (c *cursor) name() []byte {
	b := c.bytes(c.u32())
	if len(b) > MaxNameBytes {
		c.fail(OverLimit, "a name of %d bytes, the limit is %d", len(b), MaxNameBytes)
		return nil
	}
	if !utf8.Valid(b) {
		c.fail(Malformed, "a name is not valid UTF-8")
		return nil
	}
	return b
}

// index reads an index that must be below n.
func (c *cursor) index(what string, n int) uint32 {
	v := c.u32()
	if c.err == nil && int64(v) >= int64(n) {
		c.fail(Malformed, "%s %d is out of range, there are %d", what, v, n)
		return 0
	}
	return v
}
