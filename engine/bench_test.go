package engine

import (
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// benchmarkKinds runs a benchmark for each way in which sandboxes get ready.
func benchmarkKinds(b *testing.B, wasm []byte, run func(b *testing.B, f *Function)) {
	e := newTestEngine(b, Config{})
	for _, kind := range []struct {
		name    string
		options Options
	}{
		{StartFresh, Options{}},
		{StartReset, Options{Idle: time.Hour, Snapshot: SnapshotOff}},
		{StartSnapshot, Options{Idle: time.Hour, Snapshot: SnapshotOn}},
	} {
		b.Run(kind.name, func(b *testing.B) {
			f := newFunction(b, e, wasm, kind.options)
			b.ReportAllocs()
			run(b, f)
		})
	}
}

func runOnce(b *testing.B, f *Function, in string) bool {
	if _, err := f.Run(b.Context(), strings.NewReader(in), io.Discard, io.Discard); err != nil {
		b.Error(err)
		return false
	}
	return true
}

// BenchmarkRun is the least a call can cost: a small program that copies a line.
func BenchmarkRun(b *testing.B) {
	benchmarkKinds(b, cat(), func(b *testing.B, f *Function) {
		for b.Loop() {
			runOnce(b, f, "hello")
		}
	})
}

// BenchmarkRunParallel is the same from many goroutines at once.
func BenchmarkRunParallel(b *testing.B) {
	benchmarkKinds(b, cat(), func(b *testing.B, f *Function) {
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() && runOnce(b, f, "hello") {
			}
		})
	})
}

// BenchmarkGo is a Go program that takes JSON apart and puts it together.
func BenchmarkGo(b *testing.B) {
	benchmarkKinds(b, toolchaintest.Build(b, "../examples/contact"), func(b *testing.B, f *Function) {
		request := `{"method":"POST","headers":{"Content-Type":["application/json"]},"body":"{\"email\":\"a@b.c\",\"message\":\"hi\"}"}`
		for b.Loop() {
			runOnce(b, f, request)
		}
	})
}

// BenchmarkC is a C program of the examples.
func BenchmarkC(b *testing.B) {
	wasm, err := os.ReadFile("../examples/contact-c/contact-c.wasm")
	if err != nil {
		b.Fatal(err)
	}
	benchmarkKinds(b, wasm, func(b *testing.B, f *Function) {
		request := `{"method":"POST","headers":{"Content-Type":["application/json"]},"body":"{\"email\":\"a@b.c\",\"message\":\"hi\"}"}`
		for b.Loop() {
			runOnce(b, f, request)
		}
	})
}
