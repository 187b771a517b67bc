// Session counts, for each visitor, how often they came: exactly, however many requests come at
// the same time. Sessions are in the key-value namespace "sessions" and end half an hour after they
// began.
package main

import (
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	gojinn "github.com/gojinn/gojinn/guest/go"
	"github.com/gojinn/gojinn/guest/go/kv"
)

const (
	cookie   = "session"
	lifetime = 30 * time.Minute
)

var sessions = kv.Open("sessions")

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	http.HandleFunc("POST /session", visit)
	gojinn.Serve(nil)
}

// visit counts a visit and answers with the number of them.
func visit(w http.ResponseWriter, r *http.Request) {
	id, ok := sessionOf(r)
	if !ok {
		id = rand.Text()
		http.SetCookie(w, &http.Cookie{Name: cookie, Value: id, Path: "/", MaxAge: int(lifetime.Seconds()), HttpOnly: true, SameSite: http.SameSiteLaxMode})
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	visits, err := sessions.Incr(id, 1, kv.TTL(lifetime))
	if err != nil {
		slog.Error("counting", "error", err)
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"error":"visits can't be counted at the moment"}`)) // nobody is there to be told
		return
	}
	if err := json.NewEncoder(w).Encode(map[string]int64{"visits": visits}); err != nil {
		slog.Error("answering", "error", err)
	}
}

// sessionOf is the visitor's session. Only what rand.Text makes is taken for one.
func sessionOf(r *http.Request) (id string, ok bool) {
	sent, err := r.Cookie(cookie)
	if err != nil || len(sent.Value) != 26 || strings.Trim(sent.Value, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return "", false
	}
	return sent.Value, true
}
