package churn

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Figures are what a process has at a time. What the system doesn't tell is 0.
type Figures struct {
	Goroutines  int
	Descriptors int
	Mappings    int
	Resident    int64 // bytes
	Loaded      int   // programs made ready to run since it started, compiled or from the cache
	Compiled    int   // programs in the code cache
}

func (f Figures) String() string {
	return fmt.Sprintf("%d goroutines, %d descriptors, %d mappings, %d MiB", f.Goroutines, f.Descriptors, f.Mappings, f.Resident>>20)
}

// most is the greater of each.
func (f Figures) most(g Figures) Figures {
	return Figures{max(f.Goroutines, g.Goroutines), max(f.Descriptors, g.Descriptors), max(f.Mappings, g.Mappings),
		max(f.Resident, g.Resident), max(f.Loaded, g.Loaded), max(f.Compiled, g.Compiled)}
}

// figures asks the server, and the system about it.
func (s *server) figures(ctx context.Context, client *http.Client) (f Figures, err error) {
	_, text, _, _, err := ask(ctx, client, "/metrics")
	if err != nil {
		return f, fmt.Errorf("reading the metrics: %w", err)
	}
	f.Goroutines, f.Loaded = metric(text, "go_goroutines"), metric(text, "gojinn_compile_duration_seconds_count")
	proc := fmt.Sprintf("/proc/%d/", s.Cmd.Process.Pid)
	if open, err := os.ReadDir(proc + "fd"); err == nil {
		f.Descriptors = len(open)
	}
	if maps, err := os.ReadFile(proc + "maps"); err == nil {
		f.Mappings = strings.Count(string(maps), "\n")
	}
	if statm, err := os.ReadFile(proc + "statm"); err == nil {
		var size, pages int64
		if _, err := fmt.Sscan(string(statm), &size, &pages); err == nil {
			f.Resident = pages * int64(os.Getpagesize())
		}
	}
	programs, err := filepath.Glob(filepath.Join(s.dir, "cache", "*.program"))
	f.Compiled = len(programs)
	return f, err
}

// metric is the value of a metric without labels, or 0.
func metric(text, name string) int {
	match := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	if match == nil {
		return 0
	}
	value, err := strconv.ParseFloat(match[1], 64)
	if err != nil {
		return 0
	}
	return int(value)
}
