package contract

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"unicode/utf8"
)

// Response is a function's answer, checked.
type Response struct {
	Status int // 200–599

	// Header has canonical names, no hop-by-hop field and no Content-Length;
	// names and values are valid by RFC 9110.
	Header http.Header

	// Body is what the response holds, decoded. It may share memory with the
	// output it was decoded from: don't reuse that while the response lives.
	Body []byte
}

// Limits on the header fields of one response. A value costs more memory as a
// string than as JSON, and no client takes this much.
const (
	maxFieldLines = 4096
	maxFieldBytes = 1 << 20 // names and values together
)

// DecodeResponse parses out, all that a function wrote to its standard output,
// as the response object of the json contract. Errors are *DecodeError.
//
// It is one pass, without recursion: the only values a response may nest are
// the lists in its headers.
func DecodeResponse(out []byte) (*Response, error) {
	d := decoder{out: out}
	return d.response()
}

type decoder struct {
	out   []byte
	head  bool // of a response whose body follows
	pos   int  // of the next byte
	lines int  // field values so far
	size  int  // bytes of field names and values so far
}

// A place is what an error calls the value being read: a member, and within
// headers a field and the element of its list. Text is made of it only when
// there is an error.
type place struct {
	member  string
	field   []byte // a token, so nothing in it needs quoting
	element int    // counted from 1; 0: not in a list
}

var inHeaders = place{member: "headers"}

// at is the place of an element of p's list, counted from 0.
func (p place) at(element int) place {
	p.element = element + 1
	return p
}

func (p place) String() string {
	s := p.member
	if len(p.field) > maxExcerpt {
		s += "." + string(p.field[:maxExcerpt]) + "..."
	} else if p.field != nil {
		s += "." + string(p.field)
	}
	if p.element > 0 {
		s += "[" + strconv.Itoa(p.element-1) + "]"
	}
	return s
}

var byteOrderMark = []byte("\uFEFF")

func (d *decoder) response() (*Response, error) {
	if d.space(); d.pos == len(d.out) {
		err := newError(d.out, d.pos, "", ErrEmpty.Error())
		err.cause = ErrEmpty
		return nil, err
	}
	if bytes.HasPrefix(d.out[d.pos:], byteOrderMark) {
		return nil, d.fail(place{}, "the output begins with a byte order mark, which JSON does not have")
	}
	r := &Response{Status: http.StatusOK, Header: make(http.Header)}
	if err := d.members(r); err != nil {
		return nil, err
	}
	if d.space(); d.pos < len(d.out) {
		return nil, d.fail(place{}, "more output after the response object")
	}
	dropFields(r.Header)
	return r, nil
}

// dropFields removes what is the server's to say, and fields without a value.
func dropFields(h http.Header) {
	drop := named(h)
	for name, values := range h {
		if len(values) == 0 || name == "Content-Length" || hopByHop(name) || drop[name] {
			delete(h, name)
		}
	}
}

// The members of a response object, as bits.
const (
	memberStatus = 1 << iota
	memberHeaders
	memberBody
	memberBase64
)

func memberBit(name []byte) int {
	switch string(name) {
	case "status":
		return memberStatus
	case "headers":
		return memberHeaders
	case "body":
		return memberBody
	case "body_base64":
		return memberBase64
	}
	return 0
}

// members reads the response object into r.
func (d *decoder) members(r *Response) error {
	if err := d.open('{', place{}, "a response object"); err != nil {
		return err
	}
	seen := 0
	for first := true; ; first = false {
		name, at, err := d.name(place{}, first)
		if err != nil || name == nil {
			return err
		}
		bit := memberBit(name)
		if d.head && bit&(memberBody|memberBase64) != 0 {
			return d.failAt(at, place{}, "a head has no body: that follows its line")
		}
		if reason := refused(bit, seen); reason != "" {
			return d.failAt(at, place{}, reason)
		}
		seen |= bit
		if err := d.member(r, bit); err != nil {
			return err
		}
	}
}

// refused says why a member can't follow those seen; "" if it can. An unknown
// member is refused, not ignored: a function that prints its data instead of a
// response, or misspells a member, would otherwise answer 200 with nothing.
func refused(bit, seen int) string {
	const bodies = memberBody | memberBase64
	switch {
	case bit == 0:
		return "unknown member; a response has status, headers, body, body_base64"
	case seen&bit != 0:
		return "the second member of this name"
	case seen&bodies != 0 && bit&bodies != 0:
		return "both body and body_base64"
	}
	return ""
}

// member reads the value of one member into r.
func (d *decoder) member(r *Response, bit int) (err error) {
	switch bit {
	case memberStatus:
		r.Status, err = d.status()
	case memberHeaders:
		err = d.headers(r.Header)
	case memberBody:
		r.Body, err = d.str(place{member: "body"})
	case memberBase64:
		r.Body, err = d.bodyBase64()
	}
	return err
}

const statusRule = "the status must be a whole number from 200 to 599, written as three digits"

func (d *decoder) status() (int, error) {
	at := d.pos
	for d.pos < len(d.out) && isNumeric(d.out[d.pos]) {
		d.pos++
	}
	digits := d.out[at:d.pos]
	if len(digits) == 0 {
		return 0, d.fail(place{member: "status"}, statusRule+", "+d.found())
	}
	status, err := strconv.Atoi(string(digits[:min(len(digits), 4)]))
	if err != nil || len(digits) != 3 || status < 200 || status > 599 {
		return 0, d.failAt(at, place{member: "status"}, statusRule)
	}
	return status, nil
}

// isNumeric reports whether c occurs in numbers of JSON.
func isNumeric(c byte) bool {
	return '0' <= c && c <= '9' || c == '-' || c == '+' || c == '.' || c|0x20 == 'e'
}

// headers reads the headers object into h. Fields that get dropped later are
// kept until all are read, so that a second one is noticed.
func (d *decoder) headers(h http.Header) error {
	if err := d.open('{', inHeaders, "an object"); err != nil {
		return err
	}
	for first := true; ; first = false {
		name, at, err := d.name(inHeaders, first)
		if err != nil || name == nil {
			return err
		}
		if !isToken(name) {
			return d.failAt(at, inHeaders, "not a field name; those have letters, digits and !#$%&'*+-.^_`|~ only")
		}
		if d.size += len(name); d.size > maxFieldBytes {
			return d.failAt(at, inHeaders, "more than 1 MiB of fields")
		}
		key := http.CanonicalHeaderKey(string(name))
		if _, twice := h[key]; twice {
			return d.failAt(at, inHeaders, "the second member for this field; give a list of values")
		}
		if h[key], err = d.field(place{member: "headers", field: name}); err != nil {
			return err
		}
	}
}

// field reads a string or a list of strings.
func (d *decoder) field(p place) ([]string, error) {
	if d.peek() == '"' {
		value, err := d.fieldValue(p)
		return []string{value}, err
	}
	if err := d.open('[', p, "a string or a list of strings"); err != nil {
		return nil, err
	}
	values := []string{}
	for {
		more, err := d.more(p, ']', len(values) == 0)
		if err != nil || !more {
			return values, err
		}
		value, err := d.fieldValue(p.at(len(values)))
		if err != nil {
			return nil, err
		}
		values = append(values, value)
	}
}

func (d *decoder) fieldValue(p place) (string, error) {
	at := d.pos
	value, err := d.str(p)
	if err != nil {
		return "", err
	}
	d.lines++
	if d.size += len(value); d.lines > maxFieldLines || d.size > maxFieldBytes {
		return "", d.failAt(at, p, fmt.Sprintf("more than %d field values or 1 MiB of fields", maxFieldLines))
	}
	if i, reason := badInValue(value); i >= 0 {
		return "", d.failAt(at, p, reason)
	}
	return string(value), nil
}

func (d *decoder) bodyBase64() ([]byte, error) {
	p := place{member: "body_base64"}
	at := d.pos
	text, err := d.str(p)
	if err != nil {
		return nil, err
	}
	if bytes.ContainsAny(text, "\r\n") { // which Decode would skip
		return nil, d.failAt(at, p, "base64 must not hold line ends")
	}
	body := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Strict().Decode(body, text)
	if err != nil {
		return nil, d.failAt(at+badBase64(err, text, d.out[at+1:d.pos-1]), p, "not base64 in the standard alphabet with padding")
	}
	return body[:n], nil
}

// badBase64 returns how far from the opening quotation mark the character
// stands that a base64 decoder refused, 0 when escapes make that uncertain.
func badBase64(err error, text, raw []byte) int {
	var corrupt base64.CorruptInputError
	if errors.As(err, &corrupt) && len(text) == len(raw) {
		return 1 + min(int(corrupt), len(raw))
	}
	return 0
}

// The rest is JSON.

func (d *decoder) space() { d.pos = skipSpace(d.out, d.pos) }

// peek returns the next byte, 0 at the end.
func (d *decoder) peek() byte {
	if d.pos < len(d.out) {
		return d.out[d.pos]
	}
	return 0
}

// open consumes an opening bracket; want says what should be there.
func (d *decoder) open(bracket byte, p place, want string) error {
	if d.peek() != bracket {
		return d.fail(p, "expected "+want+", "+d.found())
	}
	d.pos++
	return nil
}

// more consumes what stands before the next element, or the closing bracket.
func (d *decoder) more(p place, bracket byte, first bool) (bool, error) {
	d.space()
	c := d.peek()
	switch {
	case c == bracket:
		d.pos++
		return false, nil
	case first:
		return true, nil
	case c != ',':
		return false, d.fail(p, "expected , or "+string(bracket)+", "+d.found())
	}
	d.pos++
	d.space()
	return true, nil
}

// name consumes the next member's name up to its value; nil at the object's
// end. at is where the name stands.
func (d *decoder) name(p place, first bool) (name []byte, at int, err error) {
	more, err := d.more(p, '}', first)
	if err != nil || !more {
		return nil, 0, err
	}
	if at = d.pos; d.peek() != '"' {
		return nil, at, d.fail(p, "expected a member's name in quotes, "+d.found())
	}
	if name, err = d.str(p); err != nil {
		return nil, at, err
	}
	if d.space(); d.peek() != ':' {
		return nil, at, d.fail(p, "expected : after a member's name, "+d.found())
	}
	d.pos++
	d.space()
	return name, at, nil
}

// str consumes a string and returns its characters, not nil. They share memory
// with the output unless something was escaped.
func (d *decoder) str(p place) ([]byte, error) {
	if d.peek() != '"' {
		return nil, d.fail(p, "expected a string, "+d.found())
	}
	start := d.pos + 1
	end, escaped, bad := scanString(d.out, start)
	if bad != nil {
		return nil, d.failAt(bad.at, p, bad.reason)
	}
	raw := d.out[start:end:end]
	if !utf8.Valid(raw) {
		return nil, d.failAt(start+invalidUTF8(raw), p, "the output is not UTF-8; bytes go into body_base64")
	}
	d.pos = end + 1
	if !escaped {
		return raw, nil
	}
	text, bad := unescape(raw)
	if bad != nil {
		return nil, d.failAt(start+bad.at, p, bad.reason)
	}
	return text, nil
}

// invalidUTF8 returns the index of the first byte of b that is not UTF-8.
func invalidUTF8(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n < 2 {
			return i
		}
		i += n
	}
	return len(b)
}

// found says what stands at the next byte.
func (d *decoder) found() string {
	if d.pos == len(d.out) {
		return "found the end of the output"
	}
	switch c := d.out[d.pos]; {
	case c == '{':
		return "found an object"
	case c == '[':
		return "found a list"
	case c == '"':
		return "found a string"
	case c == '-' || '0' <= c && c <= '9':
		return "found a number"
	case c >= utf8.RuneSelf:
		return "found what is not JSON"
	default:
		return "found " + strconv.QuoteRune(rune(c))
	}
}

func (d *decoder) fail(p place, reason string) error { return d.failAt(d.pos, p, reason) }

func (d *decoder) failAt(at int, p place, reason string) error {
	return newError(d.out, at, p.String(), reason)
}
