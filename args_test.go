package gojinn

import (
	"slices"
	"testing"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// lists is a program that writes its arguments to its standard error.
func lists() []byte {
	g := guest{Module: wasmtest.New(1)}
	const wasi = "wasi_snapshot_preview1"
	sizes := g.Import(wasi, "args_sizes_get", i32s(2), i32s(1))
	get := g.Import(wasi, "args_get", i32s(2), i32s(1))
	g.write = g.Import(wasi, "fd_write", i32s(4), i32s(1))
	g.Main(code(
		num(100), num(104), wasmtest.Call(sizes), drop,
		num(200), num(4096), wasmtest.Call(get), drop,
		g.transfer(g.write, 2, 4096, load(104)),
		g.print(1, 64, "{}"),
	)...)
	return g.Bytes()
}

func TestArgs(t *testing.T) {
	t.Setenv("GOJINN_TEST", "from the environment")
	s := serve(t, "gojinn "+moduleFile(t, "fn.wasm", lists())+` {
		name lister
		args "two words" {env.GOJINN_TEST} {method} {query.q} {unknown}
	}`)
	s.get("/?q=%00x%0Ay")
	s.get("/?q={env.GOJINN_TEST}")
	for _, want := range []string{
		`lister\x00two words\x00from the environment\x00GET\x00x`,
		`y\x00{unknown}\x00`,
		`lister\x00two words\x00from the environment\x00GET\x00{env.GOJINN_TEST}\x00{unknown}\x00`,
	} {
		if len(logBuffer.find(t, want)) != 1 {
			t.Errorf("missing %q in %v", want, logBuffer.entries(t))
		}
	}
}

// TestArgsOfInterpreters: arguments may begin with the program's name, as on a command line.
func TestArgsOfInterpreters(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		module, args string
		want         bool
	}{
		{"python.wasm", "python", true},
		{"/opt/python-3.12.0.wasm", "python", true},
		{"python3.12.wasm", "python", true},
		{"python3.12.wasm", "python3", true},
		{"php-cgi-8.2.0.wasm", "php-cgi", true},
		{"ruby-v3.2-rc1.wasm", "ruby", true},
		{"php-cgi.wasm", "php", false},
		{"tools.wasm", "tool", false},
		{"tool.wasm", "tools", false},
		{"tool.wasm", "", false},
		{"2.wasm", "", false},
		{"tool.wasm", "Tool", false},
		{"tool", "tool", true},
	} {
		f := &function{settings: &settings{args: []engine.Value{{Fixed: test.args}, {Fixed: "x"}}}, base: "name", path: test.module}
		var got []string
		for _, arg := range f.argv() {
			got = append(got, arg.Fixed)
		}
		want := []string{test.args, "x"}
		if !test.want {
			want = []string{"name", test.args, "x"}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s, args %q x: got %q, want %q", test.module, test.args, got, want)
		}
	}
}
