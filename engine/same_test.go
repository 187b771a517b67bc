package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/wasmtest"
)

// asking is a program in the making that calls functions of preview 1 in a row and
// writes to its standard output what each of them answered.
type asking struct {
	guest
	functions map[string]uint32
	body      []byte
	asked     []string // their names
	at        int32    // where the next answer goes
}

const (
	askFrom = 8192
	askText = 4096 // paths
	askSize = 96   // of an answer: 88 bytes of results, then the errno
)

// askPaths are at askText, at every 32 bytes.
var askPaths = []string{"", ".", "dev", "dev/null", "dev/", "dev/../dev/null", "nothing", "data", "etc", "etc/deep/er", "..", "/dev"}

func newAsking() *asking {
	a := &asking{guest: newGuest(3), functions: map[string]uint32{}, at: askFrom}
	for name, f := range preview1 {
		switch name {
		case "fd_read", "fd_write", "proc_exit", "poll_oneoff":
		default:
			a.functions[name] = a.Import(preview1Module, name, types(f), i32)
		}
	}
	a.functions["fd_read"], a.functions["poll_oneoff"], a.functions["fd_write"] = a.read, a.poll, a.write
	for n, path := range askPaths {
		a.Data(int32(askText+32*n), path)
	}
	return a
}

func types(f *hostFunction) []byte {
	var b []byte
	for _, p := range f.params {
		b = append(b, byte(p))
	}
	return b
}

// ask calls a function. Of its arguments, an int is a number, a place is where the
// answer goes, and below it room for vectors.
func (a *asking) ask(name string, args ...any) {
	a.asked = append(a.asked, fmt.Sprint(name, args))
	types := types(preview1[name])
	for i, arg := range args {
		var n int32
		switch arg := arg.(type) {
		case int:
			n = int32(arg)
		case place32:
			n = a.at + int32(arg)
		}
		if types[i] == wasmtest.I64 {
			a.body = append(a.body, wasmtest.I64Const(int64(n))...)
		} else {
			a.body = append(a.body, c32(n)...)
		}
	}
	// The errno goes through a local, since its address has to come first.
	a.body = append(a.body, code(call(a.functions[name]), 0x21, 0, c32(a.at+88), 0x20, 0, 0x36, 2, 0)...)
	a.at += askSize
}

type place32 int32 // offset in the answer

func (a *asking) bytes() []byte {
	a.Export("_start", 0, a.FuncLocals(nil, nil, i32, code(a.body,
		store(0, askFrom), store(4, a.at-askFrom), c32(1), c32(0), c32(1), c32(16), call(a.write), 0x1a)...))
	return a.Bytes()
}

// vector puts an iovec for n bytes of the answer at 64 in it, and returns its place.
func (a *asking) vector(n int32) place32 {
	a.body = append(a.body, code(store(a.at+64, a.at), store(a.at+68, n))...)
	return 64
}

// random asks something at random that changes nothing outside.
func (a *asking) random(r *rand.Rand) {
	fd := []int{0, 0, 0, 1, 2, 3, 3, 4, 5, 9}[r.IntN(10)]
	path := r.IntN(len(askPaths))
	at, length := askText+32*path, len(askPaths[path])
	switch r.IntN(25) {
	case 0:
		a.ask("args_sizes_get", place32(0), place32(8))
	case 1:
		a.ask("environ_get", place32(0), place32(16))
	case 2:
		a.ask("clock_res_get", r.IntN(5), place32(0))
	case 3:
		a.ask("sched_yield")
	case 4:
		a.ask("proc_raise", r.IntN(20))
	case 5:
		a.ask("fd_advise", fd, 0, 0, r.IntN(8))
	case 6:
		a.ask("fd_fdstat_get", fd, place32(0))
	case 7:
		a.ask("fd_fdstat_set_flags", fd, r.IntN(6))
	case 8:
		a.ask("fd_fdstat_set_rights", fd, r.IntN(1<<29), r.IntN(1<<29))
	case 9:
		a.ask("fd_filestat_get", fd, place32(0))
	case 10:
		a.ask("fd_filestat_set_size", fd, 0)
	case 11:
		a.ask("fd_pread", fd, a.vector(8), 1, 0, place32(80))
	case 12:
		a.ask("fd_prestat_get", fd, place32(0))
	case 13:
		a.ask("fd_prestat_dir_name", fd, place32(0), r.IntN(3))
	case 14:
		a.ask("fd_readdir", fd, place32(0), 60, r.IntN(3), place32(80))
	case 15:
		a.ask("fd_seek", fd, 0, r.IntN(4), place32(0))
	case 16:
		a.ask("fd_tell", fd, place32(0))
	case 17:
		a.ask("fd_sync", fd)
	case 18:
		a.ask("sock_recv", fd, a.vector(8), 1, 0, place32(80), place32(84))
	case 19, 20:
		a.ask("path_filestat_get", fd, r.IntN(2), at, length, place32(0))
	case 21, 22:
		a.ask("path_open", fd, r.IntN(2), at, length, []int{0, 0, 2}[r.IntN(3)], r.IntN(1<<29), 1<<29, 4*r.IntN(2), place32(0))
	case 23:
		a.ask("path_readlink", fd, at, length, place32(0), 60, place32(80))
	case 24:
		if r.IntN(2) == 0 {
			a.ask("fd_close", []int{2, 4, 5, 9}[r.IntN(4)])
		} else {
			a.ask("fd_renumber", []int{4, 5, 0}[r.IntN(3)], []int{2, 4, 5, 0}[r.IntN(4)])
		}
	}
}

// reads asks for input in one of the ways there are, so that the program parks
// there if it can.
func (a *asking) reads(r *rand.Rand) {
	switch r.IntN(5) {
	case 0:
		a.ask("fd_read", 0, place32(0), 0, place32(80)) // no vectors
	case 1:
		a.ask("fd_read", 0, a.vector(0), 1, place32(80))
	case 2:
		a.ask("fd_read", 0, a.vector(3), 1, place32(80))
	case 3:
		a.ask("fd_read", 0, -1, 1, place32(80)) // EFAULT
	case 4: // whether there is input, or no time has passed
		at := a.at
		a.at += 2 * askSize
		a.asked = append(a.asked, "", "")
		a.body = append(a.body, store(at, 7)...)
		a.body = append(a.body, code(c32(at+8), c32(eventRead), 0x3a, 0, 0, store(at+48, 8), store(at+48+16, clockRealtime))...)
		a.ask("poll_oneoff", int(at), place32(0), 2, place32(80))
	}
	a.ask("fd_read", 0, a.vector(5), 1, place32(80))
}

// differs says which is the first answer that two outputs don't share.
func (a *asking) differs(got, want string) string {
	for n, name := range a.asked {
		g, w := cut(got, n*askSize), cut(want, n*askSize)
		if g != w {
			return fmt.Sprintf("%s: got %x, want %x; of %q", name, g, w, a.asked)
		}
	}
	return fmt.Sprintf("got %.400q, want %.400q; of %q", cut(got, len(a.asked)*askSize), cut(want, len(a.asked)*askSize), a.asked)
}

func cut(s string, at int) string {
	s = s[min(at, len(s)):]
	return s[:min(askSize, len(s))]
}

// TestSameAnswers: programs that ask for whatever preview 1 has, before and after
// they first read, get the same answers however their sandbox came to be where
// the call found it.
func TestSameAnswers(t *testing.T) {
	t.Parallel()
	e := verifiedEngine(t, Config{})
	programs := 60
	if raceDetector || testing.Short() {
		programs = 10
	}
	seen := map[string]int{}
	dir := t.TempDir()
	for seed := range programs {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		a := newAsking()
		for range r.IntN(12) {
			a.random(r)
		}
		if seed%3 == 0 {
			a.ask("path_filestat_get", 3, 1, askText+32*7, 4, place32(0)) // data, which is mounted
		}
		a.reads(r)
		for fd := range 5 {
			a.ask("fd_fdstat_get", fd, place32(0))
		}
		for range 12 {
			a.random(r)
		}
		a.reads(r)
		a.ask("fd_fdstat_set_flags", r.IntN(4), 4)
		a.ask("fd_fdstat_set_rights", 2+r.IntN(2), int(rightPathOpen)*r.IntN(2), 0)
		wasm := a.bytes()
		inputs := []string{"", "x", "some input", strings.Repeat("much ", 10_000)}
		want := map[string]string{}
		for _, options := range []Options{{}, {Idle: time.Hour, Snapshot: SnapshotOff}, {Idle: time.Hour, Snapshot: SnapshotOn}, {Idle: time.Hour}} {
			options.Args = []Value{{Fixed: "an argument"}}
			options.Limits = Limits{Files: 3, Timeout: 10 * time.Second, Log: 1000}
			if err := options.Grants.Env("NAME", Value{Fixed: "value"}); err != nil {
				t.Fatal(err)
			}
			if seed%3 == 0 {
				var data vfs.FS = &vfs.HostDir{Path: dir}
				if seed%6 == 0 { // what is not used ahead of a call
					data = &vfs.Device{Type: vfs.TypeCharacterDevice, New: vfs.Null.(*vfs.Device).New}
				}
				if err := options.Grants.Mount("/data", data); err != nil {
					t.Fatal(err)
				}
			}
			p, err := e.Compile(context.Background(), wasm)
			if err != nil {
				t.Fatal(err)
			}
			f, err := p.Function(options)
			if err != nil {
				t.Fatal(err)
			}
			for n := range 8 {
				in := inputs[(n+n/4)%4]
				var from io.Reader = strings.NewReader(in)
				var out, log bytes.Buffer
				receipt, err := f.Run(t.Context(), from, &out, &log)
				waitFor(t, func() bool { running, restoring, _ := f.Sandboxes(); return running+restoring == 0 })
				got := fmt.Sprintf("%s %q %v", &out, &log, err)
				if _, known := want[in]; !known {
					want[in] = got
				}
				if got != want[in] {
					t.Errorf("program %d, call %d by %s: %s", seed, n, receipt.Start, a.differs(got, want[in]))
				}
				if out.Len() > 0 {
					seen[receipt.Start]++
				}
			}
			f.Close()
			p.Close()
		}
	}
	for _, kind := range []string{StartFresh, StartReset, StartSnapshot, StartLate} {
		if seen[kind] == 0 {
			t.Errorf("none was started by %s", kind)
		}
	}
	t.Log(seen)
}
