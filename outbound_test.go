package gojinn

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// calls is a program that calls itself, see its source.
func calls(t *testing.T) string {
	t.Helper()
	return moduleFile(t, "calls.wasm", toolchaintest.Build(t, filepath.Join("testdata", "guests", "calls-go")))
}

// allowOwn is the grant for a function to call its own server.
func allowOwn(s *server) string {
	return "allow http http://" + s.addr + " {\n private 127.0.0.0/8\n}"
}

// TestLoop: a function that calls itself is cut off after 8 hops.
func TestLoop(t *testing.T) {
	s := serve(t, "respond ok")
	if err := s.load("", "gojinn "+calls(t)+" {\n concurrency 16\n timeout 30s\n "+allowOwn(s)+"\n}"); err != nil {
		t.Fatal(err)
	}
	// The client's request has no hop behind it, the tenth call would be one with nine.
	if got, want := s.get("/x"), strings.Repeat("called ", 9); got.status != 508 || got.body != want {
		t.Errorf("got %d, %q, want 508, %q", got.status, got.body, want)
	}
	header := http.Header{"Cdn-Loop": {"gojinn, other;x=\"gojinn\"", "gojinn,gojinn, GOJINN;v=1,gojinn,gojinn,gojinn,gojinn"}}
	if got := s.do("GET", "/x", header, nil); got.status != 508 || got.body != "called " {
		t.Errorf("with 8 entries: got %+v", got)
	}
	header.Add("CDN-Loop", "gojinn")
	if got := s.do("GET", "/x", header, nil); got.status != 508 || got.body != "" {
		t.Errorf("with 9 entries: got %+v", got)
	}
}

// TestLoopEnds: calls that wait for calls that wait for their turn end at a deadline at the latest.
func TestLoopEnds(t *testing.T) {
	s := serve(t, "respond ok")
	if err := s.load("", "gojinn "+calls(t)+" {\n concurrency 2 queue 100 wait 1m\n timeout 2s\n "+allowOwn(s)+"\n}"); err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	start := time.Now()
	for range 8 {
		clients.Go(func() {
			if got := s.get("/x"); got.status < 500 {
				t.Errorf("got %+v, want an error", got)
			}
		})
	}
	clients.Wait()
	if took := time.Since(start); took > time.Minute {
		t.Errorf("it took %s", took)
	}
}

// TestOutboundHeaders: what is known of the inbound request is handed on.
func TestOutboundHeaders(t *testing.T) {
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("Traceparent"), " ", r.Header.Get("CDN-Loop"))
	}))
	defer target.Close()
	s := serve(t, "gojinn "+calls(t)+" {\n allow http "+target.URL+" {\n private 127.0.0.1\n }\n}")
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	line := fmt.Sprintf(`{"url":%q,"headers":{"traceparent":"00-mine"}}`, target.URL)
	got := s.do("POST", "/", http.Header{"Traceparent": {trace}, "Cdn-Loop": {"gojinn"}}, strings.NewReader(line))
	var answer struct{ Body string }
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || answer.Body != trace+" gojinn, gojinn" {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestReloadDuringRequest: a request that is on its way when the configuration changes is answered.
func TestReloadDuringRequest(t *testing.T) {
	arrived, proceed := make(chan struct{}), make(chan struct{})
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-proceed
		io.WriteString(w, "late")
	}))
	defer target.Close()
	site := "gojinn " + calls(t) + " {\n timeout 1m\n allow http " + target.URL + " {\n private 127.0.0.1\n timeout off\n }\n}"
	s := serve(t, site)
	answered := make(chan reply)
	go func() { answered <- s.do("POST", "/", nil, strings.NewReader(fmt.Sprintf(`{"url":%q}`, target.URL))) }()
	<-arrived
	if err := s.load("", "header X-New yes\n"+site); err != nil {
		t.Fatal(err)
	}
	close(proceed)
	if got := <-answered; !strings.Contains(got.body, `"body":"late"`) {
		t.Errorf("got %+v", got)
	}
}
