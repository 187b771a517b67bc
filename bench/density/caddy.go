package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/gojinn/gojinn/internal/process"
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
	*process.Process
	admin   string
	started time.Time
}

// launch begins a Caddy with the functions of a folder, or with none if that is "".
func (b *bench) launch(root string) (*server, error) {
	address, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	admin, err := process.FreeAddress()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	cmd, err := process.Caddy(b.binary, b.scratch, port, b.caddyfile(address, admin, root))
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	started := time.Now()
	p, err := process.Start("Caddy", cmd)
	if err != nil {
		return nil, err
	}
	p.Address = address
	return &server{p, admin, started}, nil
}

// start is launch, and returns when Caddy answers at path.
func (b *bench) start(ctx context.Context, root, path string) (*server, error) {
	s, err := b.launch(root)
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, path); err != nil {
		s.Stop()
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

// await returns when the server answers at path.
func (s *server) await(ctx context.Context, path string) error {
	return s.Await(ctx, 10*time.Minute, func() bool {
		a, err := process.Ask(ctx, http.MethodPost, s.URL(path), "")
		return err == nil && a.Status == http.StatusOK
	})
}

// call has a function answer, and checks that it is its own answer.
func (s *server) call(ctx context.Context, f function) error {
	body := fmt.Sprintf(`{"for":%d}`, f.number)
	a, err := process.Ask(ctx, http.MethodPost, s.URL(f.path()), body)
	if want := (process.Answer{Status: http.StatusOK, MediaType: f.mediaType(), Body: body}); err == nil && a != want {
		err = fmt.Errorf("status %d, %s, %.100q", a.Status, a.MediaType, a.Body)
	}
	if err != nil {
		return fmt.Errorf("%s in %s answered: %w", f.path(), f.language, err)
	}
	return nil
}

// loaded is how many programs have their code in memory.
func (s *server) loaded(ctx context.Context) (float64, error) {
	text, err := s.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	return process.Metric(text, "gojinn_programs", `state="loaded"`)
}

// free has Caddy give back the memory that its heap doesn't need.
func (s *server) free(ctx context.Context) error {
	a, err := process.Ask(ctx, http.MethodPost, "http://"+s.admin+"/bench/free", "")
	if err == nil && a.Status != http.StatusNoContent {
		err = fmt.Errorf("status %d, %s", a.Status, a.Body)
	}
	if err != nil {
		return fmt.Errorf("freeing memory: %w", err)
	}
	return nil
}
