package rewrite_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// TestSpec runs the test suite of the WebAssembly specification, which wazero carries in its module, through the
// original and the rewritten modules side by side: both must be accepted or refused alike, and every action must end
// alike.
func TestSpec(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(wazeroDir(t), "internal", "integration_test", "spectest")
	for _, version := range []string{"v1", "v2"} {
		files, err := filepath.Glob(filepath.Join(dir, version, "testdata", "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no test scripts of %s in %s: %v", version, dir, err)
		}
		for _, file := range files {
			name := version + "/" + strings.TrimSuffix(filepath.Base(file), ".json")
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				runScript(t, version, file, rewrite.Options{Meter: true})
			})
			if !hasData.MatchString(name) {
				continue
			}
			t.Run(name+" detached", func(t *testing.T) {
				t.Parallel()
				runScript(t, version, file, rewrite.Options{Meter: true, Detach: true})
			})
		}
	}
}

// hasData matches the scripts in which data segments matter.
var hasData = regexp.MustCompile("v2/(address|align|bulk|data|endianness|.*memory.*|linking|load|start|store)$")

// wazeroDir is where the module cache keeps wazero's source.
var wazeroDir = func() func(t testing.TB) string {
	dir := sync.OnceValues(func() (string, error) {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
		return strings.TrimSpace(string(out)), err
	})
	return func(t testing.TB) string {
		t.Helper()
		d, err := dir()
		if err != nil {
			t.Fatalf("finding wazero's source: %v", err)
		}
		return d
	}
}()

// script is the output of wast2json (https://github.com/WebAssembly/wabt/blob/main/docs/wast2json.md).
type script struct {
	Commands []struct {
		Type       string  `json:"type"`
		Line       int     `json:"line"`
		Name       string  `json:"name"`
		As         string  `json:"as"`
		Filename   string  `json:"filename"`
		ModuleType string  `json:"module_type"`
		Action     action  `json:"action"`
		Expected   []value `json:"expected"`
	} `json:"commands"`
}

type action struct {
	Type   string  `json:"type"`
	Module string  `json:"module"`
	Field  string  `json:"field"`
	Args   []value `json:"args"`
}

type value struct {
	Type     string          `json:"type"`
	LaneType string          `json:"lane_type"`
	Value    json.RawMessage `json:"value"`
}

func runScript(t *testing.T, version, file string, options rewrite.Options) {
	var s script
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	original, rewritten := newWorld(t, false), newWorld(t, true)
	for _, c := range s.Commands {
		where := fmt.Sprintf("%s:%d: %s", filepath.Base(file), c.Line, c.Type)
		switch c.Type {
		case "module", "assert_invalid", "assert_malformed", "assert_unlinkable", "assert_uninstantiable":
			if c.ModuleType == "text" {
				continue
			}
			wasm, err := os.ReadFile(filepath.Join(filepath.Dir(file), c.Filename))
			if err != nil {
				t.Fatal(err)
			}
			out, report, err := rewrite.ModuleWith(wasm, options)
			var refused *rewrite.Error
			if errors.As(err, &refused) && refused.Kind != rewrite.Malformed {
				t.Errorf("%s: %s: nothing in the specification is beyond our limits: %v", where, c.Filename, err)
			}
			got := err
			if err == nil {
				got = rewritten.loadWith(c.Name, out, report.Image)
			}
			want := original.load(c.Name, wasm)
			if (got == nil) != (want == nil) {
				t.Errorf("%s: %s: rewritten: %v, original: %v", where, c.Filename, got, want)
			}
		case "register":
			original.register(c.Name, c.As)
			rewritten.register(c.Name, c.As)
		case "action", "assert_return", "assert_trap", "assert_exhaustion":
			want, wantErr := original.do(t, c.Action)
			got, gotErr := rewritten.do(t, c.Action)
			switch {
			case c.Type == "assert_exhaustion":
				if gotErr == nil {
					t.Errorf("%s: %s: got no error", where, c.Action.Field)
				}
			case gotErr != wantErr || !slices.Equal(got, want):
				t.Errorf("%s: %s: got %x, %q, want %x, %q", where, c.Action.Field, got, gotErr, want, wantErr)
			case version == "v2" && c.Type != "action" && (c.Type == "assert_trap") != (wantErr != nil):
				t.Errorf("%s: %s: the test itself goes wrong: %v", where, c.Action.Field, wantErr)
			}
		default:
			t.Errorf("%s: unknown command", where)
		}
	}
}

// do performs an action and returns its results, or the first line of its error.
func (w *world) do(t *testing.T, a action) (results []uint64, trap error) {
	m := w.modules[a.Module]
	if m == nil {
		return nil, errNoModule
	}
	if a.Type == "get" {
		g := m.ExportedGlobal(a.Field)
		return []uint64{g.Get()}, nil
	}
	var args []uint64
	for _, v := range a.Args {
		args = append(args, v.words(t)...)
	}
	return w.call(m, a.Field, args...)
}

var errNoModule = errors.New("no such module")

// words returns the value as wazero passes it: one word, or two for v128.
func (v value) words(t *testing.T) []uint64 {
	parse := func(s string, bits int) uint64 {
		switch s {
		case "null":
			return 0
		case "nan:canonical", "nan:arithmetic":
			if bits == 32 {
				return 0x7fc00000
			}
			return 0x7ff8000000000000
		}
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("value %q: %v", s, err)
		}
		return n
	}
	if v.Type == "v128" {
		var lanes []string
		if err := json.Unmarshal(v.Value, &lanes); err != nil {
			t.Fatal(err)
		}
		bits, err := strconv.Atoi(v.LaneType[1:])
		if err != nil {
			t.Fatal(err)
		}
		words := make([]uint64, 2)
		for i, lane := range lanes {
			n := parse(lane, bits)
			if bits < 64 {
				n &= 1<<bits - 1
			}
			words[i*bits/64] |= n << (i * bits % 64)
		}
		return words
	}
	var s string
	if err := json.Unmarshal(v.Value, &s); err != nil {
		t.Fatal(err)
	}
	n := parse(s, 64)
	switch {
	case v.Type == "externref" && s != "null":
		n++ // zero is null
	case v.Type == "i32" || v.Type == "f32":
		n = uint64(uint32(n))
	}
	return []uint64{n}
}
