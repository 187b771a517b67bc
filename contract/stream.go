package contract

import (
	"bytes"
	"fmt"
	"net/http"
)

// AppendHead appends to dst line 1 of what a function reads by the contract stream, as
// docs/contract.md describes it, its line end included, and returns the extended slice: the
// object of [AppendRequest] without a body. r.URL must not be nil.
func AppendHead(dst []byte, r *http.Request, meta Meta) []byte {
	return append(appendRequest(dst, r, meta, 0), "}\n"...)
}

// EndOfLine returns the length of the first line of b, its end included, or 0 if b has no whole
// line. Nothing of b before from is looked at. It finds the end of a head in the contract stream.
func EndOfLine(b []byte, from int) int {
	if i := bytes.IndexByte(b[from:], '\n'); i >= 0 {
		return from + i + 1
	}
	return 0
}

// DecodeHead parses line 1 of what a function writes by the contract stream, with or without its
// line end: a response object that has no body. The Body of the result is nil. Errors are
// *DecodeError.
func DecodeHead(line []byte) (*Response, error) {
	d := decoder{out: line, head: true}
	return d.response()
}

// TooLong is the error of a head that is longer than limit, of which start is the beginning.
func TooLong(start []byte, limit int) *DecodeError {
	return newError(start, 0, "", fmt.Sprintf("the head of the response is longer than %d bytes, or has no end", limit))
}
