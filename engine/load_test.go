package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ask calls a function that says want.
func ask(t testing.TB, f *Function, want string) {
	t.Helper()
	var out strings.Builder
	if _, err := f.Run(t.Context(), strings.NewReader(""), &out, io.Discard); err != nil || out.String() != want {
		t.Errorf("got %.100q, %v, want %q", out.String(), err, want)
	}
}

// cacheFiles are the files of a code cache: programs, and machine code.
func cacheFiles(t testing.TB, dir string) (programs, codes []string) {
	t.Helper()
	programs, err := filepath.Glob(filepath.Join(dir, "*"+programFiles))
	if err != nil {
		t.Fatal(err)
	}
	codes, err = filepath.Glob(filepath.Join(dir, wazeroFolders, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return programs, codes
}

// TestUnload: code is unloaded when nobody has needed it for a while, and comes back from
// the cache with the next call, without the module.
func TestUnload(t *testing.T) {
	t.Parallel()
	var loads atomic.Int64
	e := newTestEngine(t, Config{CacheDir: filepath.Join(t.TempDir(), "cache"), Memory: 1 << 30, Loaded: func(time.Duration) { loads.Add(1) }})
	wasm, reads := answer("here"), 0
	p, err := e.Open(DigestOf(wasm), func() ([]byte, error) { reads++; return wasm, nil })
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	f, err := p.Function(Options{Idle: 10 * time.Millisecond, Unload: 10 * time.Millisecond, Limits: Limits{Timeout: time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if p.Loaded() || reads != 0 {
		t.Error("a program is loaded, or its module read, when it is opened")
	}
	for i := range int64(3) {
		ask(t, f, "here")
		waitFor(t, func() bool { return !p.Loaded() && e.Budget().Used() == 0 })
		if loaded, unloaded := e.Programs(); loaded != 0 || unloaded != 1 {
			t.Errorf("got %d programs loaded and %d unloaded, want 0 and 1", loaded, unloaded)
		}
		if got := loads.Load(); got != i+1 {
			t.Errorf("got %d loadings, want %d", got, i+1)
		}
	}
	if reads != 1 {
		t.Errorf("the module was read %d times, want once", reads)
	}
}

// TestWithoutCacheCodeStays: what could only come back by compiling is not unloaded.
func TestWithoutCacheCodeStays(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{})
	f := newFunction(t, e, answer("stays"), Options{Unload: time.Millisecond})
	ask(t, f, "stays")
	waitFor(t, func() bool { running, restoring, parked := f.Sandboxes(); return running+restoring+parked == 0 })
	time.Sleep(20 * time.Millisecond)
	if !f.Program().Loaded() || f.Program().evict() != 0 {
		t.Error("it was unloaded")
	}
	ask(t, f, "stays")
}

// TestCodeGoesWhenMemoryIsShort: parked sandboxes first, then their code.
func TestCodeGoesWhenMemoryIsShort(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{CacheDir: filepath.Join(t.TempDir(), "cache"), Memory: 127*pageSize + 7000})
	options := Options{Idle: time.Hour, Unload: time.Hour, Concurrency: Concurrency{Calls: 1}}
	small := newFunction(t, e, answer("small"), options)
	ask(t, small, "small")
	waitFor(t, func() bool { _, _, parked := small.Sandboxes(); return parked == 1 })
	g := newGuest(127) // with its code, there is room for nothing else
	g.Data(1024, "big")
	g.Main(g.io(g.write, 1, 3)...)
	big := newFunction(t, e, g.Bytes(), options)
	ask(t, big, "big")
	if small.Program().Loaded() {
		t.Error("the small one's code is still there")
	}
	waitFor(t, func() bool { _, _, parked := big.Sandboxes(); return parked == 1 })
	ask(t, small, "small")
	if _, _, parked := big.Sandboxes(); parked != 0 || !big.Program().Loaded() {
		t.Errorf("%d sandboxes of the big one are parked; its code is loaded: %t", parked, big.Program().Loaded())
	}
}

// TestPrecompile: what is compiled ahead is kept on disk, not in memory, and what is
// wrong with a module is known then.
func TestPrecompile(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	e := newTestEngine(t, Config{CacheDir: dir})
	open := func(wasm []byte) *Program {
		p, err := e.Open(DigestOf(wasm), func() ([]byte, error) { return wasm, nil })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return p
	}
	good, bad := open(answer("good")), open([]byte("bad"))
	ended := make(chan error, 2)
	for _, p := range []*Program{good, bad} {
		for range 2 { // the second finds it done, or under way
			p.Precompile(func(err error) { ended <- err })
			err := <-ended
			var module *ModuleError
			if p == good && err != nil || p == bad && !errors.As(err, &module) {
				t.Errorf("got %v", err)
			}
		}
	}
	if good.Loaded() {
		t.Error("it is in memory")
	}
	if programs, codes := cacheFiles(t, dir); len(programs) != 1 || len(codes) != 1 {
		t.Errorf("the cache has %v and %v, want one of each", programs, codes)
	}
	f, err := bad.Function(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Run(t.Context(), strings.NewReader(""), io.Discard, io.Discard); !errors.Is(err, ErrLoad) {
		t.Errorf("got %v, want ErrLoad", err)
	}
}

// TestTooMuchMemoryIsKnownFromTheCache: without compiling again.
func TestTooMuchMemoryIsKnownFromTheCache(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	g := newGuest(100)
	g.Main()
	for i := range 2 {
		e := newTestEngine(t, Config{CacheDir: dir})
		p, err := e.Open(DigestOf(g.Bytes()), func() ([]byte, error) { return g.Bytes(), nil })
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		f, err := p.Function(Options{Limits: Limits{Memory: 99 * pageSize}})
		if i == 0 && err == nil { // nothing is known of it
			_, err = f.Run(t.Context(), strings.NewReader(""), io.Discard, io.Discard)
			f.Close()
		}
		var module *ModuleError
		if !errors.As(err, &module) || !strings.Contains(err.Error(), "its limit is") {
			t.Errorf("%d: got %v", i, err)
		}
	}
}

// TestChangedModule: code of other bytes than those that were asked for never runs.
func TestChangedModule(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "cache")} {
		e := newTestEngine(t, Config{CacheDir: dir})
		now := answer("new")
		p, err := e.Open(DigestOf(answer("old")), func() ([]byte, error) { return now, nil })
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		if err := p.Prepare(t.Context()); !errors.Is(err, ErrChanged) || !errors.Is(err, ErrLoad) {
			t.Errorf("got %v, want ErrChanged", err)
		}
		now = answer("old")
		if err := p.Prepare(t.Context()); err != nil {
			t.Errorf("when the module is back: %v", err)
		}
	}
}

// TestSkeletonsAreNeverCompiled: machine code that has gone is an error, not that of
// functions without bodies.
func TestSkeletonsAreNeverCompiled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	e := newTestEngine(t, Config{CacheDir: dir})
	f := newFunction(t, e, answer("whole"), Options{Unload: time.Hour})
	kept, err := e.store.load(f.program.key)
	if err != nil {
		t.Fatal(err)
	}
	_, codes := cacheFiles(t, dir)
	if err := os.Remove(codes[0]); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return f.program.evict() > 0 || !f.program.Loaded() })
	if _, err := e.runtime.CompileModule(onlyFromCache, kept.skeleton); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	ask(t, f, "whole")
}

// TestCacheDamage: whatever becomes of the cache's files, what is executed is what
// was compiled.
func TestCacheDamage(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	fresh := func() (*Engine, *Function) {
		e, err := New(Config{CacheDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return e, newFunction(t, e, answer("true"), Options{})
	}
	e, f := fresh()
	ask(t, f, "true")
	e.Close()
	programs, codes := cacheFiles(t, dir)
	if len(programs) != 1 || len(codes) != 1 {
		t.Fatalf("the cache has %v and %v", programs, codes)
	}
	random := rand.New(rand.NewPCG(1, 2))
	damages := map[string]func(b []byte) []byte{
		"a bit":        func(b []byte) []byte { b[random.IntN(len(b))] ^= 1 << random.IntN(8); return b },
		"a bit early":  func(b []byte) []byte { b[random.IntN(200)] ^= 1 << random.IntN(8); return b },
		"cut":          func(b []byte) []byte { return b[:random.IntN(len(b))] },
		"zeros":        func(b []byte) []byte { clear(b[random.IntN(len(b)):]); return b },
		"empty":        func([]byte) []byte { return nil },
		"longer":       func(b []byte) []byte { return append(b, 0) },
		"another's":    func(b []byte) []byte { return bytes.Repeat([]byte("x"), len(b)) },
		"gone":         nil,
		"a folder":     nil,
		"open to all":  nil,
		"another user": nil,
	}
	for name, damage := range damages {
		for _, file := range []string{programs[0], codes[0]} {
			for range 20 {
				whole, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case damage != nil:
					err = os.WriteFile(file, damage(bytes.Clone(whole)), 0o600)
				case name == "open to all":
					err = os.Chmod(file, 0o666)
				case name == "another user":
					if os.Geteuid() == 0 {
						err = os.Chown(file, 12345, 12345)
					}
				default:
					if err = os.Remove(file); err == nil && name == "a folder" {
						err = os.Mkdir(file, 0o700)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				e, f := fresh()
				ask(t, f, "true")
				e.Close()
				if name == "a folder" {
					if err := os.RemoveAll(file); err != nil {
						t.Fatal(err)
					}
					e, f := fresh()
					ask(t, f, "true")
					e.Close()
				}
				if now, err := os.ReadFile(file); err != nil || name != "a bit" && file == codes[0] && !bytes.Equal(now, whole) {
					t.Errorf("%s: %s was not made anew: %v", name, filepath.Base(file), err)
				}
				if damage == nil {
					break
				}
			}
		}
	}
}

// TestCacheLimit: what has not been used for longest goes.
func TestCacheLimit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	use := func(limit int64, texts ...string) (size int64) {
		e, err := New(Config{CacheDir: dir, CacheSize: limit})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		for _, text := range texts {
			ask(t, newFunction(t, e, answer(text), Options{}), text)
		}
		return e.store.size
	}
	age := func(by time.Duration) {
		programs, codes := cacheFiles(t, dir)
		for _, file := range append(programs, codes...) {
			info, err := os.Stat(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(file, time.Time{}, info.ModTime().Add(-by)); err != nil {
				t.Fatal(err)
			}
		}
	}
	one := use(0, "a")
	for _, text := range []string{"b", "c", "d"} {
		age(time.Hour)
		use(0, text)
	}
	age(time.Hour)
	use(0, "a")     // which makes it the last used
	use(one*4, "e") // over the limit by one, and then under it by a tenth: a, d and e remain
	programs, codes := cacheFiles(t, dir)
	if len(programs) != 3 || len(codes) != 3 {
		t.Fatalf("%d programs and %d codes remain, want 3 and 3", len(programs), len(codes))
	}
	for _, text := range []string{"a", "d", "e"} {
		key := programKey{DigestOf(answer(text)), rewriting()}
		if !slices.Contains(programs, filepath.Join(dir, mark(key)+programFiles)) {
			t.Errorf("%s is gone", text)
		}
	}
	// A limit that is lower than before is kept from the start.
	use(one)
	if programs, _ := cacheFiles(t, dir); len(programs) > 1 {
		t.Errorf("%d programs remain, want one at most", len(programs))
	}
	// Below what a single program takes, it works all the same.
	use(1, "a", "b", "a")
}

// TestCacheThatCannotBeWritten: code is compiled for this process, and that is said.
func TestCacheThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	said := make(chan error, 100)
	e := newTestEngine(t, Config{CacheDir: dir, Log: func(err error) { said <- err }})
	// As if the disk were full, or read-only: for root too.
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ask(t, newFunction(t, e, answer("all the same"), Options{}), "all the same")
	select {
	case err := <-said:
		if !strings.Contains(err.Error(), "code cache") {
			t.Errorf("got %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing is said")
	}
}

// TestLeftoversAreRemoved: what a process that was killed has left.
func TestLeftoversAreRemoved(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	old, young, other := filepath.Join(dir, workPrefix+"1"), filepath.Join(dir, workPrefix+"2"), filepath.Join(dir, "other")
	for _, folder := range []string{filepath.Join(old, "wazero-x"), young, other} {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	long := time.Now().Add(-2 * workLife)
	for _, folder := range []string{old, other} {
		if err := os.Chtimes(folder, long, long); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Of two that are neither, one is still in use.
	dead, alive := filepath.Join(dir, workPrefix+"3"), filepath.Join(dir, workPrefix+"4")
	for _, folder := range []string{dead, alive} {
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		ago := time.Now().Add(-workLife / 2)
		if err := os.Chtimes(folder, ago, ago); err != nil {
			t.Fatal(err)
		}
	}
	release, err := hold(alive)
	if err == nil {
		defer release()
	}
	newTestEngine(t, Config{CacheDir: dir})
	for folder, want := range map[string]bool{old: false, young: true, other: true, dead: err != nil, alive: true} {
		if _, err := os.Stat(folder); (err == nil) != want {
			t.Errorf("%s: got %v", folder, err)
		}
	}
}

// TestCompilersTakeUrgentFirst: what somebody waits for goes before what nobody does,
// also if it is in the queue already.
func TestCompilersTakeUrgentFirst(t *testing.T) {
	t.Parallel()
	q := &compilers{free: 1}
	busy := q.enqueue(false)
	busy.wait()
	var mu sync.Mutex
	var order []string
	var all sync.WaitGroup
	tickets := make(map[string]*ticket)
	for _, c := range []struct {
		name   string
		urgent bool
	}{{"ahead 1", false}, {"ahead 2", false}, {"urgent 1", true}, {"ahead 3", false}, {"urgent 2", true}} {
		k := q.enqueue(c.urgent)
		tickets[c.name] = k
		all.Go(func() {
			k.wait()
			mu.Lock()
			order = append(order, c.name)
			mu.Unlock()
			q.done(k)
		})
		waitFor(t, func() bool { q.mu.Lock(); defer q.mu.Unlock(); return k.asked })
	}
	q.hurry(tickets["ahead 3"])
	q.hurry(tickets["ahead 3"])
	never := q.enqueue(false)
	q.hurry(never)
	q.done(never)
	q.done(busy)
	all.Wait()
	if got, want := strings.Join(order, ", "), "urgent 1, urgent 2, ahead 3, ahead 1, ahead 2"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if q.free != 1 {
		t.Errorf("%d compilers are free, want 1", q.free)
	}
}

// TestLoadHammer: few programs, much loading and unloading, two engines on one cache.
func TestLoadHammer(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache")
	var functions []*Function
	for range 2 {
		e := newTestEngine(t, Config{CacheDir: dir, CacheSize: 30_000, Memory: 4 << 20})
		for i := range 4 {
			functions = append(functions, newFunction(t, e, answer(fmt.Sprint("answer ", i)), Options{
				Idle: time.Duration(i) * time.Millisecond, Unload: time.Duration(3-i) * time.Millisecond,
				Concurrency: Concurrency{Calls: 4, Queue: 100},
			}))
		}
	}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 60 {
				k := (i*7 + j) % len(functions)
				ask(t, functions[k], fmt.Sprint("answer ", k%4))
				if j%10 == 0 {
					functions[k].program.evict()
				}
			}
		})
	}
	all.Wait()
	for _, f := range functions {
		waitFor(t, func() bool { return !f.program.Loaded() })
	}
}

// FuzzStored: no file is taken for a program's unless all of it is as it was written.
func FuzzStored(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "cache")
	e := newTestEngine(f, Config{CacheDir: dir})
	p, err := e.Compile(f.Context(), answer("kept"))
	if err != nil {
		f.Fatal(err)
	}
	defer p.Close()
	whole, err := os.ReadFile(e.store.name(p.key))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:storeHead])
	f.Add([]byte(storeMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := parseProgram(b)
		if err == nil && (got.Report == nil || got.Report.Memory == nil || len(got.skeleton) != got.Skeleton || len(got.Report.Image) != len(got.Runs)) {
			t.Errorf("got %+v", got)
		}
	})
}
