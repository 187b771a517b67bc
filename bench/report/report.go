// Package report is what the benchmarks have in common: the machine they ran
// on, the statistics they use, and how their results are recorded.
package report

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Median returns the middle of values, the lower of two.
func Median[T cmp.Ordered](values []T) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[(len(sorted)-1)/2]
}

// Machine is where a report was made.
type Machine struct {
	CPU    string
	Cores  int
	System string // operating system, architecture, version of Go
}

// ThisMachine returns the machine this program runs on.
func ThisMachine() Machine {
	return Machine{cpuModel(), runtime.NumCPU(), runtime.GOOS + "/" + runtime.GOARCH + ", " + runtime.Version()}
}

func (m Machine) String() string { return fmt.Sprintf("%s, %d cores, %s", m.CPU, m.Cores, m.System) }

// cpuModel is the processor's name, where the system tells it in a file.
func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, model, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(model)
		}
	}
	return "unknown processor"
}

var notInFileNames = regexp.MustCompile(`[^a-z0-9]+`)

// slug names the machine in a file name.
func (m Machine) slug() string {
	model := strings.NewReplacer("(R)", "", "(TM)", "").Replace(m.CPU)
	return strings.Trim(notInFileNames.ReplaceAllString(strings.ToLower(model), "-"), "-") + "-" + strconv.Itoa(m.Cores) + "cores"
}

// Record writes a report to the file out; if out is a folder, to a file in it
// that is named by the date, the machine and what was measured. An empty out
// records nothing.
func Record(out, what, markdown string) error {
	if out == "" {
		return nil
	}
	if info, err := os.Stat(out); err == nil && info.IsDir() {
		name := time.Now().Format(time.DateOnly) + "-" + ThisMachine().slug()
		if what != "" {
			name += "-" + what
		}
		out = filepath.Join(out, name+".md")
	}
	return os.WriteFile(out, []byte(markdown), 0o644)
}

// Short is a duration with about three digits.
func Short(d time.Duration) string {
	switch {
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	case d >= 100*time.Microsecond:
		return d.Round(time.Microsecond).String()
	}
	return d.Round(100 * time.Nanosecond).String()
}
