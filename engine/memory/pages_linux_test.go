package memory

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// Pages that were swapped out are not tested: nothing can force them out on
// every machine. Both ways of asking the kernel treat them as they do present
// ones.

// own counts the pages of a memory that are its own, if possible without those
// that are the kernel's page of zeros.
func own(t *testing.T, l *Linear) (n uint64) {
	t.Helper()
	s := new(search)
	best, _ := BestUndo()
	for at, end := uint64(0), l.committed/pageSize; at < end; {
		ranges, next, err := l.read(s, pageRange{at, end})
		if best == UndoUserfault {
			ranges, next, err = l.scan(s, pageRange{at, end}, pageIsFile|pageIsZero, 0, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range ranges {
			n += r.to - r.from
		}
		at = next
	}
	return n
}

func TestBestUndo(t *testing.T) {
	t.Parallel()
	best, why := BestUndo()
	works := Undoes()
	if best != works[0] || works[len(works)-1] != UndoCopy {
		t.Errorf("got %v as the best of %v", best, works)
	}
	if (best == UndoUserfault) != (why == "") {
		t.Errorf("%v: got reason %q", best, why)
	}
	t.Logf("%v; not better: %s", works, why)
}

// TestOwnIsBounded grows a memory, changes all of it and looks what is left.
func TestOwnIsBounded(t *testing.T) {
	each(t, func(t *testing.T, u Undo) {
		if u == UndoCopy && len(Undoes()) == 1 {
			t.Skip("can't be seen here")
		}
		const size = 100 << 20
		for _, start := range []uint64{page, size} { // beyond what was kept, and within
			l := started(t, start, size, u)
			b, err := l.Grow(size)
			if err != nil {
				t.Fatal(err)
			}
			for at := 1; at < size; at += 4096 {
				b[at] = 2
			}
			restore(t, l)
			if got, most := own(t, l), maxOwn/pageSize+1; got > most {
				t.Errorf("starting with %d: got %d pages, want at most %d", start, got, most)
			}
			if _, err := l.Grow(size); err != nil {
				t.Fatal(err)
			}
			b[0]--
			if !bytes.Equal(b, make([]byte, size)) {
				t.Errorf("starting with %d: not restored", start)
			}
			for range coolAfter + 1 {
				restore(t, l)
			}
			// Reading them all gave a memory that is compared pages of zeros.
			if got := own(t, l); u != UndoCopy && got > 1 {
				t.Errorf("starting with %d: got %d pages when idle, want 1", start, got)
			}
		}
	})
}

// TestSteadyState makes the same changes over and over: no page faults then.
func TestSteadyState(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has page faults of its own")
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, u := range Undoes() {
		l := started(t, 16*page, 16*page, u)
		var before, after unix.Rusage
		for n := range 1000 {
			if n == 10 {
				if err := unix.Getrusage(unix.RUSAGE_THREAD, &before); err != nil {
					t.Fatal(err)
				}
			}
			for at := 0; at < 16*page; at += page / 2 {
				l.Bytes()[at]++
			}
			restore(t, l)
		}
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &after); err != nil {
			t.Fatal(err)
		}
		// One in each restore would be 990.
		if got := after.Minflt - before.Minflt; got > 200 {
			t.Errorf("%v: got %d page faults in 990 restores of 32 pages", u, got)
		}
	}
}

// TestKernelWrites lets the kernel, rather than a guest, write to pages that are
// protected.
func TestKernelWrites(t *testing.T) {
	each(t, func(t *testing.T, u Undo) {
		l := started(t, 2*page, 2*page, u)
		for range 3 {
			maps, err := os.Open("/proc/self/maps")
			if err != nil {
				t.Fatal(err)
			}
			n, err := maps.Read(l.Bytes()[:2*page-1])
			_ = maps.Close()
			if err != nil || n < 10 {
				t.Fatalf("got %d bytes, %v", n, err)
			}
			restore(t, l)
			if !bytes.Equal(l.Bytes(), append([]byte{1}, make([]byte, 2*page-1)...)) {
				t.Fatal("not restored")
			}
		}
	})
}

// TestLocked restores memory that can't be given back.
func TestLocked(t *testing.T) {
	each(t, func(t *testing.T, u Undo) {
		const size = maxOwn * 3 / 2
		l := started(t, size, size, u)
		if err := unix.Mlock(l.reserved); err != nil {
			t.Skip(err)
		}
		want := bytes.Clone(l.Bytes())
		for range 2 {
			for at := 0; at < size; at += 4096 {
				l.Bytes()[at] = 9
			}
			restore(t, l)
			if !bytes.Equal(l.Bytes(), want) {
				t.Fatal("not restored")
			}
		}
	})
}

func TestSeals(t *testing.T) {
	t.Parallel()
	i, err := NewImage(2*page, []Run{{0, []byte("hello")}})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	if !i.mapped {
		t.Skip("no sealed files here")
	}
	if _, err := unix.Pwrite(i.file.fd, []byte("x"), 0); err == nil {
		t.Error("writing: got no error")
	}
	if err := unix.Ftruncate(i.file.fd, 0); err == nil {
		t.Error("shrinking: got no error")
	}
	if err := unix.Ftruncate(i.file.fd, 4*page); err == nil {
		t.Error("growing: got no error")
	}
	if b, err := unix.Mmap(i.file.fd, 0, page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err == nil {
		_ = unix.Munmap(b)
		t.Error("mapping it to write: got no error")
	}
	if _, err := unix.FcntlInt(uintptr(i.file.fd), unix.F_ADD_SEALS, unix.F_SEAL_FUTURE_WRITE); err == nil {
		t.Error("adding a seal: got no error")
	}
}

// TestFallBack takes away what each way needs, at each point at which it could be
// missed.
func TestFallBack(t *testing.T) {
	kernelPagemap, kernelUserfault := pagemap, userfault
	defer func() { pagemap, userfault = kernelPagemap, kernelUserfault }()
	no := func() (int, error) { return -1, unix.EPERM }
	tests := []struct {
		name       string
		take       func()
		before     Undo
		beforeKeep bool
		want       Undo
		inTheEnd   Undo
	}{
		{"no protection", func() { userfault = no }, UndoUserfault, true, UndoPagemap, UndoPagemap},
		{"a descriptor that is not a userfaultfd", func() { userfault = kernelPagemap }, UndoUserfault, true, UndoPagemap, UndoPagemap},
		{"no page table at Keep", func() { pagemap = no }, UndoUserfault, true, UndoCopy, UndoCopy},
		{"no page table at Restore", func() { pagemap = no }, UndoUserfault, false, UndoUserfault, UndoCopy},
		{"no page table at Keep, unprotected", func() { pagemap = no }, UndoPagemap, true, UndoCopy, UndoCopy},
		{"no page table at Restore, unprotected", func() { pagemap = no }, UndoPagemap, false, UndoPagemap, UndoCopy},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			pagemap, userfault = kernelPagemap, kernelUserfault
			if best, _ := BestUndo(); best < test.before {
				t.Skip("not here")
			}
			image, err := NewImage(32*page, []Run{{page, bytes.Repeat([]byte{7}, 20*page)}})
			if err != nil {
				t.Fatal(err)
			}
			defer image.Close()
			l, err := ReserveUndo(64*page, image, test.before)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Free()
			b, err := l.Grow(32 * page)
			if err != nil {
				t.Fatal(err)
			}
			start := bytes.Clone(b)
			for at := page / 2; at < 26*page; at += 100 { // enough to be mapped
				b[at]++
			}
			if test.beforeKeep {
				test.take()
			}
			if err := l.Keep(); err != nil {
				t.Fatal(err)
			}
			if l.Undo() != test.want {
				t.Errorf("after Keep: got %v, want %v", l.Undo(), test.want)
			}
			kept := bytes.Clone(b)
			if !test.beforeKeep {
				test.take()
			}
			for n := range 2 * coolAfter {
				if n < 3 || n > 2*coolAfter-3 {
					for at := 0; at < len(b); at += 3 * page / 2 {
						b[at]++
					}
				}
				restore(t, l)
				if !bytes.Equal(b, kept) {
					t.Fatal("not restored")
				}
			}
			if l.Undo() != test.inTheEnd {
				t.Errorf("in the end: got %v, want %v", l.Undo(), test.inTheEnd)
			}
			if err := l.Reset(32 * page); err != nil || !bytes.Equal(b, start) {
				t.Fatalf("after Reset: %v, or something else than the image", err)
			}
		})
	}
}

// TestNothingLeaks makes, uses and frees 2,000 memories and their images and
// then counts the process's mappings and descriptors.
func TestNothingLeaks(t *testing.T) {
	Undoes() // and what they leave open
	maps, files := mappings(t), descriptors(t)
	images := 50
	if raceEnabled {
		images = 10
	}
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for k := range images {
				image, err := NewImage(40*page, []Run{{page, []byte("hello")}, {20 * page, []byte("hello")}})
				if err != nil {
					t.Error(err)
					return
				}
				for range 10 {
					u := Undoes()[(n+k)%len(Undoes())]
					if err := live(image, u); err != nil {
						t.Error(err)
					}
				}
				if err := image.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := mappings(t); got > maps+100 {
		t.Errorf("got %d mappings, %d before", got, maps)
	}
	if got := descriptors(t); got > files+10 {
		t.Errorf("got %d descriptors, %d before", got, files)
	}
}

// live does everything once.
func live(image *Image, u Undo) (err error) {
	l, err := ReserveUndo(50*page, image, u)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Free(), l.Free()) }()
	b, err := l.Grow(45 * page)
	if err != nil {
		return err
	}
	for at := 0; at < 20*page; at += 4096 {
		b[at] = 1
	}
	if err := l.Keep(); err != nil {
		return err
	}
	b[30*page] = 1
	if err := l.Restore(); err != nil {
		return err
	}
	if err := l.Keep(); err != nil {
		return err
	}
	if err := l.Restore(); err != nil {
		return err
	}
	return l.Reset(page)
}

func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// TestManyKept keeps so much that it is mapped: then the memory has none of its
// own, until it is written to.
func TestManyKept(t *testing.T) {
	if works := Undoes(); len(works) == 1 {
		t.Skip("not here")
	}
	const size = 64 * page
	l, err := ReserveUndo(size, nil, UndoPagemap)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Free()
	b, err := l.Grow(size)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < size/2; at += 4096 {
		b[at] = byte(at>>12) | 1
	}
	want := bytes.Clone(b)
	for range 2 { // the second time, what is mapped already
		if err := l.Keep(); err != nil {
			t.Fatal(err)
		}
		if len(l.overlays) == 0 {
			t.Fatal("nothing is mapped")
		}
		if got := own(t, l); got != 0 {
			t.Errorf("after Keep: got %d pages", got)
		}
		if l.Kept() != size/2 {
			t.Errorf("got %d bytes kept, want %d", l.Kept(), size/2)
		}
		for at := 0; at < size; at += page {
			b[at]++
		}
		restore(t, l)
		if got := own(t, l); got != 64 || l.Copied() != 64 {
			t.Errorf("after 64 writes: got %d pages, %d copied", got, l.Copied())
		}
		for range coolAfter {
			restore(t, l)
		}
		if got := own(t, l); got != 0 || !bytes.Equal(b, want) {
			t.Errorf("when idle: got %d pages", got)
		}
	}
	if err := l.Reset(size); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b, make([]byte, size)) {
		t.Error("after Reset: not zero")
	}
}

// TestProtected looks what is found after Keep, and when pages have cooled.
func TestProtected(t *testing.T) {
	if best, _ := BestUndo(); best != UndoUserfault {
		t.Skip("not here")
	}
	image, err := NewImage(16*page, []Run{{0, bytes.Repeat([]byte{1}, 4*page)}})
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	l, err := ReserveUndo(16*page, image, UndoUserfault)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Free()
	b, err := l.Grow(16 * page)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < 16*page; at += page {
		b[at] = 2
	}
	if err := l.Keep(); err != nil {
		t.Fatal(err)
	}
	found := func() (n uint64) {
		ranges, next, err := l.changed(new(search), pageRange{0, l.committed / pageSize}, false)
		if err != nil || next != l.committed/pageSize {
			t.Fatalf("got pages up to %d, %v", next, err)
		}
		for _, r := range ranges {
			n += r.to - r.from
		}
		return n
	}
	_ = bytes.Clone(b) // a guest may read
	if got := found(); got != 0 {
		t.Errorf("after Keep: got %d pages, want none", got)
	}
	b[1], b[3*page/2], b[15*page], b[31*page/2] = 3, 3, 3, 3 // kept, image's, kept, zeros
	for n := range coolAfter + 1 {
		if got := found(); got != 4 {
			t.Fatalf("before restore %d after writes: got %d pages, want 4", n, got)
		}
		restore(t, l)
	}
	if got := found(); got != 0 {
		t.Errorf("when idle: got %d pages, want none", got)
	}
}
