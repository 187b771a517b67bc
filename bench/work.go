package main

import (
	"net/http"
	"strings"
)

// A work is what a function is asked to do: one request and what must come
// back. Fast nonsense is no result.
type work struct {
	name   string
	guest  string // the guests that do it, see guest.work; also the path of the Go server
	body   string
	status int
	answer string // what the answer must hold
}

// contactBody is what a contact form sends.
const contactBody = `{"email":"ada@example.com","name":"Ada","message":"Is this machine for hire? I have some numbers to crunch."}`

// worksDone are all works, in the order of the tables.
func worksDone() []work {
	kilobytes64, megabyte := textBody(64<<10), textBody(1<<20)
	return []work{
		{"echo", "echo", contactBody, http.StatusOK, contactBody},
		{"contact form", "contact", contactBody, http.StatusCreated, `"email":"ada@example.com"`},
		{"prime number", "prime", "5000", http.StatusOK, "48611"},
		{"echo of 64 KiB", "echo", kilobytes64, http.StatusOK, kilobytes64},
		{"echo of 1 MiB", "echo", megabyte, http.StatusOK, megabyte},
		{"ten functions in turn", "", contactBody, http.StatusOK, "ada@example.com"},
	}
}

// textBody is a body of n bytes with quotation marks and ends of lines, which
// the json contract escapes.
func textBody(n int) string {
	line := contactBody + "\n"
	return strings.Repeat(line, n/len(line)+1)[:n]
}

// mixed are the functions of the last work, by the names of their guests. Each
// is a function of its own, also where two run the same module.
var mixed = []string{
	"echo-go", "contact-c", "echo-rust", "contact-go", "echo-zig",
	"contact-rust", "echo-c", "contact-zig", "contact-go", "echo-go",
}
