package examples

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	_ "github.com/gojinn/gojinn/stores/nats"
)

// The counter of the example session stays exact while 64 clients use the same session, in
// every kind of store.
func TestSession(t *testing.T) {
	wasm := module(t, "session")
	for _, store := range []struct {
		name string
		line func(t *testing.T) string // of the configuration
	}{
		{"bolt", func(t *testing.T) string { return "bolt " + filepath.Join(t.TempDir(), "test.db") }},
		{"memory", func(*testing.T) string { return "memory" }},
		{"nats", func(t *testing.T) string { return natsStore(t) }},
	} {
		t.Run(store.name, func(t *testing.T) {
			address := serveSite(t, "store counters "+store.line(t)+"\n", handle("/s", wasm, "allow kv sessions {\n store counters\n }"))
			url := "http://" + address + "/s/session"
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{Timeout: time.Minute, Jar: jar, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
			defer client.CloseIdleConnections()
			if n, err := visit(client, url); n != 1 || err != nil {
				t.Fatalf("the first visit: got %d, %v, want 1", n, err)
			}
			const clients, visits = 64, 5
			seen := make([]atomic.Int32, 2+clients*visits)
			var all sync.WaitGroup
			for range clients {
				all.Go(func() {
					for range visits {
						n, err := visit(client, url)
						if err != nil || n < 2 || n >= int64(len(seen)) {
							t.Errorf("got %d, %v, want a number from 2 to %d", n, err, len(seen)-1)
							return
						}
						seen[n].Add(1)
					}
				})
			}
			all.Wait()
			for n := 2; n < len(seen); n++ {
				if times := seen[n].Load(); times != 1 {
					t.Errorf("%d was answered %d times, want once", n, times)
				}
			}
			if n, err := visit(&http.Client{Timeout: time.Minute}, url); n != 1 || err != nil {
				t.Errorf("another visitor: got %d, %v, want 1", n, err)
			}
		})
	}
}

// natsStore starts a NATS server and returns the configuration of a store on it.
func natsStore(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		NoSigs: true, NoLog: true, JetStreamMaxMemory: 32 << 20, JetStreamMaxStore: 256 << 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	return "nats " + s.ClientURL()
}

// visit returns the number of visits that the function has counted.
func visit(client *http.Client, url string) (int64, error) {
	response, err := client.Post(url, "", nil)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	var body struct{ Visits int64 }
	if err := json.NewDecoder(response.Body).Decode(&body); err != nil || response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("status %d, %w", response.StatusCode, err)
	}
	return body.Visits, nil
}
