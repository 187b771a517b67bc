package rewrite_test

import (
	"errors"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// TestLimits: what would keep the compiler busy for long, or fill the memory, is refused, and quickly; what is just
// below a limit is not.
func TestLimits(t *testing.T) {
	t.Parallel()
	type shape struct {
		name string
		wasm []byte
		ok   bool
	}
	of := func(make func(b *builder)) []byte {
		b := newBuilder()
		make(b)
		return b.bytes()
	}
	functions := func(n int, code ...byte) []byte {
		return of(func(b *builder) {
			typ := b.typ(nil, nil)
			for range n {
				b.funcs = append(b.funcs, uleb(typ))
				b.bodies = append(b.bodies, vec(cat([]byte{0}, code, []byte{0x0b})))
			}
		})
	}
	locals := func(n uint32) []byte {
		return of(func(b *builder) { b.rawFunction([]byte{i32}, nil, cat([]byte{1}, uleb(n), []byte{i64, 0x0b})) })
	}
	tests := []shape{
		{"60,000 ifs in sequence", body(rep(60_000, 0x20, 0, 0x04, 0x40, 0x0b)...), false},
		{"60,000 ifs, a hundred in a function", functions(600, rep(100, 0x41, 0, 0x04, 0x40, 0x0b)...), true},
		{"a thousand ifs in each of a thousand functions", functions(4000, rep(1000, 0x41, 0, 0x04, 0x40, 0x0b)...), false},
		{"20,000 loops", body(rep(20_000, 0x03, 0x40, 0x20, 0, 0x0d, 0, 0x0b)...), false},
		{"2,000 nested loops in each of a hundred functions", functions(100, cat(rep(2000, 0x03, 0x40), rep(2000, 0x41, 0, 0x0d, 0, 0x0b))...), false},
		{"a million nested blocks", body(cat(rep(1_000_000, 0x02, 0x40), rep(1_000_000, 0x0b))...), false},
		{"10,000 nested blocks", body(cat(rep(10_000, 0x02, 0x40), rep(10_000, 0x0b))...), true},
		{"200,000 branch targets", body(cat([]byte{0x20, 0, 0x0e}, uleb(200_000), rep(200_001, 0))...), false},
		{"60,000 branch targets", body(cat([]byte{0x20, 0, 0x0e}, uleb(60_000), rep(60_001, 0))...), true},
		{"20 tables of 60,000 branch targets", body(rep(20, cat([]byte{0x02, 0x40, 0x20, 0, 0x0e}, uleb(60_000), rep(30_000, 0, 1), []byte{0, 0x0b})...)...), false},
		{"30 MB of indirect calls", func() []byte {
			code := rep(100_000, 0x20, 0, 0x20, 0, 0x11, 0, 0)
			return of(func(b *builder) {
				b.table(funcref, 1, 0)
				for range 43 {
					b.function([]byte{i32}, nil, nil, code...)
				}
			})
		}(), false},
		{"a function of 9 MB", body(rep(3_000_000, 0x20, 0, 0x1a)...), false},
		{"70 MB of code", func() []byte {
			code := rep(2_400_000, 0x20, 0, 0x1a)
			return of(func(b *builder) {
				for range 10 {
					b.function([]byte{i32}, nil, nil, code...)
				}
			})
		}(), false},
		{"100,000 functions", functions(100_000), true},
		{"300,000 functions", functions(300_000), false},
		{"50,001 locals", locals(50_000), false},
		{"50,000 locals", locals(49_999), true},
		{"2^32-1 locals", locals(1<<32 - 1), false},
		{"2,000 locals alive in 2,000 blocks", func() []byte {
			var before, after []byte
			for i := range uint32(2000) {
				before = cat(before, []byte{0x20, 0, 0xac, 0x21}, uleb(i+1))
				after = cat(after, []byte{0x20}, uleb(i+1), []byte{0x1a})
			}
			code := cat(before, rep(4000, 0x20, 0, 0x04, 0x40, 0x0b), after)
			return of(func(b *builder) {
				for range 8 {
					b.rawFunction([]byte{i32}, nil, cat([]byte{1}, uleb(2000), []byte{i64}, code, []byte{0x0b}))
				}
			})
		}(), false},
		{"10,000 calls beside 20,000 globals", of(func(b *builder) {
			for range 20_000 {
				b.global(i32, true, 0x41, 0)
			}
			b.function(nil, nil, nil, rep(10_000, 0x10, 0)...)
		}), false},
		{"20,001 types", of(func(b *builder) {
			for range 20_001 {
				b.typ(nil, nil)
			}
		}), false},
		{"1,001 parameters", of(func(b *builder) { b.typ(rep(1001, i32), nil) }), false},
		{"1,000 parameters and results", of(func(b *builder) { b.typ(rep(1000, i32), rep(1000, i32)) }), true},
		{"a table of a million elements", of(func(b *builder) { b.table(funcref, 1<<20, 0) }), true},
		{"a table of two million elements", of(func(b *builder) { b.table(funcref, 1<<21, 0) }), false},
		{"two tables of half a million elements, and one more", of(func(b *builder) {
			b.table(funcref, 1<<19, 0)
			b.table(externref, 1<<19, 0)
			b.table(externref, 1, 0)
		}), false},
		{"an imported table of two million elements", of(func(b *builder) { b.importTable("m", "t", funcref, 1<<21) }), false},
		{"a table that may grow to four billion", of(func(b *builder) { b.table(funcref, 1, 1<<32-1) }), true},
		{"a name of 65,537 bytes", of(func(b *builder) {
			b.memory(1, 0)
			b.export(string(rep(65_537, 'a')), 2, 0)
		}), false},
		{"2,000 custom sections", cat(newBuilder().bytes(), rep(2000, customSection("x", nil)...)), false},
		{"129 MB", cat(newBuilder().bytes(), customSection("x", make([]byte, 129<<20))), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			began := time.Now()
			_, _, err := rewrite.Module(test.wasm)
			var refused *rewrite.Error
			if (err == nil) != test.ok || err != nil && (!errors.As(err, &refused) || refused.Kind != rewrite.OverLimit) {
				t.Errorf("got %v", err)
			}
			if d := time.Since(began); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}
