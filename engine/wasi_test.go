package engine

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/vfs"
)

// overseer is a sandbox to a process that is tested without one.
type overseer struct {
	charged int64
	ctx     context.Context
}

// ended is what an overseer ends a call with.
type ended struct{ reason error }

func (o *overseer) charge(units int64) {
	o.charged += units
	if err := o.ctx.Err(); err != nil {
		o.finish(err)
	}
}

func (o *overseer) rest() {}

func (o *overseer) caller() context.Context { return o.ctx }

func (o *overseer) finish(reason error) { panic(ended{reason}) }

func (o *overseer) park()    { panic("a process that serves a call waits for one") }
func (o *overseer) started() {}

func (o *overseer) exit(code uint32) { o.finish(&ExitError{code}) }

// guestProcess is a process with memory, called as a guest would call it.
type guestProcess struct {
	*process
	t        testing.TB
	out, log bytes.Buffer
}

// newProcess returns a process with 64 KiB of memory, standard input from in,
// room for 8 files and the given mounts.
func newProcess(t testing.TB, ctx context.Context, in io.Reader, mounts map[string]vfs.FS) *guestProcess {
	t.Helper()
	tree := vfs.NewTree()
	for path, fs := range mounts {
		if err := tree.Mount(path, fs); err != nil {
			t.Fatal(err)
		}
	}
	g := &guestProcess{process: new(process), t: t}
	g.sandbox = &overseer{ctx: ctx}
	g.life = &lifetime{parent: ctx}
	g.open(tree, 8)
	g.attach(in, &g.out, &g.log)
	g.mem = make(guestMemory, 64<<10)
	t.Cleanup(func() {
		if err := g.finish(true); err != nil {
			t.Errorf("finishing: %v", err)
		}
	})
	return g
}

// workspace returns a process with a writable directory at /w, read-only at /r,
// and the directory's path on the host.
func workspace(t testing.TB) (*guestProcess, string) {
	t.Helper()
	dir := t.TempDir()
	return newProcess(t, t.Context(), nil, map[string]vfs.FS{
		"/w": &vfs.HostDir{Path: dir, Writable: true},
		"/r": &vfs.HostDir{Path: dir},
	}), dir
}

// call calls a function of preview 1.
func (g *guestProcess) call(name string, args ...uint64) errno {
	g.t.Helper()
	f := preview1[name]
	if f == nil || len(args) != len(f.params) {
		g.t.Fatalf("%s doesn't take %d arguments", name, len(args))
	}
	return f.call(g.process, args)
}

// want calls a function and checks its result.
func (g *guestProcess) want(want errno, name string, args ...uint64) {
	g.t.Helper()
	if got := g.call(name, args...); got != want {
		g.t.Errorf("%s%d: got %v, want %v", name, args, got, want)
	}
}

// Where the tests keep things in guest memory.
const (
	atVectors = 0     // iovecs
	atResult  = 16384 // results of up to 64 bytes
	atPath    = 16640 // a path
	atPath2   = 24832 // another
	atData    = 32768 // up to the end
	outside   = 64<<10 - 1
)

func (g *guestProcess) u32(at int) uint32 { return le.Uint32(g.mem[at:]) }
func (g *guestProcess) u64(at int) uint64 { return le.Uint64(g.mem[at:]) }

// path puts a path into memory.
func (g *guestProcess) path(s string) (at, length uint64) {
	copy(g.mem[atPath:atPath2], s)
	return atPath, uint64(len(s))
}

func (g *guestProcess) path2(s string) (at, length uint64) {
	copy(g.mem[atPath2:atData], s)
	return atPath2, uint64(len(s))
}

// vectors puts iovecs into memory and returns their address and number.
func (g *guestProcess) vectors(v ...[2]uint32) (at, n uint64) {
	for i, v := range v {
		le.PutUint32(g.mem[atVectors+8*i:], v[0])
		le.PutUint32(g.mem[atVectors+8*i+4:], v[1])
	}
	return atVectors, uint64(len(v))
}

const (
	readWrite = uint64(rightFDRead | rightFDWrite)
	readOnly  = uint64(rightFDRead)
)

// open opens a path relative to the root of the tree and returns the descriptor.
func (g *guestProcess) openPath(path string, oflags uint64, base uint64, fdflags uint64) uint64 {
	g.t.Helper()
	at, n := g.path(path)
	if e := g.call("path_open", 3, 1, at, n, oflags, base, math.MaxUint64, fdflags, atResult); e != 0 {
		g.t.Fatalf("opening %s: %v", path, e)
	}
	return uint64(g.u32(atResult))
}

// read reads up to n bytes from a descriptor with one buffer.
func (g *guestProcess) readFrom(fd uint64, n uint32) (string, errno) {
	g.t.Helper()
	at, count := g.vectors([2]uint32{atData, n})
	if e := g.call("fd_read", fd, at, count, atResult); e != 0 {
		return "", e
	}
	return string(g.mem[atData : atData+g.u32(atResult)]), 0
}

// write writes s to a descriptor.
func (g *guestProcess) writeTo(fd uint64, s string) (uint32, errno) {
	g.t.Helper()
	at, count := g.vectors([2]uint32{atData, uint32(copy(g.mem[atData:], s))})
	e := g.call("fd_write", fd, at, count, atResult)
	return g.u32(atResult), e
}

func TestPreview1Signatures(t *testing.T) {
	t.Parallel()
	// wasi_snapshot_preview1.witx, lowered as its documentation says.
	const want = `
		args_get ii i · args_sizes_get ii i · environ_get ii i · environ_sizes_get ii i
		clock_res_get ii i · clock_time_get iIi i
		fd_advise iIIi i · fd_allocate iII i · fd_close i i · fd_datasync i i
		fd_fdstat_get ii i · fd_fdstat_set_flags ii i · fd_fdstat_set_rights iII i
		fd_filestat_get ii i · fd_filestat_set_size iI i · fd_filestat_set_times iIIi i
		fd_pread iiiIi i · fd_prestat_get ii i · fd_prestat_dir_name iii i · fd_pwrite iiiIi i
		fd_read iiii i · fd_readdir iiiIi i · fd_renumber ii i · fd_seek iIii i · fd_sync i i
		fd_tell ii i · fd_write iiii i
		path_create_directory iii i · path_filestat_get iiiii i · path_filestat_set_times iiiiIIi i
		path_link iiiiiii i · path_open iiiiiIIii i · path_readlink iiiiii i
		path_remove_directory iii i · path_rename iiiiii i · path_symlink iiiii i · path_unlink_file iii i
		poll_oneoff iiii i · proc_exit i - · proc_raise i i · sched_yield - i · random_get ii i
		sock_accept iii i · sock_recv iiiiii i · sock_send iiiii i · sock_shutdown ii i`
	letters := func(types []api.ValueType) string {
		if len(types) == 0 {
			return "-"
		}
		s := ""
		for _, v := range types {
			s += map[api.ValueType]string{api.ValueTypeI32: "i", api.ValueTypeI64: "I"}[v]
		}
		return s
	}
	seen := 0
	for line := range strings.FieldsFuncSeq(want, func(r rune) bool { return r == '·' || r == '\n' }) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		seen++
		f := preview1[fields[0]]
		if f == nil {
			t.Errorf("%s is missing", fields[0])
		} else if got := []string{letters(f.params), letters(f.results)}; !slices.Equal(got, fields[1:]) {
			t.Errorf("%s: got %q, want %q", fields[0], got, fields[1:])
		}
	}
	if seen != len(preview1) || seen != 46 {
		t.Errorf("got %d functions, want 46, and exactly those", len(preview1))
	}
}

func TestArgumentsAndEnvironment(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), nil, nil)
	g.args = []string{"prog", "", "three"}
	g.env = []string{"A=b"}
	for _, test := range []struct {
		sizes, get string
		count      uint32
		text       string
	}{
		{"args_sizes_get", "args_get", 3, "prog\x00\x00three\x00"},
		{"environ_sizes_get", "environ_get", 1, "A=b\x00"},
	} {
		g.want(0, test.sizes, atResult, atResult+4)
		if count, size := g.u32(atResult), g.u32(atResult+4); count != test.count || size != uint32(len(test.text)) {
			t.Errorf("%s: got %d, %d, want %d, %d", test.sizes, count, size, test.count, len(test.text))
		}
		g.want(0, test.get, atVectors, atData)
		if got := string(g.mem[atData : atData+len(test.text)]); got != test.text {
			t.Errorf("%s: got %q, want %q", test.get, got, test.text)
		}
		if first := g.u32(atVectors); first != atData {
			t.Errorf("%s: got the first string at %d, want %d", test.get, first, atData)
		}
		before := bytes.Clone(g.mem)
		g.want(vfs.EFAULT, test.sizes, outside, atResult)
		g.want(vfs.EFAULT, test.sizes, atResult, math.MaxUint32)
		g.want(vfs.EFAULT, test.get, outside, atData)
		g.want(vfs.EFAULT, test.get, atVectors, outside)
		if !bytes.Equal(g.mem, before) {
			t.Errorf("%s wrote something in spite of a fault", test.get)
		}
	}
	if got := g.u32(atVectors); got != atData { // "A=b"
		t.Errorf("got %d, want %d", got, atData)
	}
}

func TestClocks(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), nil, nil)
	read := func(clock uint64) uint64 {
		g.want(0, "clock_time_get", clock, 1, atResult)
		return g.u64(atResult)
	}
	start := time.Now()
	before := uint64(start.UnixNano())
	realtime, monotonic, cpu := read(clockRealtime), read(clockMonotonic), read(clockProcessCPU)
	if realtime < before || realtime > uint64(time.Now().UnixNano()) {
		t.Errorf("got the time %d, want that of the host, %d", realtime, before)
	}
	if monotonic == 0 || monotonic > uint64(time.Hour) {
		t.Errorf("got %d, want a monotonic clock that begins with its call, but not at 0", monotonic)
	}
	time.Sleep(time.Millisecond)
	if later := read(clockMonotonic); later <= monotonic {
		t.Errorf("got %d after %d, want more", later, monotonic)
	}
	g.sleep(20 * time.Millisecond)
	later := read(clockThreadCPU)
	if passed := time.Since(start); later < cpu || later > cpu+uint64(passed-20*time.Millisecond) {
		t.Errorf("got %d after %d, %s and a sleep of 20ms in them", later, cpu, passed)
	}
	for clock := range uint64(4) {
		g.want(0, "clock_res_get", clock, atResult)
		if got := g.u64(atResult); got == 0 || got > uint64(time.Millisecond) {
			t.Errorf("clock %d: got a resolution of %d ns", clock, got)
		}
	}
	g.want(vfs.EINVAL, "clock_res_get", 4, atResult)
	g.want(vfs.EINVAL, "clock_time_get", 4, 1, atResult)
	g.want(vfs.EFAULT, "clock_res_get", 0, outside)
	g.want(vfs.EFAULT, "clock_time_get", 0, 1, outside-6)
}

func TestRandom(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), nil, nil)
	g.want(0, "random_get", atData, 32)
	first := bytes.Clone(g.mem[atData : atData+32])
	g.want(0, "random_get", atData, 32)
	if bytes.Equal(first, g.mem[atData:atData+32]) {
		t.Errorf("got %x twice", first)
	}
	if rest := g.mem[atData+32:]; !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Error("got more bytes than asked for")
	}
	g.want(0, "random_get", 0, 64<<10)
	g.want(0, "random_get", outside, 0)
	g.want(vfs.EFAULT, "random_get", outside, 2)
	g.want(vfs.EFAULT, "random_get", math.MaxUint32, math.MaxUint32)
	if charged := g.sandbox.(*overseer).charged; charged < 64<<10 {
		t.Errorf("got %d units charged, want at least one a byte", charged)
	}
}

func TestProcess(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), nil, nil)
	g.want(0, "sched_yield")
	g.want(vfs.ENOSYS, "proc_raise", 6)
	defer func() {
		end, ok := recover().(ended)
		exit, _ := end.reason.(*ExitError)
		if !ok || exit == nil || exit.Code != 0xdeadbeef {
			t.Errorf("got %v, want exit code 0xdeadbeef", end.reason)
		}
	}()
	g.call("proc_exit", 0xdeadbeef)
	t.Error("proc_exit returned")
}

func TestBuffers(t *testing.T) {
	t.Parallel()
	many := func(n int, v [2]uint32) [][2]uint32 {
		return slices.Repeat([][2]uint32{v}, n)
	}
	for _, test := range []struct {
		name    string
		vectors [][2]uint32
		want    errno
		written string // to standard output
	}{
		{"none", nil, 0, ""},
		{"one", [][2]uint32{{atData, 3}}, 0, "abc"},
		{"several", [][2]uint32{{atData, 1}, {atData + 2, 2}, {atData + 1, 1}}, 0, "acdb"},
		{"empty ones", [][2]uint32{{0, 0}, {atData, 1}, {64 << 10, 0}, {atData, 1}}, 0, "aa"},
		{"overlapping", [][2]uint32{{atData, 4}, {atData + 1, 2}}, 0, "abcdbc"},
		{"as many as Linux takes", many(1024, [2]uint32{atData, 1}), 0, strings.Repeat("a", 1024)},
		{"one more", many(1025, [2]uint32{atData, 1}), vfs.EINVAL, ""},
		{"one byte outside", [][2]uint32{{atData, 1}, {atData, 32769}}, vfs.EFAULT, ""},
		{"wholly outside", [][2]uint32{{1 << 20, 1}}, vfs.EFAULT, ""},
		{"empty, outside", [][2]uint32{{1 << 20, 0}}, vfs.EFAULT, ""},
		{"wrapping around", [][2]uint32{{atData, math.MaxUint32}}, vfs.EFAULT, ""},
		{"wrapping around at the end", [][2]uint32{{math.MaxUint32, 2}}, vfs.EFAULT, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newProcess(t, t.Context(), nil, nil)
			copy(g.mem[atData:], "abcd")
			at, n := g.vectors(test.vectors...)
			g.want(test.want, "fd_write", 1, at, n, atResult)
			if got := g.out.String(); got != test.written {
				t.Errorf("got %q, want %q", got, test.written)
			}
			if got := g.u32(atResult); got != uint32(len(test.written)) {
				t.Errorf("got %d bytes, want %d", got, len(test.written))
			}
		})
	}
	g := newProcess(t, t.Context(), strings.NewReader("input"), nil)
	for _, test := range []struct {
		name          string
		at, n, result uint64
	}{
		{"vectors outside", outside, 1, atResult},
		{"vectors end outside", 64<<10 - 8, 2, atResult},
		{"number of vectors wraps around", 8, 0x20000001, atResult},
		{"result outside", atVectors, 1, outside},
		{"result wraps around", atVectors, 1, math.MaxUint32},
	} {
		g.vectors([2]uint32{atData, 3})
		for _, f := range []string{"fd_write", "fd_read"} {
			fd := map[string]uint64{"fd_write": 1, "fd_read": 0}[f]
			if e := g.call(f, fd, test.at, test.n, test.result); e != vfs.EFAULT && e != vfs.EINVAL {
				t.Errorf("%s, %s: got %v, want EFAULT", test.name, f, e)
			}
		}
	}
	if got, _ := g.readFrom(0, 10); got != "input" || g.out.Len() != 0 {
		t.Errorf("got %q read and %q written, want nothing lost by faults", got, g.out.String())
	}
}

// Buffers may lie over the vectors that describe them, and over the result.
func TestBuffersOverVectors(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), strings.NewReader(strings.Repeat("\xff", 40)), nil)
	at, n := g.vectors([2]uint32{atVectors, 16}, [2]uint32{atData, 8}, [2]uint32{atResult, 8})
	g.want(0, "fd_read", 0, at, n, atResult)
	if got := g.u32(atResult); got != 32 {
		t.Errorf("got %d bytes, want 32", got)
	}
	if got := g.u64(atData); got != math.MaxUint64 {
		t.Errorf("got %x, want the second buffer where it was when the call began", got)
	}
}

func TestStandardStreams(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), strings.NewReader("hello"), nil)
	for fd := range uint64(3) {
		g.want(0, "fd_fdstat_get", fd, atResult)
		// What wasi-libc's isatty asks: a character device without the right
		// to seek or tell.
		if got := g.mem[atResult]; got != byte(vfs.TypeUnknown) {
			t.Errorf("descriptor %d: got type %d, want unknown", fd, got)
		}
		base := rights(g.u64(atResult + 8))
		if read, write := base&rightFDRead != 0, base&rightFDWrite != 0; read != (fd == 0) || write != (fd > 0) {
			t.Errorf("descriptor %d: got rights %b", fd, base)
		}
		g.want(0, "fd_filestat_get", fd, atResult)
		g.want(0, "fd_fdstat_set_flags", fd, uint64(flagNonblock)) // Go's runtime does
		g.want(vfs.ESPIPE, "fd_seek", fd, 0, whenceCurrent, atResult)
		g.want(vfs.ESPIPE, "fd_tell", fd, atResult)
		g.want(vfs.EINVAL, "fd_sync", fd)
		g.want(vfs.EBADF, "fd_prestat_get", fd, atResult)
		g.want(vfs.ENOTDIR, "fd_readdir", fd, atData, 100, 0, atResult)
	}
	if got, e := g.readFrom(0, 3); got != "hel" || e != 0 {
		t.Errorf("got %q, %v, want hel", got, e)
	}
	if got, e := g.readFrom(0, 100); got != "lo" || e != 0 {
		t.Errorf("got %q, %v, want lo", got, e)
	}
	for range 2 {
		if got, e := g.readFrom(0, 100); got != "" || e != 0 {
			t.Errorf("got %q, %v, want the end", got, e)
		}
	}
	at, n := g.vectors([2]uint32{atData, 1})
	g.want(vfs.ESPIPE, "fd_pread", 0, at, n, 0, atResult)
	g.want(vfs.ESPIPE, "fd_pwrite", 1, at, n, 0, atResult)
	g.want(vfs.EBADF, "fd_read", 1, at, n, atResult)
	g.want(vfs.EBADF, "fd_write", 0, at, n, atResult)
	g.writeTo(1, "to out")
	g.writeTo(2, "to log")
	if g.out.String() != "to out" || g.log.String() != "to log" {
		t.Errorf("got %q and %q", g.out.String(), g.log.String())
	}
	for fd := range uint64(3) {
		g.want(0, "fd_close", fd)
		g.want(vfs.EBADF, "fd_close", fd)
	}
	if _, e := g.writeTo(1, "x"); e != vfs.EBADF {
		t.Errorf("got %v, want EBADF from a closed standard output", e)
	}
	if fd := g.openPath("dev/null", 0, readWrite, 0); fd != 0 {
		t.Errorf("got descriptor %d, want the lowest free one, 0", fd)
	}
}

func TestPreopen(t *testing.T) {
	t.Parallel()
	g, _ := workspace(t)
	g.want(0, "fd_prestat_get", 3, atResult)
	if tag, n := g.u32(atResult), g.u32(atResult+4); tag != 0 || n != 1 {
		t.Errorf("got tag %d and a name of %d bytes, want 0 and 1", tag, n)
	}
	g.want(0, "fd_prestat_dir_name", 3, atData, 1)
	if got := g.mem[atData]; got != '/' {
		t.Errorf("got %q, want /", got)
	}
	g.want(0, "fd_prestat_dir_name", 3, atData, 100)
	g.want(vfs.ENAMETOOLONG, "fd_prestat_dir_name", 3, atData, 0)
	g.want(vfs.EFAULT, "fd_prestat_dir_name", 3, outside+1, 1)
	g.want(vfs.EFAULT, "fd_prestat_get", 3, outside)
	g.want(vfs.EBADF, "fd_prestat_get", 4, atResult)
	fd := g.openPath("w", oDirectory, readOnly, 0)
	g.want(vfs.EBADF, "fd_prestat_get", fd, atResult)
	g.want(vfs.ENOTDIR, "fd_prestat_dir_name", fd, atData, 10)
	g.want(0, "fd_close", 3)
	g.want(vfs.EBADF, "fd_prestat_get", 3, atResult)
	g.want(0, "fd_filestat_get", fd, atResult) // still open
	at, n := g.path("w")
	g.want(vfs.EBADF, "path_open", 3, 0, at, n, 0, 0, 0, 0, atResult)
}

func TestDescriptorNumbers(t *testing.T) {
	t.Parallel()
	g, _ := workspace(t)
	var fds []uint64
	for range 8 {
		fds = append(fds, g.openPath("dev/null", 0, readWrite, 0))
	}
	if want := []uint64{4, 5, 6, 7, 8, 9, 10, 11}; !slices.Equal(fds, want) {
		t.Errorf("got %d, want %d", fds, want)
	}
	at, n := g.path("w/new")
	g.want(vfs.EMFILE, "path_open", 3, 0, at, n, oCreate, readWrite, 0, 0, atResult)
	g.want(vfs.ENOENT, "path_filestat_get", 3, 0, at, n, atResult) // it was not made
	g.want(0, "fd_close", 6)
	g.want(0, "fd_close", 5)
	if fd := g.openPath("w/new", oCreate, readWrite, 0); fd != 5 {
		t.Errorf("got %d, want the lowest free number, 5", fd)
	}

	g.writeTo(5, "moved")
	g.want(0, "fd_renumber", 5, 11)
	g.want(vfs.EBADF, "fd_close", 5)
	g.want(0, "fd_tell", 11, atResult)
	if got := g.u64(atResult); got != 5 {
		t.Errorf("got position %d, want the moved one's, 5", got)
	}
	g.want(0, "fd_renumber", 11, 11)
	for _, fds := range [][2]uint64{{5, 11}, {11, 5}, {11, 1000}, {11, math.MaxUint32}, {math.MaxUint32, 11}} {
		g.want(vfs.EBADF, "fd_renumber", fds[0], fds[1])
	}
	g.want(0, "fd_renumber", 11, 1) // as a shell redirects
	if _, e := g.writeTo(1, "!"); e != 0 || g.out.Len() != 0 {
		t.Errorf("got %v and %q on the standard output, want the file written", e, g.out.String())
	}
	if g.files.open != 9 {
		t.Errorf("got %d open, want 9", g.files.open)
	}
	g.want(vfs.EBADF, "fd_close", math.MaxUint32)
}

func TestFiles(t *testing.T) {
	t.Parallel()
	g, dir := workspace(t)
	fd := g.openPath("w/file", oCreate, readWrite, 0)
	for _, s := range []string{"hello ", "world"} {
		if n, e := g.writeTo(fd, s); int(n) != len(s) || e != 0 {
			t.Errorf("got %d, %v", n, e)
		}
	}
	seek := func(want errno, delta int64, whence uint64, at uint64) {
		t.Helper()
		g.want(want, "fd_seek", fd, uint64(delta), whence, atResult)
		g.want(0, "fd_tell", fd, atResult)
		if got := g.u64(atResult); got != at {
			t.Errorf("got position %d, want %d", got, at)
		}
	}
	seek(0, 0, whenceCurrent, 11)
	seek(0, -5, whenceEnd, 6)
	if got, e := g.readFrom(fd, 100); got != "world" || e != 0 {
		t.Errorf("got %q, %v, want world", got, e)
	}
	if got, e := g.readFrom(fd, 100); got != "" || e != 0 {
		t.Errorf("got %q, %v, want the end", got, e)
	}
	seek(0, 1, whenceSet, 1)
	seek(0, 3, whenceCurrent, 4)
	seek(vfs.EINVAL, -5, whenceCurrent, 4)
	seek(vfs.EINVAL, -1, whenceSet, 4)
	seek(vfs.EINVAL, -12, whenceEnd, 4)
	seek(vfs.EINVAL, 0, 3, 4)
	seek(vfs.EOVERFLOW, math.MaxInt64, whenceEnd, 4)
	seek(0, math.MaxInt64, whenceSet, math.MaxInt64)
	if got, e := g.readFrom(fd, 100); got != "" || e != 0 {
		t.Errorf("behind the end: got %q, %v, want nothing", got, e)
	}
	if _, e := g.writeTo(fd, "xx"); e != vfs.EFBIG {
		t.Errorf("behind the last position: got %v, want EFBIG", e)
	}
	g.want(vfs.EFAULT, "fd_seek", fd, 0, whenceSet, outside)
	seek(0, 2, whenceSet, 2)

	copy(g.mem[atData:], "HELLO")
	at, n := g.vectors([2]uint32{atData, 2}, [2]uint32{atData + 2, 3})
	g.want(0, "fd_pwrite", fd, at, n, 0, atResult)
	g.vectors([2]uint32{atData + 100, 8}, [2]uint32{atData + 108, 100})
	g.want(0, "fd_pread", fd, at, n, 1, atResult)
	if got := string(g.mem[atData+100 : atData+100+g.u32(atResult)]); got != "ELLO world" {
		t.Errorf("got %q, want ELLO world", got)
	}
	seek(0, 0, whenceCurrent, 2) // not moved
	g.want(vfs.EINVAL, "fd_pread", fd, at, n, 1<<63, atResult)
	g.want(vfs.EINVAL, "fd_pwrite", fd, at, n, 1<<63, atResult)

	g.want(0, "fd_filestat_set_size", fd, 5)
	g.want(0, "fd_allocate", fd, 2, 6)
	g.want(0, "fd_allocate", fd, 0, 1) // never shorter
	g.want(0, "fd_filestat_get", fd, atResult)
	if kind, size := g.mem[atResult+16], g.u64(atResult+32); kind != byte(vfs.TypeRegular) || size != 8 {
		t.Errorf("got type %d and size %d, want a regular file of 8 bytes", kind, size)
	}
	g.want(vfs.EFBIG, "fd_filestat_set_size", fd, math.MaxUint64)
	g.want(vfs.EFBIG, "fd_allocate", fd, math.MaxInt64, 1)
	g.want(vfs.EINVAL, "fd_allocate", fd, 1<<63, 1)
	g.want(vfs.EINVAL, "fd_allocate", fd, 1, 0)
	for advice := range uint64(6) {
		g.want(0, "fd_advise", fd, 0, 0, advice)
	}
	g.want(vfs.EINVAL, "fd_advise", fd, 0, 0, 6)
	g.want(vfs.EINVAL, "fd_advise", fd, 1<<63, 0, 0)
	g.want(0, "fd_sync", fd)
	g.want(0, "fd_datasync", fd)

	g.want(0, "fd_filestat_set_times", fd, 1e9, 2e9, setAccessed|setModified)
	g.want(0, "fd_filestat_get", fd, atResult)
	if a, m := g.u64(atResult+40), g.u64(atResult+48); a != 1e9 || m != 2e9 {
		t.Errorf("got times %d and %d, want 1e9 and 2e9", a, m)
	}
	g.want(0, "fd_filestat_set_times", fd, 0, 5, setModifiedNow)
	g.want(0, "fd_filestat_get", fd, atResult)
	if a, m := g.u64(atResult+40), g.u64(atResult+48); a != 1e9 || m < 1e18 {
		t.Errorf("got times %d and %d, want 1e9 and now", a, m)
	}
	g.want(vfs.EINVAL, "fd_filestat_set_times", fd, 1, 1, setAccessed|setAccessedNow)
	g.want(vfs.EINVAL, "fd_filestat_set_times", fd, 1, 1, 16)
	g.want(vfs.EINVAL, "fd_filestat_set_times", fd, 1<<63, 1, setAccessed)
	g.want(0, "fd_close", fd)
	if got, err := os.ReadFile(filepath.Join(dir, "file")); string(got) != "HELLO\x00\x00\x00" || err != nil {
		t.Errorf("on the host: got %q, %v", got, err)
	}
}

func TestReadAndWriteOnly(t *testing.T) {
	t.Parallel()
	g, _ := workspace(t)
	writeOnly := g.openPath("w/file", oCreate, uint64(rightFDWrite), 0)
	g.writeTo(writeOnly, "text")
	at, n := g.vectors([2]uint32{atData, 4})
	g.want(vfs.EBADF, "fd_read", writeOnly, at, n, atResult)
	g.want(vfs.EBADF, "fd_pread", writeOnly, at, n, 0, atResult)
	for _, base := range []uint64{readOnly, 0} { // no right at all is read-only
		fd := g.openPath("w/file", 0, base, 0)
		if got, e := g.readFrom(fd, 100); got != "text" || e != 0 {
			t.Errorf("got %q, %v, want text", got, e)
		}
		g.vectors([2]uint32{atData, 4})
		g.want(vfs.EBADF, "fd_write", fd, at, n, atResult)
		g.want(vfs.EBADF, "fd_pwrite", fd, at, n, 0, atResult)
		g.want(vfs.EBADF, "fd_allocate", fd, 0, 100)
		g.want(vfs.EINVAL, "fd_filestat_set_size", fd, 0)
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	g, dir := workspace(t)
	if err := os.WriteFile(filepath.Join(dir, "log"), []byte("one "), 0o666); err != nil {
		t.Fatal(err)
	}
	fd := g.openPath("w/log", 0, readWrite, uint64(flagAppend))
	g.want(0, "fd_seek", fd, 0, whenceSet, atResult)
	g.writeTo(fd, "two ")
	g.want(0, "fd_tell", fd, atResult)
	if got := g.u64(atResult); got != 8 {
		t.Errorf("got position %d, want 8", got)
	}
	copy(g.mem[atData:], "ONE")
	at, n := g.vectors([2]uint32{atData, 3})
	g.want(0, "fd_pwrite", fd, at, n, 0, atResult) // goes where it says
	g.want(0, "fd_fdstat_set_flags", fd, 0)
	g.want(0, "fd_seek", fd, 4, whenceSet, atResult)
	g.writeTo(fd, "TWO")
	g.want(0, "fd_fdstat_set_flags", fd, uint64(flagAppend))
	g.writeTo(fd, "three")
	if got, err := os.ReadFile(filepath.Join(dir, "log")); string(got) != "ONE TWO three" || err != nil {
		t.Errorf("got %q, %v, want ONE TWO three", got, err)
	}
}

func TestFlagsAndRights(t *testing.T) {
	t.Parallel()
	g, _ := workspace(t)
	fd := g.openPath("w/file", oCreate, readWrite, uint64(flagSync|flagAppend))
	g.want(0, "fd_fdstat_get", fd, atResult)
	if kind, flags := g.mem[atResult], fdFlags(le.Uint16(g.mem[atResult+2:])); kind != byte(vfs.TypeRegular) || flags != flagSync|flagAppend {
		t.Errorf("got type %d and flags %b", kind, flags)
	}
	g.want(0, "fd_fdstat_set_flags", fd, uint64(flagSync|flagNonblock))
	g.want(vfs.ENOTSUP, "fd_fdstat_set_flags", fd, uint64(flagNonblock))
	g.want(vfs.ENOTSUP, "fd_fdstat_set_flags", fd, uint64(flagSync|flagDsync))
	g.want(vfs.EINVAL, "fd_fdstat_set_flags", fd, 32)
	g.want(vfs.EBADF, "fd_fdstat_set_flags", 99, 0)
	g.want(vfs.EFAULT, "fd_fdstat_get", fd, outside)

	all := g.u64(atResult + 8)
	g.want(0, "fd_fdstat_set_rights", fd, all&^uint64(rightFDSeek|rightFDWrite), 0)
	g.want(vfs.ENOTCAPABLE, "fd_fdstat_set_rights", fd, all, 0)
	g.want(vfs.ENOTCAPABLE, "fd_seek", fd, 1, whenceSet, atResult)
	g.want(0, "fd_seek", fd, 0, whenceCurrent, atResult)
	g.want(0, "fd_tell", fd, atResult)
	if _, e := g.writeTo(fd, "x"); e != vfs.EBADF {
		t.Errorf("got %v, want EBADF without the right to write", e)
	}

	dir := g.openPath("w", oDirectory, readOnly, 0)
	g.want(0, "fd_fdstat_get", dir, atResult)
	base, inheriting := g.u64(atResult+8), g.u64(atResult+16)
	g.want(0, "fd_fdstat_set_rights", dir, base&^uint64(rightPathUnlinkFile|rightPathCreateFile), inheriting&^uint64(rightFDWrite))
	at, n := g.path("file")
	g.want(vfs.ENOTCAPABLE, "path_unlink_file", dir, at, n)
	g.want(vfs.ENOTCAPABLE, "path_open", dir, 0, at, n, oCreate, 0, 0, 0, atResult)
	g.want(vfs.ENOTCAPABLE, "path_open", dir, 0, at, n, 0, readWrite, 0, 0, atResult)
	g.want(0, "path_open", dir, 0, at, n, 0, readOnly, 0, 0, atResult)
	if g.files.get(g.u32(atResult)).inheriting&rightFDWrite != 0 {
		t.Error("what is opened through a directory has rights that the directory gave up")
	}
}

func TestOperationsOnDirectories(t *testing.T) {
	t.Parallel()
	g, _ := workspace(t)
	at, n := g.vectors([2]uint32{atData, 4})
	for name, fd := range map[string]uint64{"virtual": 3, "host": g.openPath("w", 0, readOnly, 0)} {
		t.Log(name)
		g.vectors([2]uint32{atData, 4})
		g.want(vfs.EISDIR, "fd_read", fd, at, n, atResult)
		g.want(vfs.EISDIR, "fd_pread", fd, at, n, 0, atResult)
		g.want(vfs.EBADF, "fd_write", fd, at, n, atResult)
		g.want(vfs.EBADF, "fd_pwrite", fd, at, n, 0, atResult)
		g.want(vfs.EBADF, "fd_seek", fd, 0, whenceSet, atResult)
		g.want(vfs.EBADF, "fd_tell", fd, atResult)
		g.want(vfs.EBADF, "fd_advise", fd, 0, 0, 0)
		g.want(vfs.EBADF, "fd_allocate", fd, 0, 1)
		g.want(vfs.EBADF, "fd_filestat_set_size", fd, 0)
		g.want(0, "fd_sync", fd)
		g.want(0, "fd_fdstat_get", fd, atResult)
		if got := g.mem[atResult]; got != byte(vfs.TypeDirectory) {
			t.Errorf("got type %d, want a directory", got)
		}
		if base := rights(g.u64(atResult + 8)); base&rightFDSeek != 0 || base&rightFDReaddir == 0 || base&rightPathOpen == 0 {
			t.Errorf("got rights %b", base)
		}
		g.want(0, "fd_filestat_get", fd, atResult)
		if got := g.mem[atResult+16]; got != byte(vfs.TypeDirectory) {
			t.Errorf("got type %d, want a directory", got)
		}
	}
}
