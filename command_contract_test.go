package gojinn

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestCommandsOfStreams: functions of the contract stream get a line and a body, and answer so.
func TestCommandsOfStreams(t *testing.T) {
	module := moduleFile(t, "fn.wasm", steps(takes(1<<16), prints("{\"status\":202}\nbody: "), repeats()))
	bad := moduleFile(t, "bad.wasm", steps(prints("no head\n")))
	config := writeFile(t, filepath.Join(t.TempDir(), "Caddyfile"), "http://localhost:1 {\n"+
		"gojinn /a "+module+" {\ncontract stream\n}\ngojinn /b "+bad+" {\ncontract stream\n}\n}\n")
	for _, test := range []struct {
		name, request  string
		args           []string
		stdout, stderr string
		err            string
	}{
		// All is there at once, so that the program's first read has the body too.
		{"call", `{"id":"1","body":"x"}`, []string{"call", module, "-"}, "{\"status\":202}\nbody: ", "status    202", ""},
		{"call with base64", `{"id":"1","body_base64":"_"}`, []string{"call", module, "-"}, "", "", "body"},
		{"bad head", "{}", []string{"call", bad, "-"}, "", "reason    bad_response", "response"},
		{"bench", "{}", []string{"bench", module, "-", "--calls", "2"}, "status 202", "", ""},
		{"audit", "{}", []string{"audit", module, "-"}, "", "status 202", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			stdout, stderr, err := runCommand(t, test.request, append(test.args, "--config", config)...)
			if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
				t.Fatalf("got %v, want %q\n%s", err, test.err, stderr)
			}
			if !strings.Contains(stdout, test.stdout) || !strings.Contains(stderr, test.stderr) {
				t.Errorf("got %q and %q", stdout, stderr)
			}
		})
	}
	if input, err := streamInput([]byte("{\"b\":1,\n\"a\":[2],\"body_base64\":\"/wA=\"}")); err != nil || string(input) != "{\"a\":[2],\"b\":1}\n\xff\x00" {
		t.Errorf("got %q, %v", input, err)
	}
}
