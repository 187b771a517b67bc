// Package kv uses key-value namespaces that a function was granted with “allow
// kv”.
//
//	orders := kv.Open("orders")
//	n, err := orders.Incr("count", 1)
//	err = kv.Put(orders, "4711", order{Item: "lamp"})
//	o, err := kv.Get[order](orders, "4711")
//
// Everything can be done with package os as well: the namespace is a directory, /kv/orders,
// in which keys are files. What can't be done with files, this package does by the
// file .do in it (docs/capabilities.md).
package kv

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"
)

// Namespace is a key-value namespace. It holds nothing open; it is safe for
// concurrent use.
type Namespace struct{ path string }

// Open returns the namespace of that name, at /kv/<name>. Nothing is opened yet:
// whether there is such a grant is seen when it is used.
func Open(name string) Namespace { return Namespace{"/kv/" + name} }

// At returns the namespace that was granted with a guest path of its own.
func At(path string) Namespace { return Namespace{strings.TrimSuffix(path, "/")} }

// Errors that callers may tell apart, with errors.Is. ErrNotFound and ErrExists are
// also [fs.ErrNotExist] and [fs.ErrExist].
var (
	ErrNotFound    error = &Error{Code: "not_found", Message: "there is no such key"}
	ErrExists      error = &Error{Code: "exists", Message: "there is such a key already"}
	ErrConflict    error = &Error{Code: "conflict", Message: "the key has another version"}
	ErrNotInteger  error = &Error{Code: "not_integer", Message: "the value is not an integer of 64 bits"}
	ErrTooLarge    error = &Error{Code: "too_large", Message: "the value is too large"}
	ErrFull        error = &Error{Code: "full", Message: "the namespace is full"}
	ErrReadOnly    error = &Error{Code: "read_only", Message: "the function may only read"}
	ErrUnavailable error = &Error{Code: "unavailable", Message: "the store can't do this at the moment"}
)

// Error is what the store says of an operation that it has not done.
type Error struct {
	Code    string // one of the words in docs/capabilities.md
	Message string // for people
	Version uint64 // with exists and conflict: the version that the key has
}

func (e *Error) Error() string { return "kv: " + e.Message }

// Is tells whether both have the same code.
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case *Error:
		return t.Code == e.Code
	default:
		return e.Code == "not_found" && target == fs.ErrNotExist || e.Code == "exists" && target == fs.ErrExist
	}
}

// Item is a value and what the store knows of it.
type Item struct {
	Value    []byte
	Version  uint64    // changes whenever the value does; 0 is that of no value
	Modified time.Time // zero if the store doesn't know
	Expires  time.Time // zero if it stays
}

// Entry is a key of a listing. Size is -1 if the store doesn't know.
type Entry struct {
	Key  string
	Size int64
}

// Option is how something is written.
type Option func(*request)

// TTL has what is written vanish after a while. A counter that is there keeps its own.
func TTL(d time.Duration) Option {
	return func(r *request) { r.TTL = max(d.Seconds(), 0.001) }
}

// Get returns the value of a key, or ErrNotFound.
func (n Namespace) Get(key string) ([]byte, error) {
	value, err := os.ReadFile(n.path + "/" + fileName(key))
	if errors.Is(err, fs.ErrNotExist) {
		if _, errRoot := os.Stat(n.path); errRoot == nil {
			return nil, ErrNotFound
		}
	}
	return value, err
}

// Item returns the value of a key with its version.
func (n Namespace) Item(key string) (Item, error) {
	a, err := n.do(&request{Op: "get", key: &key})
	if err != nil {
		return Item{}, err
	}
	item := Item{Version: a.Version, Modified: timeOf(a.Modified), Expires: timeOf(a.Expires), Value: a.ValueBase64}
	if a.Value != nil {
		item.Value = []byte(*a.Value)
	}
	return item, nil
}

// Put sets the value of a key.
func (n Namespace) Put(key string, value []byte, options ...Option) error {
	_, err := n.do(&request{Op: "put", key: &key, value: &value}, options...)
	return err
}

// CAS sets the value of a key if its version is still that one, 0 for a key that is to
// be new, and returns its new version. Otherwise it is ErrConflict or ErrExists.
func (n Namespace) CAS(key string, version uint64, value []byte, options ...Option) (uint64, error) {
	a, err := n.do(&request{Op: "cas", key: &key, value: &value, Version: &version}, options...)
	if err != nil {
		return 0, err
	}
	return a.Version, nil
}

// Incr adds to an integer, 0 if there is none yet, and returns the sum.
func (n Namespace) Incr(key string, by int64, options ...Option) (int64, error) {
	a, err := n.do(&request{Op: "incr", key: &key, By: &by}, options...)
	if err != nil {
		return 0, err
	}
	var sum int64
	if a.Value == nil {
		return 0, errors.New("kv: the sum is missing in the answer")
	}
	_, err = fmt.Sscan(*a.Value, &sum)
	return sum, err
}

// Delete removes a key. That there is none is ErrNotFound.
func (n Namespace) Delete(key string) error {
	_, err := n.do(&request{Op: "delete", key: &key})
	return err
}

// List returns the keys that begin with prefix, in their order, at most limit (1 to
// 1,000; 0: 100) at a time: next is to be given as the cursor for those that follow,
// and "" when there are no more. The first cursor is "".
func (n Namespace) List(prefix, cursor string, limit int) (entries []Entry, next string, err error) {
	r := &request{Op: "list", Cursor: cursor, Limit: limit}
	if prefix != "" {
		r.Prefix, r.PrefixBase64 = split([]byte(prefix))
	}
	a, err := n.do(r)
	if err != nil {
		return nil, "", err
	}
	for _, k := range a.Keys {
		e := Entry{Key: string(k.KeyBase64), Size: -1}
		if k.Key != nil {
			e.Key = *k.Key
		}
		if k.Size != nil {
			e.Size = *k.Size
		}
		entries = append(entries, e)
	}
	return entries, a.Cursor, nil
}

// Get returns the value of a key as JSON has it, or ErrNotFound.
func Get[T any](n Namespace, key string) (v T, err error) {
	text, err := n.Get(key)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	return v, err
}

// Put sets the value of a key to v in JSON.
func Put[T any](n Namespace, key string, v T, options ...Option) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return n.Put(key, text, options...)
}

// request is an operation as .do takes it.
type request struct {
	Op           string  `json:"op"`
	Key          *string `json:"key,omitempty"`
	KeyBase64    []byte  `json:"key_base64,omitempty"`
	Value        *string `json:"value,omitempty"`
	ValueBase64  []byte  `json:"value_base64,omitempty"`
	TTL          float64 `json:"ttl,omitempty"`
	Version      *uint64 `json:"version,omitempty"`
	By           *int64  `json:"by,omitempty"`
	Prefix       *string `json:"prefix,omitempty"`
	PrefixBase64 []byte  `json:"prefix_base64,omitempty"`
	Cursor       string  `json:"cursor,omitempty"`
	Limit        int     `json:"limit,omitempty"`

	key   *string
	value *[]byte
}

// result is its answer.
type result struct {
	Error       string  `json:"error"`
	Message     string  `json:"message"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64"`
	Version     uint64  `json:"version"`
	Modified    float64 `json:"modified"`
	Expires     float64 `json:"expires"`
	Keys        []struct {
		Key       *string `json:"key"`
		KeyBase64 []byte  `json:"key_base64"`
		Size      *int64  `json:"size"`
	} `json:"keys"`
	Cursor string `json:"cursor"`
}

// do has the store do an operation.
func (n Namespace) do(r *request, options ...Option) (*result, error) {
	for _, option := range options {
		option(r)
	}
	if r.key != nil {
		r.Key, r.KeyBase64 = split([]byte(*r.key))
	}
	if r.value != nil {
		r.Value, r.ValueBase64 = split(*r.value)
	}
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(n.path+"/.do", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := file.Write(append(line, '\n')); err != nil {
		if errors.Is(err, syscall.EMSGSIZE) {
			err = ErrTooLarge
		}
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	var a result
	if err := json.Unmarshal(text, &a); err != nil {
		return nil, fmt.Errorf("kv: the answer is not understood: %w", err)
	}
	if a.Error != "" {
		return nil, &Error{a.Error, a.Message, a.Version}
	}
	return &a, nil
}

// split returns b as text if it is UTF-8, else as bytes, which JSON has in base64.
func split(b []byte) (text *string, bytes []byte) {
	if !utf8.Valid(b) {
		return nil, b
	}
	s := string(b)
	return &s, nil
}

func timeOf(seconds float64) time.Time {
	if seconds == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds*1000 + 0.5))
}

// fileName is the name of the file that is a key: percent-encoded but for letters,
// digits and -._~, so that each key has one name.
func fileName(key string) string {
	const hex = "0123456789ABCDEF"
	if key == ".." {
		return "%2E%2E"
	}
	name := make([]byte, 0, len(key))
	if key == "." || key == ".do" {
		name, key = append(name, "%2E"...), key[1:]
	}
	for _, c := range []byte(key) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			name = append(name, c)
		default:
			name = append(name, '%', hex[c>>4], hex[c&15])
		}
	}
	return string(name)
}
