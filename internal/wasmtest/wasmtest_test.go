package wasmtest

import (
	"testing"

	"github.com/tetratelabs/wazero"
)

func TestModuleRuns(t *testing.T) {
	t.Parallel()
	m := New(1)
	double := m.Func([]byte{I32}, []byte{I32}, 0x20, 0, 0x20, 0, 0x6a)
	f := m.Func(nil, []byte{I32}, Code(I32Const(-3), Call(double), 0x41, 0, 0x28, 2, S32(64), 0x6a)...)
	m.Export("f", 0, f)
	m.Data(64, "\x0a\x00\x00\x00")
	m.Table(1)
	m.Elem(f)
	m.Global()

	r := wazero.NewRuntime(t.Context())
	defer r.Close(t.Context())
	instance, err := r.Instantiate(t.Context(), m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := instance.ExportedFunction("f").Call(t.Context())
	if err != nil || int32(got[0]) != 4 {
		t.Errorf("got %v, %v, want 4", got, err)
	}
}
