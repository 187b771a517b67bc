package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// buildCaddy builds bench/caddy into dir.
func buildCaddy(ctx context.Context, dir string) (binary string, err error) {
	binary = filepath.Join(dir, "caddy")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "nobadger,nomysql,nopgx", "-o", binary, "./bench/caddy")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building bench/caddy: %w", err)
	}
	return binary, nil
}

// A server is a Caddy that runs.
type server struct {
	cmd            *exec.Cmd
	address, admin string
	started        time.Time
	exited         chan struct{}
}

// launch begins a Caddy with the functions of a folder, or with none if that is "".
func (b *bench) launch(root string) (s *server, err error) {
	s = &server{exited: make(chan struct{})}
	for _, address := range []*string{&s.address, &s.admin} {
		if *address, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	_, port, _ := net.SplitHostPort(s.address)
	file := filepath.Join(b.scratch, port+".caddyfile")
	if err := os.WriteFile(file, []byte(b.caddyfile(s.address, s.admin, root)), 0o600); err != nil {
		return nil, err
	}
	s.cmd = exec.Command(b.binary, "run", "--adapter", "caddyfile", "--config", file)
	s.cmd.Env = append(os.Environ(), "HOME="+b.scratch, "XDG_DATA_HOME="+b.scratch, "XDG_CONFIG_HOME="+b.scratch)
	s.cmd.Stdout, s.cmd.Stderr = os.Stderr, os.Stderr
	s.started = time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting Caddy: %w", err)
	}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // it is stopped by a signal
	}()
	return s, nil
}

// start is launch, and returns when Caddy answers at path.
func (b *bench) start(ctx context.Context, root, path string) (*server, error) {
	s, err := b.launch(root)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, path); err != nil {
		s.stop()
		return nil, fmt.Errorf("starting Caddy: %w", err)
	}
	return s, nil
}

// unloading is after how long sandboxes and code go that nobody uses: soon, so that they do
// while we wait.
const unloading = "idle 2s\n\t\tunload 3s"

// caddyfile has everything with its defaults, but for a cache that keeps all code
// and a short time until that is unloaded.
func (b *bench) caddyfile(address, admin, root string) string {
	functions := ""
	if root != "" {
		functions = fmt.Sprintf("\tgojinn_dir %q {\n\t\tname density\n\t\t%s\n\t}\n", root, unloading)
	}
	return fmt.Sprintf(`{
	admin %s
	auto_https off
	persist_config off
	grace_period 1s
	storage file_system %q
	log {
		level ERROR
	}
	gojinn {
		cache_dir %q
		cache_size 1TiB
	}
}

http://%s {
	metrics /metrics
	respond /hello "hello"
%s}
`, admin, filepath.Join(b.scratch, "storage"), filepath.Join(b.dir, "cache"), address, functions)
}

func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// await returns when the server answers at path.
func (s *server) await(ctx context.Context, path string) error {
	deadline := time.After(10 * time.Minute)
	for {
		if status, _, _, err := s.ask(ctx, http.MethodPost, s.address, path, ""); err == nil && status == http.StatusOK {
			return nil
		}
		select {
		case <-s.exited:
			return errors.New("it ended before it served")
		case <-deadline:
			return errors.New("it does not serve")
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// stop ends Caddy, if there is one, and waits for its end.
func (s *server) stop() {
	if s == nil {
		return
	}
	_ = s.cmd.Process.Signal(os.Interrupt)
	select {
	case <-s.exited:
	case <-time.After(20 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

var client = &http.Client{Timeout: time.Minute}

// ask sends a request and returns what came back.
func (s *server) ask(ctx context.Context, method, address, path, body string) (status int, mediaType, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, strings.NewReader(body))
	if err != nil {
		return 0, "", "", err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	return response.StatusCode, response.Header.Get("Content-Type"), string(text), err
}

// call has a function answer, and checks that it is its own answer.
func (s *server) call(ctx context.Context, f function) error {
	body := fmt.Sprintf(`{"for":%d}`, f.number)
	status, mediaType, answer, err := s.ask(ctx, http.MethodPost, s.address, f.path(), body)
	if err == nil && (status != http.StatusOK || mediaType != f.mediaType() || answer != body) {
		err = fmt.Errorf("status %d, %s, %.100q", status, mediaType, answer)
	}
	if err != nil {
		return fmt.Errorf("%s in %s answered: %w", f.path(), f.language, err)
	}
	return nil
}

// metrics are Caddy's figures as Prometheus would read them.
func (s *server) metrics(ctx context.Context) (string, error) {
	status, _, text, err := s.ask(ctx, http.MethodGet, s.address, "/metrics", "")
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	if err != nil {
		return "", fmt.Errorf("reading the metrics: %w", err)
	}
	return text, nil
}

// gauge is the value of one series.
func gauge(metrics, series string) (float64, error) {
	match := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(series) + ` (\S+)$`).FindStringSubmatch(metrics)
	if match == nil {
		return 0, fmt.Errorf("the metrics lack %s", series)
	}
	return strconv.ParseFloat(match[1], 64)
}

// loaded is how many programs have their code in memory.
func (s *server) loaded(ctx context.Context) (float64, error) {
	text, err := s.metrics(ctx)
	if err != nil {
		return 0, err
	}
	return gauge(text, `gojinn_programs{state="loaded"}`)
}

// free has Caddy give back the memory that its heap doesn't need.
func (s *server) free(ctx context.Context) error {
	status, _, text, err := s.ask(ctx, http.MethodPost, s.admin, "/bench/free", "")
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("status %d, %s", status, text)
	}
	if err != nil {
		return fmt.Errorf("freeing memory: %w", err)
	}
	return nil
}
