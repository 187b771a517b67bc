package gojinn

import (
	"strings"
	"testing"
	"time"
)

// parkedSandboxes is the metric of that, for one function.
func parkedSandboxes(s *server, function string) string {
	return grep(s.get("/metrics").body, `gojinn_sandboxes{function="`+function+`",state="parked"}`)
}

// reads is a program that reads before it answers.
func reads() []byte {
	g := newGuest(1)
	g.Main(code(g.transfer(g.read, 0, 4096, num(4096)), g.print(1, 1024, "{}"))...)
	return g.Bytes()
}

// starts are the starts of all calls so far, as the access log has them.
func starts(t *testing.T) (kinds []string) {
	t.Helper()
	for _, entry := range logBuffer.entries(t) {
		if kind, ok := entry["start"].(string); ok && kind != "" {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// TestStartOfCalls: with each option calls start as it says, the placeholder
// tells, and the log says why, once.
func TestStartOfCalls(t *testing.T) {
	tests := []struct {
		name, options string
		module        []byte
		want          []string // starts of calls one after the other
		kind, reason  string   // in the log
	}{
		{"a short start-up", "", reads(), []string{"fresh", "reset", "reset"}, "reset", "next to nothing"},
		{"snapshot on", "snapshot on", reads(), []string{"fresh", "reset", "snapshot", "snapshot"}, "snapshot", "on"},
		{"snapshot off", "snapshot off", reads(), []string{"fresh", "reset", "reset"}, "reset", "off"},
		{"no idle time", "idle 0s", reads(), []string{"fresh", "fresh", "fresh"}, "", ""},
		{"writes before it reads", "", answer(`{"status":200}`), []string{"fresh", "late", "late"}, "late", "without reading"},
		{"arguments of the request", "args {http.request.uri}", reads(), []string{"fresh", "late", "late"}, "late", "arguments"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := serve(t, lines(
				"metrics /metrics",
				"log",
				"log_append start {http.gojinn.start}",
				"gojinn "+moduleFile(t, "fn.wasm", test.module)+" {\n"+test.options+"\n}"))
			for i, want := range test.want {
				if got := s.get("/"); got.status != 200 {
					t.Errorf("call %d: got %d", i, got.status)
				}
				if got := strings.Join(starts(t), " "); got != strings.Join(test.want[:i+1], " ") {
					t.Errorf("call %d: started by %s, want %s", i, got, want)
				}
				eventually(t, "the sandbox is ready again", func() bool {
					return strings.HasSuffix(grep(s.get("/metrics").body, `gojinn_sandboxes{function="fn",state="restoring"}`), " 0\n") &&
						strings.HasSuffix(grep(s.get("/metrics").body, `gojinn_sandboxes{function="fn",state="running"}`), " 0\n")
				})
			}
			entries := logBuffer.find(t, "start")
			if test.kind == "" {
				if len(entries) != 0 {
					t.Errorf("got log %v", entries)
				}
				return
			}
			if len(entries) != 1 || entries[0]["kind"] != test.kind || !strings.Contains(entries[0]["reason"].(string), test.reason) || entries[0]["function"] != "fn" {
				t.Errorf("got log %v, want one entry with %q and %q", entries, test.kind, test.reason)
			}
		})
	}
}

// TestWarm: sandboxes are ready before the first request, not while the
// configuration is only provisioned, and stay when they are idle.
func TestWarm(t *testing.T) {
	s := serve(t, lines(
		"metrics /metrics",
		"gojinn /a "+moduleFile(t, "a.wasm", reads())+" {\n warm 2\n idle 100ms\n}",
		"gojinn /b "+moduleFile(t, "b.wasm", reads())+" {\n idle 100ms\n}"))
	eventually(t, "two are ready", func() bool { return strings.HasSuffix(parkedSandboxes(s, "a"), " 2\n") })
	for _, path := range []string{"/a", "/b"} {
		if got := s.get(path); got.status != 200 {
			t.Errorf("%s: got %d", path, got.status)
		}
	}
	eventually(t, "the one that nobody needs is freed", func() bool { return strings.HasSuffix(parkedSandboxes(s, "b"), " 0\n") })
	time.Sleep(300 * time.Millisecond)
	if got := parkedSandboxes(s, "a"); !strings.HasSuffix(got, " 2\n") {
		t.Errorf("got %q", got)
	}
}

// TestRestoringIsLogged: the log says how sandboxes are taken back.
func TestRestoringIsLogged(t *testing.T) {
	serve(t, "respond ok\ngojinn /fn "+moduleFile(t, "fn.wasm", reads()))
	for _, entry := range logBuffer.entries(t) {
		if entry["msg"] == "restoring sandboxes" && entry["by"] != "" {
			return
		}
	}
	t.Error("nothing is logged")
}
