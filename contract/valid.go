package contract

import "unicode/utf8"

// maxNesting bounds how deep arrays and objects may nest in what isJSON takes
// for JSON; what is deeper is text.
const maxNesting = 4096

// isJSON reports whether b is one JSON text (RFC 8259) in UTF-8. It is one
// pass, allocates nothing, and ends at the first byte that does not fit, which
// in ordinary text is the first.
func isJSON(b []byte) bool {
	var v validator
	v.b = b
	v.space()
	for {
		// A value is expected at v.i, after any opening brackets.
		if !v.value() {
			return false
		}
		if v.opened {
			continue
		}
		if !v.afterValue() {
			return false
		}
		if v.depth == 0 {
			return v.i == len(b) && utf8.Valid(b)
		}
	}
}

// A validator holds the open brackets of what it has seen as one bit each.
type validator struct {
	b       []byte
	i       int
	depth   int
	objects [maxNesting / 64]uint64
	opened  bool // value stopped after an opening bracket: its first element is next
}

func (v *validator) space() { v.i = skipSpace(v.b, v.i) }

// next returns the byte at v.i, 0 at the end.
func (v *validator) next() byte {
	if v.i < len(v.b) {
		return v.b[v.i]
	}
	return 0
}

// value consumes a scalar, an empty array or object, or the opening bracket
// (and first name) of one that is not empty.
func (v *validator) value() bool {
	v.opened = false
	switch c := v.next(); c {
	case '{', '[':
		return v.open(c == '{')
	case '"':
		return v.str()
	case 't':
		return v.literal("true")
	case 'f':
		return v.literal("false")
	case 'n':
		return v.literal("null")
	default:
		return v.number()
	}
}

func (v *validator) open(object bool) bool {
	v.i++
	v.space()
	if c := v.next(); object && c == '}' || !object && c == ']' {
		v.i++
		return true
	}
	if v.depth == maxNesting {
		return false
	}
	word, bit := v.depth/64, uint64(1)<<(v.depth%64)
	v.objects[word] &^= bit
	if object {
		v.objects[word] |= bit
	}
	v.depth++
	v.opened = true
	return !object || v.name()
}

func (v *validator) inObject() bool {
	d := v.depth - 1
	return v.objects[d/64]>>(d%64)&1 == 1
}

// afterValue consumes what may follow a value: closing brackets, then a comma
// (and the next name) unless the outermost value is complete.
func (v *validator) afterValue() bool {
	for v.space(); v.depth > 0; v.space() {
		object := v.inObject()
		c := v.next()
		v.i++
		switch {
		case c == ',':
			v.space()
			return !object || v.name()
		case object && c == '}', !object && c == ']':
			v.depth--
		default:
			return false
		}
	}
	return true
}

func (v *validator) name() bool {
	if v.next() != '"' || !v.str() {
		return false
	}
	v.space()
	if v.next() != ':' {
		return false
	}
	v.i++
	v.space()
	return true
}

func (v *validator) str() bool {
	end, _, bad := scanString(v.b, v.i+1)
	v.i = end + 1
	return bad == nil
}

func (v *validator) literal(word string) bool {
	if len(v.b)-v.i < len(word) || string(v.b[v.i:v.i+len(word)]) != word {
		return false
	}
	v.i += len(word)
	return true
}

func (v *validator) number() bool {
	if v.next() == '-' {
		v.i++
	}
	if v.next() == '0' {
		v.i++
	} else if !v.digits() {
		return false
	}
	if v.next() == '.' {
		v.i++
		if !v.digits() {
			return false
		}
	}
	if v.next()|0x20 != 'e' {
		return true
	}
	v.i++
	if c := v.next(); c == '+' || c == '-' {
		v.i++
	}
	return v.digits()
}

// digits consumes digits and reports whether there was one.
func (v *validator) digits() bool {
	start := v.i
	for c := v.next(); '0' <= c && c <= '9'; c = v.next() {
		v.i++
	}
	return v.i > start
}
