package gojinn

import "net/http"

// There is nothing that the transport of net/http could connect to.
func init() { http.DefaultTransport = Transport{} }
