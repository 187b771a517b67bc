package bolt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.etcd.io/bbolt"

	"github.com/gojinn/gojinn/stores"
)

var ns = stores.Namespace{Name: "n"}

func put(t testing.TB, b *Bolt, key, value string) {
	t.Helper()
	if _, err := b.Put(t.Context(), ns, key, []byte(value), time.Time{}); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func holds(t testing.TB, b *Bolt, key, want string) {
	t.Helper()
	item, err := b.Get(t.Context(), ns, key)
	if err != nil || string(item.Value) != want {
		t.Fatalf("get %s: got %.40q, %v, want %.40q", key, item.Value, err, want)
	}
}

// impatient has the next use of a file try again at once if it has failed.
func impatient(b *Bolt) {
	b.file.mu.Lock()
	defer b.file.mu.Unlock()
	b.file.retry = time.Time{}
}

func TestOpensNothingBeforeUse(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "new", "test.db")
	b := open(t, path)
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("before use: got %v, want nothing there", err)
	}
	put(t, b, "key", "value")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("got %v, %v, want a file that only its owner can read", info.Mode(), err)
	}
}

func TestKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	load := func() *Bolt {
		b := &Bolt{Path: path}
		if err := b.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return b
	}
	unload := func(b *Bolt) {
		if err := b.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
	first := load()
	put(t, first, "key", "value")
	other := load() // the same file under another name
	holds(t, other, "key", "value")
	unload(first)
	put(t, first, "late", "value") // a call that outlives its configuration
	holds(t, other, "late", "value")
	unload(other)
	put(t, first, "later", "value")
	if _, pooled := pool.References(path); pooled {
		t.Error("the file is still in use")
	}
	again := load()
	defer unload(again)
	for _, key := range []string{"key", "late", "later"} {
		holds(t, again, key, "value")
	}
}

func TestLocked(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	b := open(t, path)
	other, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	// The wait ends with the call.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := b.Get(ctx, ns, "key"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	if took := time.Since(start); took > lockTimeout*3/4 {
		t.Errorf("a call of 20ms took %v", took)
	}
	if _, err := b.Get(t.Context(), ns, "key"); err == nil || !strings.Contains(err.Error(), "locked") || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want that %s is locked", err, path)
	}
	// It isn't tried again at once.
	if _, err := b.Put(t.Context(), ns, "key", nil, time.Time{}); err == nil || !strings.Contains(err.Error(), "next try in") {
		t.Errorf("got %v, want when it is tried again", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	impatient(b)
	put(t, b, "key", "value")
	holds(t, b, "key", "value")
}

func TestPauses(t *testing.T) {
	t.Parallel()
	var f file
	for i, want := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		f.failed(errors.New("test"))
		if f.pause != want*time.Second {
			t.Errorf("failure %d: got a pause of %v, want %vs", i+1, f.pause, int(want))
		}
	}
	f.worked()
	if f.failed(errors.New("test")); f.pause != minPause {
		t.Errorf("got %v, want %v", f.pause, minPause)
	}
}

// TestDamaged opens files in which anything may be wrong: that never ends the server, and
// once the file is a good one it is used.
func TestDamaged(t *testing.T) {
	t.Parallel()
	good := filepath.Join(t.TempDir(), "good.db")
	b := open(t, good)
	for i := range 200 {
		put(t, b, fmt.Sprint(i), strings.Repeat("value", 100))
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	garbage := make([]byte, 100_000)
	for i := range garbage {
		garbage[i] = byte(random.Uint32())
	}
	tests := []struct {
		name  string
		bytes []byte
		want  string // of the error; "": maybe none
	}{
		{"garbage", garbage, "damaged"},
		{"text", []byte("not a database"), "damaged"},
		{"one page", whole[:4096], "too small"},
		{"metadata only", whole[:8192], "damaged"},
		{"half", whole[:len(whole)/2], "damaged"},
		{"zeros", make([]byte, len(whole)), "damaged"},
		{"zeros behind the metadata", append(bytes.Clone(whole[:8192]), make([]byte, len(whole)-8192)...), "damaged"},
		{"garbage behind the metadata", append(bytes.Clone(whole[:8192]), bytes.Repeat(garbage, 1+len(whole)/len(garbage))[:len(whole)-8192]...), "damaged"},
	}
	for i := range 16 {
		spoilt := bytes.Clone(whole)
		for range 1 + i*i*i {
			spoilt[8192+random.IntN(len(spoilt)-8192)] = byte(random.Uint32())
		}
		tests = append(tests, struct {
			name  string
			bytes []byte
			want  string
		}{fmt.Sprintf("%d bytes spoilt", 1+i*i*i), spoilt, ""})
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "bad.db")
			if err := os.WriteFile(path, test.bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			b := open(t, path)
			_, err := b.Get(t.Context(), ns, "1")
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), path)) {
				t.Errorf("got %v, want that %s is %s", err, path, test.want)
			}
			// Whatever is wrong, calls come back.
			for i := range 40 {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				_, _ = b.Get(ctx, ns, fmt.Sprint(i))
				_, _ = b.Put(ctx, ns, fmt.Sprint(i), []byte("new"), time.Time{})
				_, _ = b.List(ctx, ns, stores.Query{Limit: 1000})
				cancel()
			}
			if test.want == "" {
				return
			}
			if err := os.Rename(path, path+".bad"); err != nil {
				t.Fatal(err)
			}
			impatient(b)
			put(t, b, "1", "value")
			holds(t, b, "1", "value")
		})
	}
}

// TestShortened makes the file shorter while it is in use.
func TestShortened(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	b := open(t, path)
	for i := range 500 {
		put(t, b, fmt.Sprint(i), strings.Repeat("value", 100))
	}
	if err := os.Truncate(path, 8192); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for i := range 500 {
		if _, err := b.Get(t.Context(), ns, fmt.Sprint(i)); errors.Is(err, errDamaged) {
			damaged++
		}
	}
	if damaged == 0 {
		t.Error("got no error")
	}
	if _, err := b.Put(t.Context(), ns, "key", nil, time.Time{}); err == nil {
		t.Error("put: got no error")
	}
}

func TestNotAFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, filepath.Join(dir, "file", "below")} {
		b := open(t, path)
		if _, err := b.Get(t.Context(), ns, "key"); err == nil || errors.Is(err, stores.ErrNotFound) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want why it can't be opened", path, err)
		}
	}
}

func TestPanicInEdit(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "test.db"))
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, err := b.Update(t.Context(), ns, fmt.Sprint(i), func(*stores.Item) (*stores.Item, error) {
				if i%2 == 0 {
					panic("oops")
				}
				return &stores.Item{Value: []byte("good")}, nil
			})
			if i%2 == 0 && (err == nil || !strings.Contains(err.Error(), "oops")) || i%2 == 1 && err != nil {
				t.Errorf("%d: got %v", i, err)
			}
		})
	}
	all.Wait()
	for i := 1; i < 20; i += 2 {
		holds(t, b, fmt.Sprint(i), "good")
	}
}

// TestCutOff: callers that leave take their changes along, however long the writer is busy.
func TestCutOff(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "test.db"))
	put(t, b, "key", "value")
	busy, free := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		_, err := b.Update(t.Context(), ns, "busy", func(*stores.Item) (*stores.Item, error) {
			close(busy)
			<-free
			return &stores.Item{}, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-busy
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 10 {
		all.Go(func() {
			if _, err := b.Put(ctx, ns, fmt.Sprint(i), nil, time.Time{}); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, context.Canceled)
			}
		})
	}
	queue := &b.file.open.queue
	waiting := func() int {
		queue.mu.Lock()
		defer queue.mu.Unlock()
		return len(queue.changes)
	}
	for waiting() < 10 {
		time.Sleep(time.Millisecond)
	}
	holds(t, b, "key", "value") // readers don't wait
	cancel()
	for waiting() > 0 {
		time.Sleep(time.Millisecond)
	}
	close(free)
	all.Wait()
	put(t, b, "last", "value")
	entries, err := b.List(t.Context(), ns, stores.Query{Limit: 100})
	if err != nil || len(entries) != 3 {
		t.Errorf("got %v, %v, want busy, key and last", entries, err)
	}
	b.file.mu.Lock()
	defer b.file.mu.Unlock()
	if b.file.open.users != 0 {
		t.Errorf("%d users are left", b.file.open.users)
	}
}

// TestSweep: what has expired goes, a bounded part of it at a time, with its entries.
func TestSweep(t *testing.T) {
	t.Parallel()
	b := open(t, filepath.Join(t.TempDir(), "test.db"))
	soon := time.Now().Add(10 * time.Millisecond)
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if _, err := b.Put(t.Context(), stores.Namespace{Name: fmt.Sprintf("n%d", i%3)}, fmt.Sprint(i), nil, soon); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	put(t, b, "kept", "value")
	time.Sleep(time.Until(soon) + time.Millisecond)
	for from, rounds := "", 0; ; rounds++ {
		if from = b.file.sweep(b.file.open, from); from == "" {
			break
		}
		if rounds > 10 {
			t.Fatalf("still sweeping %s", from)
		}
	}
	err := b.file.open.View(func(tx *bbolt.Tx) error {
		for name, want := range map[string]int{"items": 1, "expiring": 0, "counts": 1} {
			if got := tx.Bucket([]byte("gojinn/1/" + name)).Inspect().KeyN; got != want {
				t.Errorf("%s: got %d entries, want %d", name, got, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// killed is set in the environment of the process that TestKilled kills, to the path
// of its file.
const killed = "GOJINN_TEST_BOLT_KILLED"

// TestKilled: what has been acknowledged survives the death of the process.
func TestKilled(t *testing.T) {
	if path := os.Getenv(killed); path != "" {
		writeUntilKilled(t, path)
		return
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "test.db")
	for round := range 3 {
		child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
		child.Env = append(os.Environ(), killed+"="+path)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		var acknowledged []string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if acknowledged = append(acknowledged, lines.Text()); len(acknowledged) == 500 {
				if err := child.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		_ = child.Wait() // it was killed
		if len(acknowledged) < 500 {
			t.Fatalf("the process wrote %d values and ended", len(acknowledged))
		}
		b := &Bolt{Path: path}
		if err := b.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		// The last line may be cut off.
		for _, key := range acknowledged[:len(acknowledged)-1] {
			holds(t, b, key, "value of "+key)
		}
		if err := b.Cleanup(); err != nil {
			t.Fatal(err)
		}
		check(t, path, round)
	}
}

func writeUntilKilled(t *testing.T, path string) {
	b := open(t, path)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("%d/%d/%d", os.Getpid(), i, n)
				if _, err := b.Put(t.Context(), ns, key, []byte("value of "+key), time.Time{}); err != nil {
					t.Error(err)
					return
				}
				fmt.Println(key)
			}
		})
	}
	all.Wait()
}

// check has bbolt check its file.
func check(t *testing.T, path string, round int) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			t.Errorf("round %d: %v", round, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
