package interpreters

import (
	"testing"

	"github.com/gojinn/gojinn/engine"
)

// TestPythonPlain: the interpreter runs a script that knows nothing of us.
func TestPythonPlain(t *testing.T) {
	t.Parallel()
	f := launch(t, program{
		language: "python",
		dir:      folder(t, "main.py", "import sys, json\nr = json.load(sys.stdin)\njson.dump({'headers': {'X-Path': [r['path']]}, 'body': 'hello'}, sys.stdout)\n"),
		args:     []string{"python", "/app/main.py"},
	})
	if r := run(t, f, request(object{"path": "/a"})); r.Status != 200 || r.Body != "hello" || r.header("X-Path") != "/a" {
		t.Errorf("got %+v", r)
	}
	if kind, why := f.settled(t); kind == engine.StartSnapshot {
		t.Errorf("got %s (%s) although it has drawn its hash seed", kind, why)
	}
}
