package contract

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// EndOfFields returns the length of the header block that b begins with, the empty line behind it
// included, or 0 if b doesn't hold all of it. Lines end in LF or CRLF. What is before from has been
// looked at.
func EndOfFields(b []byte, from int) int {
	for i := from; i < len(b); i++ {
		end := bytes.IndexByte(b[i:], '\n')
		if end < 0 {
			return 0
		}
		i += end
		before := bytes.TrimSuffix(b[:i], []byte("\r"))
		if len(before) == 0 || before[len(before)-1] == '\n' {
			return i + 1
		}
	}
	return 0
}

// DecodeCGI parses the header block that a CGI program answers with (RFC 3875, section 6). The
// Header of the result keeps a valid Content-Length, and what it says of the body's type:
//
//   - Content-Type has a value: a body follows, perhaps an empty one.
//   - It is there but has none: what follows is not for the client. This is a redirect.
//   - It is missing: there must be no body.
//
// With local not empty the answer is that to a GET request of that path and query instead
// (section 6.2.2), and the result is nil. Errors are *DecodeError.
func DecodeCGI(block []byte) (response *Response, local string, err error) {
	d := fieldDecoder{out: block, header: make(http.Header)}
	if err := d.fields(); err != nil {
		return nil, "", err
	}
	_, typed := d.header["Content-Type"]
	location, located := d.header["Location"]
	status, err := d.status()
	switch {
	case err != nil:
		return nil, "", err
	case status == 0 && !typed && !located:
		return nil, "", d.fail(0, "", "a CGI response has one of the fields Content-Type, Location and Status")
	case status == 0 && len(d.header) == 1 && located && isLocal(location[0]):
		if _, err := url.ParseRequestURI(location[0]); err != nil {
			return nil, "", d.fail(d.at["Location"], "Location", "not a path with or without a query")
		}
		return nil, location[0], nil
	case status == 0 && located:
		status = http.StatusFound
	case status == 0:
		status = http.StatusOK
	}
	if located && !typed {
		d.header["Content-Type"] = nil
		delete(d.header, "Content-Length")
	}
	return d.response(status), "", nil
}

func (d *fieldDecoder) response(status int) *Response {
	if noBody(status) {
		delete(d.header, "Content-Length")
	}
	return &Response{Status: status, Header: d.header}
}

// isLocal tells whether a Location is for the server itself.
func isLocal(location string) bool {
	return strings.HasPrefix(location, "/") && !strings.HasPrefix(location, "//")
}

// DecodeNPH parses what a CGI program answers with that talks to the client itself, as those do whose
// names begin with nph- (RFC 3875, section 5): a status line and fields. Errors are *DecodeError.
func DecodeNPH(block []byte) (*Response, error) {
	line, rest, _ := bytes.Cut(block, []byte("\n"))
	d := fieldDecoder{out: block, pos: len(block) - len(rest), header: make(http.Header)}
	proto, status, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\r")), []byte(" "))
	if _, _, ok := http.ParseHTTPVersion(string(proto)); !ok {
		return nil, d.fail(0, "", "expected a status line such as HTTP/1.1 200 OK")
	}
	code, reason := parseStatus(string(status))
	if reason != "" {
		return nil, d.fail(min(len(proto)+1, len(line)), "", reason)
	}
	if err := d.fields(); err != nil {
		return nil, err
	}
	if _, ok := d.header["Status"]; ok {
		return nil, d.fail(d.at["Status"], "Status", "the status is in the first line")
	}
	if _, ok := d.header["Content-Type"]; !ok {
		d.header["Content-Type"] = []string{"application/octet-stream"} // what such a response means in HTTP
	}
	return d.response(code), nil
}

// Untyped is the error of a response that has a body, which begins with start, but not the
// Content-Type that such a body must have.
func Untyped(start []byte) *DecodeError {
	return newError(start, 0, "Content-Type", "is missing, and there is a body")
}

// TooShort is the error of a body that ends before the length that Content-Length has said.
func TooShort(missing int64) *DecodeError {
	return newError(nil, 0, "Content-Length", fmt.Sprintf("the body ends %d bytes before it", missing))
}

// fieldDecoder reads the lines of a header block.
type fieldDecoder struct {
	out    []byte
	pos    int // of the next line
	header http.Header
	at     map[string]int // where those fields stand that may have only one value
	lines  int
	size   int // bytes of names and values so far
}

// single are the fields that have one value.
func single(name string) bool {
	switch name {
	case "Status", "Content-Type", "Location", "Content-Length":
		return true
	}
	return false
}

// fields reads all lines to the empty one, and keeps the fields that are for the client, and
// Status.
func (d *fieldDecoder) fields() error {
	d.at = make(map[string]int, 4)
	for {
		line, _, ended := bytes.Cut(d.out[d.pos:], []byte("\n"))
		if !ended {
			return d.unended()
		}
		start := d.pos
		d.pos += len(line) + 1
		if line = bytes.TrimSuffix(line, []byte("\r")); len(line) == 0 {
			return d.settle()
		}
		if err := d.field(line, start); err != nil {
			return err
		}
	}
}

// unended is the error of a block without an empty line at its end.
func (d *fieldDecoder) unended() error {
	if len(bytes.TrimSpace(d.out)) == 0 {
		err := newError(d.out, 0, "", ErrEmpty.Error())
		err.cause = ErrEmpty
		return err
	}
	return d.fail(len(d.out), "", "the output ends inside the header fields; an empty line ends them")
}

// field reads a line that begins at start.
func (d *fieldDecoder) field(line []byte, start int) error {
	if isBlank(line[0]) {
		return d.fail(start, "", "a line must not begin with white space: fields can't be continued")
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(name) {
		return d.fail(start, "", "expected a field: a name, a colon and a value")
	}
	key := http.CanonicalHeaderKey(string(name))
	value = bytes.Trim(value, " \t")
	if i, reason := badInValue(value); i >= 0 {
		return d.fail(start, key, reason)
	}
	d.lines++
	if d.size += len(name) + len(value); d.lines > maxFieldLines || d.size > maxFieldBytes {
		return d.fail(start, "", fmt.Sprintf("more than %d fields or 1 MiB of them", maxFieldLines))
	}
	if single(key) {
		if _, twice := d.header[key]; twice {
			return d.fail(start, key, "the second field of this name")
		}
		if len(value) == 0 {
			return d.fail(start, key, "must not be empty")
		}
		d.at[key] = start
	}
	if strings.HasPrefix(key, "X-Cgi-") {
		return nil // section 6.3.5: for the server, and we have none
	}
	d.header[key] = append(d.header[key], string(value))
	return nil
}

// settle removes what is the server's to say.
func (d *fieldDecoder) settle() error {
	if _, ok := d.header["Transfer-Encoding"]; ok {
		return d.fail(0, "Transfer-Encoding", "how the body is transferred is the server's to say")
	}
	drop := named(d.header)
	for name := range d.header {
		if hopByHop(name) || drop[name] {
			delete(d.header, name)
		}
	}
	length, ok := d.header["Content-Length"]
	if !ok {
		return nil
	}
	n, err := strconv.ParseUint(length[0], 10, 63)
	if err != nil {
		return d.fail(d.at["Content-Length"], "Content-Length", "not a number of bytes")
	}
	d.header["Content-Length"] = []string{strconv.FormatUint(n, 10)}
	return nil
}

// status takes the Status field out of the header, 0 if there is none.
func (d *fieldDecoder) status() (int, error) {
	value, ok := d.header["Status"]
	if !ok {
		return 0, nil
	}
	delete(d.header, "Status")
	code, reason := parseStatus(value[0])
	if reason != "" {
		return 0, d.fail(d.at["Status"], "Status", reason)
	}
	return code, nil
}

// parseStatus reads three digits and what may follow them. reason says what is wrong.
func parseStatus(s string) (code int, reason string) {
	digits, _, _ := strings.Cut(s, " ")
	code, err := strconv.Atoi(digits)
	if err != nil || len(digits) != 3 || code < 200 || code > 599 {
		return 0, "the status must be three digits, from 200 to 599, and perhaps its meaning behind a space"
	}
	return code, ""
}

func (d *fieldDecoder) fail(at int, member, reason string) error {
	if len(member) > maxExcerpt {
		member = member[:maxExcerpt] + "..."
	}
	return newError(d.out, at, member, reason)
}
