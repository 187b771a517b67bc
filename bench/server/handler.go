package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// handler does what the guests do, in an ordinary Go server: by hand, as its
// author would write it, not by way of the contract.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/contact", contact)
	mux.HandleFunc("/prime", prime)
	return mux
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Write(body)
}

// prime answers with the n-th prime number. The request's body is n.
func prime(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<10))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n, err := strconv.ParseUint(string(body), 10, 16)
	if err != nil || n == 0 {
		http.Error(w, "POST a number from 1 to 65535", http.StatusBadRequest)
		return
	}
	fmt.Fprint(w, nthPrime(uint32(n)))
}

// nthPrime is, line by line, what the guests do.
func nthPrime(n uint32) uint32 {
	p := uint32(2)
	for candidate := uint32(3); n > 1; candidate += 2 {
		prime := true
		for d := uint32(3); d*d <= candidate; d += 2 {
			if candidate%d == 0 {
				prime = false
				break
			}
		}
		if prime {
			p = candidate
			n--
		}
	}
	return p
}

type contactForm struct {
	ID      string `json:"id"`
	Email   string `json:"email"`
	Name    string `json:"name,omitempty"`
	Message string `json:"message"`
}

func contact(w http.ResponseWriter, r *http.Request) {
	form := contactForm{ID: r.Header.Get("X-Request-Id")}
	if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
		reply(w, http.StatusBadRequest, map[string]string{"error": "POST JSON"})
		return
	}
	if err := json.NewDecoder(r.Body).Decode(&form); err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	if errs := form.validate(); len(errs) > 0 {
		reply(w, http.StatusUnprocessableEntity, map[string]any{"errors": errs})
		return
	}
	reply(w, http.StatusCreated, form)
}

// validate trims the fields and returns what is wrong with each.
func (f *contactForm) validate() map[string]string {
	errs := map[string]string{}
	f.Email, f.Name, f.Message = strings.TrimSpace(f.Email), strings.TrimSpace(f.Name), strings.TrimSpace(f.Message)
	local, domain, ok := strings.Cut(f.Email, "@")
	if !ok || local == "" || len(local) > 64 || domain == "" || len(domain) > 190 || strings.ContainsAny(f.Email, " \t\r\n\"(),:;<>[\\]") {
		errs["email"] = "must be an email address"
	}
	if utf8.RuneCountInString(f.Name) > 100 || strings.ContainsFunc(f.Name, isControl) {
		errs["name"] = "must be at most 100 characters"
	}
	if f.Message == "" || utf8.RuneCountInString(f.Message) > 5000 {
		errs["message"] = "is required, with at most 5000 characters"
	}
	return errs
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}
