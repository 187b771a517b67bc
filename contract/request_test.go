package contract

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// request returns a bare request with the query and fields.
func request(query string, h http.Header) *http.Request {
	return &http.Request{Method: "GET", Proto: "HTTP/1.1", Host: "h", URL: &url.URL{RawQuery: query}, Header: h}
}

// seen is a request as a function sees it, by way of encoding/json.
type seen struct {
	ID          string              `json:"id"`
	Method      string              `json:"method"`
	URI         string              `json:"uri"`
	OriginalURI string              `json:"original_uri"`
	Scheme      string              `json:"scheme"`
	Host        string              `json:"host"`
	Proto       string              `json:"proto"`
	Path        string              `json:"path"`
	Query       map[string][]string `json:"query"`
	Route       *string             `json:"route"`
	Params      map[string]string   `json:"params"`
	RemoteAddr  string              `json:"remote_addr"`
	Traceparent *string             `json:"traceparent"`
	Headers     map[string][]string `json:"headers"`
	Body        *string             `json:"body"`
	BodyBase64  *[]byte             `json:"body_base64"`
}

func see(t *testing.T, stdin []byte) (s seen) {
	t.Helper()
	if !utf8.Valid(stdin) {
		t.Fatalf("not UTF-8: %q", stdin)
	}
	d := json.NewDecoder(strings.NewReader(string(stdin)))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatalf("%v: %q", err, stdin)
	}
	if d.More() {
		t.Fatalf("more than one value: %q", stdin)
	}
	return s
}

func TestAppendRequestAppends(t *testing.T) {
	t.Parallel()
	got := AppendRequest([]byte("before "), request("", nil), Meta{}, nil)
	if want := `before {"id":"",`; !strings.HasPrefix(string(got), want) {
		t.Errorf("got %q, want it to begin with %q", got, want)
	}
}

// A request with more fields than anyone sends is still exact.
func TestAppendRequestManyHeaders(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	var connection []string
	for i := range 10_000 {
		h.Set(fmt.Sprintf("X-%d", i), fmt.Sprint(i))
		if i%2 == 1 {
			connection = append(connection, fmt.Sprintf("x-%d", i))
		}
	}
	h.Set("Connection", strings.Join(connection, ", "))
	got := see(t, AppendRequest(nil, request("", h), Meta{}, nil)).Headers
	if len(got) != 5_000 {
		t.Errorf("%d fields, want 5000", len(got))
	}
	for i := 0; i < 10_000; i += 2 {
		if v := got[fmt.Sprintf("X-%d", i)]; len(v) != 1 || v[0] != fmt.Sprint(i) {
			t.Fatalf("X-%d: got %q", i, v)
		}
	}
}

func TestAppendRequestManyQueryParameters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name             string
		pair             func(i int) string
		pairs            int
		names, ofTheLast int
	}{
		{"as many as are shown", func(i int) string { return fmt.Sprintf("a%d=%d", i, i) }, maxQuery, maxQuery, 1},
		{"more than are shown", func(i int) string { return fmt.Sprintf("a%d=%d", i, i) }, 5 * maxQuery, maxQuery, 1},
		{"all of one name", func(int) string { return "a" }, 5 * maxQuery, 1, maxQuery},
		{"a few names, often", func(i int) string { return fmt.Sprintf("a%d", i%10) }, maxQuery, 10, maxQuery / 10},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pairs := make([]string, test.pairs)
			for i := range pairs {
				pairs[i] = test.pair(i)
			}
			got := see(t, AppendRequest(nil, request(strings.Join(pairs, "&"), nil), Meta{}, nil)).Query
			if len(got) != test.names {
				t.Errorf("%d names, want %d", len(got), test.names)
			}
			last, _, _ := strings.Cut(pairs[min(test.pairs, maxQuery)-1], "=")
			if len(got[last]) != test.ofTheLast {
				t.Errorf("%d values of %s, want %d", len(got[last]), last, test.ofTheLast)
			}
		})
	}
}

// Fields that no client can send, since net/http refuses them, are not shown.
func TestAppendRequestOddHeaderMaps(t *testing.T) {
	t.Parallel()
	h := http.Header{"X y": {"1"}, "": {"2"}, "Z\xff": {"3"}, "Deleted": nil, "Empty": {}, "Ok": {"4"}}
	got := see(t, AppendRequest(nil, request("", h), Meta{}, nil)).Headers
	if len(got) != 1 || got["Ok"][0] != "4" {
		t.Errorf("got %q, want only Ok", got)
	}
}

// A request of the usual size costs one allocation, its buffer; the race
// detector adds some of its own.
func TestAppendRequestAllocations(t *testing.T) {
	r, meta := typicalRequest()
	body := []byte(`{"email":"a@b.c","message":"hi"}`)
	if got := testing.AllocsPerRun(100, func() { AppendRequest(nil, r, meta, body) }); got > 3 {
		t.Errorf("%.0f allocations, want about 1", got)
	}
}

func typicalRequest() (*http.Request, Meta) {
	r := request("x=1&utm_source=newsletter", http.Header{
		"Accept":          {"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"},
		"Accept-Encoding": {"gzip, deflate, br"},
		"Accept-Language": {"de,en-US;q=0.7,en;q=0.3"},
		"Connection":      {"keep-alive"},
		"Content-Length":  {"32"},
		"Content-Type":    {"application/json"},
		"Cookie":          {"session=0123456789abcdef0123456789abcdef"},
		"Origin":          {"https://example.com"},
		"Referer":         {"https://example.com/contact"},
		"User-Agent":      {"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"},
	})
	return r, Meta{
		ID: "7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3", URI: "/api/contact?x=1&utm_source=newsletter",
		OriginalURI: "/api/contact?x=1&utm_source=newsletter", Scheme: "https", Path: "/api/contact", RemoteAddr: "203.0.113.9",
	}
}
