package examples

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestLaunchersRuby: the example has a copy of the launcher. A link would lead out of the folder
// that a function is allowed.
func TestLaunchersRuby(t *testing.T) {
	want, err := os.ReadFile("../../guest/ruby/gojinn.rb")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(examples, "shortener-ruby", "gojinn.rb")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("it has another gojinn.rb than guest/ruby (%v)", err)
	}
}
