package gojinn

import (
	"io"
	"os"
	"syscall"
)

// exit ends the program. What [os.Exit] does besides, which is nothing here, takes
// longer than it should.
func exit(code int) { syscall.Exit(code) }

// readSome reads from standard input. [os.Stdin] would ask for its flags and wait for it
// with a poller first; it is left to wait where that has to be, as Go has made standard input non-blocking.
func readSome(p []byte) (int, error) {
	n, err := syscall.Read(0, p)
	switch {
	case err == syscall.EAGAIN:
		return os.Stdin.Read(p)
	case n <= 0 && err == nil:
		return 0, io.EOF
	}
	return max(n, 0), err
}

// readBody reads from standard input what follows the request object. Other goroutines go on
// while one waits for that.
func readBody() func([]byte) (int, error) { return os.Stdin.Read }

// writeOutput writes all of p to standard output.
func writeOutput(p []byte) error {
	for len(p) > 0 {
		n, err := syscall.Write(1, p)
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}
