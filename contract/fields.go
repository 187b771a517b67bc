package contract

import (
	"net/http"
	"strings"
)

// hopByHop reports whether the field of that canonical name belongs to one
// connection and is neither shown to a function nor taken from it (RFC 9110,
// section 7.6.1, and what proxies have always treated alike).
func hopByHop(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection",
		"Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return true
	}
	return false
}

// named returns the fields of h, by canonical name, that its Connection field
// declares to be hop-by-hop; nil when there are none.
func named(h http.Header) map[string]bool {
	var names map[string]bool
	for _, list := range h["Connection"] {
		for option := range strings.SplitSeq(list, ",") {
			name := canonical(strings.Trim(option, " \t"))
			if _, ok := h[name]; !ok || hopByHop(name) {
				continue
			}
			if names == nil {
				names = make(map[string]bool)
			}
			names[name] = true
		}
	}
	return names
}

// canonical is http.CanonicalHeaderKey without an allocation for what nearly
// every Connection field says.
func canonical(option string) string {
	switch option {
	case "keep-alive":
		return "Keep-Alive"
	case "close":
		return "Close"
	}
	return http.CanonicalHeaderKey(option)
}

// isToken reports whether s can be a field name (RFC 9110, section 5.6.2).
func isToken[T string | []byte](s T) bool {
	for i := range len(s) {
		if !tokenChars[s[i]] {
			return false
		}
	}
	return len(s) > 0
}

var tokenChars = func() (set [256]bool) {
	for c := range set {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		set[c] = letter || digit || c < 0x80 && strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c))
	}
	return set
}()

// badInValue returns the index of the first byte that a field value must not
// hold and what to say of it, or -1 (RFC 9110, section 5.5).
func badInValue(v []byte) (at int, reason string) {
	for i, c := range v {
		switch {
		case c == '\r' || c == '\n':
			return i, "a field value must not hold a line end"
		case c == 0:
			return i, "a field value must not hold a NUL"
		case c < ' ' && c != '\t' || c == 0x7F:
			return i, "a field value must not hold a control character"
		}
	}
	if n := len(v); n > 0 && (isBlank(v[0]) || isBlank(v[n-1])) {
		return 0, "a field value must not begin or end with white space"
	}
	return -1, ""
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }
