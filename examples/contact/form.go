package main

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"unicode/utf8"
)

const (
	maxName      = 100 // characters
	maxMessage   = 5000
	maxEmail     = 254 // bytes, as SMTP has it
	maxLocalPart = 64

	space = " \t\r\n"
)

// form is what the client sent, by name. A field given twice has its last value.
type form map[string]field

type field struct {
	text     string
	mistyped bool // JSON had something else than a string here
}

var parsers = map[string]func([]byte) (form, error){
	"application/json":                  parseJSON,
	"application/x-www-form-urlencoded": parseURLEncoded,
}

func parseJSON(body []byte) (form, error) {
	// A map, since a struct's members would match in any case of letters.
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return nil, errors.New("body must be a JSON object")
		}
		return nil, errors.New("body is not valid JSON")
	}
	if members == nil {
		return nil, errors.New("body must be a JSON object") // null
	}
	f := form{}
	for _, name := range []string{"email", "message", "name"} {
		var text string
		raw, ok := members[name]
		mistyped := ok && json.Unmarshal(raw, &text) != nil // null is as good as absent
		f[name] = field{text, mistyped}
	}
	return f, nil
}

// parseURLEncoded reads application/x-www-form-urlencoded. Unlike url.ParseQuery
// it takes a semicolon for what it is in a form: an ordinary character.
func parseURLEncoded(body []byte) (form, error) {
	f := form{}
	for pair := range strings.SplitSeq(string(body), "&") {
		name, value, _ := strings.Cut(pair, "=")
		name, err1 := url.QueryUnescape(name)
		value, err2 := url.QueryUnescape(value)
		if err1 != nil || err2 != nil || !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, errors.New("body is not a valid form")
		}
		f[name] = field{text: value}
	}
	return f, nil
}

// validate trims the fields and returns what is wrong with each, by name.
func (f form) validate() map[string]string {
	checks := map[string]func(string) string{"email": checkEmail, "message": checkMessage, "name": checkName}
	errs := map[string]string{}
	for name, check := range checks {
		text := strings.Trim(f[name].text, space)
		if f[name].mistyped {
			errs[name] = "must be a string"
		} else if problem := check(text); problem != "" {
			errs[name] = problem
		}
		f[name] = field{text: text}
	}
	return errs
}

func checkEmail(text string) string {
	switch {
	case text == "":
		return "is required"
	case !isEmail(text):
		return "must be an email address"
	}
	return ""
}

func checkMessage(text string) string {
	switch {
	case text == "":
		return "is required"
	case utf8.RuneCountInString(text) > maxMessage:
		return "must be at most 5000 characters"
	case hasControl(text, "\t\r\n"):
		return "must not contain control characters"
	}
	return ""
}

func checkName(text string) string {
	switch {
	case utf8.RuneCountInString(text) > maxName:
		return "must be at most 100 characters"
	case hasControl(text, ""):
		return "must not contain control characters"
	}
	return ""
}

// hasControl tells whether text holds a control character other than those in allowed.
func hasControl(text, allowed string) bool {
	for _, c := range []byte(text) {
		if (c < 0x20 || c == 0x7f) && strings.IndexByte(allowed, c) < 0 {
			return true
		}
	}
	return false
}

// isEmail takes an address as HTML's <input type=email> does, with SMTP's limits on its length.
func isEmail(text string) bool {
	local, domain, ok := strings.Cut(text, "@")
	if !ok || local == "" || len(local) > maxLocalPart || len(text) > maxEmail {
		return false
	}
	for _, c := range []byte(local) {
		if !isAlphanumeric(c) && strings.IndexByte(".!#$%&'*+/=?^_`{|}~-", c) < 0 {
			return false
		}
	}
	for label := range strings.SplitSeq(domain, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isLabel takes a label of a domain name: 1 to 63 letters, digits and inner hyphens.
func isLabel(label string) bool {
	for _, c := range []byte(label) {
		if !isAlphanumeric(c) && c != '-' {
			return false
		}
	}
	return label != "" && len(label) <= 63 && label[0] != '-' && label[len(label)-1] != '-'
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
