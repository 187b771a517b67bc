package gojinn

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The program in the README answers requests, also here.
func TestReadme(t *testing.T) {
	if runtime.GOOS == "wasip1" {
		t.Skip("there is no compiler")
	}
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(readme), "\n```go\n")
	program, _, found := strings.Cut(program, "```\n")
	if !found {
		t.Fatal("the README has no program")
	}
	dir := t.TempDir()
	module := fmt.Sprintf("module hello\n\ngo 1.24\n\nrequire github.com/gojinn/gojinn/guest/go v0.0.0\n\nreplace github.com/gojinn/gojinn/guest/go => %s\n", filepath.ToSlash(here))
	for name, text := range map[string]string{"go.mod": module, "main.go": program} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := exec.Command("go", "run", "-mod=mod", ".")
	run.Dir = dir
	run.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY=off", "GOWORK=off")
	run.Stdin = strings.NewReader(`{"method":"GET","uri":"/hello/Ada"}`)
	var log strings.Builder
	run.Stderr = &log
	out, err := run.Output()
	const want = `{"status":200,"headers":{"Content-Type":"text/plain; charset=utf-8"},"body":"Hello, Ada!\n"}`
	if string(out) != want || err != nil {
		t.Errorf("got %s, %v, %s, want %s", out, err, &log, want)
	}
}
