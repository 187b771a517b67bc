package gojinn

import "github.com/gojinn/gojinn/engine"

// capabilityNamespace is where capabilities are registered as Caddy modules:
// `allow env …` is the module gojinn.capabilities.env.
const capabilityNamespace = "gojinn.capabilities"

// Capability is something that a function can be allowed to use. A capability
// is a Caddy module in the namespace gojinn.capabilities that parses its own
// allow line (caddyfile.Unmarshaler).
type Capability interface {
	// Grant adds what the line allows to g. It is called after the module's Provision, by
	// gojinn_dir once more for each function that has options of its own, and must not open
	// anything that outlives its Cleanup.
	Grant(g *engine.Grants) error
}
