package gojinn

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"unicode/utf8"
	"unsafe"
)

// The functions below look at eight bytes at a time. A mask has the high bit of
// a byte set where that byte is of interest; only the lowest mark is exact,
// since the subtractions borrow from the bytes above a marked one.
const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

func marked(mask uint64) int { return bits.TrailingZeros64(mask) >> 3 }

// special marks the bytes of w that can't stand for themselves in a JSON
// string: controls, quotation mark and reverse solidus (RFC 8259, section 7).
func special(w uint64) uint64 {
	low := (w ^ ones*('"'^' ')) - ones*(' '+1) // the quotation mark becomes a space; controls remain such
	solidus := (w ^ ones*'\\') - ones
	return (low | solidus&^(w^ones*'\\')) &^ w & highs
}

// maxDepth is how deep arrays and objects may lie within each other.
const maxDepth = 100

var errEnd = errors.New("it ends too early")

// A scanner takes a JSON text apart. Strings with escape sequences are decoded
// where they stand, so the text is of no use afterwards, and nothing is copied:
// what text returns is a part of b.
type scanner struct {
	b []byte
	i int
}

// fault is an error at the place where the scanner is.
func (s *scanner) fault(what string) error {
	if s.i >= len(s.b) {
		return errEnd
	}
	return fmt.Errorf("byte %d: %s", s.i, what)
}

// space passes over white space.
func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// next passes over white space and, if it comes then, c.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

// end passes over the white space at the end of the text.
func (s *scanner) end() error {
	if s.space(); s.i < len(s.b) {
		return s.fault("there is more than one value")
	}
	return nil
}

// more passes over what stands before a member of an object or an element of an
// array: begin before the first, a comma before others. It is false if end is
// there instead, which it passes over too.
func (s *scanner) more(first bool, begin, end byte) (bool, error) {
	switch {
	case first && !s.next(begin):
		return false, s.fault(string(rune(begin)) + " is expected")
	case s.next(end):
		return false, nil
	case !first && !s.next(','):
		return false, s.fault("a comma or " + string(rune(end)) + " is expected")
	}
	return true, nil
}

// name scans the name of a member and the colon after it.
func (s *scanner) name() ([]byte, error) {
	name, err := s.text()
	if err == nil && !s.next(':') {
		err = s.fault("a colon is expected")
	}
	return name, err
}

// text scans a string and returns its characters.
func (s *scanner) text() ([]byte, error) {
	if !s.next('"') {
		return nil, s.fault("a string is expected")
	}
	b, from := s.b, s.i
	s.i = plain(b, s.i)
	if s.i < len(b) && b[s.i] == '"' {
		s.i++
		return b[from : s.i-1 : s.i-1], nil
	}
	to := s.i
	for {
		switch {
		case s.i >= len(b):
			return nil, errEnd
		case b[s.i] == '"':
			s.i++
			return b[from:to:to], nil
		case b[s.i] != '\\':
			return nil, s.fault("a control character in a string")
		}
		r, n := unescape(b[s.i:])
		if n == 0 {
			return nil, s.fault("not an escape sequence")
		}
		s.i += n
		if r < utf8.RuneSelf {
			b[to] = byte(r)
			to++
		} else {
			to += utf8.EncodeRune(b[to:s.i], r) // shorter than its escape sequence
		}
		to = s.move(to)
	}
}

// move moves the bytes up to the next special one down to index to, and returns
// the index after them. They are few, mostly: a copy would cost more.
func (s *scanner) move(to int) int {
	b, i := s.b, s.i
	for len(b)-i >= 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		if special(w) != 0 {
			break
		}
		binary.LittleEndian.PutUint64(b[to:], w)
		i, to = i+8, to+8
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		b[to] = b[i]
		i, to = i+1, to+1
	}
	s.i = i
	return to
}

// plain returns the index of the first byte from i on that is special, or
// len(b).
func plain(b []byte, i int) int {
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

// unescape decodes the escape sequence that b begins with and returns its
// length; 0 if it is none. Half of a surrogate pair stands for no character.
func unescape(b []byte) (r rune, n int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '"', '\\', '/':
		return rune(b[1]), 2
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
	}
	r, ok := hex4(b)
	if !ok || r >= 0xDC00 && r <= 0xDFFF {
		return 0, 0
	}
	if r < 0xD800 || r > 0xDBFF {
		return r, 6
	}
	low, ok := hex4(b[6:])
	if !ok || low < 0xDC00 || low > 0xDFFF {
		return 0, 0
	}
	return 0x10000 + (r-0xD800)<<10 + (low - 0xDC00), 12
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

// skip passes over a value of any kind. Strings in it are decoded where they stand.
func (s *scanner) skip(depth int) error {
	if s.space(); s.i >= len(s.b) {
		return errEnd
	}
	if depth > maxDepth {
		return s.fault("too deep")
	}
	switch c := s.b[s.i]; {
	case c == '"':
		_, err := s.text()
		return err
	case c == '{' || c == '[':
		return s.skipAll(c, depth)
	case c == '-' || '0' <= c && c <= '9':
		return s.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if n := s.i + len(word); n <= len(s.b) && string(s.b[s.i:n]) == word {
			s.i = n
			return nil
		}
	}
	return s.fault("a value is expected")
}

// skipAll passes over the object or array that c begins.
func (s *scanner) skipAll(c byte, depth int) error {
	for first := true; ; first = false {
		more, err := s.more(first, c, c+2) // ASCII has {|} and [\]
		if !more {
			return err
		}
		if c == '{' {
			if _, err := s.name(); err != nil {
				return err
			}
		}
		if err := s.skip(depth + 1); err != nil {
			return err
		}
	}
}

// number passes over a number.
func (s *scanner) number() error {
	s.one("-")
	if !s.one("0") && s.digits() == 0 {
		return s.fault("a digit is expected")
	}
	if s.one(".") && s.digits() == 0 {
		return s.fault("a digit is expected")
	}
	if s.one("eE") {
		s.one("+-")
		if s.digits() == 0 {
			return s.fault("a digit is expected")
		}
	}
	return nil
}

// one passes over one of the characters, if one comes.
func (s *scanner) one(of string) bool {
	if s.i >= len(s.b) {
		return false
	}
	for _, c := range []byte(of) {
		if s.b[s.i] == c {
			s.i++
			return true
		}
	}
	return false
}

func (s *scanner) digits() (n int) {
	for s.i < len(s.b) && '0' <= s.b[s.i] && s.b[s.i] <= '9' {
		s.i++
		n++
	}
	return n
}

// appendString appends s as a JSON string. What is not UTF-8 is read as
// ISO-8859-1, as the server does with requests.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	if utf8.ValidString(s) {
		dst = appendText(dst, bytesOf(s))
	} else {
		for i := range len(s) {
			dst = appendText(dst, []byte(string(rune(s[i]))))
		}
	}
	return append(dst, '"')
}

// appendText appends s, which must be valid UTF-8, as the inside of a JSON
// string.
func appendText(dst, s []byte) []byte {
	for len(s) >= 8 {
		w := binary.LittleEndian.Uint64(s)
		dst = binary.LittleEndian.AppendUint64(dst, w)
		mask := special(w)
		if mask == 0 {
			s = s[8:]
			continue
		}
		n := marked(mask)
		dst = appendEscaped(dst[:len(dst)-8+n], s[n])
		s = s[n+1:]
	}
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' {
			dst = appendEscaped(dst, c)
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// appendEscaped appends the escape sequence of a special character.
func appendEscaped(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

// bytesOf returns the bytes of a string, which must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// stringOf returns bytes that nobody will write to as a string.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
