package gojinn

import (
	"io"
	"net/http"
)

// Warm has handler answer requests, and drops the answers. It is for main,
// before [Serve]: what Go makes when it is first needed, such as what
// encoding/json knows of a type, is then there for all requests.
//
//	request, _ := http.NewRequest("POST", "/contact", strings.NewReader(`{"email":"a@b.c"}`))
//	gojinn.Warm(handler, request)
//	gojinn.Serve(handler)
//
// All requests find the memory as these have left it, so a handler that counts
// them has counted these. It must not ask for the time of day, draw from
// crypto/rand, log or touch a capability: then the program is started anew for every
// request instead, which takes longer than Warm saves. The command
// “gojinn function inspect” tells.
func Warm(handler http.Handler, requests ...*http.Request) {
	c := newCall(io.Discard)
	for _, r := range requests {
		r = r.Clone(WithRequest(r.Context(), Request{ID: "warm", OriginalURI: r.URL.RequestURI()}))
		r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "192.0.2.1:0"
		if r.Body == nil {
			r.Body = http.NoBody
		}
		c.out.head = r.Method == http.MethodHead
		handler.ServeHTTP(&c.out, r)
		_ = c.out.finish(func([]byte) error { return nil }) // never fails
		c.reset()
	}
}

// warm does for this package what Warm does for handlers.
func (c *call) warm() {
	text := append(c.text[:0], warmRequest...)
	if err := c.answer(text, http.HandlerFunc(warmHandler), func([]byte) error { return nil }); err != nil {
		panic(err)
	}
	c.reset()
}

const warmRequest = `{"id":"7b6ff5d4-6a3c-4c2c-9a51-8a7ad6b0d1f3","method":"POST","uri":"/a/b?c=d","original_uri":"/a/b?c=d","scheme":"https",` +
	`"host":"example.com","proto":"HTTP/2.0","path":"/a/b","query":{"c":["d"]},"route":"/a/[b]","params":{"b":"b"},"remote_addr":"203.0.113.9",` +
	`"headers":{"Accept":["text/html"],"Content-Length":["13"],"Content-Type":["application/json"],"User-Agent":["a"]},"body":"{\"a\":\"\\u00e9\"}"}`

func warmHandler(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Write(body)
}
