// Command server is the Go server that functions compete with: it does what the
// guests do, behind reverse_proxy. It is a program of its own so that its size
// and its start are those of such a server.
//
//	server [<address>]
//
// It prints the address it listens on, by default one of the loopback
// interface, and serves until it is interrupted.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	address := "127.0.0.1:0"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	// In a container it is process 1, whom signals end only when it asks for them.
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	failed := make(chan error, 1)
	go func() { failed <- serve(address, os.Stdout) }()
	select {
	case <-interrupted:
	case err := <-failed:
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

func serve(address string, stdout io.Writer) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(stdout, listener.Addr()); err != nil {
		return err
	}
	return http.Serve(listener, handler())
}
