package gojinn

// The capabilities of this build, in the namespace gojinn.capabilities.
import (
	_ "github.com/gojinn/gojinn/capability/audit"
	_ "github.com/gojinn/gojinn/capability/dir"
	_ "github.com/gojinn/gojinn/capability/env"
	_ "github.com/gojinn/gojinn/capability/http"
	_ "github.com/gojinn/gojinn/capability/kv"
	_ "github.com/gojinn/gojinn/capability/tcp"
	_ "github.com/gojinn/gojinn/capability/tls"
	_ "github.com/gojinn/gojinn/capability/tmp"
)

// The key-value stores of this build, in the namespace gojinn.stores.
import (
	_ "github.com/gojinn/gojinn/stores/bolt"
	_ "github.com/gojinn/gojinn/stores/memory"
)
