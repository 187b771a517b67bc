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
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
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
	dir    string
	cmd    *exec.Cmd
	log    tail
	exited chan struct{}
	admin  *http.Client
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
	file := filepath.Join(dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	s := &server{dir: dir, exited: make(chan struct{}), admin: network{"unix", filepath.Join(dir, "admin")}.client(false)}
	s.cmd = exec.Command(binary.Path, "run", "--adapter", "caddyfile", "--config", file)
	s.cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	s.cmd.Env = append(s.cmd.Env, binary.Env...)
	s.cmd.Stderr = &s.log
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", binary.Path, err)
	}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // it is told by its log
	}()
	return s, nil
}

// await waits until the server answers on a network.
func (s *server) await(ctx context.Context, n network) error {
	for deadline := time.Now().Add(time.Minute); ; {
		conn, err := net.Dial(n.name, n.address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server has ended: %s", &s.log)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not start: %w: %s", err, &s.log)
		}
	}
}

// kill ends the process with SIGKILL.
func (s *server) kill() {
	_ = s.cmd.Process.Kill() // it has ended if that fails
	<-s.exited
}

// stop ends the process as an operator does.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it has ended if that fails
	select {
	case <-s.exited:
		if code := s.cmd.ProcessState.ExitCode(); code != 0 {
			return fmt.Errorf("the server ended with code %d: %s", code, &s.log)
		}
		return nil
	case <-time.After(time.Minute):
		s.kill()
		return errors.New("the server did not end")
	}
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
