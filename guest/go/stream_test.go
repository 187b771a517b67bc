package gojinn

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadObject(t *testing.T) {
	for _, test := range []struct {
		in, object, rest string
		stream           bool
	}{
		{`{"id":"1","body":""}`, `{"id":"1","body":""}`, "", false},
		{`{"id":"1","body":""}` + "\n", `{"id":"1","body":""}`, "", true},
		{"{\n \"id\": \"1\"\n}\n", "{\n \"id\": \"1\"\n}\n", "", false},
		{`{"id":"1"}` + "\n", `{"id":"1"}`, "", true},
		{`{"id":"1"}` + "\nbody\n{}\n", `{"id":"1"}`, "body\n{}\n", true},
		{`{"id":",\"body\":\"x"}` + "\nx", `{"id":",\"body\":\"x"}`, "x", true},
		{"", "", "", false},
	} {
		for name, from := range map[string]io.Reader{"at once": strings.NewReader(test.in), "byte by byte": iotest.OneByteReader(strings.NewReader(test.in))} {
			object, rest, err := readObject(make([]byte, 0, 4), from.Read)
			left, _ := io.ReadAll(from)
			if string(object) != test.object || (rest != nil) != test.stream || string(rest)+string(left) != test.rest || err != nil {
				t.Errorf("%q %s: got %q, %q and %q, %v", test.in, name, object, rest, left, err)
			}
		}
	}
	if _, _, err := readObject(nil, iotest.ErrReader(io.ErrUnexpectedEOF).Read); err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
}

// streamed has a handler answer a request of the contract stream.
func streamed(t *testing.T, method, headers, rest, body string, handler http.HandlerFunc) (writes []string) {
	t.Helper()
	c := newCall(io.Discard)
	text := fmt.Sprintf(`{"method":%q,"uri":"/","headers":{%s}}`, method, headers)
	buf := append(c.text[:0], text+"\n"+rest...)
	open := func() func([]byte) (int, error) { return iotest.OneByteReader(strings.NewReader(body)).Read }
	err := c.stream(buf[:len(text):len(text)], buf[len(text)+1:], handler, open, func(p []byte) error {
		writes = append(writes, string(p))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return writes
}

func TestStream(t *testing.T) {
	got := streamed(t, "POST", "", "begin", "ning and end", func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != -1 {
			t.Errorf("got length %d", r.ContentLength)
		}
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			t.Error(err)
		}
		w.Header().Set("X-A", "b")
		fmt.Fprint(w, "one")
		if err := control.Flush(); err != nil {
			t.Error(err)
		}
		fmt.Fprint(w, "two")
		fmt.Fprint(w, "three")
		w.(http.Flusher).Flush()
		w.(http.Flusher).Flush()
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != "beginning and end" {
			t.Errorf("got body %q, %v", body, err)
		}
		fmt.Fprint(w, "end")
	})
	want := []string{`{"status":200,"headers":{"X-A":"b","Content-Type":"text/plain; charset=utf-8"}}` + "\n", "one", "twothree", "end"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestStreamLarge(t *testing.T) {
	large := strings.Repeat("0123456789", 100_000)
	got := streamed(t, "POST", `"Content-Length":["1000000"]`, "", large, func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 1_000_000 {
			t.Errorf("got length %d", r.ContentLength)
		}
		if n, err := io.Copy(w, r.Body); n != 1_000_000 || err != nil {
			t.Errorf("got %d, %v", n, err)
		}
	})
	for _, write := range got {
		if len(write) > 4*streamPiece {
			t.Errorf("got a write of %d bytes", len(write))
		}
	}
	if body := strings.Join(got[1:], ""); body != large {
		t.Errorf("got %d bytes", len(body))
	}
}

func TestStreamOdd(t *testing.T) {
	for _, test := range []struct {
		name, method, headers string
		handler               http.HandlerFunc
		want                  string
	}{
		{"nothing", "GET", "", func(http.ResponseWriter, *http.Request) {}, `{"status":200,"headers":{}}` + "\n"},
		{"HEAD", "HEAD", "", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "x"); w.(http.Flusher).Flush() }, `{"status":200,"headers":{"Content-Type":"text/plain; charset=utf-8"}}` + "\n"},
		{"no body", "POST", `"Content-Length":["0"]`, func(w http.ResponseWriter, r *http.Request) {
			if r.Body != http.NoBody || r.ContentLength != 0 {
				t.Errorf("got %v and %d", r.Body, r.ContentLength)
			}
			w.WriteHeader(204)
		}, `{"status":204,"headers":{}}` + "\n"},
		{"Content-Length", "GET", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			fmt.Fprint(w, "ab")
			w.(http.Flusher).Flush()
			if _, err := fmt.Fprint(w, "cd"); err != http.ErrContentLength {
				t.Errorf("got %v", err)
			}
			fmt.Fprint(w, "c")
		}, `{"status":200,"headers":{"Content-Length":"3","Content-Type":"text/plain; charset=utf-8"}}` + "\nabc"},
	} {
		if got := strings.Join(streamed(t, test.method, test.headers, "", "", test.handler), ""); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
	// A line with a body is of the contract json all the same.
	for rest, want := range map[string]string{"": `{"status":200,"headers":{"Content-Type":"text/plain; charset=utf-8"},"body":"x"}`, "more": ""} {
		c := newCall(io.Discard)
		var got string
		err := c.stream([]byte(`{"method":"POST","uri":"/","body":"x"}`), []byte(rest), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		}), nil, func(p []byte) error { got += string(p); return nil })
		if got != want || (err != nil) != (want == "") {
			t.Errorf("with %q behind it: got %q, %v", rest, got, err)
		}
	}
}

// TestStreamBody: a body that was closed is not read, and its end stays its end.
func TestStreamBody(t *testing.T) {
	b := &streamBody{open: func() func([]byte) (int, error) { return bytes.NewReader([]byte("x")).Read }}
	if got, err := io.ReadAll(b); string(got) != "x" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("got %v", err)
	}
	b.Close()
	if _, err := b.Read(make([]byte, 1)); err != http.ErrBodyReadAfterClose {
		t.Errorf("got %v", err)
	}
}
