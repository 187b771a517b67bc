package memory

import (
	"math/rand/v2"
	"testing"
)

// guest is the memory of a kind of program, in pages of 4 KiB as counted on
// x86-64.
type guest struct {
	name  string
	size  uint64 // bytes
	image int    // pages of the image that are not zero
	kept  int    // pages that its start-up changes
	dirty int    // pages that a request changes
}

var guests = []guest{
	{"go-like", 52 * page, 466, 85, 53},
	{"c-like", 17 * page, 4, 3, 3},
	{"ruby-like", 96 << 20, 6600, 4000, 210},
}

// linear is a started and kept memory of this kind, and what a request does.
func (g guest) linear(b *testing.B, u Undo) (l *Linear, request func()) {
	r := rand.New(rand.NewPCG(1, 2))
	i, err := NewImage(g.size, []Run{{0, noise(r, g.image*4096)}})
	if err != nil {
		b.Fatal(err)
	}
	if l, err = ReserveUndo(2*g.size, i, u); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = l.Free()
		_ = i.Close()
	})
	bytes, err := l.Grow(g.size)
	if err != nil {
		b.Fatal(err)
	}
	// Large programs write to stretches of memory when they start. A request
	// writes to pages of which half were written to then.
	stretch := max(1, g.kept/20)
	for _, n := range r.Perm(int(g.size/4096) / stretch)[:g.kept/stretch] {
		for p := n * stretch; p < (n+1)*stretch; p++ {
			bytes[p*4096+100]++
		}
	}
	if err := l.Keep(); err != nil {
		b.Fatal(err)
	}
	pages := r.Perm(int(g.size / 4096))[:g.dirty]
	for n := range pages[:min(g.dirty, len(l.kept.pages))/2] {
		pages[n] = int(l.kept.pages[r.IntN(len(l.kept.pages))] * uint32(pageSize/4096))
	}
	return l, func() {
		for _, p := range pages {
			bytes[p*4096+2000]++
		}
	}
}

func benchmark(b *testing.B, run func(*testing.B, guest, Undo)) {
	for _, u := range Undoes() {
		b.Run(u.String(), func(b *testing.B) {
			for _, g := range guests {
				b.Run(g.name, func(b *testing.B) { run(b, g, u) })
			}
		})
	}
}

// BenchmarkRestore is one request's changes and undoing them.
func BenchmarkRestore(b *testing.B) {
	benchmark(b, func(b *testing.B, g guest, u Undo) {
		l, request := g.linear(b, u)
		for range 2 * coolAfter { // page faults of the first requests
			request()
			if err := l.Restore(); err != nil {
				b.Fatal(err)
			}
		}
		before := faults(b)
		b.ReportAllocs()
		for b.Loop() {
			request()
			if err := l.Restore(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(faults(b)-before)/float64(b.N), "faults/op")
		b.ReportMetric(float64(l.Copied()), "pages/op")
	})
}

// BenchmarkReset is undoing everything, start-up and the last request, and
// starting again.
func BenchmarkReset(b *testing.B) {
	benchmark(b, func(b *testing.B, g guest, u Undo) {
		l, request := g.linear(b, u)
		before := faults(b)
		b.ReportAllocs()
		for b.Loop() {
			request()
			if err := l.Reset(g.size); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(faults(b)-before)/float64(b.N), "faults/op")
		b.ReportMetric(float64(l.Copied()), "pages/op")
	})
}

// BenchmarkKeep is keeping what was kept before, with a request's changes.
func BenchmarkKeep(b *testing.B) {
	benchmark(b, func(b *testing.B, g guest, u Undo) {
		l, request := g.linear(b, u)
		b.ReportAllocs()
		for b.Loop() {
			request()
			if err := l.Keep(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(l.Kept())/float64(pageSize), "pages/op")
	})
}
