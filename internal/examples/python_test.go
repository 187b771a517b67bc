package examples

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestLaunchersPython: the examples have copies of the launcher, and so has the template of new functions. Links
// would lead out of the folder that a function is allowed.
func TestLaunchersPython(t *testing.T) {
	want, err := os.ReadFile("../../guest/python/gojinn.py")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		filepath.Join(examples, "shortener-python", "gojinn.py"),
		filepath.Join(examples, "weather-python", "gojinn.py"),
		filepath.Join(examples, "events-python", "gojinn.py"),
		"../toolchain/templates/python/gojinn.py.tmpl",
	} {
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs from guest/python/gojinn.py (%v)", path, err)
		}
	}
}
