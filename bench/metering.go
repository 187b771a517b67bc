package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/internal/process"
)

// A meteringRow compares one kind of work with and without metering.
type meteringRow struct {
	work         string
	metered, off time.Duration // median cost of one call
	ratio        float64       // median over the rounds of metered / off
	atMost       float64       // what the ratio should not exceed
}

// measureMetering calls the two functions that do nothing but compute, one
// request at a time, at both Caddys in turn. A call takes so long that HTTP and
// making the sandbox do not count.
func measureMetering(ctx context.Context, s *site, o options) (rows []meteringRow, err error) {
	if s.off == nil {
		return nil, nil
	}
	for _, work := range []struct {
		guest, name string
		atMost      float64
	}{{"json", "JSON in Go", 1.05}, {"loop", "empty loop", 1.35}} {
		progress("metering: %s", work.name)
		row := meteringRow{work: work.name, atMost: work.atMost}
		var metered, off []time.Duration
		var ratios []float64
		for range o.rounds {
			on, without, err := alternate(ctx, s, work.guest, o.calls)
			if err != nil {
				return nil, err
			}
			metered, off = append(metered, on), append(off, without)
			ratios = append(ratios, on.Seconds()/without.Seconds())
		}
		row.metered, row.off, row.ratio = report.Median(metered), report.Median(off), report.Median(ratios)
		rows = append(rows, row)
	}
	return rows, nil
}

// alternate calls a function of both Caddys in turn and returns the medians.
func alternate(ctx context.Context, s *site, guest string, calls int) (metered, off time.Duration, err error) {
	times := make(map[*process.Process][]time.Duration)
	for range calls {
		for _, p := range []*process.Process{s.metered, s.off} {
			start := clock(p)
			status, body, err := post(ctx, p.URL("/"+guest), "{}")
			if err != nil || status != 200 {
				return 0, 0, fmt.Errorf("calling %s of %s: status %d, %q, %v", guest, p.Name, status, body, err)
			}
			times[p] = append(times[p], clock(p)-start)
		}
	}
	return report.Median(times[s.metered]), report.Median(times[s.off]), nil
}

// clock is the processor time that the process has used, which tells more than
// the time of day on a machine that does other things too. Where the system
// does not tell it, it is the time of day.
func clock(p *process.Process) (used time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.Cmd.Process.Pid))
	for _, path := range files {
		text, _ := os.ReadFile(path) // its thread may have ended meanwhile
		ran, _, _ := bytes.Cut(text, []byte(" "))
		n, _ := strconv.ParseInt(string(ran), 10, 64)
		used += time.Duration(n) // nanoseconds on a processor
	}
	if used == 0 {
		return time.Duration(time.Now().UnixNano())
	}
	return used
}
