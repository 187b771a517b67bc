package gojinn

import (
	// Standard modules that configurations need even in a build with nothing
	// but this plugin.
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp"
)
