package gojinn

// The capabilities of this build, in the namespace gojinn.capabilities.
import (
	_ "github.com/gojinn/gojinn/capability/dir"
	_ "github.com/gojinn/gojinn/capability/env"
	_ "github.com/gojinn/gojinn/capability/tcp"
	_ "github.com/gojinn/gojinn/capability/tls"
	_ "github.com/gojinn/gojinn/capability/tmp"
)
