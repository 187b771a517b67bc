// Package gojinn is for functions in Go: programs that answer one request to a
// Caddy with Gojinn and end. They are written as any server is:
//
//	func main() {
//		mux := http.NewServeMux()
//		mux.HandleFunc("GET /hello/{name}", func(w http.ResponseWriter, r *http.Request) {
//			fmt.Fprintf(w, "Hello, %s!\n", r.PathValue("name"))
//		})
//		gojinn.Serve(mux)
//	}
//
// and compiled with GOOS=wasip1 GOARCH=wasm. Routers, middleware and everything else made for
// package net/http works unchanged, but for what needs a connection: no hijacking,
// no pushing. Compiled for another system, the program reads a request object from
// standard input and writes a response object to standard output.
//
// # Streams
//
// The program finds out by the request which contract the server has for it. With the contract
// json, the default, request and response are held as a whole: a response is sent when
// it is complete. With the contract stream a body is read as it comes, and what is written is sent
// when 32 KiB have come together, by Flush ([http.Flusher], [http.ResponseController]) and
// at the end; a handler may read and write at the same time. When the client leaves,
// the program is ended.
//
// # What is done once
//
// A program is started ahead of its requests. What it is at its first read of standard
// input, in [Serve], is kept, and each request finds it so. Everything before, package
// variables, routes and templates, costs nothing per request, and nothing that a request
// changes is seen by another. This holds as long as the start depends on nothing: a program that asks for the time of
// day before Serve ([time.Now], log), draws from crypto/rand, or uses a capability, is started anew
// for every request; “gojinn function inspect” tells. The numbers of math/rand and hash/maphash
// are new for every request, but not those that were drawn before Serve.
//
// What Go makes when it is first needed is made in every request, unless main has had it
// made before: [Warm].
//
// # Requests
//
// [http.Request] is what the server knows. RemoteAddr has port 0, as the contract
// has no ports. TLS is not nil if the client came over https, with nothing in it but
// HandshakeComplete. The context ends with the program only: the server ends that when the
// client leaves or the time is up. [RequestFrom] has the rest.
//
// # Memory
//
// A program that lives for one request needs no garbage collection until its memory is large:
// the collector first runs at 16 MiB of heap, instead of 4. Where a function's
// memory limit is below 32 MiB, set GOGC (“allow env GOGC 100”).
package gojinn
