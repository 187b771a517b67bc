package http

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"unicode/utf8"
)

// FuzzPieces: what is written in pieces is what package json and package base64 read.
func FuzzPieces(f *testing.F) {
	f.Add([]byte("plain"), uint8(16))
	f.Add([]byte("\"\\\n\r\t\x00\x1f\x7fä\u2028😀0123456789abcdef\""), uint8(17))
	f.Add(bytes.Repeat([]byte("\x01"), 100), uint8(20))
	f.Fuzz(func(t *testing.T, data []byte, size uint8) {
		var out bytes.Buffer
		w := &pieces{to: &out, piece: make([]byte, 0, max(16, int(size)))}
		w.base64(data)
		if err := w.flush(); err != nil {
			t.Fatal(err)
		}
		if got, err := base64.StdEncoding.DecodeString(out.String()); err != nil || !bytes.Equal(got, data) {
			t.Errorf("base64: got %q, %v, want %q", got, err, data)
		}
		if !utf8.Valid(data) {
			return
		}
		out.Reset()
		w.quote(data)
		w.flush()
		var got string
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got != string(data) {
			t.Errorf("%q: got %q, %v, want %q", out.Bytes(), got, err, data)
		}
	})
}

// TestPiecesFail: after an error nothing is written any more.
func TestPiecesFail(t *testing.T) {
	t.Parallel()
	broken, writes := errors.New("broken"), 0
	w := &pieces{to: writer(func([]byte) (int, error) { writes++; return 0, broken }), piece: make([]byte, 0, 16)}
	w.quote(make([]byte, 1000))
	if err := w.flush(); err != broken || writes != 1 {
		t.Errorf("got %v after %d writes, want 1", err, writes)
	}
}

func BenchmarkQuote(b *testing.B) {
	text := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	w := &pieces{to: io.Discard, piece: make([]byte, 0, piece)}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		w.quote(text)
	}
}
