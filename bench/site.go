package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// unmetered links a Caddy that compiles modules without metering. There is no
// such switch at run time: a server never runs guests that it can't stop.
const unmetered = "-X github.com/gojinn/gojinn/engine.metering=off"

// A site is everything that runs while we measure: two Caddys that serve the
// same, one of them without metering, and the Go server behind both.
type site struct {
	guests   []guest
	metered  *process
	off      *process // without metering; nil if there is none
	upstream *process
	notes    []string // for the report
}

// A process is a server of ours. The address is where it listens.
type process struct {
	name    string
	cmd     *exec.Cmd
	address string
	exited  chan struct{}
}

// startSite builds and starts everything, and asks every route once.
func startSite(ctx context.Context, dir string) (s *site, err error) {
	s = &site{}
	defer func() {
		if err != nil {
			s.stop()
		}
	}()
	if s.guests, s.notes, err = buildGuests(ctx, dir); err != nil {
		return s, err
	}
	if s.upstream, err = startUpstream(ctx); err != nil {
		return s, err
	}
	if s.metered, err = s.startCaddy(ctx, dir, "metered", ""); err != nil {
		return s, err
	}
	if s.off, err = s.startCaddy(ctx, dir, "unmetered", unmetered); err != nil {
		return s, err
	}
	for _, t := range s.targets(regexp.MustCompile("")) {
		if err := probe(ctx, t); err != nil {
			return s, err
		}
	}
	return s, s.checkMetering(ctx)
}

// stop ends what has been started.
func (s *site) stop() {
	for _, p := range []*process{s.metered, s.off, s.upstream} {
		p.stop()
	}
}

// targets are the rows of the load table whose names match.
func (s *site) targets(only *regexp.Regexp) (targets []target) {
	add := func(t target) {
		if only.MatchString(t.name) {
			targets = append(targets, t)
		}
	}
	add(target{"`respond \"hello\"`", s.metered.url("/hello"), "", 200})
	for _, work := range []string{"echo", "contact"} {
		add(target{work + ", `reverse_proxy` to a Go server", s.metered.url("/proxy/" + work), work, statusOf(work)})
		for _, g := range s.guests {
			if g.work != work {
				continue
			}
			add(target{work + ", " + g.language, s.metered.url("/" + g.name), work, statusOf(work)})
			if s.off != nil {
				add(target{work + ", " + g.language + ", unmetered", s.off.url("/" + g.name), work, statusOf(work)})
			}
		}
	}
	return targets
}

func statusOf(work string) int {
	if work == "contact" {
		return http.StatusCreated
	}
	return http.StatusOK
}

// probe checks that a target answers what it should: fast nonsense is no
// result.
func probe(ctx context.Context, t target) error {
	status, body, err := post(ctx, t.url)
	if err != nil {
		return fmt.Errorf("asking %s: %w", t.name, err)
	}
	wants := map[string]string{"": "hello", "echo": requestBody, "contact": `"email":"ada@example.com"`}
	if status != t.status || !strings.Contains(body, wants[t.work]) {
		return fmt.Errorf("%s answered %d %q, want %d and %q", t.name, status, body, t.status, wants[t.work])
	}
	return nil
}

var client = &http.Client{Timeout: time.Minute}

func post(ctx context.Context, url string) (status int, body string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(requestBody))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	return response.StatusCode, string(text), err
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
		s.off.stop()
		s.off = nil
		s.notes = append(s.notes, "Nothing was measured without metering: this tree can't be built so (-ldflags '"+unmetered+"').")
	}
	return nil
}

var loopFuelLine = regexp.MustCompile(`(?m)^gojinn_fuel_total\{function="loop"\} (.*)$`)

// loopFuel calls the function loop once and returns the fuel it has used.
func loopFuel(ctx context.Context, p *process) (float64, error) {
	if status, body, err := post(ctx, p.url("/loop")); err != nil || status != http.StatusOK {
		return 0, fmt.Errorf("calling loop of %s: status %d, %q, %v", p.name, status, body, err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url("/metrics"), nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics of %s: %w", p.name, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics of %s: %w", p.name, err)
	}
	return parseLoopFuel(text)
}

func parseLoopFuel(metrics []byte) (float64, error) {
	match := loopFuelLine.FindSubmatch(metrics)
	if match == nil {
		return 0, errors.New("the metrics lack gojinn_fuel_total of the function loop")
	}
	return strconv.ParseFloat(string(match[1]), 64)
}

func startUpstream(ctx context.Context) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, upstreamCommand)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := start("the Go server", cmd, "")
	if err != nil {
		return nil, err
	}
	p.address, err = bufio.NewReader(stdout).ReadString('\n')
	p.address = strings.TrimSpace(p.address)
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("starting the Go server: %w", err)
	}
	return p, nil
}

// startCaddy builds cmd/gojinn with the linker flags and starts it.
func (s *site) startCaddy(ctx context.Context, dir, name, ldflags string) (*process, error) {
	progress("building and starting Caddy, %s", name)
	binary := filepath.Join(dir, "gojinn-"+name)
	build := exec.CommandContext(ctx, "go", "build", "-tags", "nobadger,nomysql,nopgx", "-ldflags", ldflags, "-o", binary, "./cmd/gojinn")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("building cmd/gojinn: %w", err)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	config := filepath.Join(dir, name+".caddyfile")
	if err := os.WriteFile(config, []byte(caddyfile(dir, address, s.upstream.address, s.guests)), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "run", "--adapter", "caddyfile", "--config", config)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	p, err := start("Caddy, "+name, cmd, address)
	if err != nil {
		return nil, err
	}
	if err := p.await(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

// caddyfile is the configuration of both Caddys. They share a code cache: what
// is compiled differs, so they never share code.
func caddyfile(dir, address, upstream string, guests []guest) string {
	var c strings.Builder
	fmt.Fprintf(&c, `{
	admin off
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
			concurrency 64 queue 1024 wait 30s
		}
	}
}

http://%s {
	metrics /metrics
	respond /hello "hello"
	handle_path /proxy/* {
		reverse_proxy %s
	}
`, filepath.Join(dir, "storage"), filepath.Join(dir, "cache"), address, upstream)
	for _, g := range guests {
		fmt.Fprintf(&c, "\tgojinn /%s %q {\n\t\tname %s\n\t}\n", g.name, filepath.Join(dir, g.name+".wasm"), g.name)
	}
	return c.String() + "}\n"
}

// freeAddress is a loopback address that nobody listens on at this moment.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func start(name string, cmd *exec.Cmd, address string) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, address: address, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_, _ = cmd.Process.Wait() // how it ended is nobody's question: it is stopped by a signal
	}()
	return p, nil
}

func (p *process) url(path string) string { return "http://" + p.address + path }

// await returns when the server answers. It compiles functions first.
func (p *process) await(ctx context.Context) error {
	deadline := time.After(5 * time.Minute)
	for {
		if _, _, err := post(ctx, p.url("/hello")); err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it served", p.name)
		case <-deadline:
			return fmt.Errorf("%s does not serve", p.name)
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// stop ends the process, if there is one, and waits for its end.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(os.Interrupt)
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

// memory says how much memory the servers have held at most, where the system
// tells.
func (s *site) memory() (notes []string) {
	for _, p := range []*process{s.metered, s.off, s.upstream} {
		if p == nil {
			continue
		}
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(status)) {
			if peak, ok := strings.CutPrefix(line, "VmHWM:"); ok {
				notes = append(notes, fmt.Sprintf("Peak resident memory of %s: %s.", p.name, strings.TrimSpace(peak)))
			}
		}
	}
	return notes
}
