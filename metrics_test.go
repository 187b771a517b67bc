package gojinn

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// TestMetrics sees each metric in a scrape of Caddy's own metrics endpoint.
func TestMetrics(t *testing.T) {
	s := serve(t, lines(
		"metrics /metrics",
		"gojinn /ok-first "+moduleFile(t, "ok.wasm", answer("{}")), // Caddy puts longer paths first
		"gojinn /ok "+moduleFile(t, "ok.wasm", answer("{}")),
		"gojinn /trap "+moduleFile(t, "trap.wasm", traps()),
		"gojinn /spin "+moduleFile(t, "spin.wasm", spins())+" {\n timeout 2s\n}",
		"gojinn /big "+moduleFile(t, "big.wasm", answer("{}"))+" {\n name b1g\n max_request 0\n}",
	))
	scrape := func() string { return s.get("/metrics").body }
	// The same bytes are one program. Those of a configuration before this one may linger.
	eventually(t, "there are three programs", func() bool { return strings.Contains(scrape(), "gojinn_programs{state=\"unloaded\"} 3\n") })
	idle := scrape()
	for _, want := range []string{
		`gojinn_sandboxes{function="ok",state="running"} 0`,
		`gojinn_memory_bytes{function="ok"} 0`,
		`gojinn_programs{state="loaded"} 0`,
		`gojinn_programs{state="unloaded"} 3`,
	} {
		if !strings.Contains(idle, want+"\n") {
			t.Errorf("idle: missing %s in\n%s", want, grep(idle, "gojinn_"))
		}
	}

	s.get("/ok-first")
	s.get("/ok-first")
	s.get("/ok")
	s.get("/trap")
	s.do("POST", "/big", nil, strings.NewReader("x"))
	spun := make(chan reply)
	go func() { spun <- s.get("/spin") }()
	// A call runs from when it has its turn; the code may have to be loaded then.
	eventually(t, "a sandbox runs", func() bool {
		return strings.Contains(scrape(), `gojinn_memory_bytes{function="spin"} 65536`) && runningCalls("spin") == 1
	})
	busy := scrape()
	<-spun
	for _, want := range []string{
		`gojinn_sandboxes{function="spin",state="running"} 1`,
		`gojinn_memory_bytes{function="spin"} 65536`,
	} {
		if !strings.Contains(busy, want+"\n") {
			t.Errorf("busy: missing %s in\n%s", want, grep(busy, "gojinn_"))
		}
	}

	after := scrape()
	for _, want := range []string{
		`gojinn_requests_total\{function="ok",reason="ok"\} 2`,
		`gojinn_requests_total\{function="ok#2",reason="ok"\} 1`,
		`gojinn_requests_total\{function="trap",reason="trap"\} 1`,
		`gojinn_requests_total\{function="spin",reason="timeout"\} 1`,
		`gojinn_requests_total\{function="b1g",reason="request_too_large"\} 1`,
		`gojinn_request_duration_seconds_count\{function="ok"\} 2`,
		`gojinn_request_duration_seconds_bucket\{function="spin",le="1"\} 0`,
		`gojinn_request_duration_seconds_bucket\{function="spin",le="\+Inf"\} 1`,
		`gojinn_queue_duration_seconds_count\{function="ok"\} 2`,
		`gojinn_starts_total\{function="ok",kind="fresh"\} 1`,
		`gojinn_starts_total\{function="ok",kind="late"\} 1`,
		`gojinn_sandboxes\{function="ok",state="parked"\} 1`,
		`gojinn_starts_total\{function="trap",kind="fresh"\} 1`,
		`gojinn_fuel_total\{function="ok"\} [1-9]`,
		`gojinn_fuel_total\{function="spin"\} [0-9.]+e\+0[6-9]`,
		`gojinn_compile_duration_seconds_count [1-9]`,
		`gojinn_memory_bytes\{function="spin"\} 65536`,
		`gojinn_programs\{state="loaded"\} 3`,
		`gojinn_programs\{state="unloaded"\} 0`,
	} {
		if !regexp.MustCompile(`(?m)^` + want).MatchString(after) {
			t.Errorf("missing %s in\n%s", want, grep(after, "gojinn_"))
		}
	}
	// A request that never got a sandbox started none.
	if got := grep(after, `gojinn_starts_total{function="b1g"`); got != "" {
		t.Errorf("got %s", got)
	}
}

// TestMetricsDescribed: a pedantic registry takes the collectors, once or
// twice, and what they collect.
func TestMetricsDescribed(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	for range 2 {
		if err := registerMetrics(registry); err != nil {
			t.Fatal(err)
		}
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) == 0 {
		t.Error("nothing is collected")
	}
}

// TestLabels: no label comes from a request.
func TestLabels(t *testing.T) {
	s := serve(t, "metrics /metrics\ngojinn "+moduleFile(t, "fn.wasm", answer("{}")))
	for i := range 20 {
		s.do("GET", fmt.Sprintf("/%d?%d", i, i), nil, nil)
	}
	before := strings.Count(s.get("/metrics").body, "\ngojinn_")
	for i := range 20 {
		s.do("PUT", fmt.Sprintf("/other%d", i), nil, nil)
	}
	if after := strings.Count(s.get("/metrics").body, "\ngojinn_"); after != before {
		t.Errorf("got %d series after other requests, %d before", after, before)
	}
}
