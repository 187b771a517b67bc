// Files does what the lines of its body say with files, and answers with a line for each: what
// came of it.
//
//	read <path> · write, append, create, keep <path> <text> · remove <path> · rename <path> <path> · list, wait <path> · ask <path> <line> · exit <code>
package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// kept are files left open when the program ends.
var kept []*os.File

func main() {
	var in struct{ Body string }
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		panic(err)
	}
	var out []string
	code := 0
	for line := range strings.SplitSeq(in.Body, "\n") {
		word := append(strings.SplitN(line, " ", 3), "", "")
		if word[0] == "exit" {
			code, _ = strconv.Atoi(word[1])
			continue
		}
		text, err := do(word[0], word[1], word[2])
		var errno syscall.Errno
		switch {
		case errors.As(err, &errno):
			text = errnoNames[errno]
			if text == "" {
				text = err.Error()
			}
		case err != nil:
			text = err.Error()
		}
		out = append(out, text)
	}
	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{"body": strings.Join(out, "\n")}); err != nil {
		panic(err)
	}
	os.Exit(code)
}

var errnoNames = map[syscall.Errno]string{
	syscall.EEXIST: "EEXIST", syscall.EFBIG: "EFBIG", syscall.EINVAL: "EINVAL", syscall.EIO: "EIO", syscall.ENOENT: "ENOENT", syscall.ENOSPC: "ENOSPC",
	syscall.EPERM: "EPERM", syscall.EROFS: "EROFS",
}

func do(what, path, text string) (string, error) {
	switch what {
	case "read":
		b, err := os.ReadFile(path)
		return string(b), err
	case "write":
		return "ok", write(path, text, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
	case "append":
		return "ok", write(path, text, os.O_WRONLY|os.O_CREATE|os.O_APPEND)
	case "create":
		return "ok", write(path, text, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	case "keep":
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
		if err == nil {
			kept = append(kept, f)
			_, err = f.WriteString(text)
		}
		return "ok", err
	case "remove":
		return "ok", os.Remove(path)
	case "rename":
		return "ok", os.Rename(path, text)
	case "list":
		entries, err := os.ReadDir(path)
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return strings.Join(names, " "), err
	case "wait":
		for {
			if _, err := os.Stat(path); err == nil {
				return "ok", nil
			}
			time.Sleep(10 * time.Millisecond)
		}
	case "ask":
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		if _, err := f.WriteString(text + "\n"); err != nil {
			return "", err
		}
		answer, err := io.ReadAll(f)
		return strings.TrimSuffix(string(answer), "\n"), err
	}
	return "", errors.New("no such line: " + what)
}

func write(path, text string, flags int) error {
	f, err := os.OpenFile(path, flags, 0o666)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
