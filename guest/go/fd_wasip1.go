package gojinn

import "syscall"

// exit ends the program. What [os.Exit] does besides, which is nothing here, takes
// longer than it should.
func exit(code int) { syscall.Exit(code) }

// readInput reads standard input to its end, into buf as long as there is room.
// [os.Stdin] would ask for its flags and wait for it with a poller first.
func readInput(buf []byte) ([]byte, error) {
	return readAll(buf, func(p []byte) (int, error) { return syscall.Read(0, p) })
}

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
