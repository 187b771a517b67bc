// Hostile misbehaves in the way its first argument names; ../README.md has the list.
package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

var sink int

func fib(n int) int {
	if n < 2 {
		return n
	}
	return fib(n-1) + fib(n-2)
}

//lint:ignore SA5007 that it has no end is the point
func deep(n int) int { return deep(n+1) + sink }

var ways = map[string]func(){
	"loop": func() {
		for {
			sink++
		}
	},
	"fib60":     func() { sink = fib(60) },
	"recursion": func() { sink = deep(0) },
	"panic":     func() { panic("a panic") },
	"nil":       func() { var p *int; sink = *p },
	"exit3":     func() { os.Exit(3) },
	"deadlock":  func() { select {} },
	"lock":      func() { var m sync.Mutex; m.Lock(); m.Lock() },
	"memory": func() {
		var all [][]byte
		for {
			all = append(all, make([]byte, 1<<20))
			for i := range all[len(all)-1] {
				all[len(all)-1][i] = 1
			}
		}
	},
	"garbage-collector": func() {
		debug.SetGCPercent(1)
		for {
			sink += len(make([]byte, 1<<16))
			runtime.GC()
		}
	},
	"goroutines": func() {
		for {
			go func() { select {} }()
			runtime.Gosched()
		}
	},
	"stdout-flood": func() { flood(os.Stdout) },
	"stderr-flood": func() { flood(os.Stderr) },
	"sleep-hour":   func() { time.Sleep(time.Hour) },
	"tick": func() {
		for range time.Tick(time.Microsecond) {
			sink++
		}
	},
	"read-forever": func() {
		for {
			io.Copy(io.Discard, os.Stdin)
		}
	},
	"passwd": func() {
		text, err := os.ReadFile("/etc/passwd")
		fmt.Println(string(text), err)
	},
	"silent": func() {},
}

func flood(f *os.File) {
	block := make([]byte, 1<<16)
	for {
		f.Write(block)
	}
}

func main() {
	name := ""
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	if name == "list" {
		for name := range ways {
			fmt.Println(name)
		}
		return
	}
	way, ok := ways[name]
	if !ok {
		fmt.Fprintf(os.Stderr, "no way is called %q\n", name)
		os.Exit(99)
	}
	way()
}
