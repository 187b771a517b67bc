package egress

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// The longest name and label of the DNS (RFC 1035, section 2.3.4), without the root.
const (
	maxName  = 253
	maxLabel = 63
)

// ParseHost reads the name or address of a host and returns it as there is only one way to write it:
// names in lower case, addresses as [netip.Addr] writes them, IPv6 without brackets, which
// may be there. Errors are whatever different programs read differently: addresses in octal, hexadecimal, with
// fewer than four parts or mapped to IPv6; zones; names with a trailing dot, empty labels or
// other characters than letters, digits, "-" and "_". International names are to be written as
// their A-labels ("xn--…").
//
// Names may lead anywhere, "localhost" to the host itself: it is [Policy.Dial] that decides.
func ParseHost(host string) (string, error) {
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed || !strings.Contains(inner, ":") {
			return "", fmt.Errorf("%s is no IPv6 address in brackets", quote(host))
		}
	}
	if strings.Contains(inner, ":") {
		return parseAddress(host, inner)
	}
	if err := checkName(host); err != nil {
		return "", err
	}
	name := strings.ToLower(host)
	// Whatever ends in a number is an address to somebody (WHATWG URL, section 3.5).
	if last := name[strings.LastIndexByte(name, '.')+1:]; !isNumber(last) {
		return name, nil
	}
	return parseAddress(host, name)
}

func parseAddress(host, text string) (string, error) {
	addr, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return "", fmt.Errorf("%s is no address: write four decimal numbers, or an IPv6 address", quote(host))
	case addr.Zone() != "":
		return "", fmt.Errorf("the address %s has a zone", quote(host))
	case addr.Is4In6():
		return "", fmt.Errorf("%s is an IPv4 address: write %s", quote(host), addr.Unmap())
	}
	return addr.String(), nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("the host is empty")
	case len(name) > maxName:
		return fmt.Errorf("the host name has %d bytes, more than %d", len(name), maxName)
	case strings.HasSuffix(name, "."):
		return fmt.Errorf("the host name %s has a trailing dot", quote(name))
	}
	for label := range strings.SplitSeq(name, ".") {
		switch {
		case label == "":
			return fmt.Errorf("the host name %s has an empty label", quote(name))
		case len(label) > maxLabel:
			return fmt.Errorf("a label of the host name has %d bytes, more than %d", len(label), maxLabel)
		case label[0] == '-', label[len(label)-1] == '-':
			return fmt.Errorf("a label of the host name %s begins or ends with \"-\"", quote(name))
		}
		for i := range len(label) {
			if c := label[i]; c >= 0x80 {
				return fmt.Errorf("the host name %s is not ASCII: write its A-labels (xn--…)", quote(name))
			} else if !nameChar(c) {
				return fmt.Errorf("the host name %s holds %q", quote(name), c)
			}
		}
	}
	return nil
}

func nameChar(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// isNumber tells whether label, in lower case, is a decimal, octal or hexadecimal number.
func isNumber(label string) bool {
	if strings.Trim(label, "0123456789") == "" {
		return true
	}
	hex, ok := strings.CutPrefix(label, "0x")
	return ok && strings.Trim(hex, "0123456789abcdef") == ""
}

// ParseHostPort reads a host as [ParseHost] does, a colon and a port from 1 to 65535; an IPv6
// address has to be in brackets.
func ParseHostPort(s string) (host string, port uint16, err error) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", 0, fmt.Errorf("%s has no port", quote(s))
	}
	host = s[:i]
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "", 0, fmt.Errorf("the IPv6 address in %s has to be in brackets", quote(s))
	}
	if port, err = ParsePort(s[i+1:]); err != nil {
		return "", 0, err
	}
	if host, err = ParseHost(host); err != nil {
		return "", 0, err
	}
	return host, port, nil
}

// ParsePort reads a port from 1 to 65535: decimal, without sign and leading zeros.
func ParsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 || s[0] == '0' || s[0] == '+' {
		return 0, fmt.Errorf("%s is no port: a number from 1 to 65535", quote(s))
	}
	return uint16(n), nil
}

// quote makes s, which may be anything of any length, fit for an error.
func quote(s string) string {
	if len(s) > maxName {
		s = s[:maxName] + "…"
	}
	return strconv.QuoteToASCII(s)
}
