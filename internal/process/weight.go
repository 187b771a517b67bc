package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Weight is how much memory a process has, in bytes: what is mapped into it, and its
// share of that, where pages that several processes have count for each in part.
type Weight struct{ RSS, PSS float64 }

// More is what w has over than.
func (w Weight) More(than Weight) Weight { return Weight{w.RSS - than.RSS, w.PSS - than.PSS} }

// ErrNoProc is the end of a measurement that only Linux can make.
var ErrNoProc = errors.New("this system does not tell a process's memory as Linux does")

// Weight weighs the process.
func (p *Process) Weight() (Weight, error) { return WeightOf(p.Cmd.Process.Pid) }

// WeightOf weighs a process.
func WeightOf(pid int) (Weight, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return Weight{}, fmt.Errorf("%w: %w", ErrNoProc, err)
	}
	return parseSmaps(string(text))
}

// Settle weighs the process again and again, prepare before each time, until several readings
// in a row are the same, at most 80 times with a pause between.
func (p *Process) Settle(ctx context.Context, pause time.Duration, prepare func() error) (last Weight, err error) {
	const same, readings = 4, 80
	steady := 0
	for range readings {
		if err := prepare(); err != nil {
			return Weight{}, err
		}
		now, err := p.Weight()
		if err != nil {
			return Weight{}, err
		}
		if d := now.RSS - last.RSS; d < now.RSS/200 && -d < now.RSS/200 {
			steady++
		} else {
			steady = 0
		}
		last = now
		if steady == same {
			break
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return Weight{}, ctx.Err()
		}
	}
	return last, nil
}

func parseSmaps(text string) (w Weight, err error) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		to, ok := map[string]*float64{"Rss": &w.RSS, "Pss": &w.PSS}[name]
		if !ok {
			continue
		}
		kilobytes, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			return Weight{}, fmt.Errorf("reading smaps_rollup: %w", err)
		}
		*to = kilobytes * 1024
	}
	if w.RSS == 0 || w.PSS == 0 {
		return Weight{}, errors.New("reading smaps_rollup: no Rss, or no Pss")
	}
	return w, nil
}
