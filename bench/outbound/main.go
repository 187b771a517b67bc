// Outbound measures what /net/http adds to a request: the same requests to the same server on this machine, made
// one after another by a client of net/http in the host, and by a guest through its file. Both are measured in turns, so
// that what the machine does meanwhile meets both; the ratio of a turn is compared, and its median reported.
//
//	go run ./bench/outbound [-turns n] [-requests n]
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	outbound "github.com/gojinn/gojinn/capability/http"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/toolchain"
)

func main() {
	turns := flag.Int("turns", 15, "how often both are measured")
	requests := flag.Int("requests", 2000, "requests in a turn, for each")
	guest := flag.String("guest", filepath.Join("bench", "outbound", "guest"), "the folder of the guest")
	flag.Parse()
	if err := run(os.Stdout, *guest, *turns, *requests); err != nil {
		fmt.Fprintln(os.Stderr, "outbound:", err)
		os.Exit(1)
	}
}

// sizes are those of the bodies that the server answers with.
var sizes = []int{64, 16 << 10, 1 << 20}

func run(to io.Writer, guest string, turns, requests int) error {
	server, err := listen()
	if err != nil {
		return err
	}
	defer server.Close()
	url := "http://" + server.Addr().String()
	function, done, err := newFunction(guest, url)
	if err != nil {
		return err
	}
	defer done()
	fmt.Fprintln(to, "| answer | net/http | guest | ratio |")
	fmt.Fprintln(to, "|---|---|---|---|")
	for _, size := range sizes {
		r, err := measure(function, url+"/?"+strconv.Itoa(size), turns, max(1, requests/(1+size>>14)))
		if err != nil {
			return err
		}
		fmt.Fprintf(to, "| %d bytes | %s | %s | %.2f |\n", size, r.host, r.guest, r.ratio)
	}
	return nil
}

// listen serves as many bytes of text as the query says.
func listen() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	text := bytes.Repeat([]byte("0123456789abcde\n"), 1<<16)
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.Atoi(r.URL.RawQuery)
		if err != nil || size < 0 || size > len(text) {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.Write(text[:size])
	}))
	return l, nil
}

func newFunction(dir, url string) (_ *engine.Function, done func(), _ error) {
	scratch, err := os.MkdirTemp("", "gojinn-outbound-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(scratch)
	var log bytes.Buffer
	path := filepath.Join(scratch, "guest.wasm")
	if err := toolchain.Build(context.Background(), dir, path, &log); err != nil {
		return nil, nil, fmt.Errorf("%w: %s", err, log.Bytes())
	}
	module, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	e, err := engine.New(engine.Config{})
	if err != nil {
		return nil, nil, err
	}
	program, err := e.Compile(context.Background(), module)
	if err != nil {
		return nil, nil, err
	}
	grant := &outbound.HTTP{Origins: []string{url}, Private: []string{"127.0.0.1"}}
	if err := grant.Provision(caddy.Context{Context: context.Background()}); err != nil {
		return nil, nil, err
	}
	var grants engine.Grants
	if err := grant.Grant(&grants); err != nil {
		return nil, nil, err
	}
	function, err := program.Function(engine.Options{
		Grants: grants,
		Limits: engine.Limits{Memory: 16 << 20, Files: 8},
		Idle:   time.Minute,
	})
	return function, func() { function.Close(); grant.Cleanup(); e.Close() }, err
}

// result is the medians of the turns: of a request's duration, and of the ratio.
type result struct {
	host, guest time.Duration
	ratio       float64
}

func measure(f *engine.Function, url string, turns, requests int) (r result, err error) {
	client := &http.Client{Transport: &http.Transport{Proxy: nil}}
	defer client.CloseIdleConnections()
	var hosts, guests []time.Duration
	var ratios []float64
	for turn := range turns + 1 {
		host, err := timed(func() error { return asHost(client, url, requests) })
		if err != nil {
			return r, err
		}
		guest, err := timed(func() error { return asGuest(f, url, requests) })
		if err != nil {
			return r, err
		}
		if turn == 0 {
			continue // makes connections
		}
		hosts, guests = append(hosts, host/time.Duration(requests)), append(guests, guest/time.Duration(requests))
		ratios = append(ratios, float64(guest)/float64(host))
	}
	slices.Sort(hosts)
	slices.Sort(guests)
	slices.Sort(ratios)
	return result{hosts[turns/2], guests[turns/2], ratios[turns/2]}, nil
}

func timed(do func() error) (time.Duration, error) {
	start := time.Now()
	err := do()
	return time.Since(start), err
}

func asHost(client *http.Client, url string, requests int) error {
	for range requests {
		response, err := client.Get(url)
		if err != nil {
			return err
		}
		_, err = io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d: %w", response.StatusCode, err)
		}
	}
	return nil
}

func asGuest(f *engine.Function, url string, requests int) error {
	var out, log bytes.Buffer
	in := fmt.Sprintf("%d\n{\"url\":%q}\n", requests, url)
	if _, err := f.Run(context.Background(), strings.NewReader(in), &out, &log); err != nil {
		return fmt.Errorf("%w: %s", err, log.Bytes())
	}
	_, query, _ := strings.Cut(url, "?")
	size, err := strconv.Atoi(query)
	if err != nil {
		return err
	}
	total, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil || total < requests*size {
		return fmt.Errorf("the guest got %d bytes of answers, less than %d: %w", total, requests*size, err)
	}
	return nil
}
