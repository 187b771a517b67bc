// Package contract turns HTTP requests into the bytes a function reads from
// its standard input, and the bytes it writes to its standard output into HTTP
// responses. It knows neither WebAssembly nor Caddy.
//
// The contracts are json, one JSON object in and one out, stream, a line of JSON and a body each
// way, and cgi, that of RFC 3875. docs/contract.md describes them for those who write functions, and
// testdata/vectors holds golden vectors for those who write SDKs.
//
// All functions are safe for concurrent use; none keeps what it is given, but
// see Response.Body.
package contract
