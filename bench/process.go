package main

import (
	"bufio"
	"bytes"
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

// A process is a server of ours. The address is where it listens.
type process struct {
	name    string
	cmd     *exec.Cmd
	address string
	exited  chan struct{}
}

func start(name string, cmd *exec.Cmd, address string) (*process, error) {
	cmd.WaitDelay = time.Second // for pipes that a process of its own still holds
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, address: address, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended is nobody's question: it is stopped by a signal
	}()
	return p, nil
}

// startServer starts the Go server by that command line, which may put it into
// a container, and waits until it says where it listens.
func startServer(name string, argv []string) (*process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := start(name, cmd, "")
	if err != nil {
		return nil, err
	}
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(io.LimitReader(stdout, 1<<10)).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case p.address = <-line:
	case <-time.After(time.Minute):
	}
	if p.address == "" {
		p.stop()
		return nil, fmt.Errorf("%s does not serve: %s", name, bytes.TrimSpace(stderr.Bytes()))
	}
	return p, nil
}

// startCaddy starts Caddy with a configuration and waits until it serves.
func startCaddy(ctx context.Context, dir, binary, name, address, config string) (*process, error) {
	file := filepath.Join(dir, name+".caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "run", "--adapter", "caddyfile", "--config", file)
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

func (p *process) url(path string) string { return "http://" + p.address + path }

// await returns when the server answers. It compiles functions first.
func (p *process) await(ctx context.Context) error {
	deadline := time.After(5 * time.Minute)
	for {
		if _, _, err := post(ctx, p.url("/hello"), ""); err == nil {
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

var client = &http.Client{Timeout: time.Minute}

// post sends a body and returns what came back.
func post(ctx context.Context, url, body string) (status int, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	request.Header.Set("Content-Type", "application/json")
	return do(request)
}

func get(ctx context.Context, url string) (status int, answer string, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	return do(request)
}

func do(request *http.Request) (status int, answer string, err error) {
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	return response.StatusCode, string(text), err
}

// metrics are a Caddy's figures as Prometheus would read them.
func (p *process) metrics(ctx context.Context) (string, error) {
	status, text, err := get(ctx, p.url("/metrics"))
	if err != nil || status != http.StatusOK {
		return "", fmt.Errorf("reading the metrics of %s: status %d, %w", p.name, status, err)
	}
	return text, nil
}

// metricSum adds the values of all series of one metric whose labels, as they
// are printed, hold what is asked for.
func metricSum(metrics, name, labels string) (sum float64, err error) {
	series := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + `(\{.*\})? (\S+)$`)
	found := false
	for _, match := range series.FindAllStringSubmatch(metrics, -1) {
		if !strings.Contains(match[1], labels) {
			continue
		}
		value, err := strconv.ParseFloat(match[2], 64)
		if err != nil {
			return 0, fmt.Errorf("metric %s: %w", name, err)
		}
		sum, found = sum+value, true
	}
	if !found {
		return 0, fmt.Errorf("the metrics lack %s{%s}", name, labels)
	}
	return sum, nil
}

// allocated is how many bytes a Caddy has allocated on its heap since it
// started: what its garbage collector has had to look after.
func (p *process) allocated(ctx context.Context) (float64, error) {
	text, err := p.metrics(ctx)
	if err != nil {
		return 0, err
	}
	return metricSum(text, "go_memstats_alloc_bytes_total", "")
}

// freeAddress is a loopback address that nobody listens on at this moment.
func freeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// errNoProc is the end of a measurement that only Linux can make.
var errNoProc = errors.New("this system does not tell a process's memory as Linux does")

// resident is how much memory a process has: what is mapped into it, and its
// share, with pages that are mapped several times counted once.
func (p *process) resident() (rss, pss float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, errNoProc
	}
	return parseSmaps(string(text))
}

func parseSmaps(text string) (rss, pss float64, err error) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		to, ok := map[string]*float64{"Rss": &rss, "Pss": &pss}[name]
		if !ok {
			continue
		}
		kilobytes, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			return 0, 0, fmt.Errorf("reading smaps_rollup: %w", err)
		}
		*to = kilobytes * 1024
	}
	if rss == 0 || pss == 0 {
		return 0, 0, errors.New("reading smaps_rollup: no Rss, or no Pss")
	}
	return rss, pss, nil
}
