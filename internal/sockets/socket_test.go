package sockets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/egress"
	"github.com/gojinn/gojinn/internal/egress/egresstest"
)

// loopback allows the addresses that tests listen on.
var loopback = &egress.Policy{Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}

// listen serves each connection with serve, until the test ends.
func listen(t testing.TB, serve func(conn net.Conn)) *Endpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var open sync.Map
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			open.Store(conn, nil)
			running.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		open.Range(func(conn, _ any) bool {
			conn.(net.Conn).Close()
			return true
		})
		running.Wait()
	})
	return &Endpoint{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port), Dial: loopback.Dial}
}

// echo sends back what it gets, and ends its direction then.
func echo(conn net.Conn) {
	io.Copy(conn, conn)
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

// connect opens an endpoint, waiting for the connection, and closes it with the test.
func connect(t testing.TB, e *Endpoint) *socket {
	t.Helper()
	f, err := open(t.Context(), e, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close(context.Background()) })
	return f.(*socket)
}

func write(t testing.TB, s *socket, text string) {
	t.Helper()
	for len(text) > 0 {
		n, err := s.Write(t.Context(), []byte(text))
		if err != nil {
			t.Error(err)
			return
		}
		text = text[n:]
	}
}

// read reads until there is text, or as much as it is long.
func read(t testing.TB, s *socket, text string) {
	t.Helper()
	got := make([]byte, len(text))
	for n := 0; n < len(got); {
		m, err := s.Read(t.Context(), got[n:])
		if m == 0 || err != nil {
			t.Fatalf("got %q, %v, want %q", got[:n], err, text)
		}
		n += m
	}
	if string(got) != text {
		t.Fatalf("got %q, want %q", got, text)
	}
}

// end checks that the stream ends, with an error or without: "".
func end(t testing.TB, s *socket, want ...vfs.Errno) {
	t.Helper()
	n, err := s.Read(t.Context(), make([]byte, 10))
	for _, want := range want {
		if n == 0 && vfs.ErrnoOf(err) == want {
			return
		}
	}
	t.Errorf("got %d bytes, %v, want %v", n, err, want)
}

// ready waits for events as a poll does.
func ready(t testing.TB, s *socket, want vfs.Events) (vfs.Events, int64) {
	t.Helper()
	woken := make(chan struct{}, 1)
	defer s.Notify(want, func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	})()
	timeout := time.After(time.Minute)
	for {
		got, n := s.Ready(want)
		if got&want != 0 {
			return got, n
		}
		select {
		case <-woken:
		case <-timeout:
			t.Fatal("not ready in a minute")
		}
	}
}

func TestStream(t *testing.T) {
	t.Parallel()
	s := connect(t, listen(t, echo))
	write(t, s, "hello, world")
	if got, n := ready(t, s, vfs.Readable); got != vfs.Readable || n == 0 {
		t.Errorf("got %b, %d, want readable only", got, n)
	}
	peeked := make([]byte, 1)
	for range 2 {
		if n, err := s.Peek(t.Context(), peeked); n != 1 || err != nil || peeked[0] != 'h' {
			t.Errorf("got %q, %v, want h", peeked[:n], err)
		}
	}
	read(t, s, "hello, ")
	read(t, s, "world")
	if got, _ := s.Ready(vfs.Readable); got != 0 {
		t.Errorf("got %b, want nothing to read", got)
	}
	if got, n := s.Ready(vfs.Writable); got != vfs.Writable || n != queueSize {
		t.Errorf("got %b, %d, want room for %d", got, n, queueSize)
	}
	if stat, err := s.Stat(t.Context()); err != nil || stat.Type != vfs.TypeSocketStream {
		t.Errorf("got %v, %v, want a stream socket", stat, err)
	}

	write(t, s, "last")
	if err := s.Shutdown(t.Context(), false, true); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(t.Context(), []byte("more")); vfs.ErrnoOf(err) != vfs.EPIPE {
		t.Errorf("got %v, want EPIPE", err)
	}
	read(t, s, "last")
	end(t, s, vfs.Success)
	end(t, s, vfs.Success)
	if got, n := s.Ready(vfs.Readable); got != vfs.Readable|vfs.Hangup || n != 0 {
		t.Errorf("got %b, %d, want the end", got, n)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// What the server sends before it ends its direction is read, and what it reads after that is
// written.
func TestServerEndsFirst(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	s := connect(t, listen(t, func(conn net.Conn) {
		io.WriteString(conn, "bye")
		conn.(*net.TCPConn).CloseWrite()
		text, _ := io.ReadAll(conn)
		got <- string(text)
	}))
	read(t, s, "bye")
	end(t, s, vfs.Success)
	if events, _ := ready(t, s, vfs.Writable); events != vfs.Writable|vfs.Hangup {
		t.Errorf("got %b, want writable, without the other side's direction", events)
	}
	write(t, s, "see you")
	s.Close(t.Context())
	if text := <-got; text != "see you" {
		t.Errorf("got %q, want what was written before closing", text)
	}
}

func TestShutdownForReading(t *testing.T) {
	t.Parallel()
	s := connect(t, listen(t, echo))
	if err := s.Shutdown(t.Context(), true, false); err != nil {
		t.Fatal(err)
	}
	end(t, s, vfs.Success)
	write(t, s, "still")
	if err := s.Shutdown(t.Context(), true, true); err != nil {
		t.Fatal(err)
	}
	end(t, s, vfs.Success)
}

func TestReset(t *testing.T) {
	t.Parallel()
	s := connect(t, listen(t, func(conn net.Conn) {
		conn.(*net.TCPConn).SetLinger(0)
		io.ReadFull(conn, make([]byte, 1))
	}))
	write(t, s, "x")
	end(t, s, vfs.ECONNRESET)
	// The error that writing meets may be either, and once it is met it stays.
	var err error
	for err == nil {
		_, err = s.Write(t.Context(), []byte("more"))
	}
	if errno := vfs.ErrnoOf(err); errno != vfs.EPIPE && errno != vfs.ECONNRESET {
		t.Errorf("got %v, want EPIPE or ECONNRESET", err)
	}
	if got, _ := s.Ready(vfs.Writable); got != vfs.Writable|vfs.Hangup {
		t.Errorf("got %b, want the error to be met without waiting", got)
	}
}

// TestConnecting: without waiting an open returns at once, and the file is writable when the
// connection is there, or is known not to be.
func TestConnecting(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		err  error
		want vfs.Errno
	}{
		{"connected", nil, vfs.Success},
		{"refused", os.NewSyscallError("connect", refusedErrno), vfs.ECONNREFUSED},
		{"not allowed", fmt.Errorf("dialing: %w", &egress.AddressError{Addr: netip.MustParseAddr("10.0.0.1"), Reason: "private"}), vfs.EACCES},
		{"no such name", &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, vfs.EHOSTUNREACH},
		{"no answer to names", &net.DNSError{Err: "timeout", IsTimeout: true}, vfs.ETIMEDOUT},
		{"no answer", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, vfs.ETIMEDOUT},
		{"unknown", errors.New("what is this"), vfs.EIO},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := listen(t, echo)
			proceed := make(chan struct{})
			dial := e.Dial
			var reported []error
			e.Report = func(_ string, err error) { reported = append(reported, err) }
			e.Dial = func(ctx context.Context, network, host string, port uint16) (net.Conn, error) {
				<-proceed
				if test.err != nil {
					return nil, test.err
				}
				return dial(ctx, network, host, port)
			}
			f, err := open(t.Context(), e, false)
			if err != nil {
				t.Fatal(err)
			}
			s := f.(*socket)
			defer s.Close(context.Background())
			if got, _ := s.Ready(vfs.Readable | vfs.Writable); got != 0 {
				t.Errorf("while connecting: got %b, want nothing", got)
			}
			time.AfterFunc(10*time.Millisecond, func() { close(proceed) })
			if got, _ := ready(t, s, vfs.Writable); (got&vfs.Hangup != 0) != (test.err != nil) {
				t.Errorf("got %b, %v", got, test.err)
			}
			n, err := s.Write(t.Context(), []byte("x"))
			if vfs.ErrnoOf(err) != test.want || (n == 1) != (test.err == nil) {
				t.Errorf("writing: got %d, %v, want %v", n, err, test.want)
			}
			if test.err == nil {
				read(t, s, "x")
				return
			}
			end(t, s, test.want)
			if err := s.Shutdown(t.Context(), false, true); vfs.ErrnoOf(err) != vfs.ENOTCONN {
				t.Errorf("shutdown: got %v, want ENOTCONN", err)
			}
			if len(reported) != 1 || reported[0] != test.err {
				t.Errorf("reported %v, want %v", reported, test.err)
			}
			// With waiting it is the open that fails.
			if _, err := open(t.Context(), e, true); vfs.ErrnoOf(err) != test.want {
				t.Errorf("opening: got %v, want %v", err, test.want)
			}
		})
	}
}

// TestTimeout: connecting ends in time, and with the call.
func TestTimeout(t *testing.T) {
	t.Parallel()
	never := func(ctx context.Context, _, _ string, _ uint16) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if _, err := open(t.Context(), &Endpoint{Host: "x", Port: 1, Dial: never, Timeout: time.Millisecond}, true); vfs.ErrnoOf(err) != vfs.ETIMEDOUT {
		t.Errorf("got %v, want ETIMEDOUT", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	reported := false
	e := &Endpoint{Host: "x", Port: 1, Dial: never, Report: func(string, error) { reported = true }}
	if _, err := open(ctx, e, true); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the call", err)
	}
	if reported {
		t.Error("the end of a call was reported as if it were the network's fault")
	}
	// So does reading.
	s := connect(t, listen(t, echo))
	ctx, cancel = context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := s.Read(ctx, make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the end of the call", err)
	}
}

// TestBounded: nobody reads, on either side, and what is held stays within its bounds.
func TestBounded(t *testing.T) {
	t.Parallel()
	t.Run("the guest doesn't read", func(t *testing.T) {
		t.Parallel()
		stalled := make(chan struct{})
		s := connect(t, listen(t, func(conn net.Conn) {
			for {
				conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
				if _, err := conn.Write(make([]byte, 64<<10)); err != nil {
					close(stalled)
					return
				}
			}
		}))
		<-stalled
		s.mu.Lock()
		held, ring := s.in.held, len(s.in.ring)
		s.mu.Unlock()
		if held != queueSize || ring != queueSize {
			t.Errorf("got %d bytes in a ring of %d, want %d", held, ring, queueSize)
		}
	})
	t.Run("the server doesn't read", func(t *testing.T) {
		t.Parallel()
		done := make(chan struct{})
		s := connect(t, listen(t, func(net.Conn) { <-done }))
		defer close(done)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(500*time.Millisecond, cancel)
		total := 0
		for {
			n, err := s.Write(ctx, make([]byte, 64<<10))
			if total += n; err != nil {
				break
			}
		}
		if got, n := s.Ready(vfs.Writable); got != 0 || n != 0 {
			t.Errorf("after %d bytes: got %b, room for %d, want none", total, got, n)
		}
		s.mu.Lock()
		held, ring := s.out.held, len(s.out.ring)
		s.mu.Unlock()
		if held != queueSize || ring != queueSize {
			t.Errorf("got %d bytes in a ring of %d, want %d", held, ring, queueSize)
		}
		// Closing gives the system a moment to take what is held, and no more.
		began := time.Now()
		s.Close(t.Context())
		if took := time.Since(began); took < linger/2 || took > 10*linger {
			t.Errorf("closing took %s, want %s", took, linger)
		}
	})
	t.Run("a failed call waits for nothing", func(t *testing.T) {
		t.Parallel()
		done := make(chan struct{})
		s := connect(t, listen(t, func(net.Conn) { <-done }))
		defer close(done)
		for got := vfs.Writable; got != 0; got, _ = s.Ready(vfs.Writable) {
			if _, err := s.Write(t.Context(), make([]byte, queueSize)); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		s.Discard()
		if took := time.Since(began); took > linger/2 {
			t.Errorf("took %s", took)
		}
	})
}

// TestLeaks: nothing is left of a socket once it has been closed, in whatever state it was.
func TestLeaks(t *testing.T) {
	e := listen(t, echo)
	silent := listen(t, func(conn net.Conn) { io.Copy(io.Discard, conn) })
	never := &Endpoint{Host: "x", Port: 1, Dial: func(ctx context.Context, _, _ string, _ uint16) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	before := runtime.NumGoroutine()
	for i := range 200 {
		for _, e := range []*Endpoint{e, silent, never} {
			f, err := open(t.Context(), e, false)
			if err != nil {
				t.Fatal(err)
			}
			s := f.(*socket)
			if i%3 > 0 && e != never {
				write(t, s, "x")
			}
			if i%2 == 0 {
				s.Close(t.Context())
			}
			s.Discard()
			s.Discard()
		}
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		// Of each connection that is in the middle of its end on the server's side there may be a
		// goroutine left for a moment.
		if now := runtime.NumGoroutine(); now <= before {
			return
		} else if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// TestHammer uses many sockets from many goroutines at once, each socket by one for the guest.
func TestHammer(t *testing.T) {
	t.Parallel()
	plain, secured := servers(t)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for j := range 10 {
				e := plain
				if i%2 == 0 {
					e = secured
				}
				f, err := open(t.Context(), e, j%2 == 0)
				if err != nil {
					t.Error(err)
					return
				}
				hammer(t, f.(*socket), i*10+j)
			}
		})
	}
	all.Wait()
}

func hammer(t *testing.T, s *socket, i int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	want := bytes.Repeat([]byte(fmt.Sprintf("%d,", i)), 10_000)
	var got []byte
	for sent := 0; len(got) < len(want); {
		if events, _ := s.Ready(vfs.Writable); events&vfs.Writable != 0 && sent < len(want) {
			n, err := s.Write(ctx, want[sent:min(len(want), sent+5000)])
			if err != nil {
				t.Error(err)
				return
			}
			if sent += n; sent == len(want) {
				s.Shutdown(ctx, false, true)
			}
		}
		if events, _ := s.Ready(vfs.Readable); events&vfs.Readable != 0 {
			p := make([]byte, 7000)
			n, err := s.Read(ctx, p)
			if n == 0 || err != nil {
				t.Errorf("got %d, %v after %d of %d", n, err, len(got), len(want))
				return
			}
			got = append(got, p[:n]...)
			continue
		}
		if i%7 == 0 && len(got) > len(want)/2 {
			s.Discard() // in the middle of it
			return
		}
		woken := make(chan struct{}, 1)
		wake := func() {
			select {
			case woken <- struct{}{}:
			default:
			}
		}
		stopRead, stopWrite := s.Notify(vfs.Readable, wake), func() {}
		if sent < len(want) {
			stopWrite = s.Notify(vfs.Writable, wake)
		}
		if events, _ := s.Ready(vfs.Readable); events&vfs.Readable == 0 && sent == len(want) {
			<-woken
		}
		stopRead()
		stopWrite()
	}
	if !bytes.Equal(got, want) {
		t.Errorf("socket %d got other bytes than it sent", i)
	}
	s.Close(ctx)
}

// view opens the mount of endpoints as a call does.
func view(t *testing.T, kind string, endpoints ...*Endpoint) *vfs.Dir {
	t.Helper()
	var g engine.Grants
	if err := Grant(&g, kind, endpoints...); err != nil {
		t.Fatal(err)
	}
	tree := vfs.NewTree()
	err := g.Share("/net/"+kind, func(have vfs.FS) (vfs.FS, error) { return have, tree.Mount("/net/"+kind, have) })
	if err != nil {
		t.Fatal(err)
	}
	v := tree.View()
	t.Cleanup(func() { v.Close(context.Background()) })
	return v.Root()
}

func TestNames(t *testing.T) {
	t.Parallel()
	e := listen(t, echo)
	granted := func(host string, port uint16) *Endpoint {
		return &Endpoint{Host: host, Port: port, Dial: func(ctx context.Context, _, _ string, _ uint16) (net.Conn, error) {
			return e.Dial(ctx, "tcp", e.Host, e.Port)
		}}
	}
	root := view(t, TCP, granted("db.example.com", 5432), granted("192.0.2.1", 80), granted("::1", 5432), granted("2001:db8::1", 443))
	for _, test := range []struct {
		name string
		want vfs.Errno
	}{
		{"db.example.com:5432", vfs.Success},
		{"DB.Example.COM:5432", vfs.Success},
		{"192.0.2.1:80", vfs.Success},
		{"[::1]:5432", vfs.Success},
		{"[0:0:0:0:0:0:0:1]:5432", vfs.Success},
		{"[2001:DB8::0001]:443", vfs.Success},
		{"x/../db.example.com:5432", vfs.ENOENT},
		{"db.example.com", vfs.ENOENT},
		{"db.example.com:", vfs.ENOENT},
		{"db.example.com:5433", vfs.ENOENT},
		{"db.example.com:05432", vfs.ENOENT},
		{"db.example.com:+5432", vfs.ENOENT},
		{"db.example.com:70968", vfs.ENOENT}, // 5432 in 16 bits
		{"db.example.com:5432:5432", vfs.ENOENT},
		{"db.example.com:postgresql", vfs.ENOENT},
		{"db.example.com.:5432", vfs.ENOENT},
		{" db.example.com:5432", vfs.ENOENT},
		{"db.example.com:5432 ", vfs.ENOENT},
		{"db.example.com%00:5432", vfs.ENOENT},
		{"db.example.com\x00:5432", vfs.EINVAL},
		{"db.example.com:5432\x00x", vfs.EINVAL},
		{"db.example.com:5432/", vfs.ENOTDIR},
		{"db.example.com:5432/x", vfs.ENOENT},
		{"user@db.example.com:5432", vfs.ENOENT},
		{"tcp:db.example.com:5432", vfs.ENOENT},
		{"sub.db.example.com:5432", vfs.ENOENT},
		{"db.example.com@127.0.0.1:5432", vfs.ENOENT},
		{"127.0.0.1:5432", vfs.ENOENT},
		{"192.0.2.1:8080", vfs.ENOENT},
		{"192.0.2.01:80", vfs.ENOENT},
		{"0xc0.0.2.1:80", vfs.ENOENT},
		{"3221225985:80", vfs.ENOENT},
		{"192.0.513:80", vfs.ENOENT},
		{"[::ffff:192.0.2.1]:80", vfs.ENOENT},
		{"::1:5432", vfs.ENOENT},
		{"[::1%lo]:5432", vfs.ENOENT},
		{"[::1]5432", vfs.ENOENT},
		{":5432", vfs.ENOENT},
		{"*:5432", vfs.ENOENT},
		{"..", vfs.Success}, // /net
		{strings.Repeat("x", 251) + ":5432", vfs.ENAMETOOLONG},
	} {
		t.Run(fmt.Sprintf("%.50q", test.name), func(t *testing.T) {
			path := "net/tcp/" + test.name
			stat, err := root.Lookup(t.Context(), path, true)
			if vfs.ErrnoOf(err) != test.want || err == nil && stat.Type != vfs.TypeSocketStream && test.name != ".." {
				t.Errorf("looking it up: got %v, %v, want %v", stat, err, test.want)
			}
			f, err := root.Open(t.Context(), path, vfs.Read)
			if vfs.ErrnoOf(err) != test.want {
				t.Errorf("opening: got %v, want %v", err, test.want)
			}
			if err == nil {
				f.Close(t.Context())
			}
		})
	}
	for _, test := range []struct {
		name  string
		flags vfs.OpenFlags
		want  vfs.Errno
	}{
		{"made if it isn't there", vfs.Write | vfs.Create | vfs.Truncate, vfs.Success},
		{"made", vfs.Write | vfs.Create | vfs.Exclusive, vfs.EEXIST},
		{"as a directory", vfs.Read | vfs.OnlyDirectory, vfs.ENOTDIR},
	} {
		f, err := root.Open(t.Context(), "net/tcp/db.example.com:5432", test.flags)
		if vfs.ErrnoOf(err) != test.want {
			t.Errorf("%s: got %v, want %v", test.name, err, test.want)
		}
		if err == nil {
			f.Close(t.Context())
		}
	}
	if err := root.Unlink(t.Context(), "net/tcp/db.example.com:5432"); vfs.ErrnoOf(err) != vfs.EROFS {
		t.Errorf("removing: got %v, want EROFS", err)
	}
	if _, err := root.Open(t.Context(), "net/tls", vfs.Read); vfs.ErrnoOf(err) != vfs.ENOENT {
		t.Errorf("the folder of what isn't granted: got %v, want ENOENT", err)
	}

	dir, err := root.Open(t.Context(), "net/tcp", vfs.Read|vfs.OnlyDirectory)
	if err != nil {
		t.Fatal(err)
	}
	list, err := dir.(vfs.Directory).List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	entries := make([]vfs.Entry, 3)
	for n, err := list.Next(t.Context(), entries); n > 0 || err != nil; n, err = list.Next(t.Context(), entries) {
		for _, e := range entries[:n] {
			names = append(names, e.Name)
		}
	}
	if got, want := strings.Join(names, " "), "192.0.2.1:80 [2001:db8::1]:443 [::1]:5432 db.example.com:5432"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestAddresses: what a name leads to is checked in the moment it is connected to.
func TestAddresses(t *testing.T) {
	t.Parallel()
	served := make(chan struct{}, 100)
	port := listen(t, func(net.Conn) { served <- struct{}{} }).Port
	rebound := map[string]int{}
	var mu sync.Mutex
	resolver := egresstest.Resolver(func(name string) []netip.Addr {
		mu.Lock()
		defer mu.Unlock()
		if name == "rebinds.example" {
			// Public for whoever checks first, then the host itself.
			if rebound[name]++; rebound[name] <= 2 {
				return []netip.Addr{netip.MustParseAddr("198.51.100.1")}
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}
		for prefix, addr := range map[string]string{
			"loopback": "127.0.0.1", "other-loopback": "127.8.8.8", "loopback6": "::1", "private": "10.1.2.3",
			"cgnat": "100.64.0.1", "metadata": "169.254.169.254", "metadata6": "fd00:ec2::254", "linklocal": "fe80::1",
			"unspecified": "0.0.0.0", "unspecified6": "::", "multicast": "224.0.0.1", "broadcast": "255.255.255.255",
			"mapped": "::ffff:127.0.0.1", "compatible": "::127.0.0.1", "nat64": "64:ff9b::7f00:1", "6to4": "2002:7f00:1::",
			"unique-local": "fd12::1",
		} {
			if name == prefix+".example" {
				return []netip.Addr{netip.MustParseAddr(addr)}
			}
		}
		return nil
	})
	tried := func(host string, policy *egress.Policy) error {
		e := &Endpoint{Host: host, Port: port, Dial: policy.Dial, Timeout: 5 * time.Second}
		f, err := open(t.Context(), e, true)
		if err == nil {
			f.Close(t.Context())
		}
		return err
	}
	strict := &egress.Policy{Resolver: resolver}
	ten := &egress.Policy{Resolver: resolver, Private: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for _, name := range []string{
		"loopback", "other-loopback", "loopback6", "private", "cgnat", "metadata", "metadata6", "linklocal", "unspecified", "unspecified6",
		"multicast", "broadcast", "mapped", "compatible", "nat64", "6to4", "unique-local",
	} {
		if err := tried(name+".example", strict); vfs.ErrnoOf(err) != vfs.EACCES {
			t.Errorf("%s: got %v, want EACCES", name, err)
		}
		if err := tried(name+".example", ten); name != "private" && vfs.ErrnoOf(err) != vfs.EACCES {
			t.Errorf("%s, with other private addresses allowed: got %v, want EACCES", name, err)
		}
	}
	for _, literal := range []string{"127.0.0.1", "::1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "localhost"} {
		if err := tried(literal, strict); vfs.ErrnoOf(err) != vfs.EACCES {
			t.Errorf("%s: got %v, want EACCES", literal, err)
		}
	}
	for range 4 {
		if err := tried("rebinds.example", strict); vfs.ErrnoOf(err) != vfs.EACCES {
			t.Errorf("a name that rebinds: got %v, want EACCES", err)
		}
	}
	if n := len(served); n > 0 {
		t.Errorf("%d connections were made all the same", n)
	}
	allowed := &egress.Policy{Resolver: resolver, Private: loopback.Private}
	if err := tried("loopback.example", allowed); err != nil {
		t.Errorf("allowed: got %v", err)
	}
}

func TestGrant(t *testing.T) {
	t.Parallel()
	a, b := &Endpoint{Host: "a", Port: 1}, &Endpoint{Host: "b", Port: 1}
	var g engine.Grants
	if err := Grant(&g, TCP, a); err != nil {
		t.Fatal(err)
	}
	var first vfs.FS
	keep := func(have vfs.FS) (vfs.FS, error) { first = have; return have, nil }
	if err := g.Share("/net/tcp", keep); err != nil {
		t.Fatal(err)
	}
	if err := Grant(&g, TCP, b); err != nil {
		t.Errorf("a second line: %v", err)
	}
	if names := first.(*folder).names; len(names) != 1 {
		t.Errorf("what others use was changed: %q", names)
	}
	if err := Grant(&g, TCP, &Endpoint{Host: "a", Port: 1}); err == nil || !strings.Contains(err.Error(), "tcp a:1 is granted twice") {
		t.Errorf("got %v, want that it is granted twice", err)
	}
	if err := Grant(&g, TLS, a); err != nil {
		t.Errorf("the same address in the other folder: %v", err)
	}
	if err := g.Mount("/net/x", vfs.Null); err != nil {
		t.Fatal(err)
	}
	if err := Grant(&g, "x", a); err == nil {
		t.Error("over another mount: got no error")
	}
	if _, err := (Endpoint{}).Parse([]string{strings.Repeat("x.", 125) + "xx:65535"}); err == nil {
		t.Error("an address that can't be the name of a file: got no error")
	}
}

func TestSparingly(t *testing.T) {
	t.Parallel()
	var got []string
	report := Sparingly(func(address string, _ error, unreported int) { got = append(got, fmt.Sprint(address, unreported)) })
	for range 100 {
		report("a", io.EOF)
	}
	report("b", io.EOF)
	if want := "a0 b0"; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
