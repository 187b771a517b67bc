package http

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on what a request may hold besides its body.
const (
	maxFields      = 1000     // values
	maxFieldsBytes = 64 << 10 // names and values together
	maxMethod      = 64
)

// request is what a guest asks for.
type request struct {
	method string
	url    *url.URL
	origin origin
	header http.Header // without the fields that are the host's
	loop   []string    // the guest's own CDN-Loop
	body   []byte      // a JSON string, not decoded yet, or nil; it lives as long as the line
	base64 bool        // what the string holds
	stream bool        // the body follows
}

// parseRequest reads a request line. Also with an error the request says whether the body follows.
func parseRequest(line []byte) (*request, error) {
	r := &request{method: http.MethodGet, header: make(http.Header)}
	if !utf8.Valid(line) {
		return r, errors.New("the request is not UTF-8")
	}
	s := scanner{text: line}
	var address string
	seen := make(map[string]bool)
	err := s.object(func(name string) (err error) {
		if seen[name] {
			return fmt.Errorf("a second %q", name)
		}
		seen[name] = true
		switch name {
		case "method":
			r.method, err = s.str(maxMethod)
		case "url":
			address, err = s.str(maxURL)
		case "headers":
			err = s.headers(r.header)
		case "body", "body_base64":
			r.base64 = name == "body_base64"
			r.body, err = s.raw()
		case "stream":
			r.stream, err = s.boolean()
		default:
			err = errors.New("unknown member; a request has method, url, headers, body, body_base64, stream")
		}
		if err != nil {
			err = fmt.Errorf("%.64q: %w", name, err)
		}
		return err
	})
	if s.space(); err == nil && s.at < len(line) {
		err = errors.New("something follows the request")
	}
	switch {
	case err != nil:
		return r, err
	case seen["body"] && seen["body_base64"]:
		return r, errors.New("both body and body_base64")
	case r.stream && (seen["body"] || seen["body_base64"]):
		return r, errors.New("a body, although one is to follow")
	case !seen["url"]:
		return r, errors.New("no url")
	}
	if err := checkMethod(r.method); err != nil {
		return r, err
	}
	if r.url, r.origin, err = parseURL(address); err != nil {
		return r, err
	}
	r.loop = r.header["Cdn-Loop"]
	dropFields(r.header)
	return r, nil
}

func checkMethod(method string) error {
	switch {
	case !isToken(method), len(method) > maxMethod:
		return fmt.Errorf("%.64q is no method", method)
	case strings.EqualFold(method, http.MethodConnect):
		return errors.New("the method CONNECT is not for requests")
	}
	return nil
}

// dropFields removes what is the host's to say, and what it says of its own.
func dropFields(h http.Header) {
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			h.Del(strings.Trim(name, " \t"))
		}
	}
	for name := range h {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Connection", "Keep-Alive", "Te", "Trailer",
			"Upgrade", "Expect", "Http2-Settings", "Cdn-Loop":
			delete(h, name)
		default:
			if strings.HasPrefix(name, "Proxy-") {
				delete(h, name)
			}
		}
	}
}

// isToken tells whether s can be a field name or a method (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// checkValue refuses what can't be a field value (RFC 9110, section 5.5).
func checkValue(v string) error {
	for i := range len(v) {
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("a value holds %q", c)
		}
	}
	if strings.Trim(v, " \t") != v {
		return errors.New("a value begins or ends with white space")
	}
	return nil
}

// bodyRoom is how much memory decodeBody takes besides the line, at most.
func (r *request) bodyRoom() int64 {
	switch {
	case r.base64:
		return 2 * int64(len(r.body))
	case bytes.IndexByte(r.body, '\\') >= 0:
		return 3 * int64(len(r.body)) // package json decodes, and makes a string of it, of which we make bytes
	}
	return 0
}

// decodeBody returns the bytes of the body. They may be those of the line.
func (r *request) decodeBody() ([]byte, error) {
	if r.body == nil {
		return nil, nil
	}
	if r.base64 {
		// None of its characters needs an escape but "/", which may have one.
		text := r.body[1 : len(r.body)-1]
		if bytes.IndexByte(text, '\\') >= 0 {
			text = bytes.ReplaceAll(text, []byte(`\/`), []byte("/"))
		}
		body := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
		n, err := base64.StdEncoding.Strict().Decode(body, text)
		if err != nil || bytes.ContainsAny(text, "\r\n") {
			return nil, errors.New("body_base64 is not base64")
		}
		return body[:n], nil
	}
	if bytes.IndexByte(r.body, '\\') < 0 {
		return r.body[1 : len(r.body)-1], nil
	}
	text, err := unquote(r.body)
	return []byte(text), err
}

// scanner reads a JSON text (RFC 8259) of which little is expected.
type scanner struct {
	text []byte
	at   int
}

func (s *scanner) space() {
	for s.at < len(s.text) && strings.IndexByte(" \t\r\n", s.text[s.at]) >= 0 {
		s.at++
	}
}

// next takes c, if that is what follows.
func (s *scanner) next(c byte) bool {
	s.space()
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

func (s *scanner) expected(what string) error {
	return errors.New(what + " was expected at byte " + strconv.Itoa(s.at))
}

// object reads an object; member reads the value of each.
func (s *scanner) object(member func(name string) error) error {
	if !s.next('{') {
		return s.expected("an object")
	}
	return s.list('}', func() error {
		name, err := s.str(maxFieldsBytes)
		if err != nil {
			return err
		}
		if !s.next(':') {
			return s.expected(`":"`)
		}
		return member(name)
	})
}

// list reads elements up to what closes them.
func (s *scanner) list(end byte, element func() error) error {
	if s.next(end) {
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if s.next(end) {
			return nil
		}
		if !s.next(',') {
			return s.expected(`","`)
		}
	}
}

// raw reads a string and returns it as it is, with its quotation marks.
func (s *scanner) raw() ([]byte, error) {
	if !s.next('"') {
		return nil, s.expected("a string")
	}
	for from := s.at - 1; s.at < len(s.text); s.at++ {
		if s.at += plain(s.text[s.at:]); s.at == len(s.text) {
			break
		}
		switch s.text[s.at] {
		case '"':
			s.at++
			return s.text[from:s.at], nil
		case '\\':
			s.at++
		default:
			return nil, errors.New("a control character in a string must be escaped, at byte " + strconv.Itoa(s.at))
		}
	}
	return nil, errors.New("a string without an end")
}

// str reads a string of at most limit bytes.
func (s *scanner) str(limit int) (string, error) {
	raw, err := s.raw()
	if err != nil {
		return "", err
	}
	if len(raw)-2 <= 6*limit { // an escape sequence has 6 bytes at most for one
		text, err := unquote(raw)
		if err != nil || len(text) <= limit {
			return text, err
		}
	}
	return "", fmt.Errorf("longer than %d bytes", limit)
}

func (s *scanner) boolean() (bool, error) {
	s.space()
	for word, value := range map[string]bool{"true": true, "false": false} {
		if bytes.HasPrefix(s.text[s.at:], []byte(word)) {
			s.at += len(word)
			return value, nil
		}
	}
	return false, s.expected("true or false")
}

// headers reads header fields, whose values are strings or lists of strings.
func (s *scanner) headers(h http.Header) error {
	fields, size := 0, 0
	return s.object(func(name string) error {
		if !isToken(name) {
			return fmt.Errorf("%.64q is no field name", name)
		}
		value := func() error {
			v, err := s.str(maxFieldsBytes)
			if err == nil {
				err = checkValue(v)
			}
			if err != nil {
				return fmt.Errorf("%.64s: %w", name, err)
			}
			fields, size = fields+1, size+len(name)+len(v)
			if fields > maxFields || size > maxFieldsBytes {
				return fmt.Errorf("more than %d fields or %d bytes", maxFields, maxFieldsBytes)
			}
			h.Add(name, v)
			return nil
		}
		if s.next('[') {
			return s.list(']', value)
		}
		return value()
	})
}

// unquote returns what a JSON string stands for.
func unquote(raw []byte) (string, error) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1]), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", errors.New("a string has an escape sequence that is none")
	}
	if halfSurrogate(raw) {
		return "", errors.New("a string has half of a surrogate pair, which stands for no character")
	}
	return text, nil
}

// halfSurrogate tells whether a string, whose escape sequences are good, has half of a pair.
func halfSurrogate(raw []byte) bool {
	unit := func(at int) uint64 {
		if at+6 > len(raw) || raw[at] != '\\' || raw[at+1] != 'u' {
			return 0
		}
		v, _ := strconv.ParseUint(string(raw[at+2:at+6]), 16, 16)
		return v
	}
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		switch v := unit(i); {
		case v&0xfc00 == 0xd800 && unit(i+6)&0xfc00 == 0xdc00:
			i += 11
		case v&0xf800 == 0xd800:
			return true
		default:
			i++
		}
	}
	return false
}
