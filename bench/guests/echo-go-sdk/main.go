// Echo answers with the request's body.
package main

import (
	"io"
	"net/http"

	gojinn "github.com/gojinn/gojinn/guest/go"
)

func main() {
	gojinn.Serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Write(body)
	}))
}
