package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/gojinn/gojinn/internal/process"
)

// startCaddy starts Caddy with a configuration and waits until it serves. It compiles
// functions first.
func startCaddy(ctx context.Context, dir, binary, name, address, config string) (*process.Process, error) {
	cmd, err := process.Caddy(binary, dir, name, config)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	p, err := process.Start("Caddy, "+name, cmd)
	if err != nil {
		return nil, err
	}
	p.Address = address
	err = p.Await(ctx, 5*time.Minute, func() bool {
		_, _, err := post(ctx, p.URL("/hello"), "")
		return err == nil
	})
	if err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// post sends a body and returns what came back.
func post(ctx context.Context, url, body string) (status int, answer string, err error) {
	a, err := process.Ask(ctx, http.MethodPost, url, body)
	return a.Status, a.Body, err
}

func get(ctx context.Context, url string) (status int, answer string, err error) {
	a, err := process.Ask(ctx, http.MethodGet, url, "")
	return a.Status, a.Body, err
}

// metric is the sum of a metric's series that hold certain labels.
func metric(ctx context.Context, p *process.Process, name, labels string) (float64, error) {
	text, err := p.Metrics(ctx)
	if err != nil {
		return 0, err
	}
	sum, err := process.Metric(text, name, labels)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", p.URL("/metrics"), err)
	}
	return sum, nil
}

// allocated is how many bytes a Caddy has allocated on its heap since it
// started: what its garbage collector has had to look after.
func allocated(ctx context.Context, p *process.Process) (float64, error) {
	return metric(ctx, p, "go_memstats_alloc_bytes_total", "")
}
