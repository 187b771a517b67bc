// Command frozen-go shows what a start-up sees of files. Each of its arguments is one look: "cat /x"
// reads a file, "head /x" three bytes of it, "ls /x" a directory, "stat /x" tells size and time, "link /x" where a symbolic link leads. It does
// all, declares itself safe and reads standard input; then it prints what it had seen, and
// behind "now:", if that was its input, what it sees by then. A file that says "broken" ends it with 1 before it
// reads, and an input with "flood" makes it write more than it may. With "json" as an argument it prints a response.
package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
)

func look(at string) string {
	how, path, _ := strings.Cut(at, " ")
	switch how {
	case "cat":
		text, err := os.ReadFile(path)
		if err != nil {
			return "no"
		}
		if bytes.Contains(text, []byte("broken")) {
			fmt.Fprintf(os.Stderr, "SyntaxError: %s says broken\n", path)
			os.Exit(1)
		}
		return string(text)
	case "head":
		f, err := os.Open(path)
		if err != nil {
			return "no"
		}
		defer f.Close()
		var text [3]byte
		n, _ := f.Read(text[:])
		return string(text[:n])
	case "ls":
		entries, err := os.ReadDir(path)
		if err != nil {
			return "no"
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, ",")
	case "stat":
		info, err := os.Stat(path)
		if err != nil {
			return "no"
		}
		return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
	case "link":
		to, err := os.Readlink(path)
		if err != nil {
			return "no"
		}
		return to
	}
	panic(at)
}

// json: the answer is a response object.
var json bool

func all() string {
	var seen []string
	for _, at := range os.Args[1:] {
		if json = json || at == "json"; at != "json" {
			seen = append(seen, look(at))
		}
	}
	return strings.Join(seen, " ")
}

func main() {
	seen := all()
	if err := os.WriteFile("/dev/snapshot", []byte("safe"), 0); err != nil {
		panic(err)
	}
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	switch {
	case string(in) == "now":
		seen += " now: " + all()
	case strings.Contains(string(in), "flood"):
		seen = strings.Repeat("x", 1<<20)
	}
	if json {
		seen = fmt.Sprintf(`{"body":%q}`, seen)
	}
	fmt.Print(seen)
}
