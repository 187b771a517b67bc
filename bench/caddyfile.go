package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gojinn/gojinn/bench/plain"
)

// startKinds are the ways a sandbox can come to be that are measured beside the
// default: their paths, and the option that brings them about.
var startKinds = []struct{ path, option string }{
	{"reset", "snapshot off"},
	{"fresh", "idle 0s"},
}

// A config is a Caddyfile in the making.
type config struct{ strings.Builder }

// newConfig begins with what all our Caddys have in common: no logs, no files
// outside dir, metrics, and a path that Caddy answers alone. Functions wait for
// their turn rather than be refused, may take their time, and stay ready between
// rounds.
func newConfig(dir, address, admin string) *config {
	c := new(config)
	fmt.Fprintf(c, `{
	admin %s
	auto_https off
	persist_config off
	grace_period 1s
	storage file_system %q
	log {
		level ERROR
	}
	gojinn {
		cache_dir %q
		defaults {
			concurrency 64 queue 1024 wait 1m
			timeout 1m
			idle 10m
		}
	}
}

http://%s {
	metrics /metrics
	respond /hello "hello"
`, admin, filepath.Join(dir, "storage"), filepath.Join(dir, "cache"), address)
	return c
}

func (c *config) text() string { return c.String() + "}\n" }

// proxy hands everything below a path to a server.
func (c *config) proxy(path, upstream string) {
	fmt.Fprintf(c, "\thandle_path %s/* {\n\t\treverse_proxy %s\n\t}\n", path, upstream)
}

// function serves a module at /<name>.
func (c *config) function(name, module string, options ...string) {
	fmt.Fprintf(c, "\tgojinn /%s %q {\n\t\tname %s\n", name, module, strings.ReplaceAll(name, "/", "-"))
	for _, option := range options {
		fmt.Fprintf(c, "\t\t%s\n", option)
	}
	c.WriteString("\t}\n")
}

// caddyfile is the configuration of the two Caddys that run functions, metered
// and not. They share a code cache: what is compiled differs, so they never
// share code.
func (s *site) caddyfile(address string) string {
	c := newConfig(s.dir, address, "off")
	c.proxy("/proxy", s.server.Address)
	if s.container != nil {
		c.proxy("/container", s.container.Address)
	}
	for _, g := range s.guests {
		c.function(g.name, g.file(s.dir))
		if g.work == "echo" {
			for _, kind := range startKinds {
				c.function(kind.path+"/"+g.name, g.file(s.dir), kind.option)
			}
		}
	}
	for i, name := range s.mixed() {
		c.function(fmt.Sprintf("mix/%d", i), guest{name: name}.file(s.dir))
	}
	return c.text()
}

// plainCaddyfile is the configuration of the Caddy that instantiates the same
// modules for every request.
func (s *site) plainCaddyfile(address string) string {
	c := newConfig(s.dir, address, "off")
	for _, g := range s.guests {
		if isPlain(g) {
			fmt.Fprintf(c, "\t%s /%s %q %q\n", plain.Directive, g.name, g.file(s.dir), filepath.Join(s.dir, "plain-cache"))
		}
	}
	return c.text()
}

// isPlain tells which guests are measured on plain wazero too.
func isPlain(g guest) bool {
	return g.work == "echo" || slices.Contains([]string{"prime-go", "prime-c"}, g.name)
}
