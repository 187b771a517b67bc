package gojinn

import (
	"io"
	"net/http"
	"strconv"
)

// A streamBody is the body of a request that may still be on its way.
type streamBody struct {
	rest   []byte                           // what has been read already
	open   func() func([]byte) (int, error) // for what follows
	read   func([]byte) (int, error)        // nil until something follows that is wanted
	err    error                            // its last word
	closed bool
}

func (b *streamBody) Read(p []byte) (int, error) {
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case len(b.rest) > 0:
		n := copy(p, b.rest)
		b.rest = b.rest[n:]
		return n, nil
	case b.err != nil || len(p) == 0:
		return 0, b.err
	case b.read == nil:
		b.read = b.open()
	}
	n, err := b.read(p)
	b.err = err
	return n, err
}

func (b *streamBody) Close() error {
	b.closed = true
	return nil
}

// declaredLength is what a request says of the length of its body: -1 if that is nothing.
func declaredLength(h http.Header) int64 {
	if values := h["Content-Length"]; len(values) > 0 {
		if n, err := strconv.ParseUint(values[0], 10, 63); err == nil {
			return int64(n)
		}
	}
	return -1
}

var _ io.ReadCloser = (*streamBody)(nil)
