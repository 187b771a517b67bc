package http

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/gojinn/gojinn/engine/vfs"
)

// piece is how much of an answer is written at once.
const piece = 32 << 10

// errTooLarge is a body over max_response.
var errTooLarge = errors.New("the body of the answer is larger than max_response")

// whole reads the body and writes the answer as one JSON object.
func (r *rule) whole(ctx context.Context, req *request, response *http.Response, answer io.Writer, held *held) error {
	body, err := r.readAll(ctx, req, response, held)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(answer, min(piece, 512+len(body)+len(body)/2))
	writeHead(w, response)
	if utf8.Valid(body) {
		w.WriteString(`,"body":`)
		writeString(w, body)
	} else {
		w.WriteString(`,"body_base64":"`)
		encoder := base64.NewEncoder(base64.StdEncoding, w)
		encoder.Write(body) // w keeps its error
		encoder.Close()
		w.WriteByte('"')
	}
	w.WriteString("}\n")
	return w.Flush()
}

// readAll reads the body, up to the limit.
func (r *rule) readAll(ctx context.Context, req *request, response *http.Response, held *held) ([]byte, error) {
	// One byte more than there may be shows that there is more, or the end.
	most, room := int64(math.MaxInt64), int64(4<<10)
	if r.maxResponse >= 0 {
		most = r.maxResponse + 1
	}
	if announced := response.ContentLength; announced >= 0 && req.method != http.MethodHead {
		most = announced + 1
		room = min(most, 1<<20) // it may be a lie
	}
	var body []byte
	for {
		if room = min(room, most); len(body) == cap(body) {
			if err := held.reserve(room); err != nil {
				return nil, err
			}
			grown := append(make([]byte, 0, room), body...)
			held.give(int64(cap(body)))
			body, room = grown[:len(body):room], 2*room
		}
		n, err := response.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case r.maxResponse >= 0 && int64(len(body)) > r.maxResponse:
			return nil, &failure{"too_large", errTooLarge.Error(), nil}
		case err == io.EOF:
			return body, nil
		case err != nil:
			return nil, r.failed(ctx, req.origin, req.method, err)
		}
	}
}

// give gives back n of the bytes.
func (h *held) give(n int64) {
	h.budget.Release(n)
	h.bytes -= n
}

// stream writes the head of the answer as one line, and the body behind it as it comes.
func (r *rule) stream(ctx context.Context, req *request, response *http.Response, answer io.Writer) error {
	w := bufio.NewWriterSize(answer, 4<<10)
	writeHead(w, response)
	w.WriteString("}\n")
	if err := w.Flush(); err != nil {
		return late(err)
	}
	buffer, left := make([]byte, piece), r.maxResponse
	for {
		n, err := response.Body.Read(buffer)
		if r.maxResponse >= 0 && int64(n) > left {
			return late(errTooLarge)
		}
		left -= int64(n)
		if _, err := answer.Write(buffer[:n]); err != nil {
			return late(err)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return late(r.failed(ctx, req.origin, req.method, err))
		}
	}
}

// late makes an error number of what goes wrong when the head has been written.
func late(err error) error {
	f, ok := errors.AsType[*failure](err)
	switch {
	case errors.Is(err, errTooLarge):
		return vfs.EFBIG
	case errors.Is(err, context.DeadlineExceeded), ok && f.code == "timeout":
		return vfs.ETIMEDOUT
	case ok:
		return vfs.EIO
	}
	return vfs.ErrnoOf(err)
}

// writeFailure answers with what went wrong.
func writeFailure(answer io.Writer, f *failure) error {
	text, err := json.Marshal(struct {
		Error  string `json:"error"`
		Reason string `json:"reason"`
	}{f.code, f.reason})
	if err == nil {
		_, err = answer.Write(append(text, '\n'))
	}
	return err
}

// writeHead writes the beginning of the answer, up to where a body may be added. Errors stay in w.
func writeHead(w *bufio.Writer, response *http.Response) {
	w.WriteString(`{"status":`)
	w.WriteString(strconv.Itoa(response.StatusCode))
	w.WriteString(`,"headers":{`)
	length := response.Header["Content-Length"]
	dropFields(response.Header)
	if length != nil {
		response.Header["Content-Length"] = length // of a HEAD, or of what is streamed
	}
	names := make([]string, 0, len(response.Header))
	for name := range response.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			w.WriteByte(',')
		}
		writeString(w, []byte(name))
		w.WriteString(":[")
		for i, value := range response.Header[name] {
			if i > 0 {
				w.WriteByte(',')
			}
			writeString(w, latin1(value))
		}
		w.WriteByte(']')
	}
	w.WriteByte('}')
}

// latin1 reads what is not UTF-8 as ISO-8859-1, as the contract does.
func latin1(value string) []byte {
	if utf8.ValidString(value) {
		return []byte(value)
	}
	text := make([]byte, 0, 2*len(value))
	for i := range len(value) {
		text = utf8.AppendRune(text, rune(value[i]))
	}
	return text
}

// writeString writes text, which is UTF-8, as a JSON string.
func writeString(w *bufio.Writer, text []byte) {
	const hex = "0123456789abcdef"
	w.WriteByte('"')
	from := 0
	for i, c := range text {
		if c >= ' ' && c != '"' && c != '\\' && c != 0x7f {
			continue
		}
		w.Write(text[from:i])
		from = i + 1
		switch c {
		case '"', '\\':
			w.WriteByte('\\')
			w.WriteByte(c)
		case '\n':
			w.WriteString(`\n`)
		case '\r':
			w.WriteString(`\r`)
		case '\t':
			w.WriteString(`\t`)
		default:
			w.WriteString(`\u00`)
			w.WriteByte(hex[c>>4])
			w.WriteByte(hex[c&15])
		}
	}
	w.Write(text[from:])
	w.WriteByte('"')
}
