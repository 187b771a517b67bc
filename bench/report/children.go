package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// ErrMissed is a report in which a value is in bold: a bound was missed.
var ErrMissed = errors.New("a bound was missed")

// Children prints and records a report whose tables are measured by this program, run again with
// args: with a processor for each of the machine's and with one, since GOMAXPROCS is best
// set before a program starts. head stands above the tables. With strict a missed bound is
// [ErrMissed].
func Children(ctx context.Context, name, head, out string, strict bool, args ...string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "# %s\n\n%s\n", ThisMachine(), head)
	for _, procs := range slices.Compact([]int{runtime.NumCPU(), 1}) {
		cmd := exec.CommandContext(ctx, self, args...)
		cmd.Env = append(os.Environ(), "GOMAXPROCS="+strconv.Itoa(procs))
		cmd.Stderr = os.Stderr
		table, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("measuring with GOMAXPROCS=%d: %w", procs, err)
		}
		fmt.Fprintf(&text, "\n## GOMAXPROCS=%d\n\n%s", procs, table)
	}
	fmt.Print(text.String())
	if err := Record(out, name, text.String()); err != nil {
		return err
	}
	if strict && strings.Contains(text.String(), "**") {
		return ErrMissed
	}
	return nil
}
