package examples

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// eventSources are the versions of the example events. Those that an interpreter runs are served where the
// variable says that it is, and to fewer clients at a time, each of which has an interpreter started.
var eventSources = []struct {
	folder, interpreter, variable string
	clients                       int
}{
	{"events", "", "", 100},
	{"events-rust", "", "", 100},
	{"events-python", "python.wasm", "GOJINN_TEST_PYTHON", 8},
}

// serveEvents serves an example by its Caddyfile, beside a route that has nothing to do with it.
func serveEvents(t *testing.T, folder, interpreted, variable string) (address string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, folder, "Caddyfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, directives, ok := strings.Cut(string(text), "http://localhost:8080 {\n")
	if !ok {
		t.Fatal("it serves something else than http://localhost:8080")
	}
	if interpreted == "" {
		directives = strings.Replace(directives, " "+folder+".wasm", " "+module(t, folder), 1)
	} else {
		wasm := toolchaintest.FindInterpreter(t, variable)
		if wasm == "" {
			t.Skip("there is no interpreter")
		}
		dir, err := filepath.Abs(filepath.Join(examples, folder))
		if err != nil {
			t.Fatal(err)
		}
		directives = strings.NewReplacer(" "+interpreted, " "+wasm, " dir . ", " dir "+dir+" ").Replace(directives)
	}
	return serveSite(t, "", "respond /other alive\n"+strings.TrimSuffix(directives, "}\n"))
}

// All clients get their events, each when it is due, while another route goes on answering.
func TestEvents(t *testing.T) {
	for _, source := range eventSources {
		t.Run(source.folder, func(t *testing.T) {
			address := serveEvents(t, source.folder, source.interpreter, source.variable)
			const count = 5
			clients := source.clients
			var listening, done sync.WaitGroup
			listening.Add(clients)
			client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
			defer client.CloseIdleConnections()
			for range clients {
				done.Go(func() {
					var once sync.Once
					defer once.Do(listening.Done)
					response, err := client.Get(fmt.Sprintf("http://%s/events?every=1s&count=%d", address, count))
					if err != nil {
						t.Error(err)
						return
					}
					defer response.Body.Close()
					if got := response.Header.Get("Content-Type"); response.StatusCode != 200 || got != "text/event-stream" {
						t.Errorf("got %d, %q", response.StatusCode, got)
					}
					start, n := time.Now(), 0
					for lines := bufio.NewScanner(response.Body); lines.Scan(); {
						if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
							at, err := time.Parse(time.RFC3339Nano, text)
							if age := time.Since(at); err != nil || age < -time.Second || age > time.Minute {
								t.Errorf("got %q (%v), want the time", text, err)
							}
						}
						if !strings.HasPrefix(lines.Text(), "id: ") {
							continue
						}
						once.Do(listening.Done)
						if n++; lines.Text() != fmt.Sprintf("id: %d", n) {
							t.Errorf("got %q, want the one of number %d", lines.Text(), n)
						}
					}
					if took := time.Since(start); n != count || took < (count-2)*time.Second {
						t.Errorf("got %d events in %s", n, took)
					}
				})
			}
			listening.Wait() // each has had its first, and none its last
			for range 10 {
				if status, body := ask(t, "GET", "http://"+address+"/other", ""); status != 200 || body != "alive" {
					t.Errorf("another route: got %d %q", status, body)
				}
			}
			done.Wait()
		})
	}
}

// What is posted comes back line by line, while it is still being sent.
func TestEventsDuplex(t *testing.T) {
	for _, source := range eventSources {
		t.Run(source.folder, func(t *testing.T) {
			address := serveEvents(t, source.folder, source.interpreter, source.variable)
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Fprintf(conn, "POST /events HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\n", address); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			var body *bufio.Reader
			for _, word := range []string{"first", "second", "third"} {
				if _, err := fmt.Fprintf(conn, "%x\r\n%s\n\r\n", len(word)+1, word); err != nil {
					t.Fatal(err)
				}
				if body == nil {
					response, err := http.ReadResponse(in, nil)
					if err != nil || response.StatusCode != 200 {
						t.Fatalf("got %v, %v", response, err)
					}
					body = bufio.NewReader(response.Body)
				}
				if got, err := body.ReadString('\n'); got != strings.ToUpper(word)+"\n" || err != nil {
					t.Fatalf("got %q, %v", got, err)
				}
			}
			if _, err := io.WriteString(conn, "0\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if rest, err := io.ReadAll(body); len(rest) > 0 || err != nil {
				t.Errorf("got %q, %v", rest, err)
			}
		})
	}
}
