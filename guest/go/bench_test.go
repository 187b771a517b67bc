package gojinn

import (
	"io"
	"net/http"
	"testing"
)

const benchRequest = `{"id":"7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3","method":"POST","uri":"/contact-go","original_uri":"/contact-go","scheme":"http","host":"127.0.0.1:38111","proto":"HTTP/1.1","path":"/contact-go","query":{},"remote_addr":"127.0.0.1","headers":{"Content-Length":["109"],"Content-Type":["application/json"]},"body":"{\"email\":\"ada@example.com\",\"name\":\"Ada\",\"message\":\"Is this machine for hire? I have some numbers to crunch.\"}"}`

// What a request costs but for the handler, when all that is made once is there.
func BenchmarkAnswer(b *testing.B) {
	c := newCall(io.Discard)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		io.Copy(w, r.Body)
	})
	write := func([]byte) error { return nil }
	for b.Loop() {
		if err := c.answer(append(c.text[:0], benchRequest...), handler, write); err != nil {
			b.Fatal(err)
		}
		c.reset()
	}
}

// What taking a request object apart costs.
func BenchmarkRead(b *testing.B) {
	c := newCall(io.Discard)
	b.SetBytes(int64(len(benchRequest)))
	for b.Loop() {
		if err := c.in.read(append(c.text[:0], benchRequest...)); err != nil {
			b.Fatal(err)
		}
		clear(c.in.header)
		c.in = input{header: c.in.header, values: c.in.values[:0]}
	}
}
