package engine

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// tally is a program that counts, in memory and in a global, once when it
// starts and once when it has read, and writes both counts. The first byte
// that it reads says what it does besides. before is what it does before it
// reads; slow makes it do so much that its start-up is worth keeping.
type tally struct {
	guest
	random, clock, open, closeFD, renumber, raise, seek uint32

	slow   bool
	before []any
}

func newTally(pages uint32) *tally {
	t := &tally{guest: newGuest(pages)}
	imports := func(name string, types ...byte) uint32 { return t.Import(preview1Module, name, types, i32) }
	t.random = imports("random_get", wasmtest.I32, wasmtest.I32)
	t.clock = imports("clock_time_get", wasmtest.I32, wasmtest.I64, wasmtest.I32)
	t.open = imports("path_open", wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I32, wasmtest.I64, wasmtest.I64, wasmtest.I32, wasmtest.I32)
	t.closeFD = imports("fd_close", wasmtest.I32)
	t.renumber = imports("fd_renumber", wasmtest.I32, wasmtest.I32)
	t.raise = imports("proc_raise", wasmtest.I32)
	t.seek = imports("fd_fdstat_set_flags", wasmtest.I32, wasmtest.I32)
	t.Global()
	return t
}

const (
	atCount = 2048 // i32 in memory, then the global as i64
	atName  = 3000 // "dev/snapshot"
	atFile  = 3100 // a descriptor
)

func (t *tally) count() []byte {
	return code(
		c32(atCount), c32(atCount), 0x28, 2, 0, c32(1), 0x6a, 0x36, 2, 0,
		0x23, 0, 0x42, 1, 0x7c, 0x24, 0)
}

// when does body if the first byte of the input is b.
func when(b byte, body ...any) []byte {
	return code(c32(1024), 0x2d, 0, 0, c32(int32(b)), 0x46, 0x04, 0x40, code(body...), 0x0b)
}

// openFile opens a path relative to the root directory, for writing if rights
// say so, and leaves its descriptor at atFile.
func (t *tally) openFile(path string, rights rights) []byte {
	var text []byte
	for i := range path {
		text = append(text, code(c32(int32(atName+i)), c32(int32(path[i])), 0x3a, 0, 0)...)
	}
	return code(text, c32(3), c32(0), c32(atName), c32(int32(len(path))), c32(0),
		wasmtest.I64Const(int64(rights)), wasmtest.I64Const(0), c32(0), c32(atFile), call(t.open), 0x1a)
}

// writeFile writes text to the descriptor at atFile and closes it.
func (t *tally) writeFile(text string) []byte {
	var put []byte
	for i := range text {
		put = append(put, code(c32(int32(1024+i)), c32(int32(text[i])), 0x3a, 0, 0)...)
	}
	fd := code(c32(atFile), 0x28, 2, 0)
	return code(put, store(0, 1024), store(4, int32(len(text))), fd, c32(0), c32(1), c32(16), call(t.write), 0x1a, fd, call(t.closeFD), 0x1a)
}

func (t *tally) bytes() []byte {
	var slow []byte
	if t.slow { // count local 0 down from 100,000
		slow = code(c32(100_000), 0x21, 0, 0x03, 0x40, 0x20, 0, c32(1), 0x6b, 0x22, 0, 0x0d, 0, 0x0b)
	}
	t.Func(i32, i32, code(0x20, 0, 0x04, 0x7f, 0x20, 0, c32(1), 0x6b, call(recurse), 0x05, c32(0), 0x0b)...)
	main := t.FuncLocals(nil, nil, []byte{wasmtest.I32}, code(
		slow, code(t.before...), t.count(),
		t.io(t.read, 0, 4),
		t.count(),
		when('x', c32(3), call(t.exit)),
		when('z', c32(0), call(t.exit)), // without an answer
		when('t', 0x00),
		when('l', forever()),
		when('g', c32(20), 0x40, 0, 0x1a, c32(5*65536), c32(7), c32(15*65536), 0xfc, 11, 0),
		when('f', c32(4096), c32(7), c32(60000), 0xfc, 11, 0),
		when('d', c32(50_000), call(recurse), 0x1a),
		when('s', c32(2000_000), call(recurse), 0x1a),
		when('c', c32(2), call(t.closeFD), 0x1a, c32(0), call(t.closeFD), 0x1a),
		when('r', c32(1), c32(2), call(t.renumber), 0x1a, c32(3), call(t.closeFD), 0x1a, c32(2), c32(1), call(t.renumber), 0x1a),
		when('n', c32(0), c32(4), call(t.seek), 0x1a),
		when('o', t.openFile("dev/null", rightsAll)),
		when('p', c32(6), call(t.raise), 0x1a),
		c32(atCount+8), 0x23, 0, 0x37, 3, 0,
		store(0, atCount), store(4, 16), c32(1), c32(0), c32(1), c32(16), call(t.write), 0x1a,
	)...)
	t.Export("_start", 0, main)
	return t.Bytes()
}

// recurse is a tally's function that calls itself as often as it is told.
const recurse uint32 = 4 + 7 // behind the imports

// tallied is what a tally writes: both counts are two.
const tallied = "\x02\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00"

// verifiedEngine is an engine that compares every sandbox that has been taken
// back with what it was.
func verifiedEngine(t testing.TB, config Config) *Engine {
	config.Verify = func(difference string) { t.Error(difference) }
	return newTestEngine(t, config)
}

// runIdle answers a call and waits until the sandbox is ready for the next.
func runIdle(t testing.TB, f *Function, in string) (string, string, Receipt, error) {
	t.Helper()
	var out, log bytes.Buffer
	receipt, err := f.Run(t.Context(), strings.NewReader(in), &out, &log)
	waitFor(t, func() bool { running, restoring, _ := f.Sandboxes(); return running+restoring == 0 })
	return out.String(), log.String(), receipt, err
}

var startKinds = []struct {
	name     string
	snapshot Snapshot
	options  func(t *testing.T, o *Options)
	make     func(t *tally)
	kind     string
	why      string
}{
	{"a short start-up", SnapshotAuto, nil, func(t *tally) {}, StartReset, "next to nothing"},
	{"a short start-up, on", SnapshotOn, nil, func(t *tally) {}, StartSnapshot, "on"},
	{"depends on nothing", SnapshotAuto, nil, func(t *tally) { t.slow = true }, StartSnapshot, "nothing"},
	{"off", SnapshotOff, nil, func(t *tally) { t.slow = true }, StartReset, "off"},
	{"the monotonic clock", SnapshotAuto, nil, func(t *tally) {
		t.slow, t.before = true, []any{c32(1), 0x42, 0, c32(64), call(t.clock), 0x1a}
	}, StartSnapshot, "nothing"},
	{"the time of day", SnapshotAuto, nil, func(t *tally) {
		t.slow, t.before = true, []any{c32(0), 0x42, 0, c32(64), call(t.clock), 0x1a}
	}, StartReset, "the time of day"},
	{"random numbers", SnapshotAuto, nil, func(t *tally) {
		t.slow, t.before = true, []any{c32(64), c32(8), call(t.random), 0x1a}
	}, StartReset, "random numbers"},
	{"random numbers as Go draws them", SnapshotAuto, nil, func(t *tally) {
		t.slow, t.before = true, []any{c32(64), c32(32), call(t.random), 0x1a}
	}, StartReset, "random numbers"},
	{"random numbers, on", SnapshotOn, nil, func(t *tally) {
		t.slow, t.before = true, []any{c32(64), c32(8), call(t.random), 0x1a}
	}, StartSnapshot, "on"},
	{"random numbers from the device", SnapshotAuto, nil, func(t *tally) {
		t.slow = true
		fd := code(c32(atFile), 0x28, 2, 0)
		t.before = []any{t.openFile("dev/urandom", rightFDRead), store(0, 64), store(4, 8), fd, c32(0), c32(1), c32(16), call(t.read), 0x1a, fd, call(t.closeFD), 0x1a}
	}, StartReset, "random numbers"},
	{"promised to be safe", SnapshotAuto, nil, func(t *tally) {
		t.slow = true
		t.before = []any{c32(64), c32(8), call(t.random), 0x1a, t.openFile("dev/snapshot", rightFDWrite), t.writeFile("safe\n")}
	}, StartSnapshot, "/dev/snapshot"},
	{"promised something else", SnapshotAuto, nil, func(t *tally) {
		t.slow = true
		t.before = []any{c32(64), c32(8), call(t.random), 0x1a, t.openFile("dev/snapshot", rightFDWrite), t.writeFile("saf")}
	}, StartReset, "random numbers"},
	{"a file is open", SnapshotAuto, nil, func(t *tally) {
		t.slow, t.before = true, []any{t.openFile("dev/null", rightFDRead)}
	}, StartReset, "files open"},
	{"a stream was closed", SnapshotOn, nil, func(t *tally) {
		t.slow, t.before = true, []any{c32(2), call(t.closeFD), 0x1a}
	}, StartReset, "files open"},
	{"a deep stack", SnapshotOn, nil, func(t *tally) {
		t.slow, t.before = true, []any{c32(50_000), call(recurse), 0x1a}
	}, StartReset, "stack"},
	{"writes to standard error", SnapshotAuto, nil, func(t *tally) {
		t.slow, t.before = true, []any{store(0, atCount), store(4, 1), c32(2), c32(0), c32(1), c32(16), call(t.write), 0x1a}
	}, StartReset, "standard error"},
	{"writes to standard output", SnapshotOn, nil, func(t *tally) {
		t.slow, t.before = true, []any{store(0, atCount), store(4, 0), c32(1), c32(0), c32(1), c32(16), call(t.write), 0x1a}
	}, StartLate, "standard output"},
	{"sleeps", SnapshotOn, nil, func(t *tally) {
		t.slow, t.before = true, []any{store(224, 1000), c32(200), c32(300), c32(1), c32(400), call(t.poll), 0x1a}
	}, StartLate, "waits"},
	{"looks whether it would wait", SnapshotOn, nil, func(t *tally) {
		t.slow, t.before = true, []any{c32(200), c32(300), c32(1), c32(400), call(t.poll), 0x1a}
	}, StartSnapshot, "on"},
	{"uses a mount", SnapshotOn, func(t *testing.T, o *Options) {
		if err := o.Grants.Mount("/data", &vfs.Device{Type: vfs.TypeCharacterDevice}); err != nil {
			t.Fatal(err)
		}
	}, func(t *tally) {
		t.slow, t.before = true, []any{t.openFile("data/x", rightFDRead)}
	}, StartLate, `it uses "/data"`},
	{"looks for a file of the host", SnapshotAuto, func(t *testing.T, o *Options) { mountTemp(t, o, "/data", false) }, func(t *tally) {
		t.slow, t.before = true, []any{t.openFile("data/x", rightFDRead)}
	}, StartReset, "depends on files"},
	{"looks for a file of the host, on", SnapshotOn, func(t *testing.T, o *Options) { mountTemp(t, o, "/data", true) }, func(t *tally) {
		t.slow, t.before = true, []any{t.openFile("data/x", rightFDRead)}
	}, StartSnapshot, "on"},
	{"reads a file of the host, promised to be safe", SnapshotAuto, func(t *testing.T, o *Options) { mountTemp(t, o, "/data", true, "x") }, func(t *tally) {
		fd := code(c32(atFile), 0x28, 2, 0)
		t.slow, t.before = true, []any{t.openFile("data/x", rightFDRead), store(0, 64), store(4, 8), fd, c32(0), c32(1), c32(16), call(t.read), 0x1a, fd, call(t.closeFD), 0x1a,
			t.openFile("dev/snapshot", rightFDWrite), t.writeFile("safe\n")}
	}, StartSnapshot, "/dev/snapshot"},
	{"opens a file of the host to be read only for writing", SnapshotOn, func(t *testing.T, o *Options) { mountTemp(t, o, "/data", false, "x") }, func(t *tally) {
		t.slow, t.before = true, []any{t.openFile("data/x", rightFDWrite)}
	}, StartSnapshot, "on"},
	{"opens a file of the host for writing", SnapshotOn, func(t *testing.T, o *Options) { mountTemp(t, o, "/data", true, "x") }, func(t *tally) {
		t.slow, t.before = true, []any{t.openFile("data/x", rightFDWrite)}
	}, StartLate, `it changes files in "/data"`},
	{"arguments of the call", SnapshotOn, func(t *testing.T, o *Options) {
		o.Args = []Value{{Resolve: func(context.Context) string { return "x" }}}
	}, func(t *tally) { t.slow = true }, StartLate, "arguments"},
	{"thousands of globals", SnapshotOn, nil, func(t *tally) {
		t.slow = true
		for range 5000 {
			t.Global()
		}
	}, StartFresh, "globals"},
	{"changes a table", SnapshotOn, nil, func(t *tally) {
		t.slow = true
		t.Table(2)
		t.before = []any{c32(0), 0xd0, 0x70, 0x26, 0}
	}, StartFresh, "table"},
}

// TestStartKinds: what a start-up does decides what a sandbox goes back to
// after a call, and whatever that is, every call finds the same.
func TestStartKinds(t *testing.T) {
	t.Parallel()
	for _, test := range startKinds {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			guest := newTally(3)
			test.make(guest)
			options := Options{Idle: time.Minute, Snapshot: test.snapshot, Limits: Limits{Log: 100, Files: 4}}
			if test.options != nil {
				test.options(t, &options)
			}
			f := newFunction(t, verifiedEngine(t, Config{}), guest.bytes(), options)
			for i := range 5 {
				out, _, receipt, err := runIdle(t, f, "....")
				if err != nil || out != tallied {
					t.Errorf("call %d: got %q, %v", i, out, err)
				}
				want := test.kind
				switch {
				case i == 0:
					want = StartFresh
				case i == 1 && want == StartSnapshot:
					want = StartReset // which took the snapshot
				}
				if receipt.Start != want {
					t.Errorf("call %d: got %q, want %q", i, receipt.Start, want)
				}
			}
			if kind, why := f.StartKind(); kind != test.kind || !strings.Contains(why, test.why) {
				t.Errorf("got %q, %q, want %q, %q", kind, why, test.kind, test.why)
			}
		})
	}
}

// TestTimeOfDayIsNotOld: a program that asks for the time of day before it reads
// gets that of the call, however long its sandbox has been waiting.
func TestTimeOfDayIsNotOld(t *testing.T) {
	t.Parallel()
	for _, warm := range []int{0, 1} {
		guest := newTally(3)
		guest.Main(code(
			c32(0), 0x42, 0, c32(atCount), call(guest.clock), 0x1a,
			guest.io(guest.read, 0, 4),
			store(0, atCount), store(4, 8), c32(1), c32(0), c32(1), c32(16), call(guest.write), 0x1a)...)
		f := newFunction(t, newTestEngine(t, Config{}), guest.Bytes(), Options{Idle: time.Hour, Warm: warm})
		f.Start()
		waitFor(t, func() bool { return parkedOf(f) == warm })
		for i := range 3 {
			if i > 0 || warm > 0 {
				time.Sleep(maxAge + 200*time.Millisecond)
			}
			began := time.Now()
			out, _, receipt, err := runIdle(t, f, "x")
			if err != nil || len(out) != 8 {
				t.Fatalf("got %q, %v", out, err)
			}
			if told := time.Unix(0, int64(le.Uint64([]byte(out)))); told.Before(began.Add(-maxAge)) {
				t.Errorf("call %d, started by %s, was told it is %v before", i, receipt.Start, began.Sub(told))
			}
		}
	}
}

// mountTemp mounts a directory with some files.
func mountTemp(t *testing.T, o *Options, path string, writable bool, files ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.Grants.Mount(path, &vfs.HostDir{Path: dir, Writable: writable}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// endings are what a tally does after it has read, and how that ends.
var endings = []struct {
	in    string
	out   string
	limit func(*Limits)
	want  error
	again string // how the next call starts, with a snapshot
}{
	{"....", tallied, nil, nil, StartSnapshot},
	{"", tallied, nil, nil, StartSnapshot},
	{"x", "", nil, &ExitError{3}, StartSnapshot},
	{"z", "", nil, nil, StartSnapshot},
	{"t", "", nil, &TrapError{Message: "unreachable"}, StartReset},
	{"l", "", func(l *Limits) { l.Timeout = time.Second }, ErrTimeout, StartSnapshot},
	{"l", "", func(l *Limits) { l.Fuel = 1 << 20 }, ErrFuel, StartSnapshot},
	{"....", "", func(l *Limits) { l.Output = 3 }, ErrOutput, StartReset},
	{"g", tallied, nil, nil, StartSnapshot},
	{"f", tallied, nil, nil, StartSnapshot},
	{"d", tallied, nil, nil, StartSnapshot},
	{"s", "", nil, ErrStack, StartReset},
	{"c", tallied, nil, nil, StartSnapshot},
	{"r", "", nil, nil, StartSnapshot}, // its output goes to the log
	{"n", tallied, nil, nil, StartSnapshot},
	{"o", tallied, nil, nil, StartSnapshot},
	{"p", tallied, nil, nil, StartSnapshot},
}

// TestFreshAfterEveryEnding: however a call ends, the next one finds what the
// first one found, and other calls are none the wiser.
func TestFreshAfterEveryEnding(t *testing.T) {
	t.Parallel()
	e := verifiedEngine(t, Config{})
	for _, kind := range []Snapshot{SnapshotOn, SnapshotOff} {
		for _, ending := range endings {
			t.Run(fmt.Sprintf("%s/%q", kindName[kind], ending.in), func(t *testing.T) {
				t.Parallel()
				guest := newTally(3)
				guest.slow = true
				options := Options{Idle: time.Minute, Snapshot: kind, Limits: Limits{Timeout: time.Minute, Files: 4}}
				if ending.limit != nil {
					ending.limit(&options.Limits)
				}
				f := newFunction(t, e, guest.bytes(), options)
				for i := range 6 {
					out, _, _, err := runIdle(t, f, ending.in)
					if !sameEnd(err, ending.want) || ending.out != "" && out != ending.out {
						t.Fatalf("call %d: got %q, %v, want %v", i, out, err, ending.want)
					}
					if options.Limits.Output > 0 {
						continue
					}
					out, _, receipt, err := runIdle(t, f, "....")
					if err != nil || out != tallied {
						t.Errorf("after call %d: got %q, %v", i, out, err)
					}
					again := ending.again
					if kind == SnapshotOff || i == 0 { // the first reset takes the snapshot
						again = StartReset
					}
					if receipt.Start != again {
						t.Errorf("after call %d: got %q, want %q", i, receipt.Start, again)
					}
				}
			})
		}
	}
}

var kindName = map[Snapshot]string{SnapshotOn: "snapshot", SnapshotOff: "reset"}
