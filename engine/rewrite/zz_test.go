package rewrite

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

func TestZZ(t *testing.T) {
	wasm, err := os.ReadFile(os.Getenv("WASM"))
	if err != nil {
		t.Skip(err)
	}
	t0 := time.Now()
	out, rep, err := Module(wasm)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d -> %d bytes in %v; %+v", len(wasm), len(out), time.Since(t0), rep)
	os.WriteFile("/tmp/g/out.wasm", out, 0o644)
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithDebugInfoEnabled(false))
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	ticks := 0
	r.NewHostModuleBuilder(HostModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, s []uint64) {
		ticks++
		g := m.ExportedGlobal(FuelExport).(api.MutableGlobal)
		g.Set(uint64(int64(g.Get()) + 65536))
	}), nil, nil).Export(TickImport).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, s []uint64) {
		panic("stack")
	}), nil, nil).Export(StackImport).Instantiate(ctx)
	t0 = time.Now()
	cm, err := r.CompileModule(ctx, out)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("compiled in %v", time.Since(t0))
	var stdout bytes.Buffer
	t0 = time.Now()
	_, err = r.InstantiateModule(ctx, cm, wazero.NewModuleConfig().WithArgs("x").WithStdout(&stdout).WithStderr(os.Stderr).WithStdin(bytes.NewReader([]byte(`{"email":"a","message":"b","tags":["x","y"],"n":{"a":1}}`))))
	t.Log(time.Since(t0), err, stdout.String(), ticks)
}
