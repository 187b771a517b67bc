package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// request is what the server writes to stdin (contract json).
type request struct {
	ID      string              `json:"id"`
	Method  string              `json:"method"`
	Headers map[string][]string `json:"headers"`
	Text    *string             `json:"body"`
	Base64  []byte              `json:"body_base64"` // in place of Text when the body is not UTF-8
}

// response is what the server reads from stdout.
type response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

func readRequest(r io.Reader) (*request, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	if !utf8.Valid(text) {
		return nil, errors.New("the request on stdin is not UTF-8")
	}
	var req *request
	if err := json.Unmarshal(text, &req); err != nil {
		return nil, fmt.Errorf("the request on stdin is not what the contract says: %w", err)
	}
	if req == nil {
		return nil, errors.New("the request on stdin is null")
	}
	return req, nil
}

// header returns the first value of a field; name is in canonical form.
func (r *request) header(name string) string {
	if values := r.Headers[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

func (r *request) body() []byte {
	if r.Text != nil {
		return []byte(*r.Text)
	}
	return r.Base64
}

// respond returns a response with v as its JSON body and pairs as further header fields.
func respond(status int, v any, pairs ...string) *response {
	body, err := json.Marshal(v)
	if err != nil {
		panic(err) // v is always one of ours
	}
	r := &response{Status: status, Headers: map[string]string{"Content-Type": "application/json"}, Body: string(body)}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Headers[pairs[i]] = pairs[i+1]
	}
	return r
}

func refuse(status int, message string, pairs ...string) *response {
	return respond(status, map[string]string{"error": message}, pairs...)
}
