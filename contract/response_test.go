package contract

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestDecodeErrorEmpty(t *testing.T) {
	t.Parallel()
	for _, out := range []string{"", " ", "\n\r\t "} {
		if _, err := DecodeResponse([]byte(out)); !errors.Is(err, ErrEmpty) {
			t.Errorf("%q: got %v, want ErrEmpty", out, err)
		}
	}
	if _, err := DecodeResponse([]byte("x")); errors.Is(err, ErrEmpty) {
		t.Errorf("x: got %v, which is ErrEmpty", err)
	}
}

func TestDecodeErrorText(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("abcdefghij", 20)
	for _, test := range []struct{ name, out, want string }{
		{"at the begin", "panic: \x1b[31mé\n",
			`decoding response: expected a response object, found 'p' (byte 0, at "panic: \x1b[31m\u00e9\n")`},
		{"in the middle", `{"headers":{"Set-Cookie":["a=b","c\nd"]}}`,
			`decoding response: headers.Set-Cookie[1]: a field value must not hold a line end (byte 32, at "\"c\\nd\"]}}"; the output begins "{\"headers\":{\"Set-Cookie\":[\"a=b\",\"c\\nd\"]}}")`},
		{"at the end", `{"body":"`,
			`decoding response: body: the output ends inside a string (byte 9; the output begins "{\"body\":\"")`},
		{"long output", long,
			`decoding response: expected a response object, found 'a' (byte 0, at "` + long[:64] + `")`},
		{"long field name", `{"headers":{"` + long + `":1}}`,
			`decoding response: headers.` + long[:64] + `...: expected a string or a list of strings, found a number (byte 215, at "1}}"; the output begins "{\"headers\":{\"` + long[:51] + `")`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := DecodeResponse([]byte(test.out))
			if err == nil || err.Error() != test.want {
				t.Errorf("\n got %v\nwant %s", err, test.want)
			}
		})
	}
}

// An error keeps nothing of the output's buffer, which may be reused.
func TestDecodeErrorKeepsItsExcerpt(t *testing.T) {
	t.Parallel()
	out := []byte(`{"status":42}`)
	_, err := DecodeResponse(out)
	before := err.Error()
	clear(out)
	if got := err.Error(); got != before {
		t.Errorf("got %s, want %s", got, before)
	}
}

func TestDecodeResponseLimits(t *testing.T) {
	t.Parallel()
	list := func(n int, value string) string {
		return strings.TrimSuffix(strings.Repeat(`"`+value+`",`, n), ",")
	}
	fields := func(n int) string {
		var s strings.Builder
		for i := range n {
			fmt.Fprintf(&s, `,"X-%d":""`, i)
		}
		return strings.TrimPrefix(s.String(), ",")
	}
	for _, test := range []struct {
		name, headers, want string
	}{
		{"as many values as there may be", `"A":[` + list(maxFieldLines, "") + `]`, ""},
		{"one value more", `"A":[` + list(maxFieldLines+1, "") + `]`, "more than 4096 field values"},
		{"as many fields as there may be", fields(maxFieldLines), ""},
		{"one field more", fields(maxFieldLines + 1), "more than 4096 field values"},
		{"as many bytes as there may be", `"A":"` + strings.Repeat("a", maxFieldBytes-1) + `"`, ""},
		{"one byte more", `"A":"` + strings.Repeat("a", maxFieldBytes) + `"`, "1 MiB of fields"},
		{"a name too long", `"` + strings.Repeat("a", maxFieldBytes+1) + `":[]`, "1 MiB of fields"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := DecodeResponse([]byte(`{"headers":{` + test.headers + `}}`))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// Hostile nesting meets no recursion: it is refused at its second bracket.
func TestDecodeResponseNesting(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", `{"status":`, `{"headers":`, `{"headers":{"A":`, `{"body":`, `{"x":`} {
		for _, bracket := range []string{"[", `{"a":`} {
			_, err := DecodeResponse([]byte(prefix + strings.Repeat(bracket, 1_000_000)))
			var bad *DecodeError
			if !errors.As(err, &bad) || bad.Offset > int64(len(prefix)+len(bracket)) {
				t.Errorf("%s%s…: got %v", prefix, bracket, err)
			}
		}
	}
}

// Every byte value survives at every place of the scanner's words, both ways.
func TestBodiesAreExact(t *testing.T) {
	t.Parallel()
	for before := range 17 {
		for c := range 256 {
			body := strings.Repeat("x", before) + string([]byte{byte(c)}) + "yz"
			got := see(t, AppendRequest(nil, request("", nil), Meta{}, []byte(body)))
			switch {
			case (got.Body != nil) == (got.BodyBase64 != nil):
				t.Fatalf("%q: want body or body_base64", body)
			case got.Body != nil && *got.Body != body, got.BodyBase64 != nil && string(*got.BodyBase64) != body:
				t.Fatalf("%q: the function sees another body", body)
			case got.Body != nil && c >= 0x80:
				t.Fatalf("%q: is not UTF-8 but came as text", body)
			}
			testResponseBody(t, body, fmt.Sprintf(`{"body_base64":%q}`, base64.StdEncoding.EncodeToString([]byte(body))))
			testResponseBody(t, string(rune(c))+body[:before], `{"body":`+quoted(string(rune(c))+body[:before])+`}`)
		}
	}
}

func testResponseBody(t *testing.T, want, out string) {
	t.Helper()
	r, err := DecodeResponse([]byte(out))
	if err != nil || string(r.Body) != want {
		t.Fatalf("%s: got %v, %v, want body %q", out, r, err, want)
	}
}

// quoted returns s as encoding/json writes it.
func quoted(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestIsJSON(t *testing.T) {
	t.Parallel()
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, test := range []struct {
		name, body string
		want       bool
	}{
		{"nothing", "", false},
		{"brackets of both kinds", `[{"a":[{}]},{"b":{"c":[]}},[]]`, true},
		{"as deep as we look", nested(maxNesting + 1), true}, // the innermost pair is empty and needs no place
		{"deeper", nested(maxNesting + 2), false},
		{"crossed brackets", `[{"a":[}]]`, false},
		{"a value where a name belongs", `{1:2}`, false},
		{"a name alone", `{"a"}`, false},
		{"a list in an object", `{"a":1,[2]}`, false},
		{"no comma", `[1 2]`, false},
		{"a closing bracket first", `]`, false},
		{"an open string", `"a`, false},
		{"an open literal", `tru`, false},
		{"a long literal", `truey`, false},
		{"a fraction without digits", `1.`, false},
		{"an exponent without digits", `1e+`, false},
		{"zeros", `[0,-0,0.0,0e0]`, true},
		{"many scalars", `[` + strings.Repeat(`0,`, 100_000) + `0]`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if got := isJSON([]byte(test.body)); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
