package gojinn

import (
	"testing"

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
