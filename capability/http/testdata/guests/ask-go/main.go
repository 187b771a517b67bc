// Ask makes each request that it reads, a line each, and writes the answers.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
)

func main() {
	f, err := os.OpenFile("/net/http", os.O_RDWR, 0)
	check(err)
	requests := bufio.NewReader(os.Stdin)
	for i := 0; ; i++ {
		line, err := requests.ReadString('\n')
		if err == io.EOF {
			break
		}
		check(err)
		_, err = io.WriteString(f, line)
		check(err)
		var from io.Reader = f
		if i%2 == 1 {
			from = bufio.NewReader(f)
		}
		answer, err := io.ReadAll(from)
		check(err)
		_, err = os.Stdout.Write(answer)
		check(err)
	}
	check(f.Close())
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
