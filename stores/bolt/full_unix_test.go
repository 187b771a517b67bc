//go:build unix

package bolt

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// full is set in the environment of the process whose files may not grow, to the path of its
// store.
const full = "GOJINN_TEST_BOLT_FULL"

// TestFullDisk: what can't be written is an error of who wants it written. What was there stays
// readable, and writing goes on when there is room again.
func TestFullDisk(t *testing.T) {
	if path := os.Getenv(full); path != "" {
		fillDisk(t, path)
		return
	}
	t.Parallel()
	child := exec.Command(os.Args[0], "-test.run=^TestFullDisk$", "-test.v")
	child.Env = append(os.Environ(), full+"="+filepath.Join(t.TempDir(), "test.db"))
	if out, err := child.CombinedOutput(); err != nil || !strings.Contains(string(out), "the disk was full") {
		t.Errorf("%v: %s", err, out)
	}
}

func fillDisk(t *testing.T, path string) {
	signal.Ignore(syscall.SIGXFSZ)
	b := open(t, path)
	put(t, b, "first", "value")
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	room := limit
	limit.Cur = 512 << 10
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("value", 2000)
	large := strings.Repeat(value, 40) // more than what is free in the file
	stored := 0
	for ; stored < 1000; stored++ {
		if _, err := b.Put(t.Context(), ns, fmt.Sprint(stored), []byte(value), time.Time{}); err != nil {
			t.Logf("the disk was full after %d values: %v", stored, err)
			break
		}
	}
	if stored == 0 || stored == 1000 {
		t.Fatalf("%d values were stored", stored)
	}
	for range 5 {
		if _, err := b.Put(t.Context(), ns, "more", []byte(large), time.Time{}); err == nil {
			t.Error("a full disk takes more")
		}
		for i := range stored {
			holds(t, b, fmt.Sprint(i), value)
		}
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &room); err != nil {
		t.Fatal(err)
	}
	put(t, b, "more", large)
	holds(t, b, "more", large)
	holds(t, b, "first", "value")
}
