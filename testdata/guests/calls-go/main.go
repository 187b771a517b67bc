// Calls requests its own URL, and answers with the status of that and with how many did so before: a function
// that calls itself, without an end of its own. With a body, that is the request line instead, and the answer
// is the answer.
package main

import (
	"encoding/json"
	"io"
	"os"
)

type request struct {
	Scheme, Host, URI, Body, Traceparent string
}

type response struct {
	Status int    `json:"status"`
	Body   string `json:"body"`
}

func main() {
	var in request
	check(json.NewDecoder(os.Stdin).Decode(&in))
	line := []byte(in.Body)
	if in.Body == "" {
		line, _ = json.Marshal(map[string]string{"url": in.Scheme + "://" + in.Host + in.URI})
	}
	f, err := os.OpenFile("/net/http", os.O_RDWR, 0)
	check(err)
	_, err = f.Write(append(line, '\n'))
	check(err)
	text, err := io.ReadAll(f)
	check(err)
	out := response{200, string(text)}
	if in.Body == "" {
		var answer struct {
			Status      int
			Body, Error string
		}
		check(json.Unmarshal(text, &answer))
		out = response{max(answer.Status, 200), "called " + answer.Body + answer.Error}
	}
	check(json.NewEncoder(os.Stdout).Encode(out))
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
