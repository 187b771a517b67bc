// Markdown turns text into HTML: CommonMark with GitHub's tables, task lists,
// strikethrough and bare links. Raw HTML and links that run scripts are left out,
// so the answer is safe to put into a page whoever wrote the text.
package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"mime"
	"os"
	"unicode/utf8"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"
)

// maxSource bounds the text, in bytes.
const maxSource = 256 << 10

// request is what the server writes to stdin (contract json).
type request struct {
	Method  string              `json:"method"`
	Headers map[string][]string `json:"headers"`
	Text    string              `json:"body"`
	Base64  []byte              `json:"body_base64"` // in place of Text when the body is not UTF-8
}

// response is what the server reads from stdout.
type response struct {
	Status  int               `json:"status"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	var req request
	if err := json.NewDecoder(os.Stdin).Decode(&req); err != nil {
		log.Error("the request on stdin is not what the contract says", "error", err)
		os.Exit(1) // the server answers 502
	}
	resp, err := handle(&req)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(resp)
	}
	if err != nil {
		log.Error(err.Error())
		os.Exit(1)
	}
}

func handle(req *request) (*response, error) {
	if req.Method != "POST" {
		resp := refuse(405, "method not allowed")
		resp.Headers["Allow"] = "POST"
		return resp, nil
	}
	if !isText(req.Headers["Content-Type"]) {
		return refuse(415, "content type must be text/markdown or text/plain, in UTF-8"), nil
	}
	source := []byte(req.Text)
	if req.Base64 != nil {
		source = req.Base64
	}
	if !utf8.Valid(source) {
		return refuse(400, "body is not valid UTF-8"), nil
	}
	if len(source) > maxSource {
		return refuse(413, "body is over 256 KiB"), nil
	}
	var html bytes.Buffer
	if err := goldmark.New(goldmark.WithExtensions(extension.GFM)).Convert(source, &html); err != nil {
		return nil, err
	}
	return &response{
		Status:  200,
		Headers: map[string]string{"Content-Type": "text/html; charset=utf-8", "X-Content-Type-Options": "nosniff"},
		Body:    html.String(),
	}, nil
}

// isText tells whether a Content-Type field announces Markdown or plain text. A
// request without one is taken for plain text.
func isText(values []string) bool {
	if len(values) == 0 {
		return true
	}
	mediaType, params, err := mime.ParseMediaType(values[0])
	if err != nil || mediaType != "text/markdown" && mediaType != "text/plain" {
		return false
	}
	switch params["charset"] {
	case "", "utf-8", "UTF-8", "us-ascii", "US-ASCII":
		return true
	}
	return false
}

func refuse(status int, message string) *response {
	return &response{
		Status:  status,
		Headers: map[string]string{"Content-Type": "text/plain; charset=utf-8"},
		Body:    message + "\n",
	}
}
