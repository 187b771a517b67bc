package contract

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
)

func TestWriteOverEarlierFields(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, out, method string
		earlier, want     http.Header
	}{
		{"others stay", `{"headers":{"A":"1"}}`, "GET",
			http.Header{"Server": {"Caddy"}},
			http.Header{"Server": {"Caddy"}, "A": {"1"}, "Content-Length": {"0"}}},
		{"the function's replace", `{"headers":{"Server":"f"}}`, "GET",
			http.Header{"Server": {"Caddy"}},
			http.Header{"Server": {"f"}, "Content-Length": {"0"}}},
		{"cookies and Vary are added", `{"headers":{"Set-Cookie":["b=1"],"Vary":"Accept"}}`, "GET",
			http.Header{"Set-Cookie": {"a=1"}, "Vary": {"Origin"}},
			http.Header{"Set-Cookie": {"a=1", "b=1"}, "Vary": {"Origin", "Accept"}, "Content-Length": {"0"}}},
		{"a type set for the route stays", `{"body":"<p>"}`, "GET",
			http.Header{"Content-Type": {"text/html"}},
			http.Header{"Content-Type": {"text/html"}, "Content-Length": {"3"}}},
		{"a length set before is corrected", `{"body":"a"}`, "GET",
			http.Header{"Content-Length": {"9"}},
			http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "Content-Length": {"1"}}},
		{"a length set before goes with 204", `{"status":204}`, "GET",
			http.Header{"Content-Length": {"9"}}, http.Header{}},
		{"a length set before goes with an empty HEAD", `{}`, "HEAD",
			http.Header{"Content-Length": {"9"}}, http.Header{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, err := DecodeResponse([]byte(test.out))
			if err != nil {
				t.Fatal(err)
			}
			w := httptest.NewRecorder()
			for name, values := range test.earlier {
				w.Header()[name] = values
			}
			if err := r.Write(w, test.method); err != nil {
				t.Fatal(err)
			}
			if got := w.Result().Header; !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

// The server's net/http agrees with what Write says: the answer arrives whole
// and the connection is kept.
func TestWriteThroughServer(t *testing.T) {
	t.Parallel()
	outs := []string{
		`{}`, `{"body":"hello"}`, `{"status":204,"body":"a"}`, `{"status":304,"body":"a"}`, `{"status":500,"body":"oh"}`,
		`{"body":` + quoted(strings.Repeat("x", 100_000)) + `}`,
	}
	next := make(chan string, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		response, err := DecodeResponse([]byte(<-next))
		if err == nil {
			err = response.Write(w, r.Method)
		}
		if err != nil {
			t.Error(err)
		}
	}))
	defer server.Close()
	for _, method := range []string{"GET", "HEAD", "POST"} {
		for _, out := range outs {
			next <- out
			request, err := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := server.Client().Do(request)
			if err != nil {
				t.Fatalf("%s %.40s: %v", method, out, err)
			}
			want, _ := DecodeResponse([]byte(out))
			if response.StatusCode != want.Status {
				t.Errorf("%s %.40s: status %d, want %d", method, out, response.StatusCode, want.Status)
			}
			length := int64(len(want.Body))
			known := want.Status != 204 && want.Status != 304 && (method != "HEAD" || length > 0)
			if known && response.ContentLength != length {
				t.Errorf("%s %.40s: length %d, want %d", method, out, response.ContentLength, length)
			}
			if err := response.Body.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

type brokenWriter struct{ httptest.ResponseRecorder }

var errBroken = errors.New("broken pipe")

func (*brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

func TestWriteReportsTheWriter(t *testing.T) {
	t.Parallel()
	r := &Response{Status: 200, Body: []byte("a")}
	if err := r.Write(new(brokenWriter), "GET"); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want %v", err, errBroken)
	}
}
