// Package routes says which WebAssembly module of a folder serves which path:
// the file tree is the routing table. [Scan] reads the folder, a [Table]
// matches requests. It knows nothing of HTTP servers or WebAssembly.
//
// # From files to routes
//
// root/a/b.wasm has the route /a/b and root/a/index.wasm has /a; the root's
// index.wasm has /. A name in brackets stands for what a request brings:
// [id].wasm and the folder [id] match exactly one segment, [...rest].wasm
// matches one or more, to the end of the path. Both are params. Such a name
// consists of letters, digits, "_" and "-", and occurs once in a route.
// Files and folders whose names begin with "_" or "." are private: nothing in
// them is served. Files that don't end in ".wasm" are nobody's business here.
//
// Every other name is a literal, compared byte by byte after decoding: case
// counts, and Unicode is not normalized. 50%.wasm is the route /50% and is
// requested as /50%25.
//
// Two routes have the same shape if they differ only in the names of their
// params; they match the same requests. So a.wasm and a/index.wasm are in
// conflict, and so are [id].wasm and [name].wasm, or [id]/x.wasm and
// [name]/x.wasm; [id]/x.wasm and [name]/y.wasm are not. Of files in conflict
// none is served: which one was meant is not for us to guess.
//
// # From requests to routes
//
// A route matches its own path and everything below it; what is below is no
// param. A [...rest] needs at least one segment: with nothing but
// files/[...rest].wasm, /files matches nothing.
//
// If several routes match, they are compared segment by segment: at the first
// difference a literal beats [id] beats [...rest]. If there is no difference
// until one of them ends, the longer one wins. So /a/b is served by /a rather
// than by /[x]/b, but by /a/[...rest] rather than by /a; and if nothing but
// /a/c and /[x]/b is there, by /[x]/b: what doesn't match doesn't take part.
//
// Segments are what stands between the slashes of the escaped path; each is
// decoded by itself, so a %2F is part of its segment, and of a param. Empty
// segments don't count: /a/, //a and /a//b are /a, /a and /a/b, as Caddy's path
// matchers have it.
//
// A path with an element "." or ".." matches nothing, however it is written
// (%2e, between %2F or backslashes). Path matchers clean a path before they
// compare it, so /a/../b is /b to the one that guards /a; it must not reach /a.
package routes

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxDepth is how many folders deep a module may lie below the root. A route
// has at most one segment more.
const MaxDepth = 128

// kind is what a segment of a route matches, the most specific first.
type kind uint8

const (
	literal kind = iota // itself
	one                 // [id]: any segment
	rest                // [...rest]: any segments, at least one
)

// segment is one segment of a route. Its name is the literal or the param's.
type segment struct {
	kind kind
	name string
}

// Check reports why route can't be the route of a module, in words for the
// person who named the file or wrote the route into a configuration.
func Check(route string) error {
	_, err := parse(route)
	return err
}

// parse splits a route, which is not escaped, into its segments.
func parse(route string) ([]segment, error) {
	below, ok := strings.CutPrefix(route, "/")
	if !ok {
		return nil, fmt.Errorf("route %q doesn't begin with a slash", route)
	}
	if below == "" {
		return nil, nil
	}
	names := strings.Split(below, "/")
	if len(names) > MaxDepth+1 {
		return nil, errDeep
	}
	segments := make([]segment, len(names))
	for i, name := range names {
		s, err := parseSegment(name)
		switch {
		case err != nil:
			return nil, err
		case s.kind == rest && i < len(names)-1:
			return nil, errRest(name)
		case hasParam(segments[:i], s):
			return nil, errTwice(s.name)
		}
		segments[i] = s
	}
	return segments, nil
}

// parseSegment reads the name of a folder, or of a file without ".wasm".
func parseSegment(name string) (segment, error) {
	switch {
	case name == "":
		return segment{}, errors.New("a segment is empty")
	case private(name):
		return segment{}, fmt.Errorf("%q is private: it begins with %q", name, name[:1])
	case !utf8.ValidString(name):
		return segment{}, fmt.Errorf("%q is not valid UTF-8", name)
	case !strings.ContainsAny(name, "[]"):
		return segment{literal, name}, nil
	}
	param, ok := strings.CutPrefix(name, "[")
	param, closed := strings.CutSuffix(param, "]")
	param, many := strings.CutPrefix(param, "...")
	if !ok || !closed || !validParam(param) {
		return segment{}, fmt.Errorf("%q: brackets are for params, [id] or [...rest], named with letters, digits, \"_\" and \"-\"", name)
	}
	if many {
		return segment{rest, param}, nil
	}
	return segment{one, param}, nil
}

func validParam(name string) bool {
	for _, r := range name {
		if r != '_' && r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			return false
		}
	}
	return name != ""
}

func private(name string) bool { return name[0] == '_' || name[0] == '.' }

// hasParam reports whether s is a param whose name is one of above's params.
func hasParam(above []segment, s segment) bool {
	for _, a := range above {
		if a.kind != literal && s.kind != literal && a.name == s.name {
			return true
		}
	}
	return false
}

// shape is the route without the names of its params. No literal has brackets,
// so different shapes are different strings.
func shape(route string) string {
	if !strings.Contains(route, "[") {
		return route
	}
	names := strings.Split(route, "/")
	for i, name := range names {
		switch {
		case strings.HasPrefix(name, "[..."):
			names[i] = "[...]"
		case strings.HasPrefix(name, "["):
			names[i] = "[]"
		}
	}
	return strings.Join(names, "/")
}

var errDeep = fmt.Errorf("more than %d folders deep", MaxDepth)

func errRest(name string) error {
	return fmt.Errorf("%q must be the last segment: it matches the rest of a path", name)
}

func errTwice(param string) error {
	return fmt.Errorf("the param %q occurs twice in one route", param)
}
