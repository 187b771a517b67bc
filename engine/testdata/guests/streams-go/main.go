// Command streams-go waits for streams as Go programs do: in goroutines that
// others don't wait for. Its argument says what to do; it prints "ok" or what
// went wrong.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	var ticks atomic.Int64
	go func() {
		for range time.Tick(5 * time.Millisecond) {
			ticks.Add(1)
		}
	}()
	do := map[string]func() error{"stdin": stdin, "deadline": deadline, "echo": echo, "parallel": parallel, "shutdown": shutdown}
	if err := do[os.Args[1]](); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	if os.Args[1] != "echo" && ticks.Load() == 0 {
		fmt.Println("no other goroutine ran meanwhile")
		os.Exit(1)
	}
	fmt.Println("ok")
}

// stdin reads what comes slowly.
func stdin() error {
	text, err := io.ReadAll(os.Stdin)
	if err != nil || string(text) != "one two three" {
		return fmt.Errorf("got %q, %v", text, err)
	}
	return nil
}

// dial opens a socket. Not with os.OpenFile: what that returns makes
// net.FileConn of Go 1.26 crash on wasip1.
func dial() (net.Conn, error) {
	fd, err := syscall.Open("/net/echo", syscall.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "/net/echo")
	defer f.Close()
	return net.FileConn(f)
}

// deadline waits for nothing.
func deadline() error {
	conn, err := dial()
	if err != nil {
		return err
	}
	for range 3 {
		if err := conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
			return err
		}
		if n, err := conn.Read(make([]byte, 10)); n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("got %d, %v, want the deadline", n, err)
		}
	}
	return nil
}

// echo sends more than the socket holds, while another goroutine receives it.
func echo() error {
	conn, err := dial()
	if err != nil {
		return err
	}
	return exchange(conn, 5000)
}

func exchange(conn net.Conn, n int) error {
	sent := make(chan error, 1)
	go func() {
		for i := range n {
			if _, err := conn.Write([]byte{byte(i)}); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	got := make([]byte, n)
	if _, err := io.ReadFull(conn, got); err != nil {
		return err
	}
	for i, b := range got {
		if b != byte(i) {
			return fmt.Errorf("byte %d: got %d", i, b)
		}
	}
	return <-sent
}

// parallel uses several sockets at once, and waits for one that is silent.
func parallel() error {
	silent, err := dial()
	if err != nil {
		return err
	}
	ended := make(chan error)
	for range 4 {
		go func() {
			conn, err := dial()
			if err == nil {
				err = exchange(conn, 500)
			}
			ended <- err
		}()
	}
	for range 4 {
		if err := <-ended; err != nil {
			return err
		}
	}
	_ = silent.SetDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := silent.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("got %v, want the deadline", err)
	}
	return silent.Close()
}

// shutdown ends one direction, while a goroutine reads the other.
func shutdown() error {
	conn, err := dial()
	if err != nil {
		return err
	}
	time.AfterFunc(20*time.Millisecond, func() {
		_, _ = conn.Write([]byte("last"))
		_ = conn.(*net.TCPConn).CloseWrite()
	})
	text, err := io.ReadAll(conn)
	if err != nil || string(text) != "last" {
		return fmt.Errorf("got %q, %v", text, err)
	}
	if _, err := conn.Write([]byte("x")); err == nil {
		return errors.New("wrote after the end")
	}
	return nil
}
