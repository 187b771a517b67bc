package toolchain

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxOutput bounds what one build may print, in bytes.
const maxOutput = 1 << 20

// boundedWriter passes on the first bytes and drops the rest, saying so once.
// A compiler that cannot stop complaining is not worth a full disk.
type boundedWriter struct {
	w    io.Writer
	left int
	cut  bool
}

func (b *boundedWriter) Write(p []byte) (int, error) {
	keep := min(len(p), b.left)
	b.left -= keep
	if _, err := b.w.Write(p[:keep]); err != nil {
		return 0, err
	}
	if keep < len(p) && !b.cut {
		b.cut = true
		if _, err := io.WriteString(b.w, "\n… more output left out\n"); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// run runs a compiler in the job's folder. What it prints goes to the job's
// stderr, except standard output when stdout is not nil.
func (j *job) run(ctx context.Context, env []string, stdout io.Writer, name string, args ...string) error {
	cmd := command(ctx, j.dir, env, name, args...)
	cmd.Stdout, cmd.Stderr = stdout, j.stderr
	if stdout == nil {
		cmd.Stdout = j.stderr
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// command prepares a command that dies with ctx, and all its children with it.
func command(ctx context.Context, dir string, env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	killGroup(cmd)
	// A grandchild that survives holds our pipes open: don't wait for it.
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// ask returns the first line a tool prints, "" when it fails.
func ask(ctx context.Context, dir, name string, args ...string) string {
	var out bytes.Buffer
	cmd := command(ctx, dir, nil, name, args...)
	cmd.Stdout = &boundedWriter{w: &out, left: 1 << 16}
	if cmd.Run() != nil {
		return ""
	}
	line, _, _ := strings.Cut(out.String(), "\n")
	return strings.TrimSpace(line)
}

// environ returns this process's environment with some variables replaced.
// A pair without a value ("NAME") removes the variable.
func environ(pairs ...string) []string {
	replaced := func(entry string) bool {
		return slices.ContainsFunc(pairs, func(pair string) bool {
			name, _, _ := strings.Cut(pair, "=")
			return strings.HasPrefix(entry, name+"=")
		})
	}
	env := slices.DeleteFunc(os.Environ(), replaced)
	return append(env, slices.DeleteFunc(slices.Clone(pairs), func(pair string) bool { return !strings.Contains(pair, "=") })...)
}

// systemFolders are looked through after PATH, which a service often has short.
var systemFolders = []string{"/usr/local/bin", "/usr/bin"}

// lookEverywhere returns every executable of that name: those in PATH, in its
// order, then those in the folders named after it, then the system's.
func lookEverywhere(name string, more ...string) []string {
	var found []string
	for _, dir := range slices.Concat(filepath.SplitList(os.Getenv("PATH")), more, systemFolders) {
		if !filepath.IsAbs(dir) {
			continue // never a program from the folder being built
		}
		path, err := exec.LookPath(filepath.Join(dir, name))
		if err == nil && !slices.Contains(found, path) {
			found = append(found, path)
		}
	}
	return found
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
