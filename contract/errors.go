package contract

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrEmpty is what a DecodeError wraps when the function wrote nothing, or
// nothing but white space.
var ErrEmpty = errors.New("the function wrote no response")

// maxExcerpt bounds, in bytes, what a DecodeError repeats of a function's
// output.
const maxExcerpt = 64

// DecodeError says why a function's output is not a response. Reason is ours;
// Member, Excerpt and Head repeat what the function wrote and are meant for
// the log, never for a client.
type DecodeError struct {
	Offset  int64  // in bytes from the begin of the output
	Member  string // "status", "headers.Set-Cookie[1]"; "" for the object itself
	Reason  string
	Excerpt []byte // the output from Offset on, at most 64 bytes
	Head    []byte // the output from its begin, at most 64 bytes

	cause error
}

func newError(out []byte, at int, member, reason string) *DecodeError {
	return &DecodeError{
		Offset:  int64(at),
		Member:  member,
		Reason:  reason,
		Excerpt: excerpt(out[at:]),
		Head:    excerpt(out),
	}
}

// excerpt copies the first bytes of b: the output's buffer is not the error's.
func excerpt(b []byte) []byte {
	return append([]byte(nil), b[:min(len(b), maxExcerpt)]...)
}

// Error is one line of printable ASCII, of bounded length.
func (e *DecodeError) Error() string {
	var s strings.Builder
	s.WriteString("decoding response: ")
	if e.Member != "" {
		s.WriteString(e.Member + ": ")
	}
	fmt.Fprintf(&s, "%s (byte %d", e.Reason, e.Offset)
	if len(e.Excerpt) > 0 {
		s.WriteString(", at " + strconv.QuoteToASCII(string(e.Excerpt)))
	}
	if e.Offset > 0 && len(e.Head) > 0 {
		s.WriteString("; the output begins " + strconv.QuoteToASCII(string(e.Head)))
	}
	s.WriteByte(')')
	return s.String()
}

// Unwrap returns ErrEmpty for an empty output, otherwise nil.
func (e *DecodeError) Unwrap() error { return e.cause }
