package engine

import (
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// BenchmarkColdLoad measures a call of a function whose code has been unloaded,
// but lies in the code cache, from Run to its end.
func BenchmarkColdLoad(b *testing.B) {
	for _, dir := range []string{"../examples/contact", "../examples/contact-c"} {
		b.Run(filepath.Base(dir), func(b *testing.B) {
			e := newTestEngine(b, Config{CacheDir: filepath.Join(b.TempDir(), "cache")})
			f := newFunction(b, e, toolchaintest.Build(b, dir), Options{Unload: time.Hour, Limits: Limits{Timeout: time.Minute}})
			for b.Loop() {
				b.StopTimer()
				waitFor(b, func() bool { return f.Running() == 0 && (f.program.evict() > 0 || !f.program.Loaded()) })
				b.StartTimer()
				if _, err := f.Run(b.Context(), strings.NewReader(`{"method":"POST","headers":{},"body":"{}"}`), io.Discard, io.Discard); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
