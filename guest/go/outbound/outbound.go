// Package outbound makes [gojinn.Transport] the [http.DefaultTransport] of a function, so
// that [http.Get] and libraries that use [http.DefaultClient] work as they do elsewhere,
// as far as “allow http” lets them:
//
//	import _ "github.com/gojinn/gojinn/guest/go/outbound"
//
// It is a package of its own since to name the variable links all of net/http's client, with HTTP/2 and
// TLS, which makes a function half as large again. Compiled for another system the
// package does nothing.
package outbound
