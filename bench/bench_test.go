package main

import (
	"bytes"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
)

func TestParseWrk(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, out string
		want      sample
		err       string
	}{
		{"a run", "Running 1h test @ http://x\n  1 threads\n" + `{"requests":3000,"duration":1500000,"p50":120,"p99":4000,"errors":0}` + "\n",
			sample{2000, 120 * time.Microsecond, 4 * time.Millisecond}, ""},
		{"errors", `{"requests":3000,"duration":1500000,"p50":1,"p99":1,"errors":2}`, sample{}, "2 of 3000 requests"},
		{"no answer", `{"requests":0,"duration":1500000,"p50":0,"p99":0,"errors":0}`, sample{}, "no request"},
		{"something else", "unable to connect\n", sample{}, "unable to connect"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := parseWrk([]byte(test.out))
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("got error %v, want %q", err, test.err)
			}
			if got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestMedianSample(t *testing.T) {
	t.Parallel()
	got := medianSample([]sample{{3, 10, 300}, {1, 30, 100}, {2, 20, 200}})
	if want := (sample{2, 20, 200}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestParseLoopFuel(t *testing.T) {
	t.Parallel()
	metrics := "# TYPE gojinn_fuel_total counter\ngojinn_fuel_total{function=\"json\"} 5\ngojinn_fuel_total{function=\"loop\"} 6.5e+08\n"
	if got, err := parseLoopFuel([]byte(metrics)); got != 6.5e8 || err != nil {
		t.Errorf("got %g, %v, want 6.5e+08", got, err)
	}
	if _, err := parseLoopFuel([]byte("nothing")); err == nil {
		t.Error("no error without the metric")
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	samples := func(perSecond float64) []sample {
		return []sample{{perSecond, 100 * time.Microsecond, time.Millisecond}, {2 * perSecond, time.Millisecond, 10 * time.Millisecond}}
	}
	r := results{
		machine: report.Machine{CPU: "Abacus", Cores: 2, System: "linux/amd64, go1"}, rounds: 5, duration: time.Second,
		load: []loadRow{
			{target{"respond", "", "", 200}, samples(1000)},
			{target{"echo, `reverse_proxy` to a Go server", "", "echo", 200}, samples(400)},
			{target{"echo, C", "", "echo", 200}, samples(600)},
		},
		metering: []meteringRow{{"empty loop", 120 * time.Millisecond, 100 * time.Millisecond, 1.2, 1.35}},
		notes:    []string{"A note."},
	}
	want := "# Abacus, 2 cores, linux/amd64, go1\n" + `
Median of 5 interleaved rounds of 1s for each target and load; the load generator ran on the same machine.

| POST of 109 bytes over loopback | 1 connection: requests/s | p50 | p99 | × proxy | 16 connections: requests/s | p50 | p99 | × proxy |
|---|--:|--:|--:|--:|--:|--:|--:|--:|
| respond | 1000 | 100µs | 1ms |  | 2000 | 1ms | 10ms |  |
` + "| echo, `reverse_proxy` to a Go server | 400 | 100µs | 1ms | 1.00 | 800 | 1ms | 10ms | 1.00 |" + `
| echo, C | 600 | 100µs | 1ms | 1.50 | 1200 | 1ms | 10ms | 1.50 |

| metering, processor time of a call | metered | unmetered | ratio | at most |
|---|--:|--:|--:|--:|
| empty loop | 120ms | 100ms | 1.200 | 1.35 |

* A note.
`
	if got := r.markdown(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// The Go server does the work the functions do.
func TestUpstream(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(upstream())
	defer server.Close()
	for _, work := range []string{"echo", "contact"} {
		if err := probe(t.Context(), target{work, server.URL + "/" + work, work, statusOf(work)}); err != nil {
			t.Error(err)
		}
	}
	form := contactForm{Email: "nobody", Name: strings.Repeat("n", 101)}
	if errs := form.validate(); len(errs) != 3 {
		t.Errorf("got %v, want errors for email, name and message", errs)
	}
}

// Every guest is served under its name by both Caddys.
func TestSite(t *testing.T) {
	t.Parallel()
	s := &site{guests: guests(), metered: &process{address: "a:1"}, off: &process{address: "b:2"}}
	config := caddyfile("/dir", "a:1", "c:3", s.guests)
	for _, g := range s.guests {
		if want := "gojinn /" + g.name + " \"/dir/" + g.name + ".wasm\" {"; !strings.Contains(config, want) {
			t.Errorf("the configuration lacks %q", want)
		}
	}
	if got, want := len(s.targets(regexp.MustCompile(""))), 1+2*(1+4*2); got != want {
		t.Errorf("%d targets, want %d", got, want)
	}
	if got := s.targets(regexp.MustCompile("^echo, C$")); len(got) != 1 || got[0].url != "http://a:1/echo-c" {
		t.Errorf("got %v, want echo in C only", got)
	}
}

// The module made by hand answers, and its fuel tells whether it was metered.
func TestEmptyLoop(t *testing.T) {
	t.Parallel()
	const turns = 100_000
	e, err := engine.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	program, err := e.Compile(t.Context(), emptyLoop(turns))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	function, err := program.Function(engine.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer function.Close()
	var out, log bytes.Buffer
	receipt, err := function.Run(t.Context(), strings.NewReader(""), &out, &log)
	if err != nil || receipt.Fuel < turns {
		t.Errorf("fuel %d, %v, want at least %d", receipt.Fuel, err, turns)
	}
	if _, err := contract.DecodeResponse(out.Bytes()); err != nil {
		t.Error(err)
	}
}
