// Wasicheck exercises one area of WASI preview 1 through Go's standard library
// and prints "ok" or what differs. What it needs to find is in ../README.md.
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

var checks = map[string]func(){
	"args":        checkArgs,
	"env":         checkEnv,
	"clock":       checkClock,
	"random":      checkRandom,
	"stdin":       checkStdin,
	"files":       checkFiles,
	"directories": checkDirectories,
	"links":       checkLinks,
	"read-only":   checkReadOnly,
	"escape":      checkEscape,
	"devices":     checkDevices,
	"goroutines":  checkGoroutines,
	"working-dir": checkWorkingDir,
}

var differences int

func differs(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	differences++
}

// ok says that an operation should not have failed.
func ok(what string, err error) {
	if err != nil {
		differs("%s: %v", what, err)
	}
}

// fails wants one of some errors, any error when there are none.
func fails(what string, err error, want ...error) {
	if err == nil || len(want) > 0 && !slices.ContainsFunc(want, func(w error) bool { return errors.Is(err, w) }) {
		differs("%s: got %v, want %v", what, err, want)
	}
}

func equal[T comparable](what string, got, want T) {
	if got != want {
		differs("%s: got %v, want %v", what, got, want)
	}
}

func checkArgs() {
	if want := []string{"args", "a b", "", "ü€", "--x=y", "\"'\\", "last"}; !slices.Equal(os.Args[1:], want) {
		differs("got %q, want %q", os.Args[1:], want)
	}
}

func checkEnv() {
	got, want := os.Environ(), []string{"EMPTY=", "EQUALS=a=b=c", "GREETING=hello world", "UNICODE=ü€"}
	slices.Sort(got)
	// Go's os package finds its working directory here.
	got = slices.DeleteFunc(got, func(v string) bool { return strings.HasPrefix(v, "PWD=") })
	if !slices.Equal(got, want) {
		differs("got %q, want %q", got, want)
	}
}

func checkClock() {
	now, start := time.Now(), time.Now()
	if now.Year() < 2020 || now.Year() > 2100 {
		differs("now is %v", now)
	}
	time.Sleep(30 * time.Millisecond)
	if took := time.Since(start); took < 30*time.Millisecond {
		differs("slept %v", took)
	}
	select {
	case <-time.After(time.Hour):
	case <-time.After(10 * time.Millisecond):
	}
	if took := time.Since(start); took > time.Minute {
		differs("waited %v", took)
	}
}

func checkRandom() {
	a, b := make([]byte, 1<<20), make([]byte, 1<<20)
	rand.Read(a)
	rand.Read(b)
	if bytes.Equal(a, b) || bytes.Count(a, []byte{0}) > 6000 {
		differs("not random")
	}
}

func checkStdin() {
	text, err := io.ReadAll(os.Stdin)
	ok("reading stdin", err)
	equal("stdin", string(text), "hello stdin\n")
	n, err := os.Stdin.Read(make([]byte, 8))
	if n != 0 || err != io.EOF {
		differs("after the end: got %d, %v", n, err)
	}
}

func checkFiles() {
	const path = "/data/file"
	_, err := os.Open(path)
	fails("opening what is not there", err, fs.ErrNotExist)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	ok("creating", err)
	_, err = os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	fails("creating again", err, fs.ErrExist)
	_, err = f.WriteString("hello world\n")
	ok("writing", err)
	ok("syncing", f.Sync())
	_, err = f.WriteAt([]byte("H"), 0)
	ok("writing at", err)
	_, err = f.Seek(-6, io.SeekEnd)
	ok("seeking", err)
	text, err := io.ReadAll(f)
	ok("reading", err)
	equal("the end", string(text), "world\n")
	ok("truncating", f.Truncate(5))
	info, err := f.Stat()
	ok("stat", err)
	equal("size", info.Size(), 5)
	equal("mode", info.Mode().IsRegular(), true)
	ok("closing", f.Close())
	text, err = os.ReadFile(path)
	ok("reading all", err)
	equal("all", string(text), "Hello")

	f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	ok("opening to append", err)
	_, err = f.WriteString(", world")
	ok("appending", err)
	ok("closing", f.Close())
	text, _ = os.ReadFile(path)
	equal("appended", string(text), "Hello, world")

	when := time.Date(2001, 2, 3, 4, 5, 6, 7000, time.UTC)
	ok("setting times", os.Chtimes(path, when, when))
	info, err = os.Stat(path)
	ok("stat", err)
	equal("time", info.ModTime().UTC(), when)
	ok("renaming", os.Rename(path, "/data/renamed"))
	ok("removing", os.Remove("/data/renamed"))
	fails("removing again", os.Remove("/data/renamed"), fs.ErrNotExist)

	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	ok("writing a megabyte", os.WriteFile("/data/large", large, 0o666))
	text, err = os.ReadFile("/data/large")
	ok("reading a megabyte", err)
	equal("a megabyte", bytes.Equal(text, large), true)
}

func checkDirectories() {
	ok("making", os.MkdirAll("/data/a/b/c", 0o777))
	fails("making again", os.Mkdir("/data/a", 0o777), fs.ErrExist)
	want := []string{"b"}
	for i := range 300 {
		name := fmt.Sprintf("n%d é", i)
		ok(name, os.WriteFile("/data/a/"+name, nil, 0o666))
		want = append(want, name)
	}
	slices.Sort(want)
	entries, err := os.ReadDir("/data/a")
	ok("listing", err)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
		equal(e.Name(), e.IsDir(), e.Name() == "b")
	}
	if !slices.Equal(got, want) {
		differs("got %d names, want %d", len(got), len(want))
	}
	d, err := os.Open("/data/a")
	ok("opening", err)
	n := 0
	for {
		names, err := d.Readdirnames(7)
		n += len(names)
		if err != nil {
			equal("the end", err, io.EOF)
			break
		}
	}
	equal("names in small pieces", n, 301)
	ok("closing", d.Close())
	fails("removing a full folder", os.Remove("/data/a"))
	ok("removing all", os.RemoveAll("/data/a"))
	_, err = os.Stat("/data/a")
	fails("what was removed", err, fs.ErrNotExist)
	count := 0
	ok("walking", filepath.WalkDir("/ro", func(path string, e fs.DirEntry, err error) error {
		count++
		return err
	}))
	equal("files below /ro", count, 6)
}

func checkLinks() {
	ok("writing", os.WriteFile("/data/file", []byte("text"), 0o666))
	ok("linking", os.Symlink("file", "/data/link"))
	target, err := os.Readlink("/data/link")
	ok("reading the link", err)
	equal("target", target, "file")
	text, err := os.ReadFile("/data/link")
	ok("following", err)
	equal("through the link", string(text), "text")
	info, err := os.Lstat("/data/link")
	ok("lstat", err)
	equal("type", info.Mode().Type(), fs.ModeSymlink)
	ok("a hard link", os.Link("/data/file", "/data/hard"))
	a, _ := os.Stat("/data/file")
	b, _ := os.Stat("/data/hard")
	equal("the same file", os.SameFile(a, b), true)
}

func checkReadOnly() {
	text, err := os.ReadFile("/ro/hello.txt")
	ok("reading", err)
	equal("text", string(text), "hello\n")
	fails("writing", os.WriteFile("/ro/hello.txt", nil, 0o666))
	fails("creating", os.WriteFile("/ro/new", nil, 0o666))
	fails("making", os.Mkdir("/ro/new", 0o777))
	fails("removing", os.Remove("/ro/hello.txt"))
	fails("renaming", os.Rename("/ro/hello.txt", "/ro/x"))
	fails("setting times", os.Chtimes("/ro/hello.txt", time.Now(), time.Now()))
	fails("truncating", os.Truncate("/ro/hello.txt", 0))
	text, _ = os.ReadFile("/ro/hello.txt")
	equal("text afterwards", string(text), "hello\n")
}

func checkEscape() {
	for _, path := range []string{"/etc/passwd", "/data/../etc/passwd", "/data/../../../etc/passwd", "../etc/passwd", "../../../etc/passwd"} {
		_, err := os.ReadFile(path)
		fails(path, err)
		fails(path, os.WriteFile(path, nil, 0o666))
	}
	fails("a file at the root", os.WriteFile("/escaped", nil, 0o666))
	_, err := os.OpenRoot("/data")
	ok("opening a root", err)
}

func checkDevices() {
	f, err := os.Open("/dev/urandom")
	ok("opening /dev/urandom", err)
	a, b := make([]byte, 64), make([]byte, 64)
	_, err = io.ReadFull(f, a)
	ok("reading it", err)
	_, err = io.ReadFull(f, b)
	ok("reading it", err)
	equal("twice the same", bytes.Equal(a, b), false)
	text, err := os.ReadFile("/dev/null")
	ok("reading /dev/null", err)
	equal("its length", len(text), 0)
	ok("writing /dev/null", os.WriteFile("/dev/null", a, 0))
}

// Goroutines go on while others wait for time or for stdin.
func checkGoroutines() {
	results := make(chan int)
	for i := range 100 {
		go func() {
			time.Sleep(time.Duration(i%10) * time.Millisecond)
			results <- i
		}()
	}
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); results <- 0 }()
	sum := 0
	for range 101 {
		sum += <-results
	}
	equal("sum", sum, 4950)
}

func checkWorkingDir() {
	dir, err := os.Getwd()
	ok("getwd", err)
	equal("working directory", dir, "/")
	ok("chdir", os.Chdir("/data"))
	ok("writing here", os.WriteFile("here", []byte("x"), 0o666))
	_, err = os.Stat("/data/here")
	ok("where it is", err)
	_, err = os.Stat("nowhere")
	fails("what is not here", err, syscall.ENOENT)
}

func main() {
	name := ""
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	if name == "list" {
		for name := range checks {
			fmt.Println(name)
		}
		return
	}
	check, known := checks[name]
	if !known {
		differs("no check is called %q", name)
	} else {
		check()
	}
	if differences > 0 {
		os.Exit(1)
	}
	fmt.Println("ok")
}
