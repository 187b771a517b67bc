package churn

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine"
)

// TestModule: versions answer as they should, and none as another.
func TestModule(t *testing.T) {
	t.Parallel()
	e, err := engine.New(engine.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	answers := map[string]bool{}
	for version := range 4 {
		p, err := e.Compile(t.Context(), Module("fn", version, 20))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		f, err := p.Function(engine.Options{Args: []engine.Value{{Fixed: "fn"}}, Limits: engine.Limits{Memory: 1 << 20}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var out bytes.Buffer
		if _, err := f.Run(t.Context(), strings.NewReader(""), &out, io.Discard); err != nil {
			t.Fatal(err)
		}
		want := Answer("fn", version, 20)
		if got := out.String(); got != `{"body":"`+want+`"}` {
			t.Errorf("version %d: got %s, want %s", version, got, want)
		}
		if got, ok := versionOf(want, "fn"); !ok || got != version {
			t.Errorf("%s: got version %d, %v, want %d", want, got, ok, version)
		}
		answers[strings.Fields(want)[2]] = true
	}
	if len(answers) != 4 {
		t.Errorf("got sums %v, want 4 different ones", answers)
	}
}
