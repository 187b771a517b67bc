package plain

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/gojinn/gojinn/internal/wasmtest"
)

func provision(t *testing.T, h *Handler) error {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	t.Cleanup(func() {
		if err := h.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	return h.Provision(ctx)
}

func request(body string) *http.Request {
	r := httptest.NewRequest("POST", "/contact", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	vars := map[string]any{caddyhttp.ClientIPVarKey: "192.0.2.1"}
	return r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars))
}

const form = `{"email":"ada@example.com","message":"hi"}`

// One handler serves many requests at once, each with an instance of its own.
func TestServe(t *testing.T) {
	t.Parallel()
	h := &Handler{Module: "../../examples/contact-c/contact-c.wasm", Cache: t.TempDir()}
	if err := provision(t, h); err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 4 {
				w := httptest.NewRecorder()
				if err := h.ServeHTTP(w, request(form), nil); err != nil {
					t.Error(err)
					return
				}
				if body := w.Body.String(); w.Code != 201 || !strings.Contains(body, `"email":"ada@example.com"`) {
					t.Errorf("got %d %q", w.Code, body)
				}
			}
		})
	}
	group.Wait()
}

func TestServeFails(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		code   []byte
		status int
	}{
		{"trap", wasmtest.Code(0x00), 502},
		{"no response", nil, 502},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			m := wasmtest.New(1)
			m.Export("_start", 0, m.Func(nil, nil, test.code...))
			path := filepath.Join(t.TempDir(), "m.wasm")
			if err := os.WriteFile(path, m.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			h := &Handler{Module: path}
			if err := provision(t, h); err != nil {
				t.Fatal(err)
			}
			err := h.ServeHTTP(httptest.NewRecorder(), request(form), nil)
			if e, ok := err.(caddyhttp.HandlerError); !ok || e.StatusCode != test.status {
				t.Errorf("got %v, want status %d", err, test.status)
			}
		})
	}
}

func TestProvisionFails(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "m.wasm")
	if err := os.WriteFile(path, []byte("no module"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, module := range []string{path, path + ".none"} {
		if err := provision(t, &Handler{Module: module}); err == nil {
			t.Errorf("%s: no error", module)
		}
	}
}

func TestLimited(t *testing.T) {
	t.Parallel()
	var l limited
	if _, err := l.Write(make([]byte, maxResponse)); err != nil {
		t.Error(err)
	}
	if _, err := l.Write([]byte{0}); err == nil || l.Len() != maxResponse {
		t.Errorf("holds %d bytes, %v", l.Len(), err)
	}
}

func TestUnmarshalCaddyfile(t *testing.T) {
	t.Parallel()
	for input, want := range map[string]*Handler{
		"bench_wazero":                nil,
		"bench_wazero a.wasm":         {Module: "a.wasm"},
		"bench_wazero a.wasm /c":      {Module: "a.wasm", Cache: "/c"},
		"bench_wazero a.wasm /c d":    nil,
		"bench_wazero a.wasm {\n}":    {Module: "a.wasm"},
		"bench_wazero a.wasm {\nx\n}": nil,
	} {
		h := new(Handler)
		err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(input))
		if (err != nil) != (want == nil) || want != nil && *h != *want {
			t.Errorf("%s: got %+v, %v", input, *h, err)
		}
	}
}
