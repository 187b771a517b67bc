package gojinn

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(new(adminAPI))
}

// adminAPI shows the functions of the running configuration at Caddy's admin endpoint, and has
// their module files looked at:
//
//	GET  /gojinn/functions          all functions
//	GET  /gojinn/functions/<name>   one of them
//	POST /gojinn/functions/reload   looks for changed modules now, and says what came of it
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (*adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.gojinn",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

const adminPath = "/gojinn/functions"

// Routes implements [caddy.AdminRouter].
func (a *adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{
		{Pattern: adminPath, Handler: caddy.AdminHandlerFunc(a.list)},
		{Pattern: adminPath + "/", Handler: caddy.AdminHandlerFunc(a.one)},
	}
}

// published are the functions of the configurations that serve. Handlers add what they
// have when they start, and remove it when they are cleaned up.
var published = &publishedFunctions{all: make(map[publisher]struct{})}

// publisher is a handler with functions, as the admin API shows them.
type publisher interface {
	// show calls f with each function.
	show(f func(*function))
	// reload looks at all module files, and calls f with the name of what has changed, or
	// can't be served as it is.
	reload(r *http.Request, f func(name string, err error))
}

type publishedFunctions struct {
	mu  sync.Mutex
	all map[publisher]struct{}
}

func (p *publishedFunctions) add(h publisher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[h] = struct{}{}
}

func (p *publishedFunctions) remove(h publisher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.all, h)
}

func (p *publishedFunctions) publishers() (all []publisher) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for h := range p.all {
		all = append(all, h)
	}
	return all
}

// functionInfo is what the admin API tells of a function.
type functionInfo struct {
	Name   string `json:"name"`
	Route  string `json:"route,omitempty"`
	Module string `json:"module,omitempty"` // the file
	SHA256 string `json:"sha256,omitempty"` // of what serves
	// State is "loaded" or "unloaded", as the code is in memory or not, or "failed" if nothing
	// can be served.
	State     string         `json:"state"`
	Start     string         `json:"start,omitempty"` // of sandboxes that are ready for a call
	Reason    string         `json:"start_reason,omitempty"`
	Sandboxes *sandboxesInfo `json:"sandboxes,omitempty"`
	Memory    int64          `json:"memory"`          // bytes of linear memory
	Error     string         `json:"error,omitempty"` // why the file as it is doesn't serve
	Since     *time.Time     `json:"error_since,omitempty"`
	Env       []string       `json:"env,omitempty"` // names; the values are nobody's business
	// What it was refused, if it has `allow audit`, and whether there was more; only told of one function.
	Refused     []refusalInfo `json:"refused,omitzero"`
	RefusedMore bool          `json:"refused_more,omitempty"`
}

type sandboxesInfo struct {
	Running   int `json:"running"`
	Restoring int `json:"restoring"`
	Parked    int `json:"parked"`
}

func (f *function) info() functionInfo {
	i := functionInfo{Name: f.name, Route: f.route, Module: f.path, State: "failed"}
	if failed := f.failure.Load(); failed != nil {
		i.Error, i.Since = printable(failed.err.Error()), &failed.since
	}
	if f.settings != nil {
		i.Env = f.options.Grants.EnvNames()
	}
	v := f.current.Load()
	if v == nil {
		return i
	}
	i.SHA256, i.State = v.program.Digest(), "unloaded"
	if v.program.Loaded() {
		i.State = "loaded"
	}
	i.Start, i.Reason = v.StartKind()
	i.Reason = printable(i.Reason)
	i.Memory = v.Memory()
	s := new(sandboxesInfo)
	s.Running, s.Restoring, s.Parked = v.Sandboxes()
	i.Sandboxes = s
	return i
}

// list answers with all functions, by name.
func (*adminAPI) list(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet {
		return errMethod(w, http.MethodGet)
	}
	all := []functionInfo{}
	for _, h := range published.publishers() {
		h.show(func(f *function) { all = append(all, f.info()) })
	}
	slices.SortFunc(all, func(a, b functionInfo) int { return cmp.Compare(a.Name, b.Name) })
	return writeJSON(w, all)
}

// one answers with the function of a name, or reloads.
func (a *adminAPI) one(w http.ResponseWriter, r *http.Request) error {
	name, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), adminPath+"/"))
	if err != nil {
		return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: err}
	}
	if name == "reload" && r.Method == http.MethodPost {
		return a.reload(w, r)
	}
	if r.Method != http.MethodGet {
		return errMethod(w, http.MethodGet)
	}
	var found []functionInfo
	for _, h := range published.publishers() {
		h.show(func(f *function) {
			if f.name == name {
				i := f.info()
				i.addRefusals(f.denied)
				found = append(found, i)
			}
		})
	}
	if len(found) == 0 && name == "reload" {
		return errMethod(w, http.MethodPost)
	}
	if len(found) == 0 {
		return caddy.APIError{HTTPStatus: http.StatusNotFound, Err: fmt.Errorf("there is no function %q", printable(name))}
	}
	return writeJSON(w, found[0])
}

// reloadInfo is what became of a module file that has changed.
type reloadInfo struct {
	Name   string `json:"name"`
	Result string `json:"result"` // "live" or "refused"
	Error  string `json:"error,omitempty"`
}

// reload looks at all module files now. It answers when all that has changed has been
// compiled, and serves or has been refused.
func (*adminAPI) reload(w http.ResponseWriter, r *http.Request) error {
	results := []reloadInfo{}
	for _, h := range published.publishers() {
		h.reload(r, func(name string, err error) {
			result := reloadInfo{Name: name, Result: "live"}
			if err != nil {
				result.Result, result.Error = "refused", printable(err.Error())
			}
			results = append(results, result)
		})
	}
	slices.SortFunc(results, func(a, b reloadInfo) int { return cmp.Compare(a.Name, b.Name) })
	return writeJSON(w, results)
}

func errMethod(w http.ResponseWriter, allowed string) error {
	w.Header().Set("Allow", allowed)
	return caddy.APIError{HTTPStatus: http.StatusMethodNotAllowed, Err: errors.New("the method is not " + allowed)}
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	return json.NewEncoder(w).Encode(v)
}

// Interface guards
var (
	_ caddy.AdminRouter = (*adminAPI)(nil)
	_ publisher         = (*Handler)(nil)
	_ publisher         = (*Directory)(nil)
)
