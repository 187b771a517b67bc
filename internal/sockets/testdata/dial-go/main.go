// Command dial-go uses sockets as Go programs do. Its arguments are what to do and the names of
// sockets; it prints "ok" or what went wrong.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

func main() {
	do := map[string]func(names []string) error{
		"echo": echo, "file": file, "openfile": openFile, "deadline": deadline, "connecting": connecting, "two": two, "poll": poll,
		"halves": halves, "refused": refused, "absent": absent, "many": many, "list": list, "leave": leave, "exhaust": exhaust, "hang": hang,
		"rounds": rounds, "stream": stream,
	}
	if err := do[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ok")
}

// dial is what a program needs to connect while its other goroutines go on: package syscall
// can't open a file without waiting.
func dial(name string) (net.Conn, error) {
	const (
		root      = 3 // the only directory that is open from the beginning
		readWrite = 1<<1 | 1<<6
		poll      = 1 << 27
		shutdown  = 1 << 28
		setFlags  = 1 << 3
		nonblock  = 1 << 2
	)
	path := "net/" + name
	var fd uint32
	rights := uint64(readWrite | poll | shutdown | setFlags)
	if errno := pathOpen(root, 0, unsafe.Pointer(unsafe.StringData(path)), uint32(len(path)), 0, rights, rights, nonblock, unsafe.Pointer(&fd)); errno != 0 {
		return nil, &os.PathError{Op: "open", Path: "/" + path, Err: syscall.Errno(errno)}
	}
	return connOf(int(fd), name)
}

//go:wasmimport wasi_snapshot_preview1 path_open
//go:noescape
func pathOpen(dir, lookup uint32, path unsafe.Pointer, length, how uint32, base, inheriting uint64, flags uint32, fd unsafe.Pointer) uint32

// dialWaiting is the simple way: until the connection is there, the whole program waits.
func dialWaiting(name string) (net.Conn, error) {
	fd, err := syscall.Open("/net/"+name, syscall.O_RDWR, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/net/" + name, Err: err}
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	return connOf(fd, name)
}

// connOf makes a connection of a descriptor that doesn't wait. Not of what os.OpenFile returns,
// which makes net.FileConn of Go 1.26 crash on wasip1.
func connOf(fd int, name string) (net.Conn, error) {
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	return net.FileConn(f)
}

func exchange(conn io.ReadWriter, n int) error {
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write([]byte(strings.Repeat("0123456789", n/10)))
		sent <- err
	}()
	got := make([]byte, n/10*10)
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	if string(got) != strings.Repeat("0123456789", n/10) {
		return errors.New("got other bytes than were sent")
	}
	return <-sent
}

func echo(names []string) error {
	for _, name := range names {
		for _, dial := range []func(string) (net.Conn, error){dial, dialWaiting} {
			conn, err := dial(name)
			if err != nil {
				return err
			}
			if err := exchange(conn, 1_000_000); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			if err := conn.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}

// file uses a socket like any other file, and waits in each call.
func file(names []string) error {
	for _, name := range names {
		f, err := os.OpenFile("/net/"+name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if _, err := f.WriteString("hello\n"); err != nil {
			return err
		}
		got := make([]byte, 6)
		if _, err := io.ReadFull(f, got); err != nil || string(got) != "hello\n" {
			return fmt.Errorf("got %q, %v", got, err)
		}
		if info, err := f.Stat(); err != nil || info.Mode().Type() != os.ModeSocket {
			return fmt.Errorf("got %v, %v, want a socket", info.Mode(), err)
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}

// openFile is the short way, which crashes.
func openFile(names []string) error {
	f, err := os.OpenFile("/net/"+names[0], os.O_RDWR, 0)
	if err != nil {
		return err
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return err
	}
	return exchange(conn, 100)
}

// deadline waits for a socket that is silent, while another goroutine goes on.
func deadline(names []string) error {
	conn, err := dial(names[0])
	if err != nil {
		return err
	}
	var ticks atomic.Int64
	go func() {
		for range time.Tick(5 * time.Millisecond) {
			ticks.Add(1)
		}
	}()
	for range 3 {
		if err := conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			return err
		}
		if n, err := conn.Read(make([]byte, 10)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("got %d, %v, want the deadline", n, err)
		}
	}
	if ticks.Load() == 0 {
		return errors.New("no other goroutine ran meanwhile")
	}
	// The connection isn't the worse for it.
	if err := conn.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	return exchange(conn, 100)
}

// connecting waits for a connection that isn't made for a while, while another goroutine goes on.
func connecting(names []string) error {
	ticks := 0
	ended := make(chan error)
	go func() {
		conn, err := dial(names[0])
		if err == nil {
			err = exchange(conn, 100)
		}
		ended <- err
	}()
	for ticker := time.Tick(5 * time.Millisecond); ; {
		select {
		case <-ticker:
			ticks++
		case err := <-ended:
			if ticks == 0 && err == nil {
				err = errors.New("no other goroutine ran meanwhile")
			}
			return err
		}
	}
}

// two uses all the sockets at once, in goroutines.
func two(names []string) error {
	ended := make(chan error)
	for _, name := range names {
		go func() {
			conn, err := dial(name)
			if err == nil {
				err = exchange(conn, 200_000)
			}
			ended <- err
		}()
	}
	var errs []error
	for range names {
		errs = append(errs, <-ended)
	}
	return errors.Join(errs...)
}

//go:wasmimport wasi_snapshot_preview1 poll_oneoff
//go:noescape
func pollOneoff(in, out unsafe.Pointer, n uint32, events unsafe.Pointer) uint32

// poll waits for two sockets without Go's help, of which only the second has something to say.
func poll(names []string) error {
	var fds [2]int
	for i := range fds {
		var err error
		if fds[i], err = syscall.Open("/net/"+names[i], syscall.O_RDWR, 0); err != nil {
			return err
		}
	}
	if _, err := syscall.Write(fds[1], []byte("hello")); err != nil {
		return err
	}
	type subscription struct {
		userdata uint64
		kind     uint64
		fd       uint64
		_        [3]uint64
	}
	type event struct {
		userdata uint64
		errno    uint16
		kind     uint16
		_        uint32
		bytes    uint64
		flags    uint64
	}
	const read = 1
	in := [2]subscription{{userdata: 10, kind: read, fd: uint64(fds[0])}, {userdata: 11, kind: read, fd: uint64(fds[1])}}
	var out [2]event
	var n uint32
	if errno := pollOneoff(unsafe.Pointer(&in), unsafe.Pointer(&out), 2, unsafe.Pointer(&n)); errno != 0 {
		return syscall.Errno(errno)
	}
	if n != 1 || out[0].userdata != 11 || out[0].errno != 0 || out[0].bytes == 0 || out[0].bytes > 5 {
		return fmt.Errorf("got %d events, the first %+v", n, out[0])
	}
	return nil
}

// halves ends its direction and reads on.
func halves(names []string) error {
	for _, name := range names {
		conn, err := dial(name)
		if err != nil {
			return err
		}
		if _, err := conn.Write([]byte("last")); err != nil {
			return err
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		text, err := io.ReadAll(conn)
		if err != nil || string(text) != "last" {
			return fmt.Errorf("got %q, %v", text, err)
		}
		if _, err := conn.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			return fmt.Errorf("wrote after the end: got %v, want EPIPE", err)
		}
	}
	return nil
}

// refused connects to what refuses it, with waiting and without. The last argument is the number.
func refused(args []string) error {
	number, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	want := syscall.Errno(number)
	if _, err := syscall.Open("/net/"+args[0], syscall.O_RDWR, 0); err != want {
		return fmt.Errorf("opening: got %v, want %v", err, want)
	}
	conn, err := dial(args[0])
	if err != nil {
		return err
	}
	if _, err := conn.Write([]byte("x")); !errors.Is(err, want) {
		return fmt.Errorf("writing: got %v, want %v", err, want)
	}
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, want) {
		return fmt.Errorf("reading: got %v, want %v", err, want)
	}
	return nil
}

// absent opens what isn't there.
func absent(names []string) error {
	for _, name := range names {
		if _, err := dial(name); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s: got %v, want that it doesn't exist", name, err)
		}
	}
	return nil
}

// many opens more sockets than a call may have.
func many(names []string) error {
	for i := range 100 {
		if _, err := syscall.Open("/net/"+names[0], syscall.O_RDWR, 0); err == syscall.EMFILE && i > 0 {
			return nil
		} else if err != nil {
			return err
		}
	}
	return errors.New("there is no limit")
}

// exhaust opens sockets until there is no memory for more, closes them, and finds that there is
// as much as before.
func exhaust(names []string) error {
	var counts []int
	for range 2 {
		var fds []int
		for {
			fd, err := syscall.Open("/net/"+names[0], syscall.O_RDWR, 0)
			if err == syscall.ENOBUFS {
				break
			} else if err != nil {
				return err
			}
			fds = append(fds, fd)
		}
		counts = append(counts, len(fds))
		for _, fd := range fds {
			if err := syscall.Close(fd); err != nil {
				return err
			}
		}
	}
	if counts[0] < 2 || counts[0] > 1000 || counts[1] < counts[0]-counts[0]/10-1 {
		return fmt.Errorf("there was room for %d sockets", counts)
	}
	return nil
}

func list(names []string) error {
	entries, err := os.ReadDir("/net/tcp")
	if err != nil {
		return err
	}
	var got []string
	for _, e := range entries {
		got = append(got, "tcp/"+e.Name())
	}
	if !slices.Equal(got, names) {
		return fmt.Errorf("got %q, want %q", got, names)
	}
	return nil
}

// leave ends with an open socket that it has written to.
func leave(names []string) error {
	conn, err := dial(names[0])
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte("good bye"))
	return err
}

// hang waits for ever.
func hang(names []string) error {
	conn, err := dial(names[0])
	if err != nil {
		return err
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// rounds measures how often a byte goes there and back in a second, through a connection and
// through a file.
func rounds(names []string) error {
	const n = 20_000
	for _, name := range names {
		conn, err := dial(name)
		if err != nil {
			return err
		}
		f, err := os.OpenFile("/net/"+name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		for _, way := range []struct {
			name string
			rw   io.ReadWriter
		}{{"connection", conn}, {"file", f}} {
			b := make([]byte, 1)
			began := time.Now()
			for range n {
				if _, err := way.rw.Write(b); err != nil {
					return err
				}
				if _, err := way.rw.Read(b); err != nil {
					return err
				}
			}
			fmt.Fprintf(os.Stderr, "%s, %s: %.0f rounds/s\n", name[:3], way.name, n/time.Since(began).Seconds())
		}
	}
	return nil
}

// stream measures how fast bytes go there and back.
func stream(names []string) error {
	const n = 200_000_000
	for _, name := range names {
		conn, err := dial(name)
		if err != nil {
			return err
		}
		began := time.Now()
		go func() {
			p := make([]byte, 64<<10)
			for left := n; left > 0; {
				m, err := conn.Write(p[:min(left, len(p))])
				if left -= m; err != nil {
					return
				}
			}
		}()
		p := make([]byte, 64<<10)
		for got := 0; got < n; {
			m, err := conn.Read(p)
			if got += m; err != nil {
				return err
			}
		}
		fmt.Fprintf(os.Stderr, "%s: %.0f MB/s\n", name[:3], n/1e6/time.Since(began).Seconds())
	}
	return nil
}
