// Package gojinn is a plugin for the Caddy web server that answers requests
// with WebAssembly functions inside Caddy's own process.
//
// A function is a plain WASI program: the directive
//
//	gojinn /contact contact.wasm
//
// hands each request to a pristine sandbox, as one JSON object on the
// program's standard input, and sends what it writes to its standard output.
// Nothing of a sandbox survives its request, and a function can use nothing of
// the host but what an allow line grants. docs/caddyfile.md describes the
// configuration, docs/contract.md what a function reads and writes.
//
// The package registers the handler http.handlers.gojinn ([Handler]), the app
// gojinn ([App]), the command "caddy function", and the capabilities in the
// folder capability. Further capabilities are Caddy modules in the namespace
// gojinn.capabilities that implement [Capability].
package gojinn
