package gojinn

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// TestTracing: where Caddy's tracing handler is active, each call is a span
// below the request's, and it is that span which the guest is told of.
func TestTracing(t *testing.T) {
	var mu sync.Mutex
	var exported strings.Builder
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_ = r.Write(&exported)
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "10")

	s := serve(t, "tracing {\n span the-request\n}\ngojinn "+moduleFile(t, "echo.wasm", echoes()))
	const sent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	r := echoed(t, s.do("GET", "/", http.Header{"Traceparent": {sent}}, nil).body)
	if !regexp.MustCompile(`^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$`).MatchString(r.Traceparent) {
		t.Errorf("got traceparent %q, want the trace of %q", r.Traceparent, sent)
	}
	inHeader := strings.Join(r.Headers["Traceparent"], "")
	if r.Traceparent == sent || r.Traceparent == inHeader {
		t.Errorf("got traceparent %q, want a span of the call's own, not that of the client or the request", r.Traceparent)
	}
	eventually(t, "both spans are exported", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return strings.Contains(exported.String(), "gojinn echo") && strings.Contains(exported.String(), "the-request") &&
			strings.Contains(exported.String(), "gojinn.reason")
	})
}
