package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/gojinn/gojinn/internal/process"
)

// A containment is a way to start the Go server in a container. They are tried
// for the cheapest container of their kind: no network of its own, a root that
// nobody writes to, with nothing in it but the server.
type containment struct {
	name  string // "" for none
	argv  []string
	image string // to be removed at the end; "" for none
}

// image names what we build for Docker and Podman.
const image = "gojinn-bench"

// findContainment returns the first way that works here: the zero containment
// when none does. notes says which was taken, and why others were not.
func findContainment(ctx context.Context, dir, binary string) (found containment, notes []string) {
	for _, try := range []struct {
		name string
		make func(ctx context.Context, name, dir, binary string) (containment, error)
	}{{"docker", imageContainment}, {"podman", imageContainment}, {"bwrap", bwrapContainment}} {
		if _, err := exec.LookPath(try.name); err != nil {
			notes = append(notes, try.name+" is not installed.")
			continue
		}
		box, err := try.make(ctx, try.name, dir, binary)
		if err == nil {
			err = box.try(ctx)
		}
		if err == nil {
			return box, append(notes, "The container is made by: `"+strings.ReplaceAll(strings.Join(box.argv, " "), dir+"/", "")+"`.")
		}
		box.remove()
		notes = append(notes, fmt.Sprintf("%s does not work here: %s.", try.name, lastLine(err.Error())))
	}
	return containment{}, append(notes, "No container was measured.")
}

// lastLine is where programs say what was wrong, after warnings and traces.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	text = text[strings.LastIndexByte(text, '\n')+1:]
	return strings.TrimRight(text[:min(len(text), 200)], ".?!")
}

// bwrapContainment uses namespaces and nothing else.
func bwrapContainment(_ context.Context, name, _, binary string) (containment, error) {
	return containment{name: name, argv: []string{
		name, "--unshare-all", "--share-net", "--die-with-parent", "--ro-bind", binary, "/server", "--remount-ro", "/", "/server",
	}}, nil
}

// imageContainment builds an image that holds only the server.
func imageContainment(ctx context.Context, name, dir, binary string) (containment, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	server, err := os.ReadFile(binary)
	if err != nil {
		return containment{}, err
	}
	folder := filepath.Join(dir, "image")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return containment{}, err
	}
	if err := os.WriteFile(filepath.Join(folder, "server"), server, 0o755); err != nil {
		return containment{}, err
	}
	recipe := "FROM scratch\nCOPY server /server\nENTRYPOINT [\"/server\"]\n"
	if err := os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte(recipe), 0o600); err != nil {
		return containment{}, err
	}
	if out, err := exec.CommandContext(ctx, name, "build", "-q", "-t", image, folder).CombinedOutput(); err != nil {
		return containment{}, fmt.Errorf("%w: %s", err, lastLine(string(out)))
	}
	return containment{name: name, image: image, argv: []string{name, "run", "--rm", "--read-only", "--network", "host", image}}, nil
}

// try starts a container and asks it once.
func (c containment) try(ctx context.Context) error {
	p, err := process.StartListening("a container", c.argv)
	if err != nil {
		return err
	}
	defer p.Stop()
	_, _, err = post(ctx, p.URL("/echo"), contactBody)
	return err
}

// remove gives back what the containment holds.
func (c containment) remove() {
	if c.image != "" {
		_ = exec.Command(c.name, "rmi", "-f", c.image).Run() // an image of ours that stays harms nobody
	}
}
