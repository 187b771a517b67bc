package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/gojinn/gojinn"
	"github.com/gojinn/gojinn/internal/process"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// printed is what the command printed once.
const printed = `start     snapshot: it declared itself safe by /dev/snapshot
restored  by userfaultfd
image     7.5 MiB, shared by its sandboxes
answer    status 201
calls     20 in each row, one at a time

               start     min     p50     p99     fuel         pages  kept     memory  garbage
as configured  snapshot  1.08ms  1.2ms   1.52ms  42120882     92     4.2 MiB  11 MiB  250 KiB
idle 0         fresh     518ms   680ms   1.67s   18153921954  -      -        11 MiB  938 KiB
snapshot off   reset     847µs   1.16ms  1.49ms  42124159     1080   0 B      11 MiB  479 KiB

snapshot on: no snapshot: a note
`

func TestParseStart(t *testing.T) {
	t.Parallel()
	s, err := parseStart(printed)
	if err != nil {
		t.Fatal(err)
	}
	if s.kind != "snapshot" || s.why != "it declared itself safe by /dev/snapshot" || s.image != "7.5 MiB" || len(s.rows) != 3 {
		t.Errorf("got %+v", s)
	}
	for _, test := range []struct{ row, column, want string }{
		{"as configured", "p50", "1.2ms"}, {"as configured", "pages", "92"}, {"as configured", "kept", "4.2 MiB"}, {"idle 0", "p50", "680ms"}, {"idle 0", "kept", "-"},
	} {
		if got := s.rows[test.row][test.column]; got != test.want {
			t.Errorf("%s, %s: got %q, want %q", test.row, test.column, got, test.want)
		}
	}
	for _, bad := range []string{"", strings.Replace(printed, "status 201", "status 500", 1), strings.Replace(printed, "idle 0  ", "other   ", 1)} {
		if s, err := parseStart(bad); err == nil {
			t.Errorf("got %+v of %q", s, bad)
		}
	}
}

// TestLoad: all requests that were sent are answered before the load ends, and only good answers count.
func TestLoad(t *testing.T) {
	t.Parallel()
	var begun, ended atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != contactBody || r.URL.Path != "/a" {
			t.Errorf("got %s %q, %v", r.URL, body, err)
		}
		time.Sleep(time.Millisecond)
		w.WriteHeader(http.StatusCreated)
		ended.Add(1)
	}))
	defer server.Close()
	address := server.Listener.Addr().String()
	s, err := load(t.Context(), address, row{path: "/a", status: http.StatusCreated}, 4, 20*time.Millisecond)
	if err != nil || s.perSecond <= 0 || s.p50 < time.Millisecond || s.p99 < s.p50 || begun.Load() < 4 || begun.Load() != ended.Load() {
		t.Errorf("got %+v, %v; %d requests, %d answered", s, err, begun.Load(), ended.Load())
	}
	if s, err := load(t.Context(), address, row{path: "/a", status: http.StatusOK}, 1, 0); err == nil {
		t.Errorf("got %+v of answers that are not as they should be", s)
	}
}

func TestParseStat(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		text string
		want time.Duration
		ok   bool
	}{
		{"7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 150 50 9 9 20 0 1 0", 2 * time.Second, true},
		{"7 (a) S 1 7", 0, false},
		{"7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 x 50 9 9 20", 0, false},
		{"", 0, false},
	} {
		if got, ok := parseStat(test.text); got != test.want || ok != test.ok {
			t.Errorf("%s: got %s, %v", test.text, got, ok)
		}
	}
}

// full is a site on which everything runs.
func full() *site {
	s := &site{dir: "/tmp/a b", admin: "127.0.0.1:2", programs: programs}
	for _, server := range servers {
		s.servers = append(s.servers, &running{server, &process.Process{Name: server.name, Address: "127.0.0.1:3"}})
	}
	return s
}

func TestCaddyfile(t *testing.T) {
	for _, p := range programs {
		t.Setenv(p.interpreter, "/opt/module.wasm")
	}
	if _, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(full().caddyfile("127.0.0.1:1")), nil); err != nil {
		t.Error(err)
	}
}

// TestRows: each function is compared with a server of its group, and no two rows are the same.
func TestRows(t *testing.T) {
	t.Parallel()
	rows, names := full().allRows(), make(map[string]bool)
	for _, r := range rows {
		if names[r.name()] {
			t.Errorf("two rows are %s", r.name())
		}
		names[r.name()] = true
		if r.function && !slices.ContainsFunc(rows, func(base row) bool { return base.base && base.group == r.group }) {
			t.Errorf("nothing to compare %s with", r.name())
		}
	}
}

func TestBounds(t *testing.T) {
	t.Parallel()
	took := func(perSecond float64, p50 time.Duration) [][]sample {
		one := sample{perSecond: perSecond, p50: p50, p99: p50, processor: 0.001}
		s := []sample{one, one, one}
		return [][]sample{s, s}
	}
	ours := &measured{row{group: "a", label: "ours", function: true, least: 0.8, most: 2 * time.Millisecond}, took(80, 2*time.Millisecond)}
	r := &results{rounds: 3, rows: []*measured{
		{row{group: "alone", label: "alone", alone: true}, took(1000, 100*time.Microsecond)},
		{row{group: "a", label: "theirs", base: true}, took(100, time.Millisecond)},
		ours,
	}}
	if got := r.line(ours); strings.Contains(got, "**") || r.missed() || !strings.Contains(got, "| 0.80 (0.80–0.80) | ≥ 0.80 |") || !strings.Contains(got, "| 1.90 (1.90–1.90) ms | < 2ms |") {
		t.Errorf("within its bounds: got %s", got)
	}
	ours.samples = took(79, 2200*time.Microsecond)
	if got := r.line(ours); strings.Count(got, "**") != 4 || !r.missed() {
		t.Errorf("out of all bounds: got %s", got)
	}
}

// TestSources: what is measured answers as it should, as far as its server is installed, which toolchaintest.RequireInterpreters asks for.
func TestSources(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		argv []string
	}{
		{"Python", []string{"python3", "-c", "import contact; print(contact.check('{}'), contact.check('[]'), contact.check('x'), contact.check(" + quoted + "))"}},
		{"JavaScript", []string{"node", "-e", "import('./contact.js').then(c => console.log(c.check('{}'), c.check('[]'), c.check('x'), c.check(" + quoted + ")))"}},
		{"Ruby", []string{"ruby", "-I.", "-e", "require 'contact'; p Contact.check('{}'), Contact.check('[]'), Contact.check('x'), Contact.check(" + quoted + ")"}},
		{"PHP", []string{"php", "-r", "ob_start(); require 'contact.php'; ob_end_clean();" +
			"echo json_encode([check('{}'), check('[]'), check('x'), check(" + quoted + ")]);"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(context.Background(), test.argv[0], test.argv[1:]...)
			cmd.Dir = map[string]string{"Python": "python", "JavaScript": "js", "Ruby": "ruby", "PHP": "php"}[test.name]
			cmd.Env = append(cmd.Environ(), "PYTHONDONTWRITEBYTECODE=1")
			out, err := cmd.CombinedOutput()
			if errors.Is(err, exec.ErrNotFound) && os.Getenv(toolchaintest.RequireInterpreters) != "1" {
				t.Skip(err)
			}
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, want := range []string{"422", "is missing", "400", "is no JSON object", "is no JSON", "201", "ada@example.com"} {
				if !strings.Contains(string(out), want) {
					t.Errorf("got %s, want %s in it", out, want)
				}
			}
		})
	}
}

const quoted = "'" + contactBody + "'"
