package examples

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// interpreter returns the module that an environment variable names, and "" if it names none: what
// needs it is not tested then. See .ci/install-interpreters.
func interpreter(tb testing.TB, variable string) string {
	tb.Helper()
	path := os.Getenv(variable)
	if path == "" && os.Getenv("GOJINN_REQUIRE_INTERPRETERS") == "1" {
		tb.Fatalf("%s names no module, and GOJINN_REQUIRE_INTERPRETERS forbids to go on", variable)
	}
	if path == "" {
		tb.Logf("%s names no module: what runs in it is left out", variable)
	}
	return path
}

// TestLaunchersJS: the examples have copies of the launcher. Links would lead out of the folder
// that a function is allowed.
func TestLaunchersJS(t *testing.T) {
	want, err := os.ReadFile("../../guest/js/gojinn.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shortener-js", "weather-js"} {
		if got, err := os.ReadFile(filepath.Join(examples, name, "gojinn.js")); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has another gojinn.js than guest/js (%v)", name, err)
		}
	}
}
