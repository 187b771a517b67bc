package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/contract"
	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/process"
)

var update = flag.Bool("update", false, "write the golden files")

func TestParseWrk(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, out string
		want      sample
		err       string
	}{
		{"a run", "Running 1h test @ http://x\n  1 threads\n" + `{"requests":3000,"duration":1500000,"p50":120,"p99":4000,"errors":0}` + "\n",
			sample{2000, 120 * time.Microsecond, 4 * time.Millisecond, 0}, ""},
		{"errors", `{"requests":3000,"duration":1500000,"p50":1,"p99":1,"errors":2}`, sample{}, "2 of 3000 requests"},
		{"no answer", `{"requests":0,"duration":1500000,"p50":0,"p99":0,"errors":0}`, sample{}, "no request"},
		{"no time", "", sample{}, "no request"},
		{"something else", "unable to connect\n", sample{}, "unable to connect"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, requests, err := parseWrk([]byte(test.out))
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Fatalf("got error %v, want %q", err, test.err)
			}
			if got != test.want || err == nil && requests != 3000 {
				t.Errorf("got %+v of %g requests, want %+v", got, requests, test.want)
			}
		})
	}
}

func TestMedianSample(t *testing.T) {
	t.Parallel()
	got := medianSample([]sample{{3, 10, 300, 7}, {1, 30, 100, 8}, {2, 20, 200, 9}})
	if want := (sample{2, 20, 200, 8}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// someResults are small results of every kind.
func someResults() *results {
	samples := func(perSecond ...float64) [][]sample {
		all := make([][]sample, len(connections))
		for _, n := range perSecond {
			all[0] = append(all[0], sample{n, 100 * time.Microsecond, time.Millisecond, 20_000})
			all[1] = append(all[1], sample{2 * n, time.Millisecond, 10 * time.Millisecond, 2_000})
		}
		return all
	}
	works := worksDone()
	echo, contact := works[0], works[1]
	return &results{
		machine: report.Machine{CPU: "Abacus", Cores: 2, System: "linux/amd64, go1"}, rounds: 3, duration: time.Second,
		load: []loadRow{
			{target{work: echo, label: "Caddy alone", alone: true}, samples(1000, 1200, 1100)},
			{target{work: echo, label: "`reverse_proxy` to a Go server", proxy: true}, samples(500, 300, 400)},
			{target{work: echo, label: "C"}, samples(600, 600, 600)},
			{target{work: contact, label: "C, without a proxy to compare it with"}, samples(600, 600, 600)},
		},
		cold:     []coldRow{{"the Go server, a process", report.Spread{Median: 0.005, Low: 0.004, High: 0.012}}},
		memory:   []memoryRow{{"a parked sandbox, Go", report.Spread{Median: 2e6, Low: 1.9e6, High: 2.1e6}, report.Spread{Median: 4e5, Low: 3.5e5, High: 5e5}}},
		sizes:    []sizeRow{{"echo in C, a module", 23_456}},
		metering: []meteringRow{{"empty loop", 120 * time.Millisecond, 100 * time.Millisecond, 1.2, 1.35}},
		notes:    []string{"A note."},
	}
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\n%v: look at it and run go test -update", path, got, err)
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	golden(t, "testdata/results.golden.md", []byte(someResults().markdown()))
}

// The command replaces the figures in the documentation, and nothing else.
func TestWriteDocs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "benchmarks.md")
	if err := os.WriteFile(path, []byte("# Title\n\n"+figuresBegin+"old\n"+figuresEnd+"\nThe end.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for range 2 {
		if err := writeDocs(dir, someResults(), at); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "testdata/benchmarks.golden.md", text)
		// Every picture that the text shows is there, and no other.
		pictures, err := filepath.Glob(filepath.Join(dir, "benchmarks", "*.svg"))
		if err != nil || len(pictures) != bytes.Count(text, []byte("](benchmarks/")) {
			t.Errorf("pictures %q, %v", pictures, err)
		}
		for _, picture := range pictures {
			if !bytes.Contains(text, []byte("](benchmarks/"+filepath.Base(picture)+")")) {
				t.Errorf("%s is not shown", picture)
			}
		}
	}
	chart, ok := someResults().loadTables()[0].chart()
	if !ok {
		t.Fatal("no chart")
	}
	golden(t, "testdata/echo.golden.svg", chart.SVG())
}

func TestReplaceFigures(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", figuresBegin, figuresEnd, figuresEnd + figuresBegin} {
		if _, err := replaceFigures([]byte(text), "f"); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

// There is a place for the figures in the documentation.
func TestDocs(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replaceFigures(text, ""); err != nil {
		t.Error(err)
	}
}

func testSite() *site {
	return &site{
		dir: "/dir", guests: guests(), metered: &process.Process{Address: "a:1"}, off: &process.Process{Address: "b:2"},
		plain: &process.Process{Address: "c:3"}, server: &process.Process{Address: "d:4"}, container: &process.Process{Address: "e:5"}, box: containment{name: "crate"},
	}
}

// Every path that is measured is served by its Caddy, and both configurations
// are ones that Caddy understands.
func TestSite(t *testing.T) {
	t.Parallel()
	s := testSite()
	texts := map[*process.Process]string{s.metered: s.caddyfile("a:1"), s.off: s.caddyfile("b:2"), s.plain: s.plainCaddyfile("c:3")}
	for p, text := range texts {
		if _, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), nil); err != nil {
			t.Errorf("%s: %v, %v in\n%s", p.Address, err, warnings, text)
		}
	}
	names := make(map[string]bool)
	for _, target := range s.targets(regexp.MustCompile("")) {
		if names[target.name()] {
			t.Errorf("two targets are called %s", target.name())
		}
		names[target.name()] = true
		for _, path := range target.paths {
			served := strings.Contains(texts[target.process], " "+path+" ")
			for _, proxy := range []string{"/proxy/", "/container/"} {
				served = served || strings.HasPrefix(path, proxy) && strings.Contains(texts[target.process], "handle_path "+proxy+"*")
			}
			if !served {
				t.Errorf("%s: %s does not serve %s", target.name(), target.process.Address, path)
			}
		}
	}
	if got := s.targets(regexp.MustCompile("^contact form: C$")); len(got) != 1 || got[0].process.URL(got[0].paths[0]) != "http://a:1/contact-c" {
		t.Errorf("got %v, want contact in C only", got)
	}
	for _, c := range s.crowds() {
		for _, configure := range []func(*config){c.with, c.without} {
			text := newConfig("/dir", "a:1", "b:2")
			configure(text)
			if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text.text()), nil); err != nil {
				t.Errorf("%s: %v", c.what, err)
			}
		}
	}
}

// Where something could not be built or started, the rest is measured.
func TestSiteWithout(t *testing.T) {
	t.Parallel()
	s := testSite()
	s.container, s.off = nil, nil
	s.guests = slices.DeleteFunc(s.guests, func(g guest) bool { return g.language == "Zig" })
	for _, target := range s.targets(regexp.MustCompile("")) {
		if strings.Contains(target.label, "Zig") && !strings.Contains(target.label, " functions in ") || strings.Contains(target.label, "unmetered") || strings.Contains(target.label, "crate") {
			t.Errorf("%s is there", target.name())
		}
	}
}

// Bodies have the size that their works are named for, and are text.
func TestWorks(t *testing.T) {
	t.Parallel()
	sizes := map[string]int{"echo of 64 KiB": 64 << 10, "echo of 1 MiB": 1 << 20}
	for _, w := range worksDone() {
		if want, ok := sizes[w.name]; ok && len(w.body) != want || !utf8.ValidString(w.body) {
			t.Errorf("%s: %d bytes", w.name, len(w.body))
		}
	}
}

// A server that can't start says why.
func TestStartServer(t *testing.T) {
	t.Parallel()
	_, err := process.StartListening("it", []string{"go", "no-such-command"})
	if err == nil || !strings.Contains(err.Error(), "no-such-command") {
		t.Errorf("got %v", err)
	}
	if err := (containment{argv: []string{"no-such-program"}}).try(t.Context()); err == nil {
		t.Error("a container of nothing works")
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

func TestLastLine(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"": "", "one.": "one", "DEPRECATED\n\nno daemon.\n": "no daemon", strings.Repeat("long", 100): strings.Repeat("long", 50),
	} {
		if got := lastLine(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
