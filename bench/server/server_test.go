package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(handler())
	t.Cleanup(server.Close)
	for _, test := range []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"echo", "/echo", "as it came", 200, "as it came"},
		{"contact", "/contact", `{"email":"a@b.c","message":" hi "}`, 201, `{"id":"","email":"a@b.c","message":"hi"}` + "\n"},
		{"contact, refused", "/contact", `{"email":"nobody"}`, 422, `{"errors":{"email":"must be an email address","message":"is required, with at most 5000 characters"}}` + "\n"},
		{"contact, no JSON", "/contact", "?", 400, `{"error":"invalid character '?' looking for beginning of value"}` + "\n"},
		{"first prime", "/prime", "1", 200, "2"},
		{"prime", "/prime", "5000", 200, "48611"},
		{"no prime", "/prime", "0", 400, "POST a number from 1 to 65535\n"},
		{"no number", "/prime", "n", 400, "POST a number from 1 to 65535\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			response, err := http.Post(server.URL+test.path, "application/json", strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if response.StatusCode != test.status || string(body) != test.want || err != nil {
				t.Errorf("got %d %q, %v, want %d %q", response.StatusCode, body, err, test.status, test.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	t.Parallel()
	form := contactForm{Email: "nobody", Name: strings.Repeat("n", 101)}
	if errs := form.validate(); len(errs) != 3 {
		t.Errorf("got %v, want errors for email, name and message", errs)
	}
}

// The server says where it listens, and what went wrong when it can't.
func TestServe(t *testing.T) {
	t.Parallel()
	out, in := io.Pipe()
	go serve("127.0.0.1:0", in) // until the test ends
	line := make([]byte, 64)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSpace(string(line[:n]))
	response, err := http.Post("http://"+address+"/prime", "", strings.NewReader("3"))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 200 {
		t.Errorf("got status %d", response.StatusCode)
	}
	if err := serve(address, io.Discard); err == nil {
		t.Error("two servers listen on one address")
	}
}
