package engine

import (
	"io"
	"strings"
	"testing"
)

// BenchmarkRunFresh is the least a call can cost: a small program, instantiated
// for the call, that copies a line.
func BenchmarkRunFresh(b *testing.B) {
	f := newFunction(b, newEngine(b, Config{}), cat(), Options{})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.Run(b.Context(), strings.NewReader("hello"), io.Discard, io.Discard); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRunParallel is the same from many goroutines at once.
func BenchmarkRunParallel(b *testing.B) {
	f := newFunction(b, newEngine(b, Config{}), cat(), Options{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := f.Run(b.Context(), strings.NewReader("hello"), io.Discard, io.Discard); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
