package memory

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
)

func TestNewImageRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		size uint64
		runs []Run
	}{
		{"a part of a page", page + 1, nil},
		{"more than 4 GiB", MaxSize + page, nil},
		{"a run over the end", page, []Run{{page - 1, []byte{1, 2}}}},
		{"a run beyond the end", page, []Run{{page + 1, nil}}},
		{"a run in an empty image", 0, []Run{{0, []byte{1}}}},
		{"a run that wraps around", page, []Run{{1<<64 - 1, []byte{1, 2}}}},
	}
	for _, test := range tests {
		if i, err := NewImage(test.size, test.runs); err == nil {
			_ = i.Close()
			t.Errorf("%s: got no error", test.name)
		}
	}
}

func TestImageBytes(t *testing.T) {
	t.Parallel()
	one := []byte{1}
	scattered := make([]Run, 100)
	for n := range scattered {
		scattered[n] = Run{uint64(n) * 640 * page, one}
	}
	tests := []struct {
		name  string
		runs  []Run
		pages int64
	}{
		{"nothing", nil, 0},
		{"zeros", []Run{{5, make([]byte, page)}}, 0},
		{"overwritten by zeros", []Run{{5, one}, {5, []byte{0}}}, 0},
		{"over the end of a page", []Run{{pageSize - 1, []byte{1, 1}}}, 2},
		{"backwards", []Run{{pageSize, one}, {0, one}}, 2},
		{"a gap of one page", []Run{{0, one}, {2 * pageSize, one}}, 3},
		{"a gap of two", []Run{{0, one}, {3 * pageSize, one}}, 2},
		{"all over 4 GiB", scattered, 100},
	}
	for _, test := range tests {
		i, err := NewImage(MaxSize, test.runs)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if got, want := i.Bytes(), test.pages*int64(pageSize); got != want {
			t.Errorf("%s: got %d bytes, want %d", test.name, got, want)
		}
		if err := errors.Join(i.Close(), i.Close()); err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestIsolation runs many memories of one image at once. None sees another's
// writes, and the image stays what it was.
func TestIsolation(t *testing.T) {
	const size, rounds = 16 * page, 150
	r := rand.New(rand.NewPCG(3, 4))
	start := noise(r, 10*page)
	image, err := NewImage(size, []Run{{page, start}})
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	want := append(append(make([]byte, page), start...), make([]byte, 5*page)...)
	var all sync.WaitGroup
	for n := range 24 {
		u := Undoes()[n%len(Undoes())]
		all.Go(func() {
			r := rand.New(rand.NewPCG(5, uint64(n)))
			l, err := ReserveUndo(2*size, image, u)
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Free()
			b, err := l.Grow(size)
			if err != nil || !bytes.Equal(b, want) {
				t.Errorf("%v: at the start: %v, or something else than the image", u, err)
				return
			}
			b[5*page] = byte(n)
			kept := bytes.Clone(b)
			if err := l.Keep(); err != nil {
				t.Error(err)
				return
			}
			for range rounds {
				for range 20 {
					b[r.IntN(size)] = byte(n)
				}
				if err := l.Restore(); err != nil || !bytes.Equal(b, kept) {
					t.Errorf("%v: after Restore: %v, or something else than what was kept", u, err)
					return
				}
			}
			if err := l.Reset(size); err != nil || !bytes.Equal(b, want) {
				t.Errorf("%v: after Reset: %v, or something else than the image", u, err)
			}
		})
	}
	all.Wait()
	for at := uint64(0); at < size; at += pageSize {
		got, _ := image.page(at)
		if got == nil {
			got = zeroPage()
		}
		if !bytes.Equal(got, want[at:at+pageSize]) {
			t.Fatalf("the image's page at %#x has changed", at)
		}
	}
}
