package kv

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/exchange"
	"github.com/gojinn/gojinn/stores"
)

// operator is what an operation takes and does.
type operator struct {
	needs, takes []string
	changes      bool
	do           func(g *grant, ctx context.Context, r *request) (*result, error)
}

// operators are the operations by name.
var operators = map[string]operator{}

func init() { // which they would otherwise need to be made themselves
	for name, op := range map[string]operator{
		"get":    {needs: []string{"key"}, do: (*grant).doGet},
		"put":    {needs: []string{"key", "value"}, takes: []string{"ttl"}, changes: true, do: (*grant).doPut},
		"delete": {needs: []string{"key"}, takes: []string{"version"}, changes: true, do: (*grant).doDelete},
		"incr":   {needs: []string{"key"}, takes: []string{"by", "ttl"}, changes: true, do: (*grant).doIncr},
		"cas":    {needs: []string{"key", "version", "value"}, takes: []string{"ttl"}, changes: true, do: (*grant).doCas},
		"list":   {takes: []string{"prefix", "cursor", "limit"}, do: (*grant).doList},
	} {
		operators[name] = op
	}
}

// The codes of errors.
const (
	codeInvalid     = "invalid"
	codeNotFound    = "not_found"
	codeExists      = "exists"
	codeConflict    = "conflict"
	codeNotInteger  = "not_integer"
	codeTooLarge    = "too_large"
	codeFull        = "full"
	codeReadOnly    = "read_only"
	codeUnavailable = "unavailable"
)

// result is the answer to a request.
type result struct {
	Error   string `json:"error,omitempty"`
	Message string `json:"message,omitempty"`

	Value       *string     `json:"value,omitempty"`
	ValueBase64 string      `json:"value_base64,omitempty"`
	Version     *uint64     `json:"version,omitempty"` // 0: there is no such key
	Modified    json.Number `json:"modified,omitempty"`
	Expires     json.Number `json:"expires,omitempty"`

	Keys   *[]listed `json:"keys,omitempty"`
	Cursor string    `json:"cursor,omitempty"`
}

// listed is a key of a listing.
type listed struct {
	Key       *string `json:"key,omitempty"`
	KeyBase64 string  `json:"key_base64,omitempty"`
	Size      *int64  `json:"size,omitempty"`
}

// failure is an error with a code.
type failure struct {
	code, message string
	version       *uint64
}

func (f *failure) Error() string { return f.message }

// begin reads a request, for package exchange.
func (g *grant) begin(line []byte) (exchange.Serve, bool) {
	return func(ctx context.Context, _ io.ReadCloser, answer io.Writer) error { return g.serve(ctx, line, answer) }, false
}

// serve answers a request.
func (g *grant) serve(ctx context.Context, line []byte, answer io.Writer) error {
	// What the request holds is decoded; what is found is counted when it is known.
	budget, held := engine.BudgetOf(ctx), int64(0)
	reserve := func(n int) error {
		if err := budget.Reserve(int64(n)); err != nil {
			return &failure{code: codeUnavailable, message: "there is no memory for it"}
		}
		held += int64(n)
		return nil
	}
	defer func() { budget.Release(held) }()
	var made []byte
	err := reserve(2 * len(line))
	if err == nil {
		var r *result
		if r, err = g.operate(ctx, line); err == nil {
			made = r.encode()
			// The answer, and what it was made of.
			err = reserve(2 * len(made))
		}
	}
	if err != nil {
		if errCall := ctx.Err(); errCall != nil {
			return errCall
		}
		made = g.failed(err).encode()
	}
	_, err = answer.Write(made)
	return err
}

func (r *result) encode() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		panic(err) // impossible: nothing in it can't be encoded
	}
	return b.Bytes()
}

// operate does what a line asks for.
func (g *grant) operate(ctx context.Context, line []byte) (*result, error) {
	r, err := parseRequest(line)
	if err != nil {
		return nil, &failure{code: codeInvalid, message: err.Error()}
	}
	op := operators[r.op]
	switch {
	case op.changes && g.readOnly:
		_ = g.refuse(ctx) // which tells who wants to know
		return nil, &failure{code: codeReadOnly, message: "the function may only read"}
	case int64(len(r.value)) > g.maxValue:
		return nil, stores.ErrTooLarge
	}
	return op.do(g, ctx, r)
}

// failed is the answer that says what has gone wrong. What only the operator can do something
// about is logged.
func (g *grant) failed(err error) *result {
	var f *failure
	switch {
	case errors.As(err, &f):
		return &result{Error: f.code, Message: f.message, Version: f.version}
	case errors.Is(err, stores.ErrNotFound):
		return &result{Error: codeNotFound, Message: "there is no such key"}
	case errors.Is(err, stores.ErrFull):
		return &result{Error: codeFull, Message: "the namespace is full"}
	case errors.Is(err, stores.ErrTooLarge):
		return &result{Error: codeTooLarge, Message: "the value is too large"}
	}
	g.trouble.report(err)
	return &result{Error: codeUnavailable, Message: "the store can't do this at the moment"}
}

// describe is what is told of an item beside its value.
func describe(item stores.Item) *result {
	return &result{Version: &item.Version, Modified: timestamp(item.Modified), Expires: timestamp(item.Expires)}
}

// timestamp is a time in seconds since 1970, "" if it is none.
func timestamp(t time.Time) json.Number {
	if t.IsZero() {
		return ""
	}
	return json.Number(strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', -1, 64))
}

// plain puts b into one of two members: the first if it is text.
func plain(b []byte, text **string, encoded *string) {
	if utf8.Valid(b) {
		s := string(b)
		*text = &s
		return
	}
	*encoded = base64.StdEncoding.EncodeToString(b)
}

func (g *grant) doGet(ctx context.Context, r *request) (*result, error) {
	item, err := g.store.Get(ctx, g.namespace, r.key)
	if err != nil {
		return nil, err
	}
	made := describe(item)
	plain(item.Value, &made.Value, &made.ValueBase64)
	return made, nil
}

func (g *grant) doPut(ctx context.Context, r *request) (*result, error) {
	expires := g.expires(r.lifetime)
	version, err := g.store.Put(ctx, g.namespace, r.key, r.value, expires)
	if err != nil {
		return nil, err
	}
	return &result{Version: &version, Expires: timestamp(expires)}, nil
}

// versionOf is the version of an item, 0 of none.
func versionOf(item *stores.Item) uint64 {
	if item == nil {
		return 0
	}
	return item.Version
}

func (g *grant) doDelete(ctx context.Context, r *request) (*result, error) {
	wanted, any := r.version, !r.given["version"]
	_, err := g.store.Update(ctx, g.namespace, r.key, func(old *stores.Item) (*stores.Item, error) {
		switch have := versionOf(old); {
		case old == nil:
			return nil, stores.ErrNotFound
		case !any && have != wanted:
			return nil, conflict(have)
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return &result{}, nil
}

func conflict(have uint64) error {
	return &failure{codeConflict, "the key has another version", &have}
}

func (g *grant) doCas(ctx context.Context, r *request) (*result, error) {
	wanted, value, expires := r.version, r.value, g.expires(r.lifetime)
	item, err := g.store.Update(ctx, g.namespace, r.key, func(old *stores.Item) (*stores.Item, error) {
		switch have := versionOf(old); {
		case have == wanted:
			return &stores.Item{Value: value, Expires: expires}, nil
		case wanted == 0:
			return nil, &failure{codeExists, "there is such a key already", &have}
		default:
			return nil, conflict(have)
		}
	})
	if err != nil {
		return nil, err
	}
	return &result{Version: &item.Version, Expires: timestamp(item.Expires)}, nil
}

// doIncr adds to an integer. One that is there keeps its time to live, so that a counter counts
// what happens in a stretch of time.
func (g *grant) doIncr(ctx context.Context, r *request) (*result, error) {
	by, expires := r.by, g.expires(r.lifetime)
	item, err := g.store.Update(ctx, g.namespace, r.key, func(old *stores.Item) (*stores.Item, error) {
		n, expires := int64(0), expires
		if old != nil {
			var err error
			if n, err = strconv.ParseInt(string(old.Value[:min(len(old.Value), 32)]), 10, 64); err != nil || len(old.Value) > 32 {
				return nil, &failure{code: codeNotInteger, message: "the value is not an integer of 64 bits"}
			}
			expires = old.Expires
		}
		if by > 0 && n > math.MaxInt64-by || by < 0 && n < math.MinInt64-by {
			return nil, &failure{code: codeNotInteger, message: "the sum is not an integer of 64 bits"}
		}
		return &stores.Item{Value: strconv.AppendInt(nil, n+by, 10), Expires: expires}, nil
	})
	if err != nil {
		return nil, err
	}
	value := string(item.Value)
	return &result{Value: &value, Version: &item.Version, Expires: timestamp(item.Expires)}, nil
}

func (g *grant) doList(ctx context.Context, r *request) (*result, error) {
	entries, err := g.store.List(ctx, g.namespace, stores.Query{Prefix: r.prefix, After: r.after, Limit: r.limit})
	if err != nil {
		return nil, err
	}
	keys := make([]listed, len(entries))
	for i, e := range entries {
		plain([]byte(e.Key), &keys[i].Key, &keys[i].KeyBase64)
		if e.Size >= 0 {
			keys[i].Size = &entries[i].Size
		}
	}
	made := &result{Keys: &keys}
	if len(entries) == r.limit {
		made.Cursor = base64.StdEncoding.EncodeToString([]byte(entries[len(entries)-1].Key))
	}
	return made, nil
}
