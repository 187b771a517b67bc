package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gojinn/gojinn/internal/process"
)

// A site is everything that runs while we measure: a Caddy with the functions, and the servers behind it.
type site struct {
	dir      string
	binary   string // Caddy
	admin    string // its admin endpoint
	caddy    *process.Process
	programs []*program // that can run
	servers  []*running
	rows     []row
	notes    []string
}

// running is a server that runs.
type running struct {
	*server
	process *process.Process
}

// A row is one line of the table: who is asked, and for what.
type row struct {
	group    string // rows of one group are compared
	label    string
	path     string
	status   int
	answer   string
	base     bool // the others of the group are compared with it
	alone    bool // Caddy alone
	function bool
	least    float64
	most     time.Duration
}

// name is what -only is matched with.
func (r row) name() string { return r.group + ": " + r.label }

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// file names the row's profile.
func (r row) file() string {
	return strings.Trim(notInNames.ReplaceAllString(strings.ToLower(r.name()), "-"), "-")
}

// startSite starts everything that is there in dir, and asks for each row once. It is to be stopped
// even if there is an error.
func startSite(ctx context.Context, dir string, only *regexp.Regexp) (*site, error) {
	s := &site{dir: dir}
	packages := flaskFolder()
	for _, p := range programs {
		if why := p.missing(packages); why != "" {
			s.note("%s, %s: not measured, %s.", p.language, p.what, why)
			continue
		}
		if err := p.prepare(s.folder(p), packages); err != nil {
			return s, err
		}
		s.programs = append(s.programs, p)
	}
	if err := s.buildCaddy(ctx); err != nil {
		return s, err
	}
	for _, p := range s.programs {
		if !p.packages {
			continue
		}
		if err := s.compilePackages(ctx, p); err != nil { // it starts without, but slowly
			s.note("%v", err)
		}
	}
	if len(s.programs) > 0 {
		if err := s.startServers(ctx, packages); err != nil {
			return s, err
		}
	}
	s.rows = slices.DeleteFunc(s.allRows(), func(r row) bool { return !r.alone && !only.MatchString(r.name()) })
	if err := s.startCaddy(ctx); err != nil {
		return s, err
	}
	if len(s.programs) > 0 {
		if err := s.awaitSandboxes(ctx); err != nil {
			return s, err
		}
	}
	for _, r := range s.rows {
		if err := s.probe(ctx, r); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s *site) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// folder is where a program's files are.
func (s *site) folder(p *program) string { return filepath.Join(s.dir, p.name) }

// native is where a server's are.
func (s *site) native(server *server) string { return filepath.Join(s.dir, "native-"+server.name) }

// missing says why a program can't be measured, "" if it can.
func (p *program) missing(packages string) string {
	module := p.module()
	switch {
	case module == "":
		return p.interpreter + " names no interpreter"
	case p.packages && packages == "":
		return "python3-flask is not installed"
	}
	if _, err := os.Stat(module); err != nil {
		return err.Error()
	}
	return ""
}

// startServers starts those that are installed.
func (s *site) startServers(ctx context.Context, packages string) error {
	for _, server := range servers {
		version, err := exec.CommandContext(ctx, server.version[0], server.version[1:]...).Output()
		if err != nil {
			s.note("%s is not installed: nothing is compared with it.", strings.TrimSuffix(server.name, "-threads"))
			continue
		}
		if server.name == "flask" && packages == "" {
			continue
		}
		line, _, _ := strings.Cut(string(version), "\n")
		if note := fmt.Sprintf("%s: %s.", server.name, line); server.name != "gunicorn-threads" {
			s.notes = append(s.notes, note)
		}
		if err := s.startServer(ctx, server); err != nil {
			return err
		}
	}
	return nil
}

func (s *site) startServer(ctx context.Context, server *server) error {
	progress("starting %s", server.name)
	address, err := process.FreeAddress()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	folder := s.native(server)
	if err := os.CopyFS(folder, os.DirFS(filepath.Join("bench", "languages", server.source()))); err != nil {
		return err
	}
	cmd, err := server.command(folder, port)
	if err != nil {
		return err
	}
	p, err := process.Start(server.name, cmd)
	if err != nil {
		return err
	}
	p.Address = address
	s.servers = append(s.servers, &running{server, p})
	return p.Await(ctx, time.Minute, func() bool {
		if server.fastCGI {
			c, err := net.Dial("tcp", address)
			return err == nil && c.Close() == nil
		}
		_, err := process.Ask(ctx, http.MethodPost, p.URL("/contact"), contactBody)
		return err == nil
	})
}

// serverNamed is a server that runs, or nil.
func (s *site) serverNamed(name string) *running {
	for _, r := range s.servers {
		if r.name == name {
			return r
		}
	}
	return nil
}

// allRows are the rows of everything that runs.
func (s *site) allRows() []row {
	rows := []row{{group: "Caddy alone", label: "`respond \"hello\"`", path: "/hello", status: http.StatusOK, answer: "hello", alone: true}}
	for _, p := range s.programs {
		for _, a := range p.asks {
			group := strings.TrimSuffix(p.language+", "+a.what, ", ")
			if p.packages {
				group = p.language + ", " + p.what + ", " + a.what
			}
			if !slices.ContainsFunc(rows, func(r row) bool { return r.group == group }) {
				rows = append(rows, s.nativeRows(group, a)...)
			}
			rows = append(rows, row{
				group: group, label: "a sandbox for each request: " + p.what, path: "/" + p.name + a.path, status: a.status, answer: a.answer,
				function: true, least: p.least, most: p.most,
			})
		}
	}
	return rows
}

// nativeRows are the servers that answer a request.
func (s *site) nativeRows(group string, a ask) (rows []row) {
	for _, name := range []string{a.server, a.server + "-threads"} {
		if r := s.serverNamed(name); r != nil {
			rows = append(rows, row{
				group: group, label: "`" + r.directive() + "` to " + r.title, path: "/native-" + name + a.path, status: a.status, answer: a.answer,
				base: name == a.server,
			})
		}
	}
	return rows
}

// buildCaddy builds it.
func (s *site) buildCaddy(ctx context.Context) error {
	progress("building Caddy")
	s.binary = filepath.Join(s.dir, "caddy")
	build := exec.CommandContext(ctx, "go", "build", "-tags", "nobadger,nomysql,nopgx", "-o", s.binary, "./bench/caddy")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building bench/caddy: %w", err)
	}
	return nil
}

// compilePackages has Python compile what a program imports, as pip does when it installs.
func (s *site) compilePackages(ctx context.Context, p *program) error {
	progress("compiling the packages of %s", p.name)
	config := filepath.Join(s.dir, "compile.caddyfile")
	text := fmt.Sprintf("{\n\tgojinn {\n\t\tcache_dir %q\n\t}\n}\n:80 {\n\tgojinn %q {\n\t\targs python /app/gojinn.py --compile /app\n\t\tallow dir %q /app rw\n\t\tmemory 256MiB\n\t\ttimeout 5m\n\t}\n}\n",
		s.cache(), p.module(), s.folder(p))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.binary, "function", "call", p.module(), "--config", config)
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "XDG_DATA_HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("compiling the packages of %s: %w: %s", p.name, err, out)
	}
	return nil
}

// startCaddy starts it. It compiles the interpreters first, which takes a minute.
func (s *site) startCaddy(ctx context.Context) error {
	address, err := process.FreeAddress()
	if err != nil {
		return err
	}
	if s.admin, err = process.FreeAddress(); err != nil {
		return err
	}
	cmd, err := process.Caddy(s.binary, s.dir, "languages", s.caddyfile(address))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	progress("starting Caddy, which compiles the interpreters")
	if s.caddy, err = process.Start("Caddy", cmd); err != nil {
		return err
	}
	s.caddy.Address = address
	return s.caddy.Await(ctx, 10*time.Minute, func() bool {
		_, err := process.Ask(ctx, http.MethodGet, s.caddy.URL("/hello"), "")
		return err == nil
	})
}

// sandboxes is how many of them each function has: as many as may run at once by default.
var sandboxes = 4 * processes

// awaitSandboxes waits until all are ready. Requests would make them too, but a start takes seconds
// in some languages, and is measured by itself. A program that has none then is not measured: it doesn't start, or only with a
// request.
func (s *site) awaitSandboxes(ctx context.Context) error {
	progress("waiting for %d sandboxes of each function", sandboxes)
	ready := func(name string) int {
		text, err := s.caddy.Metrics(ctx)
		if err != nil {
			return 0
		}
		parked, _ := process.Metric(text, "gojinn_sandboxes", fmt.Sprintf(`function=%q,state="parked"`, name)) // 0 is none
		return int(parked)
	}
	err := s.caddy.Await(ctx, 4*time.Minute, func() bool {
		return !slices.ContainsFunc(s.programs, func(p *program) bool { return ready(p.name) < sandboxes })
	})
	if err == nil || ctx.Err() != nil {
		return err
	}
	for _, p := range s.programs {
		n := ready(p.name)
		if n == sandboxes {
			continue
		}
		s.note("%s, %s: not measured, %d of %d sandboxes were ready after some minutes.", p.language, p.what, n, sandboxes)
		s.rows = slices.DeleteFunc(s.rows, func(r row) bool { return r.function && strings.HasPrefix(r.path, "/"+p.name+"/") })
	}
	return nil
}

// caddyfile is the configuration. Functions have their defaults, but for a queue that refuses nobody
// and sandboxes that are ready and stay so from round to round.
func (s *site) caddyfile(address string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `{
	admin %s
	auto_https off
	persist_config off
	grace_period 1s
	storage file_system %q
	log {
		level ERROR
	}
	gojinn {
		cache_dir %q
		defaults {
			concurrency %d queue 1024 wait 1m
			timeout 1m
			warm %d
			idle 10m
		}
	}
}

http://%s {
	metrics /metrics
	respond /hello "hello"
`, s.admin, filepath.Join(s.dir, "storage"), s.cache(), sandboxes, sandboxes, address)
	for _, r := range s.servers {
		fmt.Fprintf(&b, "\thandle_path /native-%s/* {\n\t\troot * %q\n\t\t%s %s\n\t}\n", r.name, s.native(r.server), r.directive(), r.process.Address)
	}
	for _, p := range s.programs {
		fmt.Fprintf(&b, "\thandle_path /%s/* {\n\t\tgojinn %q {\n", p.name, p.module())
		for _, option := range slices.Concat([]string{"name " + p.name, fmt.Sprintf("allow dir %q /app", s.folder(p))}, p.options) {
			fmt.Fprintf(&b, "\t\t\t%s\n", option)
		}
		b.WriteString("\t\t}\n\t}\n")
	}
	return b.String() + "}\n"
}

// cache is the folder for compiled code. It outlives a run: the interpreters don't change from one to
// the next, and take a minute to compile.
func (s *site) cache() string {
	if dir, err := os.UserCacheDir(); err == nil {
		return filepath.Join(dir, "gojinn-bench-languages")
	}
	return filepath.Join(s.dir, "cache")
}

// probe checks that a row answers what it should.
func (s *site) probe(ctx context.Context, r row) error {
	a, err := process.Ask(ctx, http.MethodPost, s.caddy.URL(r.path), contactBody)
	if err != nil {
		return fmt.Errorf("asking %s: %w", r.name(), err)
	}
	if a.Status != r.status || !strings.Contains(a.Body, r.answer) {
		return fmt.Errorf("%s answered %d %.200q, want %d and %q", r.name(), a.Status, a.Body, r.status, r.answer)
	}
	return nil
}

// stop ends what has been started.
func (s *site) stop() {
	s.caddy.Stop()
	for _, r := range s.servers {
		r.process.Stop()
	}
	s.caddy, s.servers = nil, nil
}

// errNoTable says that function bench printed something unknown.
var errNoTable = errors.New("no table")
