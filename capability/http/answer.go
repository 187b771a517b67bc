package http

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/gojinn/gojinn/engine/vfs"
)

// piece is how much of an answer is written at once.
const piece = 64 << 10

// errTooLarge is a body over max_response.
var errTooLarge = errors.New("the body of the answer is larger than max_response")

// whole reads the body and writes the answer as one JSON object.
func (r *rule) whole(ctx context.Context, req *request, response *http.Response, answer io.Writer, held *held) error {
	body, err := r.readAll(ctx, req, response, held)
	if err != nil {
		return err
	}
	if err := held.reserve(piece); err != nil {
		return err
	}
	w := &pieces{to: answer, piece: make([]byte, 0, min(piece, 1<<10+len(body)+len(body)/4))}
	writeHead(w, response)
	if utf8.Valid(body) {
		w.text(`,"body":`)
		w.quote(body)
	} else {
		w.text(`,"body_base64":"`)
		w.base64(body)
		w.text(`"`)
	}
	w.text("}\n")
	return w.flush()
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
			held.release(int64(cap(body)))
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

// stream writes the head of the answer as one line, and the body behind it as it comes.
func (r *rule) stream(ctx context.Context, req *request, response *http.Response, answer io.Writer, held *held) error {
	if err := held.reserve(piece); err != nil {
		return err
	}
	buffer := make([]byte, piece)
	w := &pieces{to: answer, piece: buffer[:0]}
	writeHead(w, response)
	w.text("}\n")
	if err := w.flush(); err != nil {
		return late(err)
	}
	left := r.maxResponse
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

// writeHead writes the beginning of the answer, up to where a body may be added.
func writeHead(w *pieces, response *http.Response) {
	w.text(`{"status":`)
	w.text(strconv.Itoa(response.StatusCode))
	w.text(`,"headers":{`)
	length := response.Header["Content-Length"]
	dropFields(response.Header)
	if length != nil {
		response.Header["Content-Length"] = length // of a HEAD, or of what is streamed
	}
	for i, name := range slices.Sorted(maps.Keys(response.Header)) {
		if i > 0 {
			w.text(",")
		}
		w.quote([]byte(name))
		w.text(":[")
		for i, value := range response.Header[name] {
			if i > 0 {
				w.text(",")
			}
			w.quote(latin1(value))
		}
		w.text("]")
	}
	w.text("}")
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

// pieces writes an answer in pieces, each of which waits for the guest.
type pieces struct {
	to    io.Writer
	piece []byte // the one being made; its capacity is what it may have, at least 16
	err   error  // of the first write that failed; the rest goes nowhere
}

func (w *pieces) flush() error {
	if w.err == nil && len(w.piece) > 0 {
		_, w.err = w.to.Write(w.piece)
	}
	w.piece = w.piece[:0]
	return w.err
}

// room makes sure that n bytes can be added, at most 16, and returns how many can.
func (w *pieces) room(n int) int {
	if cap(w.piece)-len(w.piece) < n {
		w.flush()
	}
	return cap(w.piece) - len(w.piece)
}

func (w *pieces) text(text string) {
	for len(text) > 0 {
		n := min(len(text), w.room(1))
		w.piece, text = append(w.piece, text[:n]...), text[n:]
	}
}

func (w *pieces) base64(data []byte) {
	for len(data) > 0 {
		n := min(len(data), w.room(4)/4*3)
		w.piece, data = base64.StdEncoding.AppendEncode(w.piece, data[:n]), data[n:]
	}
}

// quote writes text, which is UTF-8, as a JSON string.
func (w *pieces) quote(text []byte) {
	w.text(`"`)
	for len(text) > 0 {
		n := min(len(text), w.room(6))
		run := plain(text[:n])
		w.piece, text = append(w.piece, text[:run]...), text[run:]
		if run < n {
			w.room(6)
			w.piece, text = appendEscaped(w.piece, text[0]), text[1:]
		}
	}
	w.text(`"`)
}

// plain is how many bytes of text stand for themselves in a JSON string (RFC 8259, section 7).
func plain(text []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; len(text)-i >= 8; i += 8 { // eight at a time
		v := binary.LittleEndian.Uint64(text[i:])
		quote, backslash := v^ones*'"', v^ones*'\\'
		if ((v-ones*' ')&^v|(quote-ones)&^quote|(backslash-ones)&^backslash)&highs != 0 {
			break
		}
	}
	for i < len(text) && text[i] >= ' ' && text[i] != '"' && text[i] != '\\' {
		i++
	}
	return i
}

func appendEscaped(to []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(to, '\\', c)
	case '\n':
		return append(to, `\n`...)
	case '\r':
		return append(to, `\r`...)
	case '\t':
		return append(to, `\t`...)
	}
	return append(to, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}
