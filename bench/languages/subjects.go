package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// contactBody is what a contact form sends, and every request has.
const contactBody = `{"email":"ada@example.com","name":"Ada","message":"Is this machine for hire? I have some numbers to crunch."}`

// A program is a function in an interpreted language.
type program struct {
	name        string // also its path
	language    string
	what        string // in tables
	interpreter string // the variable that names the module
	source      string // the folder in bench/languages
	launcher    string // the file to copy beside it; "" for none
	packages    bool   // needs Flask
	options     []string
	asks        []ask
	least       float64       // of the server's throughput, under the most load
	most        time.Duration // that may be added to the latency of Caddy alone; 0: no bound
}

// An ask is a request that a program is measured with, and what must come back: fast nonsense is no
// result.
type ask struct {
	path   string
	what   string
	status int
	answer string
	server string // whose row it is compared with
}

// contact is the request of most programs.
func contact(server string) ask {
	return ask{path: "/contact", status: 201, answer: "ada@example.com", server: server}
}

var programs = []*program{
	{
		name: "python-handler", language: "Python", what: "handler", interpreter: "GOJINN_TEST_PYTHON", source: "python", launcher: "guest/python/gojinn.py",
		options: []string{"args python /app/contactmain.py handler"}, asks: []ask{contact("gunicorn")}, least: 1, most: 2 * time.Millisecond,
	}, {
		name: "python-wsgi", language: "Python", what: "WSGI application", interpreter: "GOJINN_TEST_PYTHON", source: "python", launcher: "guest/python/gojinn.py",
		options: []string{"args python /app/contactmain.py application"}, asks: []ask{contact("gunicorn")}, most: 2 * time.Millisecond,
	}, {
		name: "python-flask", language: "Python", what: "Flask", interpreter: "GOJINN_TEST_PYTHON", source: "python", launcher: "guest/python/gojinn.py", packages: true,
		options: []string{"args python /app/flaskmain.py", "memory 256MiB"}, least: 0.2, most: 5 * time.Millisecond,
		asks: []ask{
			{path: "/contact", what: "JSON", status: 201, answer: "ada@example.com", server: "flask"},
			{path: "/page?who=Ada", what: "a page of a template", status: 200, answer: "<h1>Hello, Ada</h1>", server: "flask"},
		},
	}, {
		name: "ruby-handler", language: "Ruby", what: "handler", interpreter: "GOJINN_TEST_RUBY", source: "ruby", launcher: "guest/ruby/gojinn.rb",
		options: []string{"args ruby --disable=gems /app/gojinn.rb contact.rb", "memory 256MiB"}, asks: []ask{contact("puma")}, most: 2 * time.Millisecond,
	}, {
		name: "ruby-rack", language: "Ruby", what: "Rack application", interpreter: "GOJINN_TEST_RUBY", source: "ruby", launcher: "guest/ruby/gojinn.rb",
		options: []string{"args ruby --disable=gems /app/gojinn.rb config.ru", "memory 256MiB"}, asks: []ask{contact("puma")}, most: 2 * time.Millisecond,
	}, {
		name: "js", language: "JavaScript", what: "fetch handler", interpreter: "GOJINN_TEST_QUICKJS", source: "js", launcher: "guest/js/gojinn.js",
		options: []string{"args quickjs /app/gojinn.js contact.js"}, asks: []ask{contact("node")}, most: time.Millisecond,
	}, {
		name: "php", language: "PHP", what: "script, by CGI", interpreter: "GOJINN_TEST_PHP_CGI", source: "php",
		options: []string{"contract cgi", "script_root /app", "memory 256MiB"},
		asks:    []ask{{path: "/contact.php", status: 201, answer: "ada@example.com", server: "php-fpm"}},
	},
}

// A server runs the same files natively.
type server struct {
	name  string
	title string // in tables
	// command returns how to run it in a folder with the files, at a port of 127.0.0.1.
	command func(dir, port string) (*exec.Cmd, error)
	version []string // a command that prints it
	fastCGI bool     // that is how it is spoken to
}

var processes = runtime.NumCPU()

var servers = []*server{
	{
		name: "gunicorn", title: "gunicorn", version: []string{debianPython, "-m", "gunicorn", "--version"},
		command: gunicorn("contact:application"),
	}, {
		name: "gunicorn-threads", title: "gunicorn `--worker-class gthread`, which keeps connections", version: []string{debianPython, "-m", "gunicorn", "--version"},
		command: gunicorn("contact:application", "--worker-class", "gthread", "--threads", "4"),
	}, {
		name: "flask", title: "gunicorn", version: []string{debianPython, "-c", "import flask; print('Flask', flask.__version__)"},
		command: gunicorn("flaskapp:app"),
	}, {
		name: "puma", title: "puma", version: []string{"puma", "--version"},
		command: func(dir, port string) (*exec.Cmd, error) {
			return in(dir, "puma", "--quiet", "--environment", "production", "--workers", strconv.Itoa(processes), "--preload",
				"--bind", "tcp://127.0.0.1:"+port, "config.ru")
		},
	}, {
		name: "node", title: "node", version: []string{"node", "--version"},
		command: func(dir, port string) (*exec.Cmd, error) {
			return in(dir, "node", "server.js", strconv.Itoa(processes), port)
		},
	}, {
		name: "php-fpm", title: "php-fpm", version: []string{phpFPM, "-v"}, command: startPHP, fastCGI: true,
	},
}

// phpFPM is the newest that the distribution has: its name has a version.
var phpFPM = func() string {
	found, _ := filepath.Glob("/usr/sbin/php-fpm?*") // the pattern is right
	if len(found) == 0 {
		return "php-fpm"
	}
	return found[len(found)-1]
}()

// startPHP has a process for each processor serve scripts. Root's are root's: nobody else may look into dir.
func startPHP(dir, port string) (*exec.Cmd, error) {
	config := fmt.Sprintf("[global]\nerror_log = /dev/stderr\nlog_level = error\n[www]\nlisten = 127.0.0.1:%s\npm = static\npm.max_children = %d\n", port, processes)
	if os.Geteuid() == 0 {
		config += "user = root\ngroup = root\n"
	}
	file := filepath.Join(dir, "fpm.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	return in(dir, phpFPM, "--nodaemonize", "--allow-to-run-as-root", "--fpm-config", file)
}

// debianPython is the interpreter for which the distribution has its packages: another may come first in PATH.
const debianPython = "/usr/bin/python3"

// gunicorn serves an application with a process for each processor.
func gunicorn(app string, args ...string) func(dir, port string) (*exec.Cmd, error) {
	return func(dir, port string) (*exec.Cmd, error) {
		all := []string{"-m", "gunicorn", "--log-level", "error", "--workers", strconv.Itoa(processes), "--bind", "127.0.0.1:" + port}
		return in(dir, debianPython, append(append(all, args...), app)...)
	}
}

// in is a command in a folder.
func in(dir, name string, args ...string) (*exec.Cmd, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// directive is by which Caddy hands requests on to it.
func (s *server) directive() string {
	if s.fastCGI {
		return "php_fastcgi"
	}
	return "reverse_proxy"
}

// source is the folder with the files that a server of this name serves.
func (s *server) source() string {
	switch s.name {
	case "puma":
		return "ruby"
	case "node":
		return "js"
	case "php-fpm":
		return "php"
	}
	return "python"
}

// module is the interpreter's file, "" if there is none.
func (p *program) module() string { return os.Getenv(p.interpreter) }

// prepare fills the program's folder with its files and what they need.
func (p *program) prepare(dir, packages string) error {
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("bench", "languages", p.source))); err != nil {
		return err
	}
	if p.launcher != "" {
		text, err := os.ReadFile(p.launcher)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(p.launcher)), text, 0o644); err != nil {
			return err
		}
	}
	if !p.packages {
		return nil
	}
	for _, name := range flaskNeeds {
		if err := copyPython(filepath.Join(dir, "lib", name), filepath.Join(packages, name)); err != nil {
			return err
		}
	}
	return nil
}

// flaskNeeds are Flask and the packages it is made of. Of MarkupSafe the part in C is left behind, it
// has one in Python too.
var flaskNeeds = []string{"flask", "werkzeug", "jinja2", "markupsafe", "itsdangerous", "click"}

// copyPython copies the Python files of a folder and of those in it.
func copyPython(to, from string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".py" {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		return os.WriteFile(target, text, 0o644)
	})
}

// flaskFolder is where Debian's Flask is, "" if there is none.
func flaskFolder() string {
	out, err := exec.Command(debianPython, "-c", "import flask, os; print(os.path.dirname(os.path.dirname(flask.__file__)))").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
