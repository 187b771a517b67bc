package kv

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gojinn/gojinn/stores"
)

// request is one operation, as a line of JSON asks for it.
type request struct {
	op       string
	key      string
	value    []byte
	lifetime time.Duration // 0: none asked for
	version  uint64
	by       int64
	prefix   string
	after    string // of the cursor
	limit    int

	given map[string]bool // by the name of a field of this struct
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// members are the members that requests may have: which field they set, and how.
var members = map[string]struct {
	field string
	set   func(r *request, raw json.RawMessage) error
}{
	"op":            {"op", func(r *request, raw json.RawMessage) error { return text(raw, &r.op) }},
	"key":           {"key", func(r *request, raw json.RawMessage) error { return text(raw, &r.key) }},
	"key_base64":    {"key", func(r *request, raw json.RawMessage) error { return encoded(raw, &r.key) }},
	"value":         {"value", func(r *request, raw json.RawMessage) error { return textOf(raw, &r.value) }},
	"value_base64":  {"value", func(r *request, raw json.RawMessage) error { return bytesOf(raw, &r.value) }},
	"prefix":        {"prefix", func(r *request, raw json.RawMessage) error { return text(raw, &r.prefix) }},
	"prefix_base64": {"prefix", func(r *request, raw json.RawMessage) error { return encoded(raw, &r.prefix) }},
	"cursor":        {"cursor", func(r *request, raw json.RawMessage) error { return encoded(raw, &r.after) }},
	"ttl":           {"ttl", func(r *request, raw json.RawMessage) error { return seconds(raw, &r.lifetime) }},
	"version": {"version", func(r *request, raw json.RawMessage) (err error) {
		r.version, err = strconv.ParseUint(string(raw), 10, 64)
		return err
	}},
	"by": {"by", func(r *request, raw json.RawMessage) (err error) {
		r.by, err = strconv.ParseInt(string(raw), 10, 64)
		return err
	}},
	"limit": {"limit", func(r *request, raw json.RawMessage) (err error) {
		if r.limit, err = strconv.Atoi(string(raw)); err == nil && (r.limit < 1 || r.limit > maxLimit) {
			err = fmt.Errorf("%d is outside 1 to %d", r.limit, maxLimit)
		}
		return err
	}},
}

// parseRequest reads a request. Unknown members, members given twice, in two forms or to operations
// that don't have them are errors, as are missing ones.
func parseRequest(line []byte) (*request, error) {
	if !utf8.Valid(line) {
		return nil, errors.New("the line is not valid UTF-8")
	}
	r := &request{by: 1, limit: defaultLimit, given: make(map[string]bool)}
	d := json.NewDecoder(bytes.NewReader(line))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("the line is not a JSON object")
	}
	for d.More() {
		if err := r.member(d); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errors.New("the line is not a JSON object")
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("something follows the JSON object")
	}
	return r, r.check()
}

func (r *request) member(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return errors.New("the line is not a JSON object")
	}
	name, _ := t.(string) // the decoder allows nothing else
	var raw json.RawMessage
	if err := d.Decode(&raw); err != nil {
		return errors.New("the line is not a JSON object")
	}
	m, known := members[name]
	switch {
	case !known:
		return fmt.Errorf("unknown member %.40q", name)
	case r.given[m.field]:
		return fmt.Errorf("%s is given twice", m.field)
	}
	r.given[m.field] = true
	if err := m.set(r, raw); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// check checks that a request has what its operation takes.
func (r *request) check() error {
	op, known := operators[r.op]
	switch {
	case !r.given["op"]:
		return errors.New("no op")
	case !known:
		return fmt.Errorf("unknown op %.40q", r.op)
	case r.given["key"] && (r.key == "" || len(r.key) > stores.MaxKey):
		return fmt.Errorf("the key has %d bytes; it has 1 to %d", len(r.key), stores.MaxKey)
	case len(r.prefix) > stores.MaxKey || len(r.after) > stores.MaxKey:
		return fmt.Errorf("the prefix or the cursor has more than %d bytes", stores.MaxKey)
	}
	for _, field := range op.needs {
		if !r.given[field] {
			return fmt.Errorf("%s: no %s", r.op, field)
		}
	}
	for field := range r.given {
		if field != "op" && !strings.Contains(" "+strings.Join(append(op.needs, op.takes...), " ")+" ", " "+field+" ") {
			return fmt.Errorf("%s has no %s", r.op, field)
		}
	}
	return nil
}

func text(raw json.RawMessage, to *string) error {
	if len(raw) == 0 || raw[0] != '"' {
		return errors.New("not a string")
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return errors.New("not a string")
	}
	// The decoder takes half of a surrogate pair for U+FFFD; a key must not become another one.
	if strings.ContainsRune(*to, utf8.RuneError) && bytes.Contains(bytes.ToLower(raw), []byte(`\ud`)) {
		return errors.New("not valid Unicode; there is a member for base64")
	}
	return nil
}

func textOf(raw json.RawMessage, to *[]byte) error {
	var s string
	err := text(raw, &s)
	*to = []byte(s)
	return err
}

func bytesOf(raw json.RawMessage, to *[]byte) error {
	var s string
	if err := text(raw, &s); err != nil {
		return err
	}
	var err error
	if *to, err = base64.StdEncoding.Strict().DecodeString(s); err != nil || strings.ContainsAny(s, "\r\n") {
		return errors.New("not base64")
	}
	return nil
}

func encoded(raw json.RawMessage, to *string) error {
	var b []byte
	err := bytesOf(raw, &b)
	*to = string(b)
	return err
}

// seconds reads a time in seconds.
func seconds(raw json.RawMessage, to *time.Duration) error {
	s, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case err != nil:
		return errors.New("not a number of seconds")
	case s < 0.001:
		return errors.New("less than a millisecond")
	}
	*to = time.Duration(min(s, maxLifetime.Seconds()) * float64(time.Second))
	return nil
}
