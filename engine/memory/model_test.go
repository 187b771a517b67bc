package memory

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// each runs a test for every way of undoing that works here.
func each(t *testing.T, test func(*testing.T, Undo)) {
	for _, u := range Undoes() {
		t.Run(u.String(), func(t *testing.T) { test(t, u) })
	}
}

// model is what a Linear should be, in the simplest way.
type model struct {
	image    []byte // of the whole reservation
	now      []byte // as long as the memory is accessible
	size     int
	kept     []byte // nil before Keep
	keptSize int
}

func (m *model) grow(size int) {
	for at := len(m.now); at < size; at++ {
		m.now = append(m.now, m.image[at])
	}
	m.size = max(m.size, size)
}

func (m *model) restore(contents []byte, size int) {
	copy(m.now, m.image)
	copy(m.now[:size], contents)
	m.size = size
}

// TestModel does everything that can be done to a memory in random order and
// compares it, after each step and up to the most that was ever accessible,
// with what it should be.
func TestModel(t *testing.T) {
	images := []struct {
		name string
		size uint64
		runs func(*rand.Rand) []Run
	}{
		{"no image", 0, nil},
		{"empty image", 4 * page, func(*rand.Rand) []Run { return nil }},
		{"short image", 2 * page, func(r *rand.Rand) []Run { return []Run{{0, noise(r, 2*page)}} }},
		{"scattered image", 48 * page, func(r *rand.Rand) (runs []Run) {
			for range 60 {
				b := noise(r, 1+r.IntN(9000))
				runs = append(runs, Run{r.Uint64N(48*page - 9000), b})
			}
			return runs
		}},
		{"image larger than the memory", 200 * page, func(r *rand.Rand) []Run {
			return []Run{{100, noise(r, 30000)}, {63 * page, noise(r, 3*page)}, {150 * page, noise(r, 5)}}
		}},
	}
	each(t, func(t *testing.T, u Undo) {
		for _, image := range images {
			for _, heap := range []bool{false, true} {
				if heap && image.runs == nil {
					continue // the same
				}
				for _, max := range []int{0, 1, 64} {
					t.Run(fmt.Sprintf("%s/heap %v/%d", image.name, heap, max), func(t *testing.T) {
						t.Parallel()
						r := rand.New(rand.NewPCG(uint64(max), uint64(u)))
						m := &model{image: make([]byte, 64*page)}
						var i *Image
						if image.runs != nil {
							runs := image.runs(r)
							for _, run := range runs {
								if run.Offset < uint64(len(m.image)) {
									copy(m.image[run.Offset:], run.Bytes)
								}
							}
							var err error
							if i, err = NewImage(image.size, runs); err != nil {
								t.Fatal(err)
							}
							defer i.Close()
							if heap {
								onHeap(i)
							}
						}
						l, err := ReserveUndo(uint64(max*page), i, u)
						if err != nil {
							t.Fatal(err)
						}
						defer l.Free()
						laid := play(t, r, l, m, max)
						if want := u == UndoPagemap && max == 64; laid != want && !raceEnabled && !testing.Short() {
							t.Errorf("stretches were laid over the memory: got %v, want %v", laid, want)
						}
						if l.Undo() != u {
							t.Errorf("fell back to %v", l.Undo())
						}
					})
				}
			}
		}
	})
}

// play returns whether kept pages were mapped.
func play(t *testing.T, r *rand.Rand, l *Linear, m *model, max int) (laid bool) {
	steps := 200
	if raceEnabled || testing.Short() {
		steps = 50
	}
	for step := range steps {
		var did string
		switch n := r.IntN(100); {
		case n < 10:
			size := r.IntN(max+1) * page
			did = fmt.Sprintf("Grow(%d)", size)
			b, err := l.Grow(uint64(size))
			if err != nil || len(b) != size {
				t.Fatalf("step %d: %s: got %d bytes, %v", step, did, len(b), err)
			}
			m.grow(size)
		case n < 16:
			did = "Keep"
			if err := l.Keep(); err != nil {
				t.Fatal(err)
			}
			laid = laid || len(l.overlays) > 0
			copy(m.now[m.size:], m.image[m.size:])
			m.kept, m.keptSize = bytes.Clone(m.now[:m.size]), m.size
			if m.kept == nil {
				m.kept = []byte{}
			}
		case n < 55:
			did = "Restore"
			err := l.Restore()
			if m.kept == nil {
				if err == nil {
					t.Fatalf("step %d: Restore without Keep: got no error", step)
				}
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			m.restore(m.kept, m.keptSize)
		case n < 60:
			size := r.IntN(max+1) * page
			did = fmt.Sprintf("Reset(%d)", size)
			if err := l.Reset(uint64(size)); err != nil {
				t.Fatal(err)
			}
			m.grow(size)
			m.restore(nil, size)
			m.kept = nil
		default:
			did = "writes"
			// A guest can write to everything that was ever accessible: it is the
			// rewritten module, not the machine, that believes in a smaller size.
			all := l.reserved[:l.committed]
			if len(all) == 0 {
				break
			}
			for range 1 + r.IntN(20) {
				at, length := r.IntN(len(all)), 1+r.IntN(3*int(pageSize))
				switch r.IntN(10) {
				case 0: // over the end of a page
					at, length = at/int(pageSize)*int(pageSize)+int(pageSize)-1, 2
				case 1: // the same few pages each time
					at, length = at%8*int(pageSize), 1
				case 2: // what is there already
					at, length = at/int(pageSize)*int(pageSize), 0
					all[at] = m.now[at]
				case 3: // much
					length = r.IntN(1 << 20)
				}
				b := noise(r, min(length, len(all)-at))
				copy(all[at:], b)
				copy(m.now[at:], b)
			}
		}
		if got := l.reserved[:l.committed]; !bytes.Equal(got, m.now) {
			at := 0
			for got[at] == m.now[at] {
				at++
			}
			t.Fatalf("step %d: after %s: byte %#x is %d, want %d (size %d of %d)", step, did, at, got[at], m.now[at], l.Size(), len(got))
		}
		if l.Size() != uint64(m.size) || len(l.Bytes()) != m.size {
			t.Fatalf("step %d: after %s: got size %d, %d bytes, want %d", step, did, l.Size(), len(l.Bytes()), m.size)
		}
	}
	return laid
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], r.Uint64())
		copy(b[i:], word[:])
	}
	return b
}

// onHeap makes an image one that lies on the heap, as it does where there are
// no sealed files.
func onHeap(i *Image) {
	for n := range i.extents {
		i.extents[n].bytes = bytes.Clone(i.extents[n].bytes)
		i.extents[n].mapped = false
	}
	if i.mapped {
		i.mapped = false
		_ = i.file.close()
	}
}
