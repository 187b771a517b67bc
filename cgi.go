package gojinn

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
)

const (
	// maxEnvironment bounds, in bytes, the variables of a CGI request: the path is in several.
	maxEnvironment = 4 << 20
	// maxHeldBody bounds, in bytes, a request's body that is held to find out how long it is.
	maxHeldBody = 8 << 20
	// maxLocalRedirects is how often a request may be answered with another path.
	maxLocalRedirects = 10
)

// cgi takes the request to the function as RFC 3875 has it, and its answer to the client.
func (c *call) cgi(ctx context.Context, w http.ResponseWriter, r *http.Request) error {
	body := c.newBuffer()
	defer body.free()
	r, err := c.measured(body, w, r)
	if err != nil {
		return err
	}
	variables, err := c.environment(ctx, r)
	if err != nil {
		return err
	}
	client := &cgiClient{ResponseWriter: w, nph: c.function.nph(), head: r.Method == http.MethodHead, left: -1}
	err = c.relay(context.WithValue(ctx, environmentKey{}, variables), client, r, body.bytes, framing{contract.EndOfFields, client.decode, client.wanted})
	if client.wrong != nil {
		err = client.wrong
	}
	if client.sent >= http.StatusInternalServerError && as[*engine.ExitError](err) {
		err = nil // it has said so itself, and to the end: PHP does for an exception that nobody catches
	}
	if err == nil {
		err = client.finish()
	}
	c.begun = client.sent != 0
	if err == nil {
		c.local = client.local
	}
	return err
}

// measured returns r, or if its client has not said how long the body is, the same with that length and
// the body in held: a CGI program must be told (RFC 3875, section 4.1.2), and most read no
// further than they are.
func (c *call) measured(held *buffer, w http.ResponseWriter, r *http.Request) (*http.Request, error) {
	if r.ContentLength >= 0 || r.Body == nil || r.Body == http.NoBody {
		return r, nil
	}
	if err := c.limitBody(w, r); err != nil {
		return nil, err
	}
	err := held.readAll(io.LimitReader(r.Body, maxHeldBody+1))
	switch {
	case errors.Is(err, engine.ErrOverloaded):
		return nil, err
	case err != nil:
		return nil, bodyError(r, err)
	case len(held.bytes) > maxHeldBody:
		return nil, fmt.Errorf("%w: more than %d bytes", errLength, maxHeldBody)
	}
	r = r.WithContext(r.Context())
	r.Body, r.ContentLength = http.NoBody, int64(len(held.bytes))
	return r, nil
}

// nph tells whether the program talks to the client itself, by RFC 3875, section 5.
func (f *function) nph() bool { return strings.HasPrefix(filepath.Base(f.path), "nph-") }

type environmentKey struct{}

// environmentOf is for [engine.Options]: the variables of the call that has ctx.
func environmentOf(ctx context.Context) []string {
	variables, _ := ctx.Value(environmentKey{}).([]string)
	return variables
}

// environment makes the request's meta-variables.
func (c *call) environment(ctx context.Context, r *http.Request) ([]string, error) {
	if strings.Contains(r.URL.Path, "\x00") {
		return nil, fmt.Errorf("%w: the path has a NUL", errPath)
	}
	cgi := contract.CGI{Software: serverSoftware()}
	cgi.User, _ = replacerOf(r.Context()).GetString("http.auth.user.id")
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }); ok {
		cgi.ServerAddr = local.String()
	}
	meta := c.meta(ctx, r)
	if c.script != nil {
		cgi.ScriptName, cgi.PathInfo, cgi.Script, cgi.Root = c.script.name, c.script.info, c.script.file, c.function.scriptRoot
	} else {
		cgi.ScriptName, cgi.PathInfo = c.split(r)
	}
	variables := contract.Environment(r, meta, cgi)
	size := 0
	for _, v := range variables {
		size += len(v) + 1
	}
	if size > maxEnvironment {
		return nil, fmt.Errorf("%w: %d bytes of variables, %d allowed", errFieldsTooLarge, size, maxEnvironment)
	}
	return variables, nil
}

// serverSoftware is Caddy's name and version.
func serverSoftware() string {
	simple, _ := caddy.Version()
	return "Caddy/" + simple
}

// split returns the part of the path that names the function, and the rest: what was stripped from the
// path that the client has sent, and the route.
func (c *call) split(r *http.Request) (name, info string) {
	path := r.URL.EscapedPath()
	end := c.routeEnd(path)
	name, err := url.PathUnescape(stripped(r) + path[:end])
	if err != nil {
		name = ""
	}
	if info, err = url.PathUnescape(path[end:]); err != nil {
		info = r.URL.Path // which can't be: it is what net/http has parsed
	}
	return name, info
}

// routeEnd is where what the function's route has matched ends in an escaped path: behind as many
// segments as the route has, but for [...rest].
func (c *call) routeEnd(path string) int {
	segments := 0
	for segment := range strings.SplitSeq(c.function.route, "/") {
		if segment != "" && !strings.HasPrefix(segment, "[...") {
			segments++
		}
	}
	end := 0
	for ; segments > 0 && end < len(path); segments-- {
		for end < len(path) && path[end] == '/' {
			end++
		}
		if next := strings.IndexByte(path[end:], '/'); next >= 0 {
			end += next
		} else {
			end = len(path)
		}
	}
	return end
}

// stripped is what the configuration has taken off the begin of the path, as handle_path does, which
// leaves a slash of all, still escaped. It begins with one slash, with two it would be another host as the begin of
// a link, and doesn't end in one.
func stripped(r *http.Request) string {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || original.URL == nil {
		return ""
	}
	before, after := original.URL.EscapedPath(), r.URL.EscapedPath()
	prefix, ok := strings.CutSuffix(before, after)
	if !ok && after != "/" || before == after {
		return ""
	}
	if prefix = strings.Trim(prefix, "/"); prefix == "" {
		return ""
	}
	return "/" + prefix
}

// cgiClient is who a CGI program answers. It holds the status back of an answer that must not have a
// body until it is known to have none, and takes nothing of one that is answered otherwise.
type cgiClient struct {
	http.ResponseWriter
	nph  bool
	head bool // it has asked for no more than that

	local   string      // the path whose answer is this one's; "": none
	scratch http.Header // of an answer that is held back or not for the client; nil: of neither
	drop    bool        // what the program writes is not for the client
	status  int         // held back; 0: none is
	sent    int         // the status that the client has; 0: none
	left    int64       // to be sent of the body, by Content-Length; -1: unknown
	wrong   error       // what the program has done
}

// decodeCGI parses the head of a program that talks to the client itself, or of another, which may answer with another
// path: then there is no response.
func decodeCGI(block []byte, nph bool) (response *contract.Response, local string, err error) {
	if nph {
		response, err = contract.DecodeNPH(block)
		return response, "", err
	}
	return contract.DecodeCGI(block)
}

// decode is for [framing].
func (c *cgiClient) decode(block []byte) (response *contract.Response, err error) {
	response, c.local, err = decodeCGI(block, c.nph)
	if err != nil {
		return nil, err
	}
	if response == nil {
		c.drop, c.scratch = true, make(http.Header)
		return &contract.Response{Status: http.StatusOK}, nil
	}
	contentType, typed := response.Header["Content-Type"]
	if !typed {
		c.status, c.scratch = response.Status, c.ResponseWriter.Header().Clone()
		response.Header["Content-Type"] = nil // nor is there one of the server's
	}
	c.drop = typed && len(contentType) == 0
	if length := response.Header.Get("Content-Length"); length != "" && !c.head {
		c.left, _ = strconv.ParseInt(length, 10, 64) // which it is
	}
	return response, nil
}

// wanted is for [framing].
func (c *cgiClient) wanted() bool { return !c.drop && (c.left != 0 || c.status != 0) }

// Header implements [http.ResponseWriter].
func (c *cgiClient) Header() http.Header {
	if c.scratch != nil {
		return c.scratch
	}
	return c.ResponseWriter.Header()
}

// WriteHeader implements [http.ResponseWriter].
func (c *cgiClient) WriteHeader(status int) {
	if c.local != "" || c.status != 0 {
		return
	}
	c.sent = status
	c.ResponseWriter.WriteHeader(status)
}

// Write implements [http.ResponseWriter]. What is more than the program has announced is dropped.
func (c *cgiClient) Write(p []byte) (int, error) {
	if c.status != 0 {
		c.wrong = contract.Untyped(p)
		return 0, c.wrong
	}
	body := p
	if c.left >= 0 {
		body = p[:min(int64(len(p)), c.left)]
		c.left -= int64(len(body))
		if len(body) == 0 {
			return len(p), nil
		}
	}
	if _, err := c.ResponseWriter.Write(body); err != nil {
		return 0, err
	}
	if c.nph {
		_ = c.FlushError() // the client's having gone is seen by the next write
	}
	return len(p), nil
}

// FlushError is for [http.ResponseController].
func (c *cgiClient) FlushError() error {
	if c.sent == 0 {
		return nil
	}
	return http.NewResponseController(c.ResponseWriter).Flush()
}

// Unwrap is for [http.ResponseController].
func (c *cgiClient) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// finish ends the answer of a program that has ended well.
func (c *cgiClient) finish() error {
	if c.status != 0 {
		status, fields := c.status, c.scratch
		c.status, c.scratch = 0, nil
		clear(c.Header())
		maps.Copy(c.Header(), fields)
		c.WriteHeader(status)
	}
	if c.left > 0 {
		return contract.TooShort(c.left)
	}
	return nil
}

type localRedirectsKey struct{}

// redirectLocally answers a request as one for another path and query would be answered, by the whole
// configuration of its server (RFC 3875, section 6.2.2).
func redirectLocally(w http.ResponseWriter, r *http.Request, to string) error {
	count, _ := r.Context().Value(localRedirectsKey{}).(int)
	if count++; count > maxLocalRedirects {
		return fmt.Errorf("%w: %d local redirects, %d allowed", errLoop, count, maxLocalRedirects)
	}
	target, err := url.ParseRequestURI(to)
	if err != nil {
		return err // which is checked
	}
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	id := caddyhttp.GetVar(r.Context(), "uuid")
	other := r.Clone(context.WithValue(r.Context(), localRedirectsKey{}, count))
	if other.Method != http.MethodHead {
		other.Method = http.MethodGet
	}
	other.URL, other.RequestURI = target, to
	other.Body, other.ContentLength, other.TransferEncoding = http.NoBody, 0, nil
	for _, name := range []string{"Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Expect"} {
		other.Header.Del(name)
	}
	other = caddyhttp.PrepareRequest(other, caddy.NewReplacer(), w, server)
	caddyhttp.SetVar(other.Context(), "uuid", id) // it is the same request of the client's
	nothing := caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })
	return server.Routes.Compile(nothing).ServeHTTP(w, other)
}
