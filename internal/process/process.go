// Package process runs servers in processes of their own and looks at them from outside, for
// benchmarks and for tests of whole servers.
package process

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Process is a server that runs. Its methods may be used by several goroutines.
type Process struct {
	Cmd     *exec.Cmd
	Name    string // in messages
	Address string // host and port where it listens; "" if it tells nobody

	exited chan struct{}
}

// Start starts a server, which messages call name.
func Start(name string, cmd *exec.Cmd) (*Process, error) {
	cmd.WaitDelay = time.Second // for pipes that a process of its own still holds
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &Process{Cmd: cmd, Name: name, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		_ = cmd.Wait() // how it ended is in its state
	}()
	return p, nil
}

// StartListening starts a server that writes where it listens to its standard output, as its
// first line, and waits for that.
func StartListening(name string, argv []string) (*Process, error) {
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p, err := Start(name, cmd)
	if err != nil {
		return nil, err
	}
	line := make(chan string, 1)
	go func() {
		text, _ := bufio.NewReader(io.LimitReader(stdout, 1<<10)).ReadString('\n')
		line <- strings.TrimSpace(text)
	}()
	select {
	case p.Address = <-line:
	case <-time.After(time.Minute):
	}
	if p.Address == "" {
		p.Stop()
		return nil, fmt.Errorf("%s does not serve: %s", name, bytes.TrimSpace(stderr.Bytes()))
	}
	return p, nil
}

// Caddy is the command that runs a Caddy with a configuration, which is written to
// dir/<name>.caddyfile. It keeps what it keeps below dir. Variables of its environment
// may be added.
func Caddy(binary, dir, name, config string, env ...string) (*exec.Cmd, error) {
	file := filepath.Join(dir, name+".caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "run", "--adapter", "caddyfile", "--config", file)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	cmd.Env = append(cmd.Env, env...)
	return cmd, nil
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// URL is the address of a path on the server.
func (p *Process) URL(path string) string { return "http://" + p.Address + path }

// Await asks ready again and again until it is true, at most for a time.
func (p *Process) Await(ctx context.Context, within time.Duration, ready func() bool) error {
	deadline := time.After(within)
	for !ready() {
		select {
		case <-p.exited:
			return fmt.Errorf("%s ended before it served", p.Name)
		case <-deadline:
			return fmt.Errorf("%s does not serve after %s", p.Name, within)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// Stop ends the process, if there is one, as an operator does, and waits for its end. It
// tells whether it ended by itself within 20 seconds.
func (p *Process) Stop() bool {
	if p == nil {
		return true
	}
	_ = p.Cmd.Process.Signal(os.Interrupt) // it has ended if that fails
	select {
	case <-p.exited:
		return true
	case <-time.After(20 * time.Second):
		p.Kill()
		return false
	}
}

// Kill ends the process at once.
func (p *Process) Kill() {
	_ = p.Cmd.Process.Kill() // it has ended if that fails
	<-p.exited
}

// FreeAddress is a loopback address that nobody listens on at this moment.
func FreeAddress() (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}
