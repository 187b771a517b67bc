package gojinn

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
)

// inputOf is what the function reads for a request, which is an object of the json contract, and the context to call
// it with. ctx has a replacer.
func (h *Handler) inputOf(ctx context.Context, request []byte) (context.Context, []byte, error) {
	switch h.served.contract {
	case contractStream:
		input, err := streamInput(request)
		return ctx, input, err
	case contractCGI:
		return h.cgiInput(ctx, request)
	}
	return ctx, request, nil
}

// bodyOf is the body of a request object.
func bodyOf(request []byte) ([]byte, error) {
	var members struct {
		Body       string `json:"body"`
		BodyBase64 []byte `json:"body_base64"`
	}
	if err := json.Unmarshal(request, &members); err != nil {
		return nil, fmt.Errorf("the request's body: %w", err)
	}
	return append([]byte(members.Body), members.BodyBase64...), nil
}

// streamInput makes of an object of the json contract what the contract stream has: a line without the body,
// and the body.
func streamInput(request []byte) ([]byte, error) {
	body, err := bodyOf(request)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(request, &members); err != nil {
		return nil, err
	}
	delete(members, "body")
	delete(members, "body_base64")
	head, err := json.Marshal(members) // one line
	if err != nil {
		return nil, err
	}
	return append(append(head, '\n'), body...), nil
}

// cgiInput makes of an object of the json contract what a CGI program has: variables, and the body.
func (h *Handler) cgiInput(ctx context.Context, request []byte) (context.Context, []byte, error) {
	body, err := bodyOf(request)
	if err != nil {
		return nil, nil, err
	}
	r, id, err := requestFrom(ctx, request, int64(len(body)))
	if err != nil {
		return nil, nil, err
	}
	c := &call{function: h.served, id: id}
	if c.function.scriptRoot != "" {
		found, err := c.findScript(r)
		switch {
		case err != nil:
			return nil, nil, err
		case found.folder:
			return nil, nil, fmt.Errorf("%s is a folder: a server redirects to %s", r.URL.Path, folderLocation(r))
		case found.script == nil:
			return nil, nil, fmt.Errorf("no script answers %s", r.URL.Path)
		}
		c.script = found.script
	}
	variables, err := c.environment(ctx, r)
	return context.WithValue(ctx, environmentKey{}, variables), body, err
}

// requestFrom makes the request of an object of the json contract, which has a body of so many bytes. What the object
// leaves out is as it is of GET /.
func requestFrom(ctx context.Context, object []byte, length int64) (r *http.Request, id string, err error) {
	m := struct {
		ID, Method, URI, Scheme, Host, Proto string
		OriginalURI                          string `json:"original_uri"`
		RemoteAddr                           string `json:"remote_addr"`
		Headers                              http.Header
	}{Method: http.MethodGet, URI: "/", Host: "localhost", Proto: "HTTP/1.1", RemoteAddr: "127.0.0.1"}
	if err := json.Unmarshal(object, &m); err != nil {
		return nil, "", fmt.Errorf("the request: %w", err)
	}
	if m.OriginalURI == "" {
		m.OriginalURI = m.URI
	}
	original, err := url.ParseRequestURI(m.OriginalURI)
	if err != nil {
		return nil, "", fmt.Errorf("the request's original_uri: %w", err)
	}
	ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, http.Request{URL: original})
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: m.RemoteAddr})
	if r, err = http.NewRequestWithContext(ctx, m.Method, m.URI, nil); err != nil {
		return nil, "", fmt.Errorf("the request: %w", err)
	}
	if r.URL, err = url.ParseRequestURI(m.URI); err != nil {
		return nil, "", fmt.Errorf("the request's uri: %w", err)
	}
	r.Host, r.Proto, r.ContentLength, r.Header = m.Host, m.Proto, length, make(http.Header)
	for name, values := range m.Headers {
		for _, value := range values {
			r.Header.Add(name, value)
		}
	}
	if m.Scheme == "https" {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256}
	}
	return r, m.ID, checkTarget(r)
}

// responseOf reads what the function wrote, unless its call has failed. With the contracts stream and cgi that is the
// head only: the body can be anything. The status is 0 if a server would answer with another path in its place.
func (h *Handler) responseOf(out []byte, failed error) (response *contract.Response, err error) {
	if h.served.contract == contractCGI && as[*engine.ExitError](failed) {
		// As in a server: it may have said so itself.
		if response, err = h.cgiResponse(out); err == nil && response.Status >= http.StatusInternalServerError {
			return response, nil
		}
	}
	switch {
	case failed != nil:
		return nil, failed
	case h.served.contract == contractStream:
		head, _, _ := bytes.Cut(out, []byte("\n"))
		return contract.DecodeHead(head)
	case h.served.contract == contractCGI:
		return h.cgiResponse(out)
	}
	return contract.DecodeResponse(out)
}

func (h *Handler) cgiResponse(out []byte) (*contract.Response, error) {
	response, _, err := decodeCGI(out[:contract.EndOfFields(out, 0)], h.served.nph())
	if response == nil && err == nil {
		response = new(contract.Response)
	}
	return response, err
}
