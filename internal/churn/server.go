// Package churn keeps a server changing while it is used: it reloads the
// configuration, replaces modules, kills the process at any moment and damages
// its code cache, and checks that each request is answered by the function and the version
// that it should be. It knows the server as its users do, by its configuration,
// files, requests and process.
package churn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/gojinn/gojinn/internal/process"
)

// Binary is a Caddy that has the handlers: what runs, and variables of its
// environment besides our own.
type Binary struct {
	Path string
	Env  []string
}

// server is a running process. It is asked over a Unix socket or, if it has one,
// over a port.
type server struct {
	*process.Process
	dir   string
	log   tail
	admin *http.Client
}

// network is how clients reach the server.
type network struct {
	name    string
	address string
}

// over returns a client that connects to the server in this way.
func (n network) client(keep bool) *http.Client {
	return &http.Client{
		Timeout: time.Minute,
		Transport: &http.Transport{
			DisableKeepAlives: !keep,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, n.name, n.address)
			},
		},
	}
}

// start starts a server whose files are in dir.
func start(binary Binary, dir, config string) (*server, error) {
	cmd, err := process.Caddy(binary.Path, dir, "server", config, binary.Env...)
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, admin: network{"unix", filepath.Join(dir, "admin")}.client(false)}
	cmd.Stderr = &s.log
	s.Process, err = process.Start(binary.Path, cmd)
	return s, err
}

// await waits until the server answers on a network.
func (s *server) await(ctx context.Context, n network) error {
	err := s.Await(ctx, time.Minute, func() bool {
		conn, err := net.Dial(n.name, n.address)
		if err != nil {
			return false
		}
		_ = conn.Close() // nothing was asked
		return true
	})
	if err != nil {
		return fmt.Errorf("%w: %s", err, &s.log)
	}
	return nil
}

// stop ends the process as an operator does.
func (s *server) stop() error {
	if !s.Stop() {
		return errors.New("the server did not end")
	}
	if code := s.Cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the server ended with code %d: %s", code, &s.log)
	}
	return nil
}

// reload has the server run another configuration. Caddy replaces the listener of its
// admin interface too.
func (s *server) reload(ctx context.Context, config string) (err error) {
	for range tries {
		if err = s.load(ctx, config); !isLost(err) {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("reloading: %w", err)
	}
	return nil
}

func (s *server) load(ctx context.Context, config string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/load", strings.NewReader(config))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "text/caddyfile")
	response, err := s.admin.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<16))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", response.StatusCode, text)
	}
	return err
}

// tail keeps the last that has been written to it, and counts lines with certain words.
type tail struct {
	mu      sync.Mutex
	text    []byte
	errors  int
	panics  int
	damaged int
}

const tailSize = 16 << 10

// Write is for a process's standard error.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errors += bytes.Count(p, []byte(`"level":"error"`))
	t.damaged += bytes.Count(p, []byte(`is made anew`))
	t.panics += bytes.Count(p, []byte("panic")) + bytes.Count(p, []byte("fatal error"))
	if t.text = append(t.text, p...); len(t.text) > 2*tailSize {
		t.text = append([]byte(nil), t.text[len(t.text)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text[max(0, len(t.text)-tailSize):])
}

// counts are the lines that tell of errors, of panics and of damage in the code cache.
func (t *tail) counts() (errors, panics, damaged int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.errors, t.panics, t.damaged
}
