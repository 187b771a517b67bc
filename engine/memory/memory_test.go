package memory

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
)

const page = 65536

func TestGrowKeepsContentsAndAddress(t *testing.T) {
	t.Parallel()
	l, err := Reserve(100*page, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Free()
	small, err := l.Grow(page)
	if err != nil {
		t.Fatal(err)
	}
	small[page-1] = 7
	large, err := l.Grow(100 * page)
	if err != nil {
		t.Fatal(err)
	}
	if len(large) != 100*page || cap(large) != len(large) {
		t.Errorf("got len %d cap %d, want %d", len(large), cap(large), 100*page)
	}
	if &small[0] != &large[0] {
		t.Error("the memory moved")
	}
	if large[page-1] != 7 || large[page] != 0 || large[100*page-1] != 0 {
		t.Errorf("got %d, %d, %d, want 7, 0, 0", large[page-1], large[page], large[100*page-1])
	}
	if l.Size() != 100*page {
		t.Errorf("got size %d, want %d", l.Size(), 100*page)
	}
}

func TestGrowBeyondReservation(t *testing.T) {
	t.Parallel()
	l, err := Reserve(2*page, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Free()
	if _, err := l.Grow(3 * page); err == nil {
		t.Error("got no error")
	}
	if got, err := l.Grow(2 * page); err != nil || len(got) != 2*page {
		t.Errorf("after a refused growth: got %d bytes, %v", len(got), err)
	}
}

func TestReserveLimits(t *testing.T) {
	t.Parallel()
	if _, err := Reserve(MaxSize+1, nil); err == nil {
		t.Error("above 4 GiB: got no error")
	}
	empty, err := Reserve(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := empty.Grow(0); err != nil || len(got) != 0 {
		t.Errorf("empty: got %d bytes, %v", len(got), err)
	}
	if err := errors.Join(empty.Free(), empty.Free()); err != nil {
		t.Error(err)
	}
}

// TestFreeGivesBack makes and frees many memories at once and then counts the
// process's mappings.
func TestFreeGivesBack(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("mappings are counted in /proc")
	}
	before := mappings(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				l, err := Reserve(64*page, nil)
				if err != nil {
					t.Error(err)
					return
				}
				b, err := l.Grow(2 * page)
				if err != nil {
					t.Error(err)
					return
				}
				b[len(b)-1] = 1
				if err := errors.Join(l.Free(), l.Free()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if after := mappings(t); after > before+100 {
		t.Errorf("got %d mappings after 4,000 memories, %d before", after, before)
	}
}

func mappings(t *testing.T) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "\n")
}
