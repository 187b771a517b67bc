// Package http is the capability to make HTTP requests.
package http

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/egress"
	"github.com/gojinn/gojinn/internal/units"
)

func init() {
	caddy.RegisterModule(new(HTTP))
}

// HTTP lets a function make HTTP requests to origins that are listed, through the file
// `/net/http`. Several of them make one file: the first whose origins and methods fit a request
// decides, and its connections are used for no other.
//
// Origins may lead to public addresses only, unless `private` lists others. What a name leads to is
// checked when it is connected to. Link-local addresses, and those where clouds answer with the
// credentials of the machine, are never connected to.
type HTTP struct {
	// The origins: scheme, host and port, the port left out where it is the scheme's own. In place of the
	// leading labels of a host there may be a `*`: `https://*.example.com` is any name
	// below `example.com`, at any depth, and not `example.com` itself. Global placeholders
	// are supported.
	Origins []string `json:"origins,omitempty"`

	// The methods that may be used. Default: all but CONNECT.
	Methods []string `json:"methods,omitempty"`

	// The longest that a request may take, redirects and the body of its answer included; `off` leaves
	// it to the function's own timeout. Default: 10s.
	Timeout *units.Duration `json:"timeout,omitempty"`

	// The largest body of an answer, decompressed. Default: 8MiB.
	MaxResponse *units.Size `json:"max_response,omitempty"`

	// How many redirects are followed, at most 20. Where they lead must be allowed by the same
	// grant. Default: 0, the function gets the redirect.
	Follow int `json:"follow,omitempty"`

	// Addresses and prefixes that may be connected to although they are not public, such as
	// 10.0.0.0/8 or ::1. Global placeholders are supported.
	Private []string `json:"private,omitempty"`

	resolver *net.Resolver // of tests
	rule     *rule
}

// Defaults and bounds of the options.
const (
	defaultTimeout     = 10 * time.Second
	defaultMaxResponse = 8 << 20
	maxFollow          = 20
)

// Path is where functions see the capability.
const Path = "/net/http"

// CaddyModule returns the Caddy module information.
func (*HTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "gojinn.capabilities.http",
		New: func() caddy.Module { return new(HTTP) },
	}
}

const usage = "usage: allow http <origin> … [{ methods <m> … · timeout <duration> · max_response <size> · follow <n> · private <cidr> … }]"

// UnmarshalCaddyfile sets up the capability from a Caddyfile. Syntax:
//
//	allow http <origin> … {
//	    methods       <method> …
//	    timeout       <duration> | off
//	    max_response  <size> | off
//	    follow        <n>
//	    private       <cidr> …
//	}
func (c *HTTP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // http
	c.Origins = d.RemainingArgs()
	if len(c.Origins) == 0 {
		return d.Err("allow http: no origin; " + usage)
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if seen[option] {
			return d.Errf("allow http: %s is given twice", option)
		}
		seen[option] = true
		args := d.RemainingArgs()
		if err := c.option(option, args); err != nil {
			return d.WrapErr(fmt.Errorf("allow http: %w", err))
		}
		if inner := d.Nesting(); d.NextBlock(inner) {
			return d.Errf("allow http: %s takes no options, such as %q", option, d.Val())
		}
	}
	if err := c.check(); err != nil {
		return d.WrapErr(fmt.Errorf("allow http: %w", err))
	}
	return nil
}

// option reads one option of the block.
func (c *HTTP) option(name string, args []string) error {
	several := name == "methods" || name == "private"
	switch {
	case len(args) == 0:
		return fmt.Errorf("%s: no value; %s", name, usage)
	case len(args) > 1 && !several:
		return fmt.Errorf("%s: too many values; %s", name, usage)
	}
	switch name {
	case "methods":
		c.Methods = args
	case "private":
		c.Private = args
	case "timeout":
		v, err := units.ParseDuration(args[0])
		if err != nil {
			return fmt.Errorf("timeout: %w", err)
		}
		c.Timeout = &v
	case "max_response":
		v, err := units.ParseSize(args[0])
		if err != nil {
			return fmt.Errorf("max_response: %w", err)
		}
		c.MaxResponse = &v
	case "follow":
		v, err := strconv.Atoi(args[0])
		if err != nil {
			return fmt.Errorf("follow: %q is not a whole number", args[0])
		}
		c.Follow = v
	default:
		return fmt.Errorf("%q is not an option; allowed are methods, timeout, max_response, follow, private", name)
	}
	return nil
}

// check refuses what is wrong whatever the placeholders stand for.
func (c *HTTP) check() error {
	switch {
	case len(c.Origins) == 0:
		return errors.New("no origin")
	case c.Timeout != nil && *c.Timeout == 0:
		return errors.New("timeout: nothing can be done in no time")
	case c.Follow < 0, c.Follow > maxFollow:
		return fmt.Errorf("follow: %d is not from 0 to %d", c.Follow, maxFollow)
	}
	for _, method := range c.Methods {
		if err := checkMethod(method); err != nil {
			return fmt.Errorf("methods: %w", err)
		}
		if method != strings.ToUpper(method) {
			return fmt.Errorf("methods: they are case-sensitive: %s is not %s", method, strings.ToUpper(method))
		}
	}
	_, _, err := c.parse(func(text string) (string, error) { return text, nil })
	return err
}

// parse reads origins and private addresses. Those with a placeholder that resolve has left in them are
// passed over.
func (c *HTTP) parse(resolve func(string) (string, error)) (origins []origin, private []netip.Prefix, _ error) {
	for _, text := range c.Origins {
		text, err := resolve(text)
		if err != nil {
			return nil, nil, fmt.Errorf("origin: %w", err)
		}
		if strings.Contains(text, "{") {
			continue
		}
		o, err := parseOrigin(text)
		if err != nil {
			return nil, nil, err
		}
		origins = append(origins, o)
	}
	for _, text := range c.Private {
		text, err := resolve(text)
		if err != nil {
			return nil, nil, fmt.Errorf("private: %w", err)
		}
		if strings.Contains(text, "{") {
			continue
		}
		prefixes, err := egress.ParsePrivate([]string{text})
		if err != nil {
			return nil, nil, fmt.Errorf("private: %w", err)
		}
		private = append(private, prefixes...)
	}
	return origins, private, nil
}

// Provision makes what the requests of the grant have in common. It connects to nothing.
func (c *HTTP) Provision(ctx caddy.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	repl := caddy.NewReplacer()
	origins, private, err := c.parse(func(text string) (string, error) {
		text, err := repl.ReplaceOrErr(text, true, true)
		if err == nil && strings.Contains(text, "{") {
			err = fmt.Errorf("%q has a placeholder that is not known now", text)
		}
		return text, err
	})
	if err != nil {
		return err
	}
	c.rule = &rule{
		origins:     origins,
		methods:     slices.Clone(c.Methods),
		timeout:     defaultTimeout,
		maxResponse: defaultMaxResponse,
		follow:      c.Follow,
		transport:   newTransport(&egress.Policy{Private: private, Resolver: c.resolver}),
		logger:      ctx.Logger(),
	}
	if c.Timeout != nil {
		c.rule.timeout = time.Duration(*c.Timeout)
	}
	if c.MaxResponse != nil {
		c.rule.maxResponse = int64(*c.MaxResponse)
	}
	return nil
}

// Cleanup closes the connections that no request uses. Calls of the configuration may still
// run, and then open others, which are closed when they have been used.
func (c *HTTP) Cleanup() error {
	if c.rule != nil {
		c.rule.transport.close()
	}
	return nil
}

// Grant adds the origins to what a function can reach through its file.
func (c *HTTP) Grant(g *engine.Grants) error {
	return g.Share(Path, func(have vfs.FS) (vfs.FS, error) {
		switch have := have.(type) {
		case nil:
			return newMount([]*rule{c.rule}), nil
		case *mount:
			return newMount(append(slices.Clip(have.rules), c.rule)), nil
		}
		return nil, fmt.Errorf("%s is taken by another grant", Path)
	})
}

// mount is the file.
type mount struct {
	rules []*rule // in the order of the configuration
	limit int64   // how much memory a call may hold with its lines and bodies; 0: no limit
}

// atOnce is for how many of the largest requests and answers a call may have memory at a time.
const atOnce = 4

func newMount(rules []*rule) *mount {
	var largest int64
	for _, r := range rules {
		if r.maxResponse < 0 {
			return &mount{rules: rules}
		}
		largest = max(largest, r.maxResponse)
	}
	return &mount{rules, atOnce * (maxLine + largest)}
}

// Root returns the file for one call.
func (m *mount) Root(ctx context.Context) (vfs.Directory, error) {
	limit := engine.NewBudget(m.limit)
	device := vfs.Device{Type: vfs.TypeCharacterDevice, New: func(context.Context, vfs.OpenFlags) (vfs.File, error) {
		return m.open(limit), nil
	}}
	return device.Root(ctx)
}

var (
	_ caddy.Provisioner     = (*HTTP)(nil)
	_ caddy.CleanerUpper    = (*HTTP)(nil)
	_ caddyfile.Unmarshaler = (*HTTP)(nil)
)
