package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gojinn/gojinn/internal/process"
)

// unmetered links a Caddy that compiles modules without metering. There is no
// such switch at run time: a server never runs guests that it can't stop.
const unmetered = "-X github.com/gojinn/gojinn/engine.metering=off"

// A site is everything that runs while we measure: two Caddys that serve the
// same functions, one of them without metering, a third that runs them on plain
// wazero, and the Go server behind them, bare and in a container.
type site struct {
	dir       string
	binary    string // Caddy
	guests    []guest
	metered   *process.Process
	off       *process.Process // without metering; nil if there is none
	plain     *process.Process
	server    *process.Process
	container *process.Process // nil if there is none
	box       containment      // how the container is made
	notes     []string         // for the report
}

// startSite builds and starts everything in dir, and asks every route once.
func startSite(ctx context.Context, dir string) (s *site, err error) {
	s = &site{dir: dir}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.guests, s.notes, err = buildGuests(ctx, dir); err != nil {
		return s, err
	}
	if err := s.startServers(ctx); err != nil {
		return s, err
	}
	if s.binary, err = buildCaddy(ctx, dir, "gojinn", ""); err != nil {
		return s, err
	}
	binary, err := buildCaddy(ctx, dir, "gojinn-unmetered", unmetered)
	if err != nil {
		return s, err
	}
	for _, c := range []struct {
		p            **process.Process
		binary, name string
		caddyfile    func(address string) string
	}{
		{&s.metered, s.binary, "metered", s.caddyfile},
		{&s.off, binary, "unmetered", s.caddyfile},
		{&s.plain, s.binary, "plain wazero", s.plainCaddyfile},
	} {
		progress("starting Caddy, %s", c.name)
		address, err := process.FreeAddress()
		if err != nil {
			return s, err
		}
		if *c.p, err = startCaddy(ctx, dir, c.binary, c.name, address, c.caddyfile(address)); err != nil {
			return s, err
		}
	}
	for _, t := range s.targets(regexp.MustCompile("")) {
		if err := t.probe(ctx); err != nil {
			return s, err
		}
	}
	return s, s.checkMetering(ctx)
}

// startServers builds the Go server and starts it, bare and in a container.
func (s *site) startServers(ctx context.Context) error {
	binary := s.serverBinary()
	// As its author would ship it in a container: nothing else is needed there.
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./bench/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building bench/server: %w", err)
	}
	var err error
	if s.server, err = process.StartListening("the Go server", []string{binary}); err != nil {
		return err
	}
	box, notes := findContainment(ctx, s.dir, binary)
	s.box, s.notes = box, append(s.notes, notes...)
	if box.name != "" {
		s.container, err = process.StartListening("the Go server in "+box.name, box.argv)
	}
	return err
}

func (s *site) serverBinary() string { return filepath.Join(s.dir, "server") }

// buildCaddy builds bench/caddy with the linker flags.
func buildCaddy(ctx context.Context, dir, name, ldflags string) (binary string, err error) {
	progress("building %s", name)
	binary = filepath.Join(dir, name)
	build := exec.CommandContext(ctx, "go", "build", "-tags", "nobadger,nomysql,nopgx", "-ldflags", ldflags, "-o", binary, "./bench/caddy")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return "", fmt.Errorf("building bench/caddy: %w", err)
	}
	return binary, nil
}

// stop ends what has been started.
func (s *site) stop() {
	for _, p := range []*process.Process{s.metered, s.off, s.plain, s.server, s.container} {
		p.Stop()
	}
	s.box.remove()
}

// mixed are the functions of the last work that could be built.
func (s *site) mixed() (names []string) {
	for _, name := range mixed {
		if slices.ContainsFunc(s.guests, func(g guest) bool { return g.name == name }) {
			names = append(names, name)
		}
	}
	return names
}

// A target is one row of a table: who is asked, where, for which work.
type target struct {
	work    work
	label   string           // what answers, for humans
	process *process.Process // the Caddy in front
	paths   []string         // asked in turn
	proxy   bool             // what the others with this work are compared with
	alone   bool             // Caddy alone: does none of the work
}

// name is what -only is matched with, and unique.
func (t target) name() string { return t.work.name + ": " + t.label }

// targets are the rows of the load tables whose names match, table by table.
func (s *site) targets(only *regexp.Regexp) (targets []target) {
	for _, w := range worksDone() {
		if w.guest == "" {
			targets = append(targets, s.mixedTargets(w)...)
			continue
		}
		if w.name == "echo" {
			targets = append(targets, target{work: w, label: "Caddy alone: `respond \"hello\"`", process: s.metered, paths: []string{"/hello"}, alone: true})
		}
		targets = append(targets, target{work: w, label: "`reverse_proxy` to a Go server", process: s.metered, paths: []string{"/proxy/" + w.guest}, proxy: true})
		if w.name == "echo" && s.container != nil {
			targets = append(targets, target{work: w, label: "`reverse_proxy` to a Go server in " + s.box.name, process: s.metered, paths: []string{"/container/echo"}})
		}
		for _, g := range s.guests {
			if g.work == w.guest {
				targets = append(targets, s.functionTargets(w, g)...)
			}
		}
	}
	return slices.DeleteFunc(targets, func(t target) bool { return !only.MatchString(t.name()) })
}

// functionTargets are the rows of one guest with one work: all kinds of them
// with the small echo, else the default, for not every figure is worth its time.
func (s *site) functionTargets(w work, g guest) (targets []target) {
	add := func(what string, p *process.Process, path string) {
		targets = append(targets, target{work: w, label: g.language + what, process: p, paths: []string{path + g.name}})
	}
	add("", s.metered, "/")
	if w.name == "echo" {
		for _, kind := range startKinds {
			add(", `"+kind.option+"`", s.metered, "/"+kind.path+"/")
		}
	}
	if w.name == "echo" && s.off != nil && (g.language == "Go" || g.language == "C") {
		add(", unmetered", s.off, "/")
	}
	if isPlain(g) && w.body == smallBody(g.work) {
		add(" on plain wazero", s.plain, "/")
	}
	return targets
}

// smallBody is the body of the first work that guests do.
func smallBody(guest string) string {
	for _, w := range worksDone() {
		if w.guest == guest {
			return w.body
		}
	}
	return ""
}

// mixedTargets are the rows of the work that goes to all functions in turn.
func (s *site) mixedTargets(w work) []target {
	var functions, proxied []string
	for i, name := range s.mixed() {
		functions = append(functions, fmt.Sprintf("/mix/%d", i))
		kind, _, _ := strings.Cut(name, "-")
		proxied = append(proxied, "/proxy/"+kind)
	}
	return []target{
		{work: w, label: "`reverse_proxy` to a Go server", process: s.metered, paths: proxied, proxy: true},
		{work: w, label: fmt.Sprintf("%d functions in Go, Rust, Zig and C", len(functions)), process: s.metered, paths: functions},
	}
}

// probe checks that a target answers what it should.
func (t target) probe(ctx context.Context) error {
	for _, path := range t.paths {
		status, answer, err := post(ctx, t.process.URL(path), t.work.body)
		if err != nil {
			return fmt.Errorf("asking %s: %w", t.name(), err)
		}
		want, good := t.work.answer, status == t.work.status
		switch {
		case t.alone:
			want = "hello"
		case len(t.paths) > 1: // different ones
			good = status == http.StatusOK || status == http.StatusCreated
		}
		if !good || !strings.Contains(answer, want) {
			return fmt.Errorf("%s answered %d %.200q, want %d and %.200q", t.name(), status, answer, t.work.status, want)
		}
	}
	return nil
}

// checkMetering drops the second Caddy if its metrics show that it counts
// instructions as the first does: then its rows would be a lie.
func (s *site) checkMetering(ctx context.Context) error {
	metered, err := loopFuel(ctx, s.metered)
	if err != nil {
		return err
	}
	off, err := loopFuel(ctx, s.off)
	if err != nil {
		return err
	}
	// What host calls are charged stays, and is next to nothing.
	if metered < loopTurns {
		return fmt.Errorf("a loop of %d turns used %g fuel, metered", loopTurns, metered)
	}
	if off >= loopTurns {
		s.off.Stop()
		s.off = nil
		s.notes = append(s.notes, "Nothing was measured without metering: this tree can't be built so (-ldflags '"+unmetered+"').")
	}
	return nil
}

// loopFuel calls the function loop once and returns the fuel it has used.
func loopFuel(ctx context.Context, p *process.Process) (float64, error) {
	if status, body, err := post(ctx, p.URL("/loop"), "{}"); err != nil || status != http.StatusOK {
		return 0, fmt.Errorf("calling loop of %s: status %d, %q, %v", p.Name, status, body, err)
	}
	return metric(ctx, p, "gojinn_fuel_total", `function="loop"`)
}

// memory says how much memory the servers have held at most, where the system
// tells.
func (s *site) memory() (notes []string) {
	for _, p := range []*process.Process{s.metered, s.off, s.plain, s.server} {
		if p == nil {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Cmd.Process.Pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				notes = append(notes, fmt.Sprintf("Peak resident memory of %s: %s.", p.Name, strings.TrimSpace(peak)))
			}
		}
	}
	return notes
}
