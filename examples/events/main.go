// Events sends the time, once a second or as often as the query's every says, as server-sent events: ?count=10
// ends after ten. What is posted to it comes back line by line, in capitals, while it is still being
// sent. It needs contract stream.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	gojinn "github.com/gojinn/gojinn/guest/go"
)

func main() {
	http.HandleFunc("GET /events", events)
	http.HandleFunc("POST /events", shout)
	gojinn.Serve(nil)
}

// events sends the time until the client leaves, which ends the program.
func events(w http.ResponseWriter, r *http.Request) {
	every, err := time.ParseDuration(r.FormValue("every"))
	if err != nil || every < time.Millisecond {
		every = time.Second
	}
	count, err := strconv.Atoi(r.FormValue("count"))
	if err != nil {
		count = -1
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	control := http.NewResponseController(w)
	for n := 1; n != count+1; n++ {
		_, _ = fmt.Fprintf(w, "id: %d\nevent: time\ndata: %s\n\n", n, time.Now().UTC().Format(time.RFC3339Nano)) // who can't be told has left
		_ = control.Flush()
		if n != count {
			time.Sleep(every)
		}
	}
}

// shout answers every line as soon as it has come.
func shout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // as a program that is not a function would have to
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		_, _ = w.Write(append(bytes.ToUpper(lines.Bytes()), '\n'))
		_ = control.Flush()
	}
}
