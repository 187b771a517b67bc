package gojinn

import (
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/tetratelabs/wazero"
)
