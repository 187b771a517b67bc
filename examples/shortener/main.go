// A link shortener: POST /shorten stores a URL under a random key, GET /s/<key> redirects to it and
// counts, GET /s/<key>/hits tells how often. `allow kv links` is what it needs.
//
// The versions of this function answer alike.
package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	gojinn "github.com/gojinn/gojinn/guest/go"
	"github.com/gojinn/gojinn/guest/go/kv"
)

const (
	maxURL    = 2000 // characters
	keyRandom = 6    // bytes of a key, which base64 makes 8 characters
)

// links has the URL of each key, and under "hits/<key>" how often it was asked for.
var links = kv.Open("links")

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stderr, nil)))
	gojinn.Serve(http.HandlerFunc(route))
}

// route is no ServeMux, which would redirect to paths that are none here either.
func route(w http.ResponseWriter, r *http.Request) {
	handle, methods := look, []string{http.MethodGet, http.MethodHead}
	if r.URL.Path == "/shorten" {
		handle, methods = shorten, []string{http.MethodPost}
	}
	if !slices.Contains(methods, r.Method) {
		w.Header().Set("Allow", strings.Join(methods, ", "))
		refuse(w, http.StatusMethodNotAllowed, "method not allowed")
		return
	}
	handle(w, r)
}

func shorten(w http.ResponseWriter, r *http.Request) {
	url, err := urlOf(r.Body)
	switch {
	case err != nil:
		refuse(w, http.StatusBadRequest, "the body must be a JSON object with a url")
		return
	case !isURL(url):
		refuse(w, http.StatusUnprocessableEntity, "url must be an http or https URL of at most 2000 characters")
		return
	}
	key, err := keep(url)
	if err != nil {
		fail(err)
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	answer(w, http.StatusCreated, map[string]string{"key": key, "short": scheme + "://" + r.Host + "/s/" + key})
}

// urlOf reads the body of a request to shorten a URL.
func urlOf(body io.Reader) (url string, err error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return "", err
	}
	if !utf8.Valid(text) {
		return "", errors.New("not UTF-8")
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return "", err
	}
	if object == nil {
		return "", errors.New("null")
	}
	if member, ok := object["url"]; ok {
		err = json.Unmarshal(member, &url)
	}
	return url, err
}

// web is what can be a Location as it is: ASCII without white space.
var web = regexp.MustCompile(`^https?://[!-~]+$`)

func isURL(url string) bool { return len(url) <= maxURL && web.MatchString(url) }

// keep stores a URL under a key that nobody has.
func keep(url string) (string, error) {
	for {
		random := make([]byte, keyRandom)
		_, _ = rand.Read(random) // it never fails
		key := base64.RawURLEncoding.EncodeToString(random)
		if _, err := links.CAS(key, 0, []byte(url)); !errors.Is(err, kv.ErrExists) {
			return key, err
		}
	}
}

// paths are /s/<key> and /s/<key>/hits.
var paths = regexp.MustCompile(`^/s/([A-Za-z0-9_-]{8})(/hits)?$`)

// look looks a link up.
func look(w http.ResponseWriter, r *http.Request) {
	match := paths.FindStringSubmatch(r.URL.Path)
	if match == nil {
		refuse(w, http.StatusNotFound, "no such link")
		return
	}
	key, counter := match[1], "hits/"+match[1]
	url, err := links.Get(key)
	switch {
	case errors.Is(err, kv.ErrNotFound):
		refuse(w, http.StatusNotFound, "no such link")
	case err != nil:
		fail(err)
	case match[2] != "":
		hits, err := kv.Get[int64](links, counter)
		if err != nil && !errors.Is(err, kv.ErrNotFound) {
			fail(err)
		}
		answer(w, http.StatusOK, map[string]int64{"hits": hits})
	default:
		if r.Method == http.MethodGet {
			if _, err := links.Incr(counter, 1); err != nil {
				fail(err)
			}
		}
		w.Header().Set("Location", string(url))
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusFound)
	}
}

// fail ends the program: the server logs why, and the client gets 502.
func fail(err error) {
	slog.Error("links", "error", err)
	os.Exit(1)
}

func refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]string{"error": message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		slog.Error("answering", "error", err)
	}
}
