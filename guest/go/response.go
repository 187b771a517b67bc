package gojinn

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A response is the [http.ResponseWriter] of a request, and what has been
// written to it.
type response struct {
	head   bool // the request's method is HEAD
	header http.Header
	status int    // 0 until the header is written
	object []byte // the response object up to and with the last field of headers
	fields int    // how many of them there are
	sniff  bool   // Content-Type is still to be found out
	body   []byte
	length int64 // what Content-Length says; -1: nothing
	log    io.Writer

	stream func([]byte) error // writes to the client as it comes; nil: the body is held until it is complete
	begun  bool               // the header has been written by it
	sent   int64              // bytes of the body that have
}

func (w *response) Header() http.Header { return w.header }

// WriteHeader takes the header fields as they are now; later changes have no
// effect, as with [http.Server]. An informational status is passed over: the
// contract has none.
func (w *response) WriteHeader(status int) {
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", status))
	}
	if w.status != 0 {
		_, file, line, _ := runtime.Caller(1)
		fmt.Fprintf(w.log, "http: superfluous response.WriteHeader call at %s:%d\n", file, line)
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		return
	}
	w.status, w.length = status, -1
	w.object = append(w.object, `{"status":`...)
	w.object = strconv.AppendInt(w.object, int64(status), 10)
	w.object = append(w.object, `,"headers":{`...)
	// Many responses have this one field, and to visit a map is work.
	contentType, typed := w.header["Content-Type"]
	if typed {
		w.field("Content-Type", contentType)
	}
	if w.sniff = !typed; len(w.header) > w.fields {
		w.otherFields()
	}
}

// otherFields appends all header fields but Content-Type to the response object.
func (w *response) otherFields() {
	object, fields, header := w.object, w.fields, w.header
	if !w.tryFields(header) {
		w.object, w.fields, header = object, fields, canonical(header)
		w.tryFields(header)
	}
	if header["Content-Encoding"] != nil {
		w.sniff = false
	}
	if lengths := header["Content-Length"]; len(lengths) > 0 {
		if n, err := strconv.ParseUint(lengths[0], 10, 63); err == nil {
			w.length = int64(n)
			w.body = slices.Grow(w.body, int(min(n, 1<<20)))
		}
	}
}

// tryFields is false if a name is not in its canonical form.
func (w *response) tryFields(header http.Header) bool {
	for name, values := range header {
		switch {
		case !isCanonical(name):
			return false
		case name != "Content-Type":
			w.field(name, values)
		case w.sniff: // it was there under a name like content-type
			w.sniff = false
			w.field(name, values)
		}
	}
	return true
}

// field appends a header field to the response object.
func (w *response) field(name string, values []string) {
	if w.fields++; w.fields > 1 {
		w.object = append(w.object, ',')
	}
	w.object = append(append(w.object, '"'), name...)
	w.object = append(w.object, '"', ':')
	if len(values) == 1 {
		w.object = appendString(w.object, fieldValue(values[0]))
		return
	}
	w.object = append(w.object, '[')
	for i, value := range values {
		if i > 0 {
			w.object = append(w.object, ',')
		}
		w.object = appendString(w.object, fieldValue(value))
	}
	w.object = append(w.object, ']')
}

// canonical returns h with every name in its canonical form, for handlers that
// go around the methods of h: names that differ only in their capitals would be
// two fields of one name. Names that no field can have are left out, as [http.Server]
// does.
func canonical(h http.Header) http.Header {
	c := make(http.Header, len(h))
	for name, values := range h {
		if name = http.CanonicalHeaderKey(name); isCanonical(name) {
			c[name] = append(c[name], values...)
		}
	}
	return c
}

// isCanonical tells whether name can name a field (RFC 9110, section 5.1) and
// has its capitals where they are by custom.
func isCanonical(name string) bool {
	begin := true
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z':
			if begin {
				return false
			}
		case 'A' <= c && c <= 'Z':
			if !begin {
				return false
			}
		case c == '-', '0' <= c && c <= '9':
		case strings.IndexByte("!#$%&'*+.^_`|~", c) < 0:
			return false
		}
		begin = c == '-'
	}
	return name != ""
}

// fieldValue returns a value without what a field can't hold: white space around it
// goes, and a control character becomes a space.
func fieldValue(v string) string {
	clean := v == "" || v[0] != ' ' && v[len(v)-1] != ' '
	for _, c := range []byte(v) {
		if c < ' ' || c == 0x7f {
			clean = false
		}
	}
	if clean {
		return v
	}
	v = strings.Map(func(r rune) rune {
		if isControl(r) && r != '\t' {
			return ' '
		}
		return r
	}, v)
	return textproto.TrimString(v)
}

// begin writes the header, if it has not been written, for n bytes of the body.
func (w *response) begin(n int) error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case n == 0:
		return nil
	case w.status == http.StatusNoContent || w.status == http.StatusNotModified:
		return http.ErrBodyNotAllowed
	case w.length >= 0 && int64(n) > w.length-w.sent-int64(len(w.body)) && !w.head:
		return http.ErrContentLength
	}
	return nil
}

func (w *response) Write(p []byte) (int, error) {
	if err := w.begin(len(p)); err != nil {
		return 0, err
	}
	w.body = append(w.body, p...)
	return len(p), w.full()
}

// WriteString saves [io.WriteString] a copy.
func (w *response) WriteString(s string) (int, error) { return w.Write(bytesOf(s)) }

// ReadFrom saves [io.Copy] its buffer.
func (w *response) ReadFrom(r io.Reader) (read int64, err error) {
	for {
		least := bytes.MinRead
		if w.stream != nil {
			least = streamPiece
		}
		w.body = slices.Grow(w.body, least)
		room := w.body[len(w.body):cap(w.body)]
		n, err := r.Read(room)
		if n > 0 {
			if err := w.begin(n); err != nil {
				return read, err
			}
			w.body = append(w.body, room[:n]...) // mostly onto itself
			read += int64(n)
			if err := w.full(); err != nil {
				return read, err
			}
		}
		switch err {
		case nil:
		case io.EOF:
			return read, nil
		default:
			return read, err
		}
	}
}

// Flush sends what has been written, if the function's contract is stream. With the contract json
// it writes the header, and the client sees nothing of the response before it is complete.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for [http.ResponseController].
func (w *response) FlushError() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.stream == nil {
		return nil
	}
	return w.send()
}

// EnableFullDuplex does nothing: a handler may always go on reading the request when it has
// begun to answer.
func (w *response) EnableFullDuplex() error { return nil }

// streamPiece is how much of a streamed response is sent at once, unless it is flushed.
const streamPiece = 32 << 10

// full sends what there is of a streamed response if it is enough.
func (w *response) full() error {
	if w.stream == nil || len(w.body) < streamPiece {
		return nil
	}
	return w.send()
}

// send sends what there is of a streamed response, its header first.
func (w *response) send() error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	body := w.body
	if w.head {
		body = nil
	}
	if !w.begun {
		w.begun = true
		if w.sniff && len(w.body) > 0 {
			w.field("Content-Type", []string{http.DetectContentType(w.body)})
		}
		w.object = append(w.object, "}}\n"...)
		if err := w.stream(w.object); err != nil {
			return err
		}
	}
	w.sent += int64(len(w.body))
	w.body = w.body[:0]
	if len(body) == 0 {
		return nil
	}
	return w.stream(body)
}

const (
	// outputPiece is how much of a body is encoded at a time: a multiple of
	// three, for base64.
	outputPiece = 24 << 10
	// outputFull is from which size on the output is written, rather than more
	// encoded.
	outputFull = 32 << 10
)

// finish writes the rest of the response object, in pieces of a bounded size.
func (w *response) finish(write func([]byte) error) error {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.sniff && len(w.body) > 0 {
		w.field("Content-Type", []string{http.DetectContentType(w.body)})
	}
	text := utf8.Valid(w.body)
	w.object = append(w.object, `},"body`...)
	if !text {
		w.object = append(w.object, `_base64`...)
	}
	w.object = append(w.object, `":"`...)
	for rest := w.body; len(rest) > 0; {
		if len(w.object) > outputFull {
			if err := write(w.object); err != nil {
				return err
			}
			w.object = w.object[:0]
		}
		n := min(len(rest), outputPiece)
		piece := rest[:n]
		rest = rest[n:]
		if text {
			w.object = appendText(w.object, piece)
		} else {
			w.object = base64.StdEncoding.AppendEncode(w.object, piece)
		}
	}
	w.object = append(w.object, '"', '}')
	return write(w.object)
}
