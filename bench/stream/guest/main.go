// The benchmark's function sends as many bytes as the query's size says, and counts those it is sent.
package main

import (
	"fmt"
	"io"
	"net/http"
	"strconv"

	gojinn "github.com/gojinn/gojinn/guest/go"
)

func main() {
	buffer := make([]byte, 64<<10)
	http.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
		if err != nil {
			http.Error(w, "no size", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		for size > 0 {
			n := min(size, int64(len(buffer)))
			if _, err := w.Write(buffer[:n]); err != nil {
				panic(err)
			}
			size -= n
		}
	})
	http.HandleFunc("POST /", func(w http.ResponseWriter, r *http.Request) {
		var size int64
		for {
			n, err := r.Body.Read(buffer)
			size += int64(n)
			if err == io.EOF {
				break
			}
			if err != nil {
				panic(err)
			}
		}
		fmt.Fprint(w, size)
	})
	gojinn.Serve(nil)
}
