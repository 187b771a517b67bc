package memory

import (
	"bytes"
	"runtime"
	"testing"
)

// started is a memory of size bytes, kept with something in the first page.
func started(t *testing.T, size, max uint64, u Undo) *Linear {
	t.Helper()
	l, err := ReserveUndo(max, nil, u)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Free(); err != nil {
			t.Error(err)
		}
	})
	b, err := l.Grow(size)
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 1
	if err := l.Keep(); err != nil {
		t.Fatal(err)
	}
	return l
}

func restore(t *testing.T, l *Linear) {
	t.Helper()
	if err := l.Restore(); err != nil {
		t.Fatal(err)
	}
}

// TestCooling writes to a kept page and to another and then lets them be: they
// are watched for a while and no longer.
func TestCooling(t *testing.T) {
	each(t, func(t *testing.T, u Undo) {
		l := started(t, 4*page, 4*page, u)
		other := 3 * page / pageSize
		for range 3 {
			l.Bytes()[1], l.Bytes()[3*page] = 5, 6
			restore(t, l)
			if l.Copied() != 2 {
				t.Errorf("got %d pages copied, want 2", l.Copied())
			}
		}
		for n := range coolAfter - 1 {
			restore(t, l)
			if l.Copied() != 0 || l.idle[0] == unwatched || l.idle[other] == unwatched {
				t.Fatalf("after %d restores: %d pages copied, idle %d and %d", n+1, l.Copied(), l.idle[0], l.idle[other])
			}
		}
		restore(t, l)
		if l.idle[other] != unwatched || l.idle[0] != unwatched {
			t.Errorf("after %d restores: idle %d and %d, want not watched", coolAfter, l.idle[0], l.idle[other])
		}
		l.Bytes()[1], l.Bytes()[3*page] = 7, 8
		restore(t, l)
		if l.Copied() != 2 || l.Bytes()[0] != 1 || l.Bytes()[1] != 0 || l.Bytes()[3*page] != 0 {
			t.Errorf("afterwards: got %d pages copied, want 2", l.Copied())
		}
	})
}

func TestKept(t *testing.T) {
	each(t, func(t *testing.T, u Undo) {
		l := started(t, 4*page, 4*page, u)
		if l.Kept() != int64(pageSize) {
			t.Errorf("got %d bytes kept, want one page", l.Kept())
		}
		if err := l.Reset(page); err != nil {
			t.Fatal(err)
		}
		if l.Kept() != 0 || l.Size() != page {
			t.Errorf("after Reset: got %d bytes kept, size %d", l.Kept(), l.Size())
		}
		if err := l.Restore(); err == nil {
			t.Error("Restore after Reset: got no error")
		}
		for _, size := range []uint64{5 * page, page + 1} {
			if err := l.Reset(size); err == nil {
				t.Errorf("Reset(%d): got no error", size)
			}
			if _, err := l.Grow(size); err == nil {
				t.Errorf("Grow(%d): got no error", size)
			}
		}
	})
}

func TestRestoreAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("under the race detector a sync.Pool forgets")
	}
	each(t, func(t *testing.T, u Undo) {
		l := started(t, 64*page, 64*page, u)
		if n := testing.AllocsPerRun(100, func() {
			for at := 0; at < 64*page; at += 3 * page {
				l.Bytes()[at]++
			}
			restore(t, l)
		}); n >= 1 {
			t.Errorf("got %v allocations", n)
		}
	})
}

// TestManyRanges changes more stretches than one question to the kernel answers.
func TestManyRanges(t *testing.T) {
	each(t, func(t *testing.T, u Undo) {
		const size = 512 * page
		l := started(t, size, size, u)
		for range 3 {
			for at := uint64(0); at < size; at += 2 * pageSize {
				l.Bytes()[at+1] = 9 // reading the pages between would join them
			}
			restore(t, l)
			if got, want := l.Copied(), int(size/(2*pageSize)); got != want {
				t.Errorf("got %d pages copied, want %d", got, want)
			}
		}
		l.Bytes()[0]--
		if !bytes.Equal(l.Bytes(), make([]byte, size)) {
			t.Error("not restored")
		}
	})
}

// TestShed: a memory that was very large once is not looked through for ever, and
// holds what it should when it grows again.
func TestShed(t *testing.T) {
	const size, most = 4 * page, 80 << 20
	var runs []Run
	for n := range uint64(8) { // more than are mapped
		runs = append(runs, Run{n * 9 << 20, bytes.Repeat([]byte{byte(n + 1)}, int(pageSize*(n+1)))})
	}
	image, err := NewImage(most, runs)
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	each(t, func(t *testing.T, u Undo) {
		l, err := ReserveUndo(most, image, u)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Free()
		if _, err := l.Grow(most); err != nil {
			t.Fatal(err)
		}
		want := bytes.Clone(l.Bytes())
		back := func() {
			t.Helper()
			if err := l.Reset(size); err != nil {
				t.Fatal(err)
			}
		}
		back()
		for range 2 {
			l.Bytes()[0] = 7
			if err := l.Keep(); err != nil {
				t.Fatal(err)
			}
			for n := range 3 {
				grown, err := l.Grow(most)
				if err != nil {
					t.Fatal(err)
				}
				if grown[0] != 7 || !bytes.Equal(grown[1:], want[1:]) {
					t.Fatalf("round %d: something is left, or missing", n)
				}
				for at := 0; at < most; at += 1 << 14 {
					grown[at]++
				}
				restore(t, l)
				if runtime.GOOS == "linux" && l.committed > size+maxSpare {
					t.Errorf("%d bytes are looked through for %d", l.committed, l.Size())
				}
			}
			back()
			if !bytes.Equal(l.Bytes(), want[:size]) {
				t.Fatal("not reset")
			}
		}
		if l.Undo() != u {
			t.Errorf("fell back to %v", l.Undo())
		}
	})
}
