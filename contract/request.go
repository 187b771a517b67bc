package contract

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Meta is what the server knows of a request beyond net/http's Request.
type Meta struct {
	ID          string            // names the request in logs
	URI         string            // path and query as rewrites left them, still encoded
	OriginalURI string            // path and query as the client sent them
	Scheme      string            // "http" or "https"
	Path        string            // URI's path, decoded
	Route       string            // the route that matched, if routes are files
	Params      map[string]string // what the route's placeholders matched, decoded
	RemoteAddr  string            // the client's IP address, trusted proxies taken into account
	Traceparent string            // W3C trace context, if the server traces
}

// maxQuery is how many query parameters a function is shown one by one.
const maxQuery = 10_000

// AppendRequest appends to dst the request object of the json contract, as
// docs/contract.md describes it, and returns the extended slice. body is the
// whole request body; r.Body is not touched. r.URL must not be nil.
//
// The result is always one line of valid JSON in UTF-8, the same for the same
// arguments. It keeps nothing of its arguments.
func AppendRequest(dst []byte, r *http.Request, meta Meta, body []byte) []byte {
	dst = appendRequest(dst, r, meta, len(body)+len(body)/2)
	return append(appendBody(dst, body), '}')
}

// appendRequest appends the request object up to its body, for which room is made.
func appendRequest(dst []byte, r *http.Request, meta Meta, room int) []byte {
	dst = slices.Grow(dst, sizeHint(r, meta)+room)
	dst = appendMember(dst, `{"id":`, meta.ID)
	dst = appendMember(dst, `,"method":`, r.Method)
	dst = appendMember(dst, `,"uri":`, meta.URI)
	dst = appendMember(dst, `,"original_uri":`, meta.OriginalURI)
	dst = appendMember(dst, `,"scheme":`, meta.Scheme)
	dst = appendMember(dst, `,"host":`, r.Host)
	dst = appendMember(dst, `,"proto":`, r.Proto)
	dst = appendMember(dst, `,"path":`, meta.Path)
	dst = appendQuery(append(dst, `,"query":{`...), r.URL.RawQuery)
	if meta.Route != "" {
		dst = appendMember(dst, `,"route":`, meta.Route)
	}
	if len(meta.Params) > 0 {
		dst = appendParams(append(dst, `,"params":{`...), meta.Params)
	}
	dst = appendMember(dst, `,"remote_addr":`, meta.RemoteAddr)
	if meta.Traceparent != "" {
		dst = appendMember(dst, `,"traceparent":`, meta.Traceparent)
	}
	return appendHeaders(append(dst, `,"headers":{`...), r.Header)
}

// sizeHint guesses how long the request object gets without its body, rather too high.
func sizeHint(r *http.Request, meta Meta) int {
	n := 512 + 4*len(meta.URI) + len(meta.OriginalURI)
	for name, values := range r.Header {
		n += len(name) + 8
		for _, value := range values {
			n += len(value) + 8
		}
	}
	return n
}

func appendMember(dst []byte, name, value string) []byte {
	return appendString(append(dst, name...), value)
}

// appendBody appends the body as text if it is UTF-8, as base64 if not.
func appendBody(dst, body []byte) []byte {
	if utf8.Valid(body) {
		dst = append(dst, `,"body":"`...)
		dst = appendText(dst, body)
	} else {
		dst = append(dst, `,"body_base64":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, body)
	}
	return append(dst, '"')
}

func appendParams(dst []byte, params map[string]string) []byte {
	var few [8]string
	names := few[:0]
	for name := range params {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		dst = appendName(dst, i == 0, name)
		dst = appendString(dst, params[name])
	}
	return append(dst, '}')
}

// appendHeaders appends the end-to-end fields of h, sorted by name. Host is
// left out if it is there at all: net/http has it in Request.Host.
func appendHeaders(dst []byte, h http.Header) []byte {
	drop := named(h)
	var few [32]string
	names := few[:0]
	for name, values := range h {
		if len(values) > 0 && name != "Host" && isToken(name) && !hopByHop(name) && !drop[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for i, name := range names {
		dst = appendName(dst, i == 0, name)
		dst = appendList(dst, h[name])
	}
	return append(dst, '}')
}

func appendList(dst []byte, values []string) []byte {
	dst = append(dst, '[')
	for i, value := range values {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, value)
	}
	return append(dst, ']')
}

// appendName appends an object's next member up to its value.
func appendName(dst []byte, first bool, name string) []byte {
	if !first {
		dst = append(dst, ',')
	}
	return append(appendString(dst, name), ':')
}

// A param is one name=value of a query. The params of one name form a list in
// the order of the query; the first of it has head set.
type param struct {
	name, value string
	head        bool
	next        int // index of the next param of that name; 0: none
}

// appendQuery appends the parameters of a query, in the order in which their
// names first appear.
func appendQuery(dst []byte, raw string) []byte {
	var few [8]param
	params := parseQuery(few[:0], raw)
	link(params)
	first := true
	for i := range params {
		if !params[i].head {
			continue
		}
		dst = append(appendName(dst, first, params[i].name), '[')
		dst = appendString(dst, params[i].value)
		for j := params[i].next; j > 0; j = params[j].next {
			dst = appendString(append(dst, ','), params[j].value)
		}
		dst, first = append(dst, ']'), false
	}
	return append(dst, '}')
}

// link joins the params of one name. A few are compared with each other, many
// are looked up: a hostile query has thousands.
func link(params []param) {
	var last map[string]int
	if len(params) > 16 {
		last = make(map[string]int, len(params))
	}
	for i := range params {
		before := -1
		if last == nil {
			before = lastNamed(params[:i], params[i].name)
		} else {
			if k, ok := last[params[i].name]; ok {
				before = k
			}
			last[params[i].name] = i
		}
		if before < 0 {
			params[i].head = true
		} else {
			params[before].next = i
		}
	}
}

func lastNamed(params []param, name string) int {
	for i := len(params) - 1; i >= 0; i-- {
		if params[i].name == name {
			return i
		}
	}
	return -1
}

// parseQuery takes a query apart as browsers do (the WHATWG URL standard,
// application/x-www-form-urlencoded parsing): it never fails, and what is not
// an escape sequence stands for itself. net/url would drop such parameters and
// all that hold a semicolon.
func parseQuery(params []param, raw string) []param {
	for pair := range strings.SplitSeq(raw, "&") {
		if pair == "" {
			continue
		}
		if len(params) == maxQuery {
			break
		}
		name, value, _ := strings.Cut(pair, "=")
		// Names are compared as the function sees them, so that no name appears twice.
		params = append(params, param{name: latin1(unescapeQuery(name)), value: unescapeQuery(value)})
	}
	return params
}

func unescapeQuery(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	dst := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			c = unhex(s[i+1])<<4 | unhex(s[i+2])
			i += 2
		}
		dst = append(dst, c)
	}
	return string(dst)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f'
}

func unhex(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}
