//go:build !wasip1

package gojinn

import "os"

func exit(code int) { os.Exit(code) }

// readInput reads standard input to its end, into buf as long as there is room.
func readInput(buf []byte) ([]byte, error) { return readAll(buf, os.Stdin.Read) }

// writeOutput writes all of p to standard output.
func writeOutput(p []byte) error {
	_, err := os.Stdout.Write(p)
	return err
}
