// Command caddy is the Caddy that the benchmarks run: cmd/gojinn and the handler
// that functions are compared with.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	_ "github.com/gojinn/gojinn/bench/plain"
)

func main() {
	caddycmd.Main()
}
