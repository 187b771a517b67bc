// Contact is the contact form of bench/server, as it is there.
package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"unicode/utf8"

	gojinn "github.com/gojinn/gojinn/guest/go"
)

func main() {
	handler := http.HandlerFunc(contact)
	request, err := http.NewRequest("POST", "/", strings.NewReader(`{"email":"a@b.c","name":"A","message":"b"}`))
	if err != nil {
		panic(err)
	}
	request.Header.Set("Content-Type", "application/json")
	gojinn.Warm(handler, request)
	gojinn.Serve(handler)
}

type contactForm struct {
	ID      string `json:"id"`
	Email   string `json:"email"`
	Name    string `json:"name,omitempty"`
	Message string `json:"message"`
}

func contact(w http.ResponseWriter, r *http.Request) {
	form := contactForm{ID: gojinn.RequestFrom(r.Context()).ID}
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
