package contract

import (
	"fmt"
	"net/http"
	"strconv"
)

// Write sends the response of a request of the given method.
//
// Its fields replace those that w already has, except that Set-Cookie and Vary
// are added to them. A response with a body but without Content-Type gets
// application/json if the body is JSON, else text/plain; charset=utf-8.
// Responses to HEAD and those of status 204 and 304 are sent without their
// body. The error is that of w, the client having gone, most likely.
func (r *Response) Write(w http.ResponseWriter, method string) error {
	h := w.Header()
	copyFields(h, r.Header)
	bodyless := noBody(r.Status)
	if bodyless {
		h.Del("Content-Length")
	} else {
		r.describeBody(h, method)
	}
	w.WriteHeader(r.Status)
	if bodyless || method == http.MethodHead || len(r.Body) == 0 {
		return nil
	}
	if _, err := w.Write(r.Body); err != nil {
		return fmt.Errorf("writing response: %w", err)
	}
	return nil
}

// noBody tells whether responses of a status never have a body (RFC 9110, sections 15.3.5
// and 15.4.5).
func noBody(status int) bool {
	return status == http.StatusNoContent || status == http.StatusNotModified
}

// WriteHead sends the status and the fields of a response whose body is written to w later, if
// hasBody says so. Its fields replace those that w already has as [Response.Write] has it. A
// response with a body but without Content-Type gets text/plain; charset=utf-8: the server must
// not guess from what a function happens to write first.
func (r *Response) WriteHead(w http.ResponseWriter, method string) (hasBody bool) {
	h := w.Header()
	copyFields(h, r.Header)
	if _, ok := r.Header["Content-Length"]; !ok {
		h.Del("Content-Length") // of whoever wrote to h before
	}
	if _, ok := h["Content-Type"]; !ok && !noBody(r.Status) {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(r.Status)
	return !noBody(r.Status) && method != http.MethodHead
}

func copyFields(dst, src http.Header) {
	for name, values := range src {
		if name == "Set-Cookie" || name == "Vary" {
			values = append(dst[name][:len(dst[name]):len(dst[name])], values...)
		}
		dst[name] = values
	}
}

// describeBody sets Content-Length, and Content-Type where none is set. An
// empty answer to HEAD says nothing of the body that GET would have.
func (r *Response) describeBody(h http.Header, method string) {
	if method == http.MethodHead && len(r.Body) == 0 {
		h.Del("Content-Length")
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(r.Body)))
	if _, ok := h["Content-Type"]; ok || len(r.Body) == 0 {
		return
	}
	if isJSON(r.Body) {
		h.Set("Content-Type", "application/json")
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
}
