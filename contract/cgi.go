package contract

import (
	"crypto/tls"
	"net"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// CGI is what a CGI program is told of a request besides [Meta]: which program it is for, and what
// the server knows of itself and the client.
type CGI struct {
	ScriptName string // the part of the path that names the program, decoded; "" or begins with a slash
	PathInfo   string // what follows it, decoded; "" or begins with a slash
	Script     string // the script's file, as the program sees it; "": the program is no interpreter of scripts
	Root       string // the directory of the scripts, if there is a script
	ServerAddr string // the address at which the request arrived, with its port; "": unknown
	Software   string // the server's name and version
	User       string // who the server has found the client to be; "": nobody
}

// Environment returns the meta-variables of a CGI/1.1 request (RFC 3875, section 4.1) as
// NAME=value, and those that other servers have beside them. r.URL must not be nil. Names are
// unique, have only capitals, digits and underscores, and begin with a capital; values have no NUL: one
// that had ends before it.
//
// Fields become HTTP_ variables if their names have nothing but letters, digits and "-", so that
// no two become one. Not shown are hop-by-hop fields, Proxy, which programs would take for the address of a
// proxy, what other variables have (Content-Length, Content-Type) and credentials
// (Authorization).
func Environment(r *http.Request, meta Meta, cgi CGI) []string {
	e := make(environment, 0, 32+len(r.Header))
	e.add("GATEWAY_INTERFACE", "CGI/1.1")
	e.add("SERVER_SOFTWARE", cgi.Software)
	e.server(r, meta, cgi)
	e.add("REMOTE_ADDR", meta.RemoteAddr)
	e.add("REMOTE_HOST", meta.RemoteAddr) // section 4.1.9: where the name is not known
	if host, port, err := net.SplitHostPort(r.RemoteAddr); err == nil && host == meta.RemoteAddr {
		e.add("REMOTE_PORT", port)
	}
	if cgi.User != "" {
		e.add("REMOTE_USER", cgi.User)
		if scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " "); isToken(scheme) {
			e.add("AUTH_TYPE", scheme)
		}
	}
	e.add("REQUEST_METHOD", r.Method)
	e.add("REQUEST_URI", meta.OriginalURI)
	e.add("REQUEST_ID", meta.ID)
	e.add("UNIQUE_ID", meta.ID)
	e.add("QUERY_STRING", cgi.query(r.URL.RawQuery))
	e.script(cgi)
	if length, ok := bodyLength(r); ok {
		e.add("CONTENT_LENGTH", length)
	}
	if contentType := r.Header["Content-Type"]; len(contentType) > 0 {
		e.add("CONTENT_TYPE", contentType[0])
	}
	e.add("HTTP_HOST", r.Host)
	if meta.Traceparent != "" {
		e.add("HTTP_TRACEPARENT", meta.Traceparent) // this call's, rather than its caller's
	}
	e.fields(r.Header)
	return e
}

// query is what a program is told of a query. php-cgi takes one such as -s for arguments that the server has made of it, and
// then ignores all that it was started with: settings that protect, perhaps. A parameter without a name makes it look
// like any other, and scripts don't see it.
func (cgi CGI) query(raw string) string {
	if cgi.Script == "" || strings.Contains(raw, "=") {
		return raw
	}
	if text := strings.TrimLeftFunc(unescapeQuery(raw), func(c rune) bool { return c <= ' ' }); !strings.HasPrefix(text, "-") {
		return raw
	}
	return raw + "&="
}

type environment []string

func (e *environment) add(name, value string) {
	value, _, _ = strings.Cut(value, "\x00")
	*e = append(*e, name+"="+value)
}

// has tells whether there is a variable of this name.
func (e environment) has(name string) bool {
	return slices.ContainsFunc(e, func(v string) bool {
		return len(v) > len(name) && v[len(name)] == '=' && v[:len(name)] == name
	})
}

// server adds where the request has arrived, as the client sees it: programs make URLs of that.
func (e *environment) server(r *http.Request, meta Meta, cgi CGI) {
	e.add("SERVER_PROTOCOL", r.Proto)
	e.add("REQUEST_SCHEME", meta.Scheme)
	local, _, err := net.SplitHostPort(cgi.ServerAddr)
	if err == nil && local != "" {
		e.add("SERVER_ADDR", local)
	}
	name, port := splitHost(r.Host)
	if name == "" {
		name = hostLiteral(local)
	}
	e.add("SERVER_NAME", name)
	switch {
	case port != "":
	case meta.Scheme == "https":
		port = "443"
	default:
		port = "80"
	}
	e.add("SERVER_PORT", port)
	if meta.Scheme == "https" {
		e.add("HTTPS", "on")
	}
	if r.TLS != nil {
		e.add("SSL_PROTOCOL", strings.Replace(tls.VersionName(r.TLS.Version), "TLS ", "TLSv", 1))
		e.add("SSL_CIPHER", tls.CipherSuiteName(r.TLS.CipherSuite))
	}
}

// splitHost takes the port off a Host field, which is the client's to write. An IPv6 address keeps its
// brackets (section 4.1.14).
func splitHost(host string) (name, port string) {
	i := strings.LastIndexByte(host, ':')
	if i < 0 || strings.HasSuffix(host, "]") {
		return host, ""
	}
	if n, err := strconv.ParseUint(host[i+1:], 10, 16); err == nil && n > 0 {
		port = host[i+1:]
	}
	return host[:i], port
}

// hostLiteral returns an IP address as hosts are written in URLs.
func hostLiteral(address string) string {
	if strings.Contains(address, ":") {
		return "[" + address + "]"
	}
	return address
}

// script adds which program the request is for.
func (e *environment) script(cgi CGI) {
	e.add("SCRIPT_NAME", cgi.ScriptName)
	if cgi.PathInfo != "" {
		e.add("PATH_INFO", cgi.PathInfo)
	}
	if cgi.Script == "" {
		return
	}
	e.add("DOCUMENT_ROOT", cgi.Root)
	e.add("DOCUMENT_URI", cgi.ScriptName)
	e.add("SCRIPT_FILENAME", cgi.Script)
	if cgi.PathInfo != "" {
		e.add("PATH_TRANSLATED", path.Join(cgi.Root, path.Clean(cgi.PathInfo)))
	}
	e.add("REDIRECT_STATUS", "200") // what php-cgi wants to see before it runs a script
}

// bodyLength is the length of the body, if the client has said it and there is one, or said that there
// is none.
func bodyLength(r *http.Request) (length string, ok bool) {
	if r.ContentLength < 0 || r.ContentLength == 0 && len(r.Header["Content-Length"]) == 0 {
		return "", false
	}
	return strconv.FormatInt(r.ContentLength, 10), true
}

// fields adds the request's fields, sorted.
func (e *environment) fields(h http.Header) {
	drop := named(h)
	names := make([]string, 0, len(h))
	for name, values := range h {
		// One that is not in its usual capitals, of which there could be two, is nothing that a client has sent.
		if len(values) > 0 && isVariable(name) && name == http.CanonicalHeaderKey(name) && !hidden(name) && !hopByHop(name) && !drop[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		variable := "HTTP_" + strings.ReplaceAll(strings.ToUpper(name), "-", "_")
		if name == "Traceparent" && e.has(variable) {
			continue
		}
		separator := ", "
		if name == "Cookie" {
			separator = "; "
		}
		e.add(variable, strings.Join(h[name], separator))
	}
}

// hidden tells whether the field of that canonical name is not for programs.
func hidden(name string) bool {
	switch name {
	case "Host", "Content-Length", "Content-Type", "Authorization", "Proxy":
		return true
	}
	return false
}

// isVariable tells whether a field's name can be made that of a variable such that it has only one
// that it can come from.
func isVariable(name string) bool {
	for i := range len(name) {
		if c := name[i]; c != '-' && !isAlphanumeric(c) {
			return false
		}
	}
	return name != ""
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}
