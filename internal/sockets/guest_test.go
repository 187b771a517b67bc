package sockets

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/toolchain/toolchaintest"
)

// shared are the programs that most tests use, compiled once: by nobody closed.
var shared sync.Map

// guest returns the program in a folder.
func guest(t testing.TB, dir string) *engine.Program {
	t.Helper()
	module := toolchaintest.Build(t, dir)
	once, _ := shared.LoadOrStore(dir, sync.OnceValues(func() (*engine.Program, error) {
		e, err := engine.New(engine.Config{})
		if err != nil {
			return nil, err
		}
		return e.Compile(context.Background(), module)
	}))
	program, err := once.(func() (*engine.Program, error))()
	if err != nil {
		t.Fatal(err)
	}
	return program
}

// run calls a program with arguments; the endpoints are granted.
func run(t testing.TB, program *engine.Program, options engine.Options, endpoints []*Endpoint, args ...string) (out, log string, err error) {
	t.Helper()
	for _, e := range endpoints {
		if err := Grant(&options.Grants, e.Kind(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, arg := range append([]string{"dial"}, args...) {
		options.Args = append(options.Args, engine.Value{Fixed: arg})
	}
	if options.Limits.Timeout == 0 {
		options.Limits.Timeout = time.Minute
	}
	options.Limits.Log = 1 << 20
	if options.Limits.Files == 0 {
		options.Limits.Files = 20
	}
	f, err := program.Function(options)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var stdout, stderr strings.Builder
	_, err = f.Run(t.Context(), nil, &stdout, &stderr)
	return stdout.String(), stderr.String(), err
}

func path(e *Endpoint) string { return e.Kind() + "/" + e.Name() }

// servers are what guests connect to: two that echo, over TCP and TLS.
func servers(t testing.TB) (plain, secured *Endpoint) {
	ca := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}}
	return listen(t, echo), secure(t, listen(t, over(config, echo)), &tls.Config{RootCAs: ca.roots()}, Directly)
}

func TestGoGuest(t *testing.T) {
	t.Parallel()
	program := guest(t, "testdata/dial-go")
	plain, secured := servers(t)
	slow := *plain
	slow.Host = "slow.example"
	slow.Dial = delayed(plain, 100*time.Millisecond)
	gone := *plain
	gone.Port = closedPort(t)
	private := *plain
	private.Host, private.Dial = "10.0.0.1", loopback.Dial
	all := []*Endpoint{plain, secured, &slow, &gone, &private}
	both := []string{path(plain), path(secured)}
	for _, test := range []struct {
		do   string
		args []string
	}{
		{"echo", both},
		{"file", both},
		{"deadline", both[:1]},
		{"deadline", both[1:]},
		{"connecting", []string{path(&slow)}},
		{"two", slices.Concat(both, both)},
		{"poll", both},
		{"halves", both},
		{"refused", []string{path(&gone), strconv.Itoa(int(vfs.ECONNREFUSED))}},
		{"refused", []string{path(&private), strconv.Itoa(int(vfs.EACCES))}},
		{"absent", []string{"tcp/192.0.2.1:80", "tls/" + plain.Name(), "udp/" + plain.Name(), "tcp/x/" + plain.Name(), "tcp/" + secured.Name()}},
		{"many", both[:1]},
		{"list", sortedPaths(plain, &slow, &gone, &private)},
	} {
		t.Run(test.do, func(t *testing.T) {
			t.Parallel()
			out, log, err := run(t, program, engine.Options{}, all, append([]string{test.do}, test.args...)...)
			if err != nil || out != "ok\n" {
				t.Errorf("got %q, %v\n%s", out, err, log)
			}
		})
	}
	// Should this fail, there is a shorter way for Go programs to connect: say so in
	// docs/capabilities.md.
	t.Run("net.FileConn of what os.OpenFile returns crashes", func(t *testing.T) {
		t.Parallel()
		out, log, err := run(t, program, engine.Options{}, all, "openfile", path(plain))
		if err == nil || out == "ok\n" {
			t.Errorf("got %q, %v\n%s, want a crash", out, err, log)
		}
	})
}

func sortedPaths(endpoints ...*Endpoint) (paths []string) {
	for _, e := range endpoints {
		paths = append(paths, path(e))
	}
	slices.Sort(paths)
	return paths
}

// delayed dials e after a while.
func delayed(e *Endpoint, by time.Duration) func(context.Context, string, string, uint16) (net.Conn, error) {
	return func(ctx context.Context, network, _ string, port uint16) (net.Conn, error) {
		time.Sleep(by)
		return e.Dial(ctx, network, e.Host, port)
	}
}

// closedPort is a port on which nobody listens.
func closedPort(t testing.TB) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func TestCGuest(t *testing.T) {
	t.Parallel()
	program := guest(t, "testdata/dial-c")
	plain, secured := servers(t)
	for _, e := range []*Endpoint{plain, secured} {
		out, log, err := run(t, program, engine.Options{}, []*Endpoint{e}, "/net/"+path(e), "/net/"+path(e))
		if err != nil || out != "ok\n" {
			t.Errorf("%s: got %q, %v\n%s", e.Kind(), out, err, log)
		}
	}
}

// TestEndOfCall: what a call leaves open ends with it.
func TestEndOfCall(t *testing.T) {
	t.Parallel()
	program := guest(t, "testdata/dial-go")
	type stream struct {
		text string
		err  error
	}
	got := make(chan stream, 1)
	e := listen(t, func(conn net.Conn) {
		text, err := io.ReadAll(conn)
		got <- stream{string(text), err}
	})
	if out, log, err := run(t, program, engine.Options{}, []*Endpoint{e}, "leave", path(e)); err != nil {
		t.Errorf("got %q, %v\n%s", out, err, log)
	}
	if s := <-got; s.text != "good bye" || s.err != nil {
		t.Errorf("left open: the server got %q, %v, want what was written", s.text, s.err)
	}
	began := time.Now()
	limits := engine.Limits{Timeout: 300 * time.Millisecond}
	if _, _, err := run(t, program, engine.Options{Limits: limits}, []*Endpoint{e}, "hang", path(e)); !errors.Is(err, engine.ErrTimeout) {
		t.Errorf("got %v, want ErrTimeout", err)
	}
	<-got
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the connection ended after %s", took)
	}
}

// TestMemory: sockets count against the ceiling that all calls share, until they are closed.
func TestMemory(t *testing.T) {
	t.Parallel()
	plain, _ := servers(t)
	e, err := engine.New(engine.Config{Memory: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	program, err := e.Compile(t.Context(), toolchaintest.Build(t, "testdata/dial-go"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	limits := engine.Limits{Files: 1 << 20}
	out, log, err := run(t, program, engine.Options{Limits: limits}, []*Endpoint{plain}, "exhaust", path(plain))
	if err != nil || out != "ok\n" {
		t.Errorf("got %q, %v\n%s", out, err, log)
	}
}

// TestRefusals: who watches a call sees what it was refused.
func TestRefusals(t *testing.T) {
	t.Parallel()
	program := guest(t, "testdata/dial-go")
	plain, secured := servers(t)
	private := *plain
	private.Host, private.Dial = "10.0.0.1", loopback.Dial
	var mu sync.Mutex
	seen := make(map[engine.Refusal]bool)
	watched := func() engine.Options {
		var options engine.Options
		options.Grants.Watch(func(r engine.Refusal) {
			mu.Lock()
			defer mu.Unlock()
			seen[r] = true
		})
		return options
	}
	run(t, program, watched(), []*Endpoint{plain, secured}, "absent", "tcp/DB.example:5432", "tls/[2001:DB8:0::1]:443", "tcp/no address")
	run(t, program, watched(), []*Endpoint{&private}, "refused", path(&private), strconv.Itoa(int(vfs.EACCES)))
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []engine.Refusal{
		{Kind: "tcp", What: "db.example:5432"},
		{Kind: "tls", What: "[2001:db8::1]:443"},
		{Kind: "tcp", What: "10.0.0.1:" + strconv.Itoa(int(plain.Port)), How: "private 10.0.0.1"},
	} {
		if !seen[want] {
			t.Errorf("got %v, want %v in it", seen, want)
		}
		delete(seen, want)
	}
	for r := range seen {
		if r.Kind == TCP || r.Kind == TLS {
			t.Errorf("got %v too", r)
		}
	}
}

// BenchmarkGuest measures a program in Go that sends to a server and gets back what it sent:
// single bytes, and as much as it can.
func BenchmarkGuest(b *testing.B) {
	program := guest(b, "testdata/dial-go")
	plain, secured := servers(b)
	for _, do := range []string{"rounds", "stream"} {
		b.Run(do, func(b *testing.B) {
			for b.Loop() {
				out, log, err := run(b, program, engine.Options{}, []*Endpoint{plain, secured}, do, path(plain), path(secured))
				if err != nil {
					b.Fatalf("got %q, %v\n%s", out, err, log)
				}
				b.Log("\n" + log)
			}
		})
	}
}

// BenchmarkSocket is BenchmarkGuest without a guest.
func BenchmarkSocket(b *testing.B) {
	plain, secured := servers(b)
	for _, e := range []*Endpoint{plain, secured} {
		b.Run(e.Kind()+" rounds", func(b *testing.B) {
			s := connect(b, e)
			p := make([]byte, 1)
			for b.Loop() {
				s.Write(b.Context(), p)
				s.Read(b.Context(), p)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rounds/s")
		})
	}
}

// BenchmarkHost is BenchmarkGuest without a guest and without sockets of ours.
func BenchmarkHost(b *testing.B) {
	plain, secured := servers(b)
	for _, e := range []*Endpoint{plain, secured} {
		dial := func() net.Conn {
			conn, err := e.Dial(b.Context(), "tcp", e.Host, e.Port)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { conn.Close() })
			if e.TLS != nil {
				return tls.Client(conn, e.TLS)
			}
			return conn
		}
		b.Run(e.Kind()+" rounds", func(b *testing.B) {
			conn := dial()
			p := make([]byte, 1)
			for b.Loop() {
				conn.Write(p)
				io.ReadFull(conn, p)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rounds/s")
		})
		b.Run(e.Kind()+" stream", func(b *testing.B) {
			conn := dial()
			p, q := make([]byte, 64<<10), make([]byte, 64<<10)
			b.SetBytes(int64(len(p)))
			go func() {
				for {
					if _, err := conn.Write(p); err != nil {
						return
					}
				}
			}()
			for b.Loop() {
				if _, err := io.ReadFull(conn, q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
