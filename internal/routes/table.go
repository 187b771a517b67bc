package routes

import (
	"math"
	"strings"
)

// Table finds the route of a request. It never changes, so any number of
// goroutines may use it.
//
// Routes are a tree, and every node of it is visited at most once per request,
// along branches that match: usually as many as the path has segments. It takes
// folders with a literal and an [id] side by side, on several levels and with
// no index.wasm, to make a request look into both; then the number of nodes
// whose names fit is the limit, whatever a client sends.
type Table struct {
	root     node
	segments [][]segment // of each route
	depth    int         // segments of the longest route
	longest  int         // bytes of the longest literal
}

// node is a folder, so to speak: what the routes have in common so far.
// Routes are numbered from 1 in here, so that 0 is none.
type node struct {
	literals map[string]*node
	one      *node
	rest     int // the route that ends in [...rest] here
	own      int // the route that ends here
}

// NewTable returns a table of routes as in [File.Route] and [Problem.Route].
// Match returns indexes of them. A route that [Check] refuses matches nothing;
// of routes with the same shape the first one matches, but Scan never gives two.
func NewTable(routes []string) *Table {
	t := &Table{segments: make([][]segment, len(routes))}
	for i, route := range routes {
		segments, err := parse(route)
		if err != nil {
			continue
		}
		t.segments[i] = segments
		t.add(segments, i+1)
	}
	return t
}

func (t *Table) add(segments []segment, route int) {
	t.depth = max(t.depth, len(segments))
	end := &t.root
	for _, s := range segments {
		switch s.kind {
		case literal:
			t.longest = max(t.longest, len(s.name))
			end = end.below(s.name)
		case one:
			if end.one == nil {
				end.one = new(node)
			}
			end = end.one
		case rest: // the last one
			if end.rest == 0 {
				end.rest = route
			}
			return
		}
	}
	if end.own == 0 {
		end.own = route
	}
}

func (n *node) below(name string) *node {
	next := n.literals[name]
	if next == nil {
		if n.literals == nil {
			n.literals = make(map[string]*node)
		}
		next = new(node)
		n.literals[name] = next
	}
	return next
}

// Match finds the route that serves path and returns its index and the values
// of its params; params is nil if it has none. The path is the escaped one,
// [url.URL.EscapedPath]; "" is taken for "/". If no route matches, or path is
// not a path ("*", a bad escape, an element "." or ".."), ok is false.
//
// Params are decoded. [...rest] has its segments joined by slashes, the empty
// ones left out. The values are the client's: they can contain slashes (from
// %2F), control characters and bytes that aren't UTF-8, but no element "." or
// "..". There is nothing allocated but params.
func (t *Table) Match(path string) (i int, params map[string]string, ok bool) {
	if path == "" {
		path = "/"
	}
	s := search{table: t, path: path}
	if !s.split() {
		return 0, nil, false
	}
	route := s.find(&t.root, 0)
	if route == 0 {
		return 0, nil, false
	}
	return route - 1, s.params(t.segments[route-1]), true
}

// search is one request. It lives on the stack.
type search struct {
	table *Table
	path  string
	spans [MaxDepth + 1]span // the first segments, as many as a route can have
	n     int
}

// span is where a segment begins and ends in the path.
type span struct{ from, to uint32 }

func (s *search) segment(i int) string { return s.path[s.spans[i].from:s.spans[i].to] }

// split finds the segments of the path, no more than the table is deep. It
// reports whether this is a path that may match at all, for which it looks at
// all of it.
func (s *search) split() bool {
	if s.path[0] != '/' || uint64(len(s.path)) > math.MaxUint32 {
		return false
	}
	for from := 1; from < len(s.path); {
		to := len(s.path)
		if slash := strings.IndexByte(s.path[from:], '/'); slash >= 0 {
			to = from + slash
		}
		if !sound(s.path[from:to]) {
			return false
		}
		if from < to && s.n < s.table.depth {
			s.spans[s.n] = span{uint32(from), uint32(to)}
			s.n++
		}
		from = to + 1
	}
	return true
}

// sound reports whether an escaped segment is well escaped and neither is nor,
// decoded, contains an element "." or "..". A backslash is a separator too: on
// Windows path matchers take it for one.
func sound(segment string) bool {
	if strings.IndexByte(segment, '%') < 0 && strings.IndexByte(segment, '\\') < 0 {
		return segment != "." && segment != ".."
	}
	length, dots := 0, 0 // of the element
	for i := 0; i < len(segment); i++ {
		c := segment[i]
		if c == '%' {
			var ok bool
			if c, ok = unescape(segment[i:]); !ok {
				return false
			}
			i += 2
		}
		if c == '/' || c == '\\' {
			if dotElement(length, dots) {
				return false
			}
			length, dots = 0, 0
			continue
		}
		length++
		if c == '.' {
			dots++
		}
	}
	return !dotElement(length, dots)
}

func dotElement(length, dots int) bool {
	return length == dots && (dots == 1 || dots == 2)
}

// find returns the best route at or below n for the path from segment i on.
// The order in here is the order of precedence.
func (s *search) find(n *node, i int) int {
	if i == s.n {
		return n.own
	}
	if n.literals != nil {
		if next := n.literal(s.segment(i), s.table.longest); next != nil {
			if route := s.find(next, i+1); route != 0 {
				return route
			}
		}
	}
	if n.one != nil {
		if route := s.find(n.one, i+1); route != 0 {
			return route
		}
	}
	if n.rest != 0 {
		return n.rest
	}
	return n.own
}

// literal looks up an escaped segment. What is longer than every literal is not
// decoded in the first place.
func (n *node) literal(escaped string, longest int) *node {
	if len(escaped) <= longest && strings.IndexByte(escaped, '%') < 0 {
		return n.literals[escaped]
	}
	if len(escaped) > 3*longest {
		return nil
	}
	var buf [256]byte // file names have at most 255 bytes nearly everywhere
	return n.literals[string(appendUnescaped(buf[:0], escaped))]
}

// params takes the values of a route's params from the path that it matched.
func (s *search) params(route []segment) map[string]string {
	var params map[string]string
	for i, seg := range route {
		if seg.kind == literal {
			continue
		}
		if params == nil {
			params = make(map[string]string)
		}
		if seg.kind == one {
			params[seg.name] = unescaped(s.segment(i))
		} else {
			params[seg.name] = joined(s.path[s.spans[i].from:])
		}
	}
	return params
}

func unescaped(segment string) string {
	if strings.IndexByte(segment, '%') < 0 {
		return segment
	}
	return string(appendUnescaped(make([]byte, 0, len(segment)), segment))
}

// joined decodes the end of a path and drops its empty segments.
func joined(path string) string {
	path = strings.TrimRight(path, "/")
	if !strings.Contains(path, "//") {
		return unescaped(path)
	}
	b := make([]byte, 0, len(path))
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" {
			continue
		}
		if len(b) > 0 {
			b = append(b, '/')
		}
		b = appendUnescaped(b, segment)
	}
	return string(b)
}

// appendUnescaped decodes what split has found to be well escaped.
func appendUnescaped(b []byte, escaped string) []byte {
	for i := 0; i < len(escaped); i++ {
		c := escaped[i]
		if c == '%' {
			c, _ = unescape(escaped[i:])
			i += 2
		}
		b = append(b, c)
	}
	return b
}

// unescape decodes the %XX that s begins with.
func unescape(s string) (c byte, ok bool) {
	if len(s) < 3 {
		return 0, false
	}
	high, low := hex(s[1]), hex(s[2])
	return high<<4 | low, high < 16 && low < 16
}

// hex is the value of a hexadecimal digit, or 16 or more.
func hex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
