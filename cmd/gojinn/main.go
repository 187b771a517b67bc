// Command gojinn is the Caddy web server with its standard modules and the
// Gojinn plugin: every command of Caddy (run, reload, adapt, validate, …)
// works as documented there, and "gojinn function" holds our own.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	_ "github.com/gojinn/gojinn/stores/nats"
)

func main() {
	caddycmd.Main()
}
