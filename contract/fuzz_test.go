package contract

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzDecodeResponse compares DecodeResponse with a slow reading of the same
// rules on top of encoding/json.
func FuzzDecodeResponse(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "vectors", "responses", "*.json"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		for _, v := range readVectors[responseVector](f, path) {
			f.Add([]byte(v.Stdout))
		}
	}
	f.Fuzz(func(t *testing.T, out []byte) {
		got, err := DecodeResponse(bytes.Clone(out))
		want, wantErr := slowDecode(out)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("%q: got error %v, want %v", out, err, wantErr)
		}
		if err != nil {
			checkDecodeError(t, out, err)
			return
		}
		if got.Status != want.Status || !bytes.Equal(got.Body, want.Body) || !reflect.DeepEqual(got.Header, want.Header) {
			t.Fatalf("%q:\n got %+v\nwant %+v", out, got, want)
		}
	})
}

// checkDecodeError checks what an error promises the log.
func checkDecodeError(t *testing.T, out []byte, err error) {
	t.Helper()
	var bad *DecodeError
	if !errors.As(err, &bad) {
		t.Fatalf("%q: %T is not a DecodeError", out, err)
	}
	if bad.Offset < 0 || bad.Offset > int64(len(out)) || bad.Reason == "" {
		t.Fatalf("%q: %+v", out, bad)
	}
	if !bytes.HasPrefix(out[bad.Offset:], bad.Excerpt) || !bytes.HasPrefix(out, bad.Head) {
		t.Fatalf("%q: %+v does not repeat the output", out, bad)
	}
	text := bad.Error()
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			t.Fatalf("%q: %q is not printable ASCII", out, text)
		}
	}
	if len(text) > 2*4*maxExcerpt+4*maxExcerpt+300 {
		t.Fatalf("%q: an error of %d bytes", out, len(text))
	}
}

// loneSurrogate finds escapes which, when complete pairs are taken away, are
// half of one. Escaped reverse solidi are taken away first.
var (
	escapedSolidus = regexp.MustCompile(`\\\\`)
	surrogatePair  = regexp.MustCompile(`(?i)\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}`)
	loneSurrogate  = regexp.MustCompile(`(?i)\\ud[89a-f][0-9a-f]{2}`)
)

var threeDigits = regexp.MustCompile(`^[2-5][0-9][0-9]$`)

// slowDecode is DecodeResponse by the book.
func slowDecode(out []byte) (*Response, error) {
	rest := surrogatePair.ReplaceAllString(escapedSolidus.ReplaceAllString(string(out), ""), "")
	if !utf8.Valid(out) || !json.Valid(out) || loneSurrogate.MatchString(rest) {
		return nil, errors.New("not JSON")
	}
	names, members, err := slowObject(out)
	if err != nil {
		return nil, err
	}
	r := &Response{Status: 200, Header: http.Header{}}
	if slices.Contains(names, "body") && slices.Contains(names, "body_base64") {
		return nil, errors.New("two bodies")
	}
	for i, name := range names {
		switch name {
		case "status":
			if !threeDigits.Match(members[i]) {
				return nil, errors.New("bad status")
			}
			err = json.Unmarshal(members[i], &r.Status)
		case "headers":
			r.Header, err = slowHeaders(members[i])
		case "body":
			var s string
			err = slowString(members[i], &s)
			r.Body = []byte(s)
		case "body_base64":
			var s string
			if err = slowString(members[i], &s); err == nil && !regexp.MustCompile(`^[A-Za-z0-9+/]*=*$`).MatchString(s) {
				err = errors.New("not the alphabet")
			}
			if err == nil {
				r.Body, err = base64.StdEncoding.Strict().DecodeString(s)
			}
		default:
			err = errors.New("unknown member")
		}
		if err != nil {
			return nil, err
		}
	}
	return r, nil
}

// slowString refuses what Unmarshal takes for a string and is none: null.
func slowString(text []byte, s *string) error {
	if text[0] != '"' {
		return errors.New("not a string")
	}
	return json.Unmarshal(text, s)
}

// slowObject returns an object's members in order; an error for a second
// member of one name.
func slowObject(text []byte) (names []string, members []json.RawMessage, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if token, err := d.Token(); err != nil || token != json.Delim('{') {
		return nil, nil, fmt.Errorf("not an object (%w)", err)
	}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var member json.RawMessage
		if err := d.Decode(&member); err != nil {
			return nil, nil, err
		}
		if slices.Contains(names, token.(string)) {
			return nil, nil, errors.New("twice")
		}
		names, members = append(names, token.(string)), append(members, member)
	}
	return names, members, nil
}

var (
	fieldName  = regexp.MustCompile("^[!#$%&'*+\\-.^_`|~0-9A-Za-z]+$")
	fieldValue = regexp.MustCompile(`^([^\x00-\x20\x7f]([^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?$`)
)

func slowHeaders(text []byte) (http.Header, error) {
	names, members, err := slowObject(text)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	lines, size := 0, 0
	for i, name := range names {
		if _, twice := h[http.CanonicalHeaderKey(name)]; twice || !fieldName.MatchString(name) {
			return nil, errors.New("bad name")
		}
		values, err := slowValues(members[i])
		if err != nil {
			return nil, err
		}
		size += len(name)
		for _, value := range values {
			lines, size = lines+1, size+len(value)
		}
		h[http.CanonicalHeaderKey(name)] = values
	}
	if lines > maxFieldLines || size > maxFieldBytes {
		return nil, errors.New("too many")
	}
	drop := []string{"Content-Length", "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade"}
	for _, name := range strings.FieldsFunc(strings.Join(h["Connection"], ","), func(r rune) bool { return strings.ContainsRune(", \t", r) }) {
		drop = append(drop, http.CanonicalHeaderKey(name))
	}
	for name, values := range h {
		if len(values) == 0 || slices.Contains(drop, name) {
			delete(h, name)
		}
	}
	return h, nil
}

func slowValues(text []byte) ([]string, error) {
	elements := []json.RawMessage{text}
	if text[0] == '[' {
		if err := json.Unmarshal(text, &elements); err != nil {
			return nil, err
		}
	}
	values := make([]string, len(elements))
	for i, element := range elements {
		if err := slowString(element, &values[i]); err != nil {
			return nil, err
		}
		if !fieldValue.MatchString(values[i]) {
			return nil, errors.New("bad value")
		}
	}
	return values, nil
}

// FuzzAppendRequest checks that the object is JSON without doubled names and
// that encoding/json reads back what went in.
func FuzzAppendRequest(f *testing.F) {
	f.Add("GET", "/a?b=c", "b=c&d=%ff&b=1&=&%", "Accept", "a\tb", "\xff\xfe", []byte("body"))
	f.Add("", "", "", "Connection", "X-Other", "", []byte{0xff})
	f.Add("POST", "/%e9", "\xff=1&%C3%BF=2;a=b&a+b=%zz", "X\xff", "\u2028\"\\\x00", "é", []byte("\u2029\x00<>&"))
	f.Fuzz(func(t *testing.T, method, uri, query, name, value, other string, body []byte) {
		r := request(query, http.Header{name: {value, other}, "X-Other": {other}})
		r.Method, r.Host, r.Proto = method, other, value
		meta := Meta{
			ID: value, URI: uri, OriginalURI: other, Scheme: name, Path: uri + value, Route: name, RemoteAddr: other, Traceparent: uri,
			Params: map[string]string{"p": value},
		}
		stdin := AppendRequest(nil, r, meta, body)
		got := see(t, stdin)
		want := seen{
			ID: slowLatin1(value), Method: slowLatin1(method), URI: slowLatin1(uri), OriginalURI: slowLatin1(other), Scheme: slowLatin1(name),
			Host: slowLatin1(other), Proto: slowLatin1(value), Path: slowLatin1(uri + value), Query: slowQuery(query), Route: omitted(name),
			Params: map[string]string{"p": slowLatin1(value)}, RemoteAddr: slowLatin1(other), Traceparent: omitted(uri), Headers: slowShown(r.Header),
		}
		if utf8.Valid(body) {
			text := string(body)
			want.Body = &text
		} else {
			want.BodyBase64 = &body
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s:\n got %+v\nwant %+v", stdin, got, want)
		}
		if bytes.ContainsAny(stdin, "\n\r\u2028\u2029") {
			t.Fatalf("%q is not one line", stdin)
		}
		checkNames(t, stdin)
	})
}

func omitted(s string) *string {
	if s == "" {
		return nil
	}
	s = slowLatin1(s)
	return &s
}

func slowLatin1(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteRune(rune(c))
	}
	return b.String()
}

var queryEscape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

func slowQuery(raw string) map[string][]string {
	query := map[string][]string{}
	decode := func(s string) string {
		s = queryEscape.ReplaceAllStringFunc(strings.ReplaceAll(s, "+", " "), func(e string) string {
			c, err := url.PathUnescape(e)
			if err != nil {
				panic(err)
			}
			return c
		})
		return slowLatin1(s)
	}
	for _, pair := range strings.FieldsFunc(raw, func(r rune) bool { return r == '&' }) {
		name, value, _ := strings.Cut(pair, "=")
		query[decode(name)] = append(query[decode(name)], decode(value))
	}
	return query
}

func slowShown(h http.Header) map[string][]string {
	shown := map[string][]string{}
	for name, values := range h {
		if !fieldName.MatchString(name) || name == "Host" || hopByHop(name) ||
			slices.ContainsFunc(h["Connection"], func(list string) bool {
				return slices.ContainsFunc(strings.Split(list, ","), func(option string) bool {
					return http.CanonicalHeaderKey(strings.Trim(option, " \t")) == name
				})
			}) {
			continue
		}
		for _, value := range values {
			shown[name] = append(shown[name], slowLatin1(value))
		}
	}
	return shown
}

// checkNames checks that no object in text has a name twice.
func checkNames(t *testing.T, text []byte) {
	t.Helper()
	_, members, err := slowObject(text)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	for _, member := range members {
		if member[0] != '{' {
			continue
		}
		if _, _, err := slowObject(member); err != nil {
			t.Fatalf("%q: %v", member, err)
		}
	}
}

// FuzzIsJSON compares isJSON with encoding/json.
func FuzzIsJSON(f *testing.F) {
	for _, s := range []string{"", "{}", "[1,-0.5e+3]", `{"a":[{"b":"\u00e9"},null]}`, "[[[[]]]]", `"\ud800"`, "tru", "01", " 1 ", "{\"a\":1,}", "\"\xff\""} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want := json.Valid(body) && utf8.Valid(body)
		if bytes.Count(body, []byte("["))+bytes.Count(body, []byte("{")) > maxNesting {
			return // where nesting is limited we may differ
		}
		if got := isJSON(body); got != want {
			t.Errorf("%q: got %v, want %v", body, got, want)
		}
	})
}
