package memory

import (
	"testing"

	"golang.org/x/sys/unix"
)

// faults is the number of page faults of this process that needed no disk.
func faults(tb testing.TB) int64 {
	tb.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return int64(usage.Minflt)
}
