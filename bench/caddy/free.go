package main

import (
	"errors"
	"net/http"
	"runtime/debug"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(free{})
}

// free lets a benchmark have the Go heap's free memory given back to the system at
// once, by POST /bench/free at the admin endpoint. What stays is what is in use.
type free struct{}

// CaddyModule returns the Caddy module information.
func (free) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.bench",
		New: func() caddy.Module { return free{} },
	}
}

// Routes implements [caddy.AdminRouter].
func (f free) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/bench/free", Handler: caddy.AdminHandlerFunc(f.serve)}}
}

func (free) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("the method is not POST")}
	}
	// Twice: what finalizers of the first round let go of is freed in the second.
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Interface guard
var _ caddy.AdminRouter = free{}
