package rewrite_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// TestCompileMemory: small modules for which wazero would take gigabytes.
func TestCompileMemory(t *testing.T) {
	t.Parallel()
	wide := bytes.Repeat([]byte{i32}, 1000)
	consts := rep(1000, 0x41, 0)
	drops := rep(1000, 0x1a)
	tests := []struct {
		name string
		make func(b *builder)
		want string
	}{
		{"calls with a thousand values", func(b *builder) {
			f := b.function(wide, wide, nil, rep(1000, 0x00)...)
			b.function(nil, nil, nil, cat(consts, rep(4000, 0x10, byte(f)), drops)...)
		}, "wide"},
		{"calls by table with a thousand values", func(b *builder) {
			b.table(funcref, 1, 0)
			typ := b.typ(wide, wide)
			b.function(nil, nil, nil, cat(consts, rep(4000, cat([]byte{0x41, 0, 0x11}, uleb(typ), []byte{0})...), drops)...)
		}, "wide"},
		{"loops with a thousand values", func(b *builder) {
			typ := b.typ(wide, wide)
			b.function(nil, nil, nil, cat(consts, rep(1000, cat([]byte{0x03}, uleb(typ), []byte{0x0b})...), drops)...)
		}, "wide"},
		{"a branch table with a thousand values", func(b *builder) {
			typ := b.typ(nil, wide)
			b.function(nil, nil, nil, cat([]byte{0x02}, uleb(typ), consts, []byte{0x41, 0, 0x0e}, uleb(10_000), rep(10_001, 0), []byte{0x0b}, drops)...)
		}, "wide"},
		{"branches with a thousand values", func(b *builder) {
			typ := b.typ(nil, wide)
			b.function(nil, nil, nil, cat([]byte{0x02}, uleb(typ), consts, rep(1000, 0x41, 0, 0x0d, 0), []byte{0x0b}, drops)...)
		}, "wide"},
		{"functions with many locals", func(b *builder) {
			for range 3000 {
				b.rawFunction(nil, nil, cat([]byte{1}, uleb(40_000), []byte{i32, 0x0b}))
			}
		}, "locals in all functions"},
		{"large branch tables", func(b *builder) {
			for range 16 {
				b.function(nil, nil, nil, cat([]byte{0x41, 0, 0x0e}, uleb(60_000), rep(60_001, 0))...)
			}
		}, "large branch tables"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := newBuilder()
			test.make(b)
			_, _, err := rewrite.Module(b.bytes())
			refused := new(rewrite.Error)
			if !errors.As(err, &refused) || refused.Kind != rewrite.OverLimit || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want a limit on %s", err, test.want)
			}
		})
	}
}
