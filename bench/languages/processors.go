package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// processorTime is how much processor time a process and all that it has started have had, as far as they still run.
// It is false where the system doesn't tell as Linux does.
func processorTime(pid int) (total time.Duration, ok bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	if total, ok = parseStat(string(stat)); !ok {
		return 0, false
	}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is good
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the thread may just have ended
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				more, _ := processorTime(n) // none of one that has just ended
				total += more
			}
		}
	}
	return total, true
}

// tick is the unit of times in /proc/<pid>/stat.
const tick = 10 * time.Millisecond

// parseStat adds utime and stime (proc(5), 14 and 15); the second field, a name in parentheses, may hold anything.
func parseStat(text string) (time.Duration, bool) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, false
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * tick, err == nil
}

// processorTime is how much Caddy and the servers behind it have had together.
func (s *site) processorTime() (time.Duration, bool) {
	total, ok := processorTime(s.caddy.Cmd.Process.Pid)
	for _, r := range s.servers {
		more, too := processorTime(r.process.Cmd.Process.Pid)
		total, ok = total+more, ok && too
	}
	return total, ok
}
