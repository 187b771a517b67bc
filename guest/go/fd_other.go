//go:build !wasip1

package gojinn

import "os"

func exit(code int) { os.Exit(code) }

// readSome reads from standard input, as an [io.Reader] does.
func readSome(p []byte) (int, error) { return os.Stdin.Read(p) }

// readBody reads from standard input what follows the request object.
func readBody() func([]byte) (int, error) { return readSome }

// writeOutput writes all of p to standard output.
func writeOutput(p []byte) error {
	_, err := os.Stdout.Write(p)
	return err
}
