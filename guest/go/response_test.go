package gojinn

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// answered is what a handler's response is, and what package json reads it as.
type answered struct {
	Status  int                        `json:"status"`
	Headers map[string]json.RawMessage `json:"headers"`
	Body    *string                    `json:"body"`
	Base64  []byte                     `json:"body_base64"`
}

func (a answered) body() string {
	if a.Body != nil {
		return *a.Body
	}
	return string(a.Base64)
}

// header has the fields as lists.
func (a answered) header(t testing.TB) http.Header {
	h := http.Header{}
	for name, raw := range a.Headers {
		var values []string
		if raw[0] == '"' {
			values = make([]string, 1)
			raw = append(append([]byte{'['}, raw...), ']')
		}
		if err := json.Unmarshal(raw, &values); err != nil {
			t.Fatal(err)
		}
		h[name] = values
	}
	return h
}

// respond has a handler answer a request and returns the response, the pieces in which it
// was written and the log.
func respond(t testing.TB, method string, handler http.HandlerFunc) (a answered, pieces int, log string) {
	t.Helper()
	var stderr, out bytes.Buffer
	c := newCall(&stderr)
	text := fmt.Sprintf(`{"method":%q,"uri":"/"}`, method)
	err := c.answer(append(c.text[:0], text...), handler, func(p []byte) error { pieces++; out.Write(p); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if !utf8.Valid(out.Bytes()) {
		t.Errorf("%q is not UTF-8", out.Bytes())
	}
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		t.Fatalf("%q: %v", out.Bytes(), err)
	}
	return a, pieces, stderr.String()
}

// handlers are answered as by [http.Server].
var handlers = map[string]http.HandlerFunc{
	"nothing":   func(w http.ResponseWriter, r *http.Request) {},
	"text":      func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") },
	"html":      func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<html>") },
	"in pieces": func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "<"); io.WriteString(w, "html>") },
	"json": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode("a\"\\\u2028\x00é😀")
	},
	"bytes":     func(w http.ResponseWriter, r *http.Request) { w.Write([]byte{0xff, 0, 1}) },
	"not found": http.NotFound,
	"redirect":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/b", http.StatusFound) },
	"fields": func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.Header()["x-lower"] = []string{"1"}
		w.Header()["X-Lower"] = nil
		w.Header()["bad name"] = []string{"1"}
		w.Header()["X-Line"] = []string{"a\r\nb"}
		w.Header().Set("X-Space", " a\t")
		w.WriteHeader(http.StatusTeapot)
		w.Header().Set("X-Late", "1")
	},
	"encoded": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "br")
		w.Header().Set("X", "1")
		io.WriteString(w, "x")
	},
	"no content": func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		if _, err := io.WriteString(w, "x"); err != http.ErrBodyNotAllowed {
			panic(err)
		}
	},
	"a length that is too small": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "2")
		io.WriteString(w, "ab")
		if _, err := io.WriteString(w, "c"); r.Method != "HEAD" && err != http.ErrContentLength {
			panic(err)
		}
	},
	"informational": func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusCreated)
	},
	"copied": func(w http.ResponseWriter, r *http.Request) {
		io.Copy(w, iotest.OneByteReader(strings.NewReader(strings.Repeat("x", 5000))))
	},
	"flushed": func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		w.Header().Set("X-Late", "1")
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
	},
}

func TestResponses(t *testing.T) {
	t.Parallel()
	for name, handler := range handlers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(handler)
			defer server.Close()
			client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			response, err := client.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err != nil {
				t.Fatal(err)
			}
			got, _, log := respond(t, "GET", handler)
			if got.Status != response.StatusCode || got.body() != string(body) {
				t.Errorf("got %d %q, want %d %q", got.Status, got.body(), response.StatusCode, body)
			}
			want, have := response.Header, got.header(t)
			for _, name := range []string{"Date", "Content-Length"} {
				want.Del(name)
				have.Del(name)
			}
			// A field without values is none.
			for name, values := range have {
				if len(values) == 0 {
					delete(have, name)
				}
			}
			if name == "flushed" {
				delete(want, "Transfer-Encoding")
			}
			if !reflect.DeepEqual(have, want) {
				t.Errorf("got header %v, want %v", have, want)
			}
			if log != "" {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// [http.Server] would send a second one.
func TestTypeByAnotherName(t *testing.T) {
	t.Parallel()
	a, _, _ := respond(t, "GET", func(w http.ResponseWriter, r *http.Request) {
		w.Header()["content-type"] = []string{"text/css"}
		io.WriteString(w, "x")
	})
	if got, want := a.header(t), (http.Header{"Content-Type": {"text/css"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// HEAD gets the body of GET, from which the server computes its length.
func TestHead(t *testing.T) {
	t.Parallel()
	a, _, _ := respond(t, "HEAD", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "abc") })
	if a.body() != "abc" {
		t.Errorf("got %q", a.body())
	}
}

func TestSecondHeader(t *testing.T) {
	t.Parallel()
	a, _, log := respond(t, "GET", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		w.WriteHeader(http.StatusOK)
	})
	if a.Status != http.StatusCreated || !strings.Contains(log, "superfluous") || !strings.Contains(log, "response_test.go:") {
		t.Errorf("got %d, log %q", a.Status, log)
	}
}

func TestInvalidStatus(t *testing.T) {
	t.Parallel()
	for _, status := range []int{99, 0, 1000} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d is taken", status)
				}
			}()
			(&response{}).WriteHeader(status)
		}()
	}
}

// Bodies of any size and kind arrive, in pieces of a bounded size.
func TestLargeBodies(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"x", "\x01", "é", "\xff", "a\"b\n"} {
		for _, size := range []int{1, outputPiece - 1, outputPiece, outputPiece + 1, 300_001} {
			body := strings.Repeat(unit, size/len(unit)+1)
			a, pieces, _ := respond(t, "GET", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, body) })
			if a.body() != body {
				t.Errorf("%d bytes of %q: got %d bytes", len(body), unit, len(a.body()))
			}
			if limit := len(body)/outputPiece + 2; pieces > limit {
				t.Errorf("%d bytes of %q: %d pieces, want at most %d", len(body), unit, pieces, limit)
			}
		}
	}
}

func TestReadFrom(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	a, _, _ := respond(t, "GET", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(w, io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(broken)))
		if n != 3 || err != broken {
			t.Errorf("got %d, %v", n, err)
		}
	})
	if a.body() != "abc" {
		t.Errorf("got %q", a.body())
	}
}

// What cannot be written ends the program.
func TestWriteError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	c := newCall(io.Discard)
	err := c.answer(append(c.text[:0], warmRequest...), http.HandlerFunc(warmHandler), func([]byte) error { return broken })
	if err != broken {
		t.Errorf("got %v", err)
	}
}

// After reset a call is as new: what Warm does leaves nothing behind.
func TestReset(t *testing.T) {
	t.Parallel()
	c := newCall(io.Discard)
	c.warm()
	fresh := newCall(io.Discard)
	if len(c.in.header)+len(c.out.header)+len(c.out.body)+len(c.in.values) > 0 || c.in.had != 0 || c.out.status != 0 {
		t.Errorf("got %+v", c.in)
	}
	if c.in.method != "" || c.in.Params != nil || c.request.URL != nil || c.request.PathValue("b") != "" || c.url != fresh.url || c.tls.HandshakeComplete {
		t.Errorf("got %+v", &c.request)
	}
}

func TestWarm(t *testing.T) {
	t.Parallel()
	var seen []string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		seen = append(seen, r.Method+" "+r.RequestURI+" "+string(body)+" "+RequestFrom(r.Context()).ID)
		if err != nil || r.RemoteAddr == "" {
			t.Errorf("got %v, %+v", err, r)
		}
		w.Write(body)
	})
	post, _ := http.NewRequest("POST", "/a?b", strings.NewReader("body"))
	get, _ := http.NewRequest("GET", "http://example.com/c", nil)
	Warm(handler, post, get)
	if want := []string{"POST /a?b body warm", "GET /c  warm"}; !reflect.DeepEqual(seen, want) {
		t.Errorf("got %q, want %q", seen, want)
	}
}

// Whatever a handler writes comes out of the response object again.
func FuzzResponse(f *testing.F) {
	f.Add("X-A", "b", []byte("body"), 200)
	f.Add("x-a", "b\n", []byte{0xff}, 404)
	f.Add("Content-Type", "\xe9", []byte("\u2028\x00\""), 299)
	f.Fuzz(func(t *testing.T, name, value string, body []byte, status int) {
		if status < 200 || status > 599 || status == 204 || status == 304 || len(body) > 1<<20 {
			return
		}
		a, _, _ := respond(t, "GET", func(w http.ResponseWriter, r *http.Request) {
			w.Header()[name] = []string{value}
			w.WriteHeader(status)
			w.Write(body)
		})
		if a.Status != status || strings.ToLower(name) != "content-length" && a.body() != string(body) {
			t.Errorf("got %d %q, want %d %q", a.Status, a.body(), status, body)
		}
		for name, values := range a.header(t) {
			if !isCanonical(name) || strings.ContainsAny(values[0], "\r\n\x00") {
				t.Errorf("got field %q: %q", name, values)
			}
		}
	})
}
