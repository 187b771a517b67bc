package examples

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gojinn/gojinn/internal/postgrestest"
)

// The example guestbook keeps entries in a real PostgreSQL, over a connection that is plain and one
// that the server encrypts, also when many sign at once.
func TestGuestbook(t *testing.T) {
	db := postgrestest.Start(t, "hostnossl postgres postgres 127.0.0.1/32 scram-sha-256", "hostssl secure postgres 127.0.0.1/32 scram-sha-256", "hostssl postgres all 127.0.0.1/32 reject")
	db.CreateDatabase(t, "secure")
	wasm := module(t, "guestbook")
	_, port, _ := net.SplitHostPort(db.Address)
	env := func(database, sslmode string) string {
		return fmt.Sprintf("allow env DATABASE_URL postgres://%s:p4ss%%20word@%s/%s?sslmode=%s\n", db.User, db.Address, database, sslmode)
	}
	address := serveSite(t, "",
		handle("/plain", wasm, env("postgres", "disable")+"allow tcp "+db.Address+" {\n private 127.0.0.1\n }")+
			handle("/tls", wasm, env("secure", "require")+"allow tls "+db.Address+" {\n starttls postgres\n ca "+db.CA+"\n private 127.0.0.1\n }")+
			handle("/strangers", wasm, env("secure", "require")+"allow tls "+db.Address+" {\n starttls postgres\n private 127.0.0.1\n }")+
			handle("/private", wasm, env("postgres", "disable")+"allow tcp "+db.Address)+
			handle("/elsewhere", wasm, env("postgres", "disable")+"allow tcp localhost:1 127.0.0.1:"+port+" {\n private 127.0.0.1\n }")+
			handle("/nothing", wasm, env("postgres", "disable")))

	for _, way := range []string{"/plain", "/tls"} {
		t.Run(way[1:], func(t *testing.T) {
			book := "http://" + address + way + "/guestbook"
			if status, body := ask(t, http.MethodGet, book, ""); status != 200 || strings.TrimSpace(body) != `{"entries":[]}` {
				t.Fatalf("at first: got %d %s, want no entries", status, body)
			}
			const visitors = 24
			var all sync.WaitGroup
			for i := range visitors {
				all.Go(func() {
					status, body := ask(t, http.MethodPost, book, fmt.Sprintf(`{"name":"visitor %d","text":"été 🙂 '; drop table guestbook; --"}`, i))
					if status != 201 || !strings.Contains(body, fmt.Sprintf(`"name":"visitor %d"`, i)) {
						t.Errorf("signing: got %d %s, want 201", status, body)
					}
				})
			}
			all.Wait()
			_, body := ask(t, http.MethodGet, book, "")
			var got struct {
				Entries []struct{ Name, Text string }
			}
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatalf("%v: %s", err, body)
			}
			names := make(map[string]bool)
			for _, e := range got.Entries {
				names[e.Name] = e.Text == "été 🙂 '; drop table guestbook; --"
			}
			for i := range visitors {
				if name := fmt.Sprintf("visitor %d", i); !names[name] {
					t.Errorf("the entry of %s is missing, or another: %v", name, got.Entries)
				}
			}
		})
	}
	for _, test := range []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"no JSON", "/plain", "x", 400, "must be JSON"},
		{"no name", "/plain", `{"text":"hi"}`, 422, "must not be empty"},
		{"a long text", "/plain", `{"name":"a","text":"` + strings.Repeat("é", 2001) + `"}`, 422, "too long"},
		{"a NUL", "/plain", `{"name":"a","text":"\u0000"}`, 422, "NUL"},
		{"a certificate that is not trusted", "/strangers", `{"name":"a","text":"b"}`, 503, "closed"},
		{"a private address", "/private", `{"name":"a","text":"b"}`, 503, "closed"},
		{"other addresses", "/elsewhere", `{"name":"a","text":"b"}`, 503, "closed"},
		{"nothing allowed", "/nothing", `{"name":"a","text":"b"}`, 503, "closed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			status, body := ask(t, http.MethodPost, "http://"+address+test.path+"/guestbook", test.body)
			if status != test.status || !strings.Contains(body, test.want) {
				t.Errorf("got %d %s, want %d with %q", status, body, test.status, test.want)
			}
		})
	}
}

// ask sends a request with a body of JSON, if there is one.
func ask(t *testing.T, method, url, body string) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	return send(t, request)
}
