// Package inbound carries what is known of the request that a function answers to those
// who make requests of their own for it.
package inbound

import "context"

// Request is what an outbound request hands on of the inbound one.
type Request struct {
	// Traceparent is the W3C trace context of the call; "" if there is none.
	Traceparent string
	// Hops is how often the request has passed through a function on its way here: the number
	// of "gojinn" entries in its CDN-Loop (RFC 8586).
	Hops int
}

type key struct{}

// With returns ctx with r, which is only read from now on.
func With(ctx context.Context, r *Request) context.Context {
	return context.WithValue(ctx, key{}, r)
}

// From returns the request that ctx carries; the zero Request if there is none.
func From(ctx context.Context) Request {
	if r, ok := ctx.Value(key{}).(*Request); ok {
		return *r
	}
	return Request{}
}
