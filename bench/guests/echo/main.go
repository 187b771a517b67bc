// Echo answers with the request's body.
package main

import (
	"encoding/json"
	"os"
)

type request struct {
	Body   *string `json:"body"`
	Base64 *string `json:"body_base64"`
}

type response struct {
	Headers map[string]string `json:"headers"`
	Body    *string           `json:"body,omitempty"`
	Base64  *string           `json:"body_base64,omitempty"`
}

func main() {
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		panic(err)
	}
	err := json.NewEncoder(os.Stdout).Encode(response{
		Headers: map[string]string{"Content-Type": "application/octet-stream"},
		Body:    req.Body,
		Base64:  req.Base64,
	})
	if err != nil {
		panic(err)
	}
}
