package http

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gojinn/gojinn/internal/egress"
)

// origin is a place that requests may go to: a scheme, a host and a port (RFC 6454).
type origin struct {
	scheme string // http or https
	host   string // as egress.ParseHost returns it; below a wildcard, what follows "*."
	below  bool   // any name below host, and not host itself
	port   uint16
}

// String is the origin with its port, in whatever way it was written.
func (o origin) String() string {
	host := o.host
	if o.below {
		host = "*." + host
	}
	return o.scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(o.port)))
}

// matches tells whether o allows at.
func (o origin) matches(at origin) bool {
	if o.scheme != at.scheme || o.port != at.port {
		return false
	}
	if o.below {
		return strings.HasSuffix(at.host, "."+o.host)
	}
	return o.host == at.host
}

// parseOrigin reads an origin of the configuration.
func parseOrigin(text string) (origin, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	o := origin{scheme: strings.ToLower(scheme)}
	if !ok || o.port0() == 0 {
		return o, fmt.Errorf("the origin %q begins neither with https:// nor with http://", text)
	}
	if strings.ContainsAny(rest, "/?#") {
		return o, fmt.Errorf("the origin %q is more than scheme, host and port", text)
	}
	rest, o.below = strings.CutPrefix(rest, "*.")
	if err := o.at(rest); err != nil {
		return o, fmt.Errorf("the origin %q: %w", text, err)
	}
	if o.below && net.ParseIP(o.host) != nil {
		return o, fmt.Errorf("the origin %q: there is nothing below an address", text)
	}
	return o, nil
}

// port0 is the port of the scheme, 0 for schemes that are none of ours.
func (o origin) port0() uint16 {
	switch o.scheme {
	case "http":
		return 80
	case "https":
		return 443
	}
	return 0
}

// at sets host and port from what a URL has there.
func (o *origin) at(authority string) (err error) {
	o.port = o.port0()
	colon := strings.LastIndexByte(authority, ':')
	if colon > strings.LastIndexByte(authority, ']') && (authority[0] == '[' || strings.Count(authority, ":") == 1) {
		if o.port, err = egress.ParsePort(authority[colon+1:]); err != nil {
			return err
		}
		authority = authority[:colon]
	}
	if strings.Contains(authority, ":") && !strings.HasPrefix(authority, "[") {
		return errors.New("an IPv6 address has to be in brackets")
	}
	o.host, err = egress.ParseHost(authority)
	return err
}

// authority is the host and port as a Host field has them.
func (o origin) authority() string {
	switch {
	case o.port != o.port0():
		return net.JoinHostPort(o.host, strconv.Itoa(int(o.port)))
	case strings.Contains(o.host, ":"):
		return "[" + o.host + "]"
	}
	return o.host
}

// maxURL is the longest URL in bytes.
const maxURL = 16 << 10

// parseURL reads the URL of a request. What it returns is put together from what was understood, so that
// who makes the request understands the same.
func parseURL(text string) (*url.URL, origin, error) {
	if len(text) > maxURL {
		return nil, origin{}, fmt.Errorf("the URL has %d bytes, more than %d", len(text), maxURL)
	}
	for i := range len(text) {
		if c := text[i]; c <= ' ' || c >= 0x7f {
			return nil, origin{}, fmt.Errorf("the URL holds %q, which has to be percent-encoded", c)
		}
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, origin{}, errors.New("the URL can't be parsed")
	}
	at := origin{scheme: u.Scheme}
	switch {
	case at.port0() == 0:
		return nil, at, errors.New("the URL begins neither with https:// nor with http://")
	case u.User != nil:
		return nil, at, errors.New("the URL has user information; use the field Authorization")
	case u.Host == "":
		return nil, at, errors.New("the URL has no host")
	}
	if err := at.at(u.Host); err != nil {
		return nil, at, fmt.Errorf("the URL: %w", err)
	}
	return &url.URL{
		Scheme: at.scheme, Host: at.authority(),
		Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery, ForceQuery: u.ForceQuery,
	}, at, nil
}

// match returns the first rule that allows a request; nil for none.
func (m *mount) match(at origin, method string) *rule {
	for _, r := range m.rules {
		if r.allows(at, method) {
			return r
		}
	}
	return nil
}

func (r *rule) allows(at origin, method string) bool {
	return (len(r.methods) == 0 || slices.Contains(r.methods, method)) &&
		slices.ContainsFunc(r.origins, func(o origin) bool { return o.matches(at) })
}
