package engine

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// subscribe puts a subscription into memory.
func (g *guestProcess) subscribe(i int, userdata uint64, kind byte, rest ...uint64) {
	b := g.mem[atData+i*subscriptionSize:][:subscriptionSize]
	clear(b)
	le.PutUint64(b, userdata)
	b[8] = kind
	for at, v := range rest {
		le.PutUint64(b[16+8*at:], v)
	}
}

// clock waits for a clock: id, nanoseconds and flags.
func (g *guestProcess) subscribeClock(i int, userdata, id, ns, flags uint64) {
	g.subscribe(i, userdata, eventClock, id, ns, 0, flags)
}

// happening is an event as a guest finds it.
type happening struct {
	userdata uint64
	errno    errno
	kind     byte
	bytes    uint64
	hangup   bool
}

const atEvents = atData + 8192

func (g *guestProcess) pollAll(n int) []happening {
	g.t.Helper()
	g.want(0, "poll_oneoff", atData, atEvents, uint64(n), atResult)
	return g.events()
}

func (g *guestProcess) events() []happening {
	var all []happening
	for i := range int(g.u32(atResult)) {
		b := g.mem[atEvents+i*eventSize:]
		all = append(all, happening{le.Uint64(b), errno(le.Uint16(b[8:])), b[10], le.Uint64(b[16:]), le.Uint16(b[24:]) == 1})
	}
	return all
}

func (g *guestProcess) sleep(d time.Duration) {
	g.t.Helper()
	g.subscribeClock(0, 1, clockMonotonic, uint64(d), 0)
	g.pollAll(1)
}

func TestPollClocks(t *testing.T) {
	t.Parallel()
	const short, long = uint64(30 * time.Millisecond), uint64(time.Hour)
	for _, test := range []struct {
		name      string
		subscribe func(g *guestProcess) int
		want      []uint64 // userdata of the events
		atLeast   time.Duration
	}{
		{"relative", func(g *guestProcess) int {
			g.subscribeClock(0, 7, clockMonotonic, short, 0)
			return 1
		}, []uint64{7}, 30 * time.Millisecond},
		{"relative to realtime", func(g *guestProcess) int {
			g.subscribeClock(0, 7, clockRealtime, short, 0)
			return 1
		}, []uint64{7}, 30 * time.Millisecond},
		{"absolute", func(g *guestProcess) int {
			now, _ := g.now(clockMonotonic)
			g.subscribeClock(0, 7, clockMonotonic, now+short, 1)
			return 1
		}, []uint64{7}, 30 * time.Millisecond},
		{"absolute in realtime", func(g *guestProcess) int {
			now, _ := g.now(clockRealtime)
			g.subscribeClock(0, 7, clockRealtime, now+short, 1)
			return 1
		}, []uint64{7}, 29 * time.Millisecond},
		{"absolute, long ago", func(g *guestProcess) int {
			g.subscribeClock(0, 7, clockRealtime, 1, 1)
			return 1
		}, []uint64{7}, 0},
		{"at once", func(g *guestProcess) int {
			g.subscribeClock(0, 7, clockMonotonic, 0, 0)
			return 1
		}, []uint64{7}, 0},
		{"the first of several", func(g *guestProcess) int {
			g.subscribeClock(0, 1, clockMonotonic, long, 0)
			g.subscribeClock(1, 2, clockMonotonic, short, 0)
			g.subscribeClock(2, 3, clockMonotonic, math.MaxUint64, 0)
			g.subscribeClock(3, 4, clockMonotonic, short-1, 0)
			return 4
		}, nil, 29 * time.Millisecond},
		{"all that are due", func(g *guestProcess) int {
			g.subscribeClock(0, 1, clockMonotonic, 0, 0)
			g.subscribeClock(1, 2, clockMonotonic, long, 0)
			g.subscribeClock(2, 3, clockRealtime, 0, 0)
			return 3
		}, []uint64{1, 3}, 0},
		{"a file is ready before", func(g *guestProcess) int {
			g.subscribeClock(0, 1, clockMonotonic, long, 0)
			g.subscribe(1, 2, eventWrite, 1)
			return 2
		}, []uint64{2}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			g := newProcess(t, t.Context(), nil, nil)
			began := time.Now()
			var got []uint64
			for _, e := range g.pollAll(test.subscribe(g)) {
				if got = append(got, e.userdata); e.errno != 0 {
					t.Errorf("got %v", e.errno)
				}
			}
			if took := time.Since(began); took < test.atLeast || took > test.atLeast+10*time.Second {
				t.Errorf("took %s, want %s", took, test.atLeast)
			}
			if test.want == nil { // which of two close ones comes alone depends on the machine
				if !slices.Contains(got, 4) || slices.Contains(got, 1) || slices.Contains(got, 3) {
					t.Errorf("got %d", got)
				}
			} else if !slices.Equal(got, test.want) {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestPollEvents(t *testing.T) {
	t.Parallel()
	g, _ := workspace(t)
	g.files.slots[0].file = newInput(strings.NewReader("four"))
	file := g.openPath("w/file", oCreate, readWrite, 0)
	g.writeTo(file, "0123456789")
	g.want(0, "fd_seek", file, 4, whenceSet, atResult)
	null := g.openPath("dev/null", 0, readWrite, 0)
	for i, s := range [][2]uint64{
		{0, eventRead}, {1, eventWrite}, {2, eventWrite}, {file, eventRead}, {file, eventWrite}, {null, eventRead},
		{3, eventRead}, {99, eventRead}, {math.MaxUint32, eventWrite}, {1, eventRead}, {0, eventWrite},
	} {
		g.subscribe(i, uint64(i), byte(s[1]), s[0])
	}
	g.subscribeClock(11, 11, clockProcessCPU, 0, 0)
	g.subscribeClock(12, 12, 77, 0, 0)
	g.subscribeClock(13, 13, clockMonotonic, 0, 2)
	want := []happening{
		{0, 0, eventRead, 4, false},
		{1, 0, eventWrite, 1, false},
		{2, 0, eventWrite, 1, false},
		{3, 0, eventRead, 6, false},
		{4, 0, eventWrite, 1, false},
		{5, 0, eventRead, 1, false},
		{6, vfs.EBADF, eventRead, 0, false},
		{7, vfs.EBADF, eventRead, 0, false},
		{8, vfs.EBADF, eventWrite, 0, false},
		{9, vfs.EBADF, eventRead, 0, false},
		{10, vfs.EBADF, eventWrite, 0, false},
		{11, vfs.EINVAL, eventClock, 0, false},
		{12, vfs.EINVAL, eventClock, 0, false},
		{13, vfs.EINVAL, eventClock, 0, false},
	}
	if got := g.pollAll(len(want)); !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	g.readFrom(0, 4)
	g.subscribe(0, 5, eventRead, 0)
	if got, want := g.pollAll(1), []happening{{5, 0, eventRead, 0, true}}; !slices.Equal(got, want) {
		t.Errorf("at the end of the input: got %v, want %v", got, want)
	}
}

func TestPollFaults(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), nil, nil)
	g.subscribeClock(0, 1, clockMonotonic, 0, 0)
	g.want(vfs.EINVAL, "poll_oneoff", atData, atEvents, 0, atResult)
	g.want(vfs.EINVAL, "poll_oneoff", atData, atEvents, maxSubscriptions+1, atResult)
	g.want(vfs.EINVAL, "poll_oneoff", atData, atEvents, math.MaxUint32, atResult)
	g.want(vfs.EFAULT, "poll_oneoff", outside, atEvents, 1, atResult)
	g.want(vfs.EFAULT, "poll_oneoff", atData, outside, 1, atResult)
	g.want(vfs.EFAULT, "poll_oneoff", atData, atEvents, 1, outside)
	g.want(vfs.EFAULT, "poll_oneoff", atData, atEvents, maxSubscriptions, atResult)
	g.subscribe(1, 2, 3)
	g.want(vfs.EINVAL, "poll_oneoff", atData, atEvents, 2, atResult)

	// Events written over the subscriptions they come from.
	for i := range 3 {
		g.subscribe(i, uint64(10+i), eventWrite, 1)
	}
	g.want(0, "poll_oneoff", atData, atData, 3, atResult)
	for i := range 3 {
		if got := g.u64(atData + i*eventSize); got != uint64(10+i) {
			t.Errorf("event %d: got %d, want %d", i, got, 10+i)
		}
	}
}

// The end of a call ends whatever it waits for at once.
func TestWaitingEndsWithCall(t *testing.T) {
	t.Parallel()
	silent := func() io.Reader {
		r, w := io.Pipe()
		t.Cleanup(func() { w.Close() })
		return r
	}
	for _, test := range []struct {
		name string
		wait func(g *guestProcess)
	}{
		{"sleeping", func(g *guestProcess) { g.sleep(time.Hour) }},
		{"sleeping for ever", func(g *guestProcess) { g.sleep(math.MaxInt64) }},
		{"reading", func(g *guestProcess) { g.readFrom(0, 10) }},
		{"polling input", func(g *guestProcess) {
			g.subscribe(0, 1, eventRead, 0)
			g.pollAll(1)
		}},
		{"polling a socket", func(g *guestProcess) {
			fd := g.openPath("net/echo", 0, readWrite, 0)
			g.subscribe(0, 1, eventRead, fd)
			g.pollAll(1)
		}},
		{"reading a socket", func(g *guestProcess) { g.readFrom(g.openPath("net/echo", 0, readWrite, 0), 10) }},
		{"filling a socket", func(g *guestProcess) { g.writeTo(g.openPath("net/echo", 0, readWrite, 0), strings.Repeat("x", 1000)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for _, canceled := range []bool{true, false} {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
				if canceled {
					ctx, cancel = context.WithCancel(t.Context())
					time.AfterFunc(30*time.Millisecond, cancel)
				}
				defer cancel()
				g := newProcess(t, ctx, silent(), map[string]vfs.FS{"/net": echoes{}})
				func() {
					defer func() {
						if end, ok := recover().(ended); !ok || !errors.Is(end.reason, ctx.Err()) {
							t.Errorf("got %v, want the call ended by its context", end.reason)
						}
					}()
					test.wait(g)
					t.Error("the guest went on")
				}()
				if took := time.Since(began); took < 25*time.Millisecond || took > 10*time.Second {
					t.Errorf("took %s, want 30ms", took)
				}
			}
		})
	}
}

func TestStreamInput(t *testing.T) {
	t.Parallel()
	r, w := io.Pipe()
	g := newProcess(t, t.Context(), r, nil)
	g.want(0, "fd_fdstat_set_flags", 0, uint64(flagNonblock))
	if _, e := g.readFrom(0, 10); e != vfs.EAGAIN {
		t.Errorf("got %v, want EAGAIN without input", e)
	}
	time.AfterFunc(20*time.Millisecond, func() { w.Write([]byte("hello")) })
	g.subscribe(0, 1, eventRead, 0)
	g.subscribeClock(1, 2, clockMonotonic, uint64(time.Minute), 0)
	if got, want := g.pollAll(2), []happening{{1, 0, eventRead, 5, false}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, want := range []string{"hel", "lo"} {
		if got, e := g.readFrom(0, 3); got != want || e != 0 {
			t.Errorf("got %q, %v, want %q", got, e, want)
		}
	}
	if _, e := g.readFrom(0, 10); e != vfs.EAGAIN {
		t.Errorf("got %v, want EAGAIN with the input used up", e)
	}
	g.subscribeClock(0, 2, clockMonotonic, uint64(10*time.Millisecond), 0)
	g.subscribe(1, 1, eventRead, 0)
	if got := g.pollAll(2); len(got) != 1 || got[0].userdata != 2 {
		t.Errorf("got %v, want the clock", got)
	}
	g.want(0, "fd_fdstat_set_flags", 0, 0)
	time.AfterFunc(20*time.Millisecond, func() { w.CloseWithError(io.ErrUnexpectedEOF) })
	if got, e := g.readFrom(0, 10); got != "" || e != vfs.EIO {
		t.Errorf("got %q, %v, want the reader's error", got, e)
	}
}

// lazy returns nothing for a while, and then for ever.
type lazy int

func (l *lazy) Read(p []byte) (int, error) {
	if *l--; *l == 0 {
		return copy(p, "x"), nil
	}
	return 0, nil
}

func TestInputThatReturnsNothing(t *testing.T) {
	t.Parallel()
	l := lazy(50)
	g := newProcess(t, t.Context(), &l, nil)
	if got, e := g.readFrom(0, 10); got != "x" || e != 0 {
		t.Errorf("got %q, %v, want x", got, e)
	}
	if _, e := g.readFrom(0, 10); e != vfs.EIO {
		t.Errorf("got %v, want EIO instead of waiting for ever", e)
	}
}

func TestLargeInput(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	for name, in := range map[string]io.Reader{
		"held":     bytes.NewReader(want),
		"streamed": io.MultiReader(bytes.NewReader(want)),
	} {
		g := newProcess(t, t.Context(), in, nil)
		var got []byte
		for {
			at, n := g.vectors([2]uint32{atData, 1}, [2]uint32{atData + 1, 9999})
			g.want(0, "fd_read", 0, at, n, atResult)
			read := g.u32(atResult)
			if read == 0 {
				break
			}
			got = append(got, g.mem[atData:atData+read]...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, want %d, and the same", name, len(got), len(want))
		}
	}
}

// echoes is a mount in which every file is a socket that returns what it is
// sent, of which it holds 10 bytes.
type echoes struct{}

func (echoes) Root(context.Context) (vfs.Directory, error) { return echoes{}, nil }

func (echoes) Stat(context.Context) (vfs.Stat, error) { return vfs.Stat{Type: vfs.TypeDirectory}, nil }

func (echoes) Close(context.Context) error { return nil }

func (echoes) Lookup(context.Context, string, bool) (vfs.Stat, error) {
	return vfs.Stat{Type: vfs.TypeSocketStream}, nil
}

func (echoes) List(context.Context) (vfs.Lister, error) { return nil, vfs.EACCES }

func (echoes) Open(context.Context, string, vfs.OpenFlags) (vfs.File, error) { return new(echo), nil }

const echoSize = 10

type echo struct {
	mu     sync.Mutex
	held   []byte
	ended  bool
	closed bool
	wake   []func()
}

func (e *echo) Stat(context.Context) (vfs.Stat, error) {
	return vfs.Stat{Type: vfs.TypeSocketStream}, nil
}

func (e *echo) Close(context.Context) error {
	e.closed = true
	return nil
}

func (e *echo) wait(ctx context.Context, for_ vfs.Events) error {
	wake := newWakeup()
	defer e.Notify(for_, wake.wake)()
	for {
		if got, _ := e.Ready(for_); got&for_ != 0 {
			return nil
		}
		select {
		case <-wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (e *echo) changed() {
	for _, wake := range e.wake {
		wake()
	}
}

func (e *echo) Peek(ctx context.Context, p []byte) (int, error) {
	if err := e.wait(ctx, vfs.Readable); err != nil {
		return 0, err
	}
	return copy(p, e.held), nil
}

func (e *echo) Read(ctx context.Context, p []byte) (int, error) {
	n, err := e.Peek(ctx, p)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.held = e.held[n:]
	e.changed()
	return n, err
}

func (e *echo) Write(ctx context.Context, p []byte) (int, error) {
	if e.ended {
		return 0, vfs.EPIPE
	}
	if err := e.wait(ctx, vfs.Writable); err != nil {
		return 0, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(len(p), echoSize-len(e.held))
	e.held = append(e.held, p[:n]...)
	e.changed()
	return n, nil
}

func (e *echo) Shutdown(_ context.Context, _, write bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ended = e.ended || write
	e.changed()
	return nil
}

func (e *echo) Ready(want vfs.Events) (vfs.Events, int64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var got vfs.Events
	if len(e.held) > 0 || e.ended {
		got |= vfs.Readable
	}
	if len(e.held) < echoSize {
		got |= vfs.Writable
	}
	got &= want
	if e.ended {
		got |= vfs.Hangup
	}
	if want&vfs.Readable != 0 {
		return got, int64(len(e.held))
	}
	return got, int64(echoSize - len(e.held))
}

func (e *echo) Notify(_ vfs.Events, wake func()) (stop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wake = append(e.wake, wake)
	at := len(e.wake) - 1
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.wake[at] = func() {}
	}
}

func TestSockets(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), nil, map[string]vfs.FS{"/net": echoes{}})
	fd := g.openPath("net/echo", 0, readWrite, uint64(flagNonblock))
	g.want(0, "fd_fdstat_get", fd, atResult)
	if kind, flags := vfs.FileType(g.mem[atResult]), fdFlags(le.Uint16(g.mem[atResult+2:])); kind != vfs.TypeSocketStream || flags != flagNonblock {
		t.Errorf("got type %d and flags %b, want a non-blocking stream socket", kind, flags)
	}
	if _, e := g.readFrom(fd, 10); e != vfs.EAGAIN {
		t.Errorf("got %v, want EAGAIN", e)
	}
	if n, e := g.writeTo(fd, "hello, world"); n != echoSize || e != 0 {
		t.Errorf("got %d, %v, want as much as fits, %d", n, e, echoSize)
	}
	if _, e := g.writeTo(fd, "more"); e != vfs.EAGAIN {
		t.Errorf("got %v, want EAGAIN", e)
	}
	g.subscribe(0, 1, eventRead, fd)
	g.subscribe(1, 2, eventWrite, fd)
	if got, want := g.pollAll(2), []happening{{1, 0, eventRead, 10, false}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}

	receive := func(want errno, flags uint64, text string, sizes ...uint32) {
		t.Helper()
		var v [][2]uint32
		at := uint32(atData)
		for _, n := range sizes {
			v = append(v, [2]uint32{at, n})
			at += n
		}
		vectors, n := g.vectors(v...)
		g.want(want, "sock_recv", fd, vectors, n, flags, atResult, atResult+4)
		if got := string(g.mem[atData : atData+g.u32(atResult)]); want == 0 && got != text {
			t.Errorf("got %q, want %q", got, text)
		}
	}
	receive(0, recvPeek, "hel", 3, 4)
	receive(0, 0, "hel", 3)
	receive(0, recvWaitAll, "lo, wor", 100) // non-blocking: what there is
	receive(vfs.EAGAIN, 0, "", 10)
	receive(vfs.EINVAL, 4, "", 10)
	receive(vfs.EINVAL, recvPeek|recvWaitAll, "", 10)

	copy(g.mem[atData:], "abc")
	vectors, n := g.vectors([2]uint32{atData, 1}, [2]uint32{atData + 1, 2})
	g.want(0, "sock_send", fd, vectors, n, 0, atResult)
	if got := g.u32(atResult); got != 3 {
		t.Errorf("got %d bytes sent, want 3", got)
	}
	g.want(vfs.EINVAL, "sock_send", fd, vectors, n, 1, atResult)
	g.want(vfs.EFAULT, "sock_send", fd, vectors, n, 0, outside)
	g.want(vfs.EFAULT, "sock_recv", fd, vectors, n, 0, atResult, outside)
	g.want(0, "fd_fdstat_set_flags", fd, 0)
	receive(0, recvWaitAll, "abc", 1, 2)
	g.want(vfs.EINVAL, "sock_shutdown", fd, 0)
	g.want(vfs.EINVAL, "sock_shutdown", fd, 4)
	g.want(0, "sock_shutdown", fd, 2)
	receive(0, recvWaitAll, "", 10) // the end
	if _, e := g.writeTo(fd, "x"); e != vfs.EPIPE {
		t.Errorf("got %v, want EPIPE", e)
	}
	g.subscribe(0, 1, eventRead, fd)
	if got, want := g.pollAll(1), []happening{{1, 0, eventRead, 0, true}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	g.want(vfs.EINVAL, "sock_accept", fd, 0, atResult)
	g.want(vfs.ESPIPE, "fd_seek", fd, 0, 0, atResult)
	g.want(vfs.ESPIPE, "fd_tell", fd, atResult)

	for _, other := range []uint64{0, 3, g.openPath("dev/null", 0, readWrite, 0)} {
		g.want(vfs.ENOTSOCK, "sock_recv", other, vectors, n, 0, atResult, atResult+4)
		g.want(vfs.ENOTSOCK, "sock_send", other, vectors, n, 0, atResult)
		g.want(vfs.ENOTSOCK, "sock_shutdown", other, 1)
		g.want(vfs.ENOTSOCK, "sock_accept", other, 0, atResult)
	}
	g.want(vfs.EBADF, "sock_shutdown", 99, 1)
}

// A poll that waits is woken by what happens meanwhile.
func TestPollIsWoken(t *testing.T) {
	t.Parallel()
	g := newProcess(t, t.Context(), nil, map[string]vfs.FS{"/net": echoes{}})
	fd := g.openPath("net/echo", 0, readWrite, 0)
	socket := g.files.get(uint32(fd)).file.(*echo)
	for i := range 200 {
		go socket.Write(t.Context(), []byte("x"))
		g.subscribe(0, uint64(i), eventRead, fd)
		g.subscribeClock(1, 1000, clockMonotonic, uint64(time.Minute), 0)
		if got := g.pollAll(2); len(got) != 1 || got[0].userdata != uint64(i) {
			t.Fatalf("got %v, want the socket ready", got)
		}
		if got, e := g.readFrom(fd, 10); got != "x" || e != 0 {
			t.Fatalf("got %q, %v, want x", got, e)
		}
	}
	if charged := g.sandbox.(*overseer).charged; charged == 0 {
		t.Error("nothing was charged")
	}
}
