// Contact is a contact form's endpoint: it parses a JSON or form body, validates
// it and answers 201, or 422 with an error for each field. With an argument, the
// folder it names keeps every accepted message as <request id>.json.
//
// The four versions of this function answer alike: testdata/cases.json.
package main

import (
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"
)

const maxID = 64

// message is an accepted form.
type message struct {
	ID      string `json:"id"`
	Email   string `json:"email"`
	Name    string `json:"name,omitempty"`
	Message string `json:"message"`
}

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	req, err := readRequest(os.Stdin)
	if err != nil {
		log.Error(err.Error())
		os.Exit(1) // the server answers 502
	}
	folder := ""
	if len(os.Args) > 1 {
		folder = os.Args[1]
	}
	if err := json.NewEncoder(os.Stdout).Encode(handle(req, folder, log)); err != nil {
		log.Error(err.Error())
		os.Exit(1)
	}
}

func handle(req *request, folder string, log *slog.Logger) *response {
	if req.Method != "POST" {
		return refuse(405, "method not allowed", "Allow", "POST")
	}
	parse, ok := parsers[mediaType(req.header("Content-Type"))]
	if !ok {
		return refuse(415, "content type must be application/json or application/x-www-form-urlencoded")
	}
	body := req.body()
	if !utf8.Valid(body) {
		return refuse(400, "body is not valid UTF-8")
	}
	form, err := parse(body)
	if err != nil {
		return refuse(400, err.Error())
	}
	if errs := form.validate(); len(errs) > 0 {
		return respond(422, map[string]any{"errors": errs})
	}
	m := &message{ID: req.ID, Email: form["email"].text, Name: form["name"].text, Message: form["message"].text}
	if folder != "" {
		if err := keep(folder, m); err != nil {
			log.Error("the message could not be kept", "error", err)
			return refuse(500, "the message could not be kept")
		}
	}
	return respond(201, m)
}

// mediaType returns a content type without its parameters, in lower case.
func mediaType(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	// strings.ToLower would fold letters beyond ASCII too.
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, strings.Trim(t, space))
}

// keep writes m to a new file in folder.
func keep(folder string, m *message) error {
	if !isID(m.ID) {
		return errors.New("the request's id cannot name a file")
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	path := filepath.Join(folder, m.ID+".json")
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		os.Remove(path) // half a message is worse than none
		return err
	}
	return nil
}

// isID tells whether id is nothing but a name.
func isID(id string) bool {
	for _, c := range []byte(id) {
		if !isAlphanumeric(c) && c != '-' {
			return false
		}
	}
	return id != "" && len(id) <= maxID
}
