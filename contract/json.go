package contract

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// The scanners below look at eight bytes at a time. A mask has the high bit of
// a byte set where that byte is of interest; only the lowest mark is exact,
// since the subtractions borrow from the bytes above a marked one.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// marked returns the index of the first byte that mask marks.
func marked(mask uint64) int { return bits.TrailingZeros64(mask) >> 3 }

// equal marks the bytes of w that are c.
func equal(w uint64, c byte) uint64 {
	w ^= ones * uint64(c)
	return (w - ones) &^ w & highs
}

// special marks the bytes of w that can't stand for themselves in a JSON
// string: controls, quotation mark and reverse solidus (RFC 8259, section 7).
func special(w uint64) uint64 {
	control := (w - ones*0x20) &^ w & highs
	return control | equal(w, '"') | equal(w, '\\')
}

// lineSeparator is the first byte of U+2028 and U+2029 in UTF-8.
const lineSeparator = 0xE2

// appendString appends s as a JSON string. A string that is not valid UTF-8 is
// read as ISO-8859-1: no byte of it is lost, and a field value that really is
// ISO-8859-1, as old clients send them, arrives as it was meant.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	if utf8.ValidString(s) {
		dst = appendText(dst, []byte(s))
	} else {
		for i := 0; i < len(s); i++ {
			dst = appendLatin1(dst, s[i])
		}
	}
	return append(dst, '"')
}

func appendLatin1(dst []byte, c byte) []byte {
	if c >= utf8.RuneSelf {
		return utf8.AppendRune(dst, rune(c))
	}
	return appendText(dst, []byte{c})
}

// latin1 returns s as appendString shows it to the function.
func latin1(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}

// appendText appends s, which must be valid UTF-8, as the inside of a JSON
// string. U+2028 and U+2029 are escaped, too: JavaScript once took them for
// line ends. Nothing is escaped for HTML.
func appendText(dst, s []byte) []byte {
	for len(s) >= 8 {
		w := binary.LittleEndian.Uint64(s)
		dst = binary.LittleEndian.AppendUint64(dst, w)
		mask := special(w) | equal(w, lineSeparator)
		if mask == 0 {
			s = s[8:]
			continue
		}
		k := marked(mask)
		dst, s = appendEscaped(dst[:len(dst)-8+k], s[k:])
	}
	for len(s) > 0 {
		if c := s[0]; c < ' ' || c == '"' || c == '\\' || c == lineSeparator {
			dst, s = appendEscaped(dst, s)
			continue
		}
		dst, s = append(dst, s[0]), s[1:]
	}
	return dst
}

// appendEscaped appends the first character of s, escaped if it must be, and
// returns what follows it.
func appendEscaped(dst, s []byte) (_, rest []byte) {
	const hex = "0123456789abcdef"
	switch c := s[0]; c {
	case '"', '\\':
		return append(dst, '\\', c), s[1:]
	case '\n':
		return append(dst, `\n`...), s[1:]
	case '\r':
		return append(dst, `\r`...), s[1:]
	case '\t':
		return append(dst, `\t`...), s[1:]
	case '\b':
		return append(dst, `\b`...), s[1:]
	case '\f':
		return append(dst, `\f`...), s[1:]
	case lineSeparator:
		if len(s) >= 3 && s[1] == 0x80 && s[2]&^1 == 0xA8 {
			return append(dst, '\\', 'u', '2', '0', '2', '8'+s[2]&1), s[3:]
		}
		return append(dst, c), s[1:]
	default:
		return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15]), s[1:]
	}
}

// A fault is what is wrong with a JSON text, and where.
type fault struct {
	at     int
	reason string
}

// scanString checks the JSON string whose opening quotation mark stands before
// b[i]. It returns the index of the closing one, and whether anything between
// them is escaped. UTF-8 and surrogates are left to the caller.
func scanString(b []byte, i int) (end int, escaped bool, bad *fault) {
	for {
		i = skipPlain(b, i)
		if i == len(b) {
			return i, escaped, &fault{i, "the output ends inside a string"}
		}
		switch c := b[i]; c {
		case '"':
			return i, escaped, nil
		case '\\':
			escaped = true
			n := escapeLength(b[i:])
			if n == 0 {
				return i, escaped, &fault{i, "not an escape sequence of JSON"}
			}
			i += n
		default:
			return i, escaped, &fault{i, "a control character inside a string must be escaped"}
		}
	}
}

// skipPlain returns the index of the first byte from i on that is special, or
// len(b).
func skipPlain(b []byte, i int) int {
	for ; len(b)-i >= 8; i += 8 {
		if mask := special(binary.LittleEndian.Uint64(b[i:])); mask != 0 {
			return i + marked(mask)
		}
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		i++
	}
	return i
}

// escapeLength returns the length of the escape sequence that b begins with, 0
// if it is none.
func escapeLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b); ok {
			return 6
		}
	}
	return 0
}

// hex4 returns the value of the \uXXXX that b begins with.
func hex4(b []byte) (v rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		v = v<<4 | rune(c)
	}
	return v, true
}

// unescape returns the characters of s, the inside of a string that scanString
// accepted. Its faults are relative to s.
func unescape(s []byte) ([]byte, *fault) {
	whole := len(s)
	dst := make([]byte, 0, whole) // an escape sequence is never shorter than what it stands for
	for len(s) > 0 {
		if len(s) >= 8 {
			w := binary.LittleEndian.Uint64(s)
			dst = binary.LittleEndian.AppendUint64(dst, w)
			mask := equal(w, '\\')
			if mask == 0 {
				s = s[8:]
				continue
			}
			k := marked(mask)
			dst, s = dst[:len(dst)-8+k], s[k:]
		}
		if s[0] != '\\' {
			dst, s = append(dst, s[0]), s[1:]
			continue
		}
		r, n := escapedRune(s)
		if n == 0 {
			return nil, &fault{whole - len(s), "half of a surrogate pair stands for no character"}
		}
		dst, s = utf8.AppendRune(dst, r), s[n:]
	}
	return dst, nil
}

// escapedRune decodes the escape sequence that s begins with and its length; 0
// for a surrogate without its other half.
func escapedRune(s []byte) (r rune, n int) {
	switch s[1] {
	case 'b':
		return '\b', 2
	case 'f':
		return '\f', 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'u':
		return unicodeEscape(s)
	default:
		return rune(s[1]), 2
	}
}

func unicodeEscape(s []byte) (r rune, n int) {
	r, _ = hex4(s)
	if r < 0xD800 || r > 0xDFFF {
		return r, 6
	}
	low, ok := hex4(s[6:])
	if r > 0xDBFF || !ok || low < 0xDC00 || low > 0xDFFF {
		return 0, 0
	}
	return 0x10000 + (r-0xD800)<<10 + (low - 0xDC00), 12
}

// skipSpace returns the index of the first byte from i on that is not white
// space of JSON, or len(b).
func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}
