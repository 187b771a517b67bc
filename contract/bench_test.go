package contract

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"testing"
)

// A benchBody is a kind of body in one size.
type benchBody struct {
	name string
	body []byte
}

func benchBodies() []benchBody {
	bodies := []benchBody{{"small", []byte(`{"email":"a@b.c","message":"hi"}`)}}
	for _, size := range []struct {
		name string
		n    int
	}{{"64KB", 64 << 10}, {"1MB", 1 << 20}} {
		random := make([]byte, size.n)
		for i := range random {
			random[i] = byte(rand.Uint32())
		}
		bodies = append(bodies,
			benchBody{"text/" + size.name, filled(size.n, "The quick brown fox jumps over the lazy dog. ")},
			benchBody{"lines/" + size.name, filled(size.n, "A line of a log file, or of source code\n\t")},
			benchBody{"json/" + size.name, append(append([]byte{'['}, bytes.TrimRight(filled(size.n, `{"id":17,"name":"value"},`), `,{"id:17nameval`)...), ']')},
			benchBody{"unicode/" + size.name, filled(size.n, "Falsches Üben von Xylophonmusik quält jeden größeren Zwerg. „…“ ")},
			benchBody{"binary/" + size.name, random},
		)
	}
	return bodies
}

// filled repeats s up to about n bytes, never cutting it.
func filled(n int, s string) []byte { return []byte(strings.Repeat(s, n/len(s))) }

func BenchmarkAppendRequest(b *testing.B) {
	r, meta := typicalRequest()
	for _, body := range benchBodies() {
		b.Run(body.name, func(b *testing.B) {
			var dst []byte
			b.SetBytes(int64(len(body.body)))
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendRequest(dst[:0], r, meta, body.body)
			}
		})
	}
}

func BenchmarkDecodeResponse(b *testing.B) {
	for _, body := range benchBodies() {
		member := `"body":` + quoted(string(body.body))
		if strings.HasPrefix(body.name, "binary") {
			member = fmt.Sprintf(`"body_base64":%q`, base64.StdEncoding.EncodeToString(body.body))
		}
		out := []byte(`{"status":200,"headers":{"Content-Type":["application/json"],"Set-Cookie":["a=b; Path=/","c=d"],"X-One":"a"},` + member + `}`)
		b.Run(body.name, func(b *testing.B) {
			b.SetBytes(int64(len(body.body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeResponse(out); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What finding out the type of a body costs, when the function does not say.
func BenchmarkIsJSON(b *testing.B) {
	for _, body := range benchBodies() {
		b.Run(body.name, func(b *testing.B) {
			b.SetBytes(int64(len(body.body)))
			b.ReportAllocs()
			for b.Loop() {
				isJSON(body.body)
			}
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	r, err := DecodeResponse([]byte(`{"headers":{"Set-Cookie":["a=b","c=d"]},"body":"{\"a\":1}"}`))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Write(httptest.NewRecorder(), "GET"); err != nil {
			b.Fatal(err)
		}
	}
}
