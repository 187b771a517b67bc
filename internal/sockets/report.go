package sockets

import (
	"sync"
	"time"
)

// reportEvery is how often the same address is reported.
const reportEvery = 10 * time.Second

// Sparingly returns a function for [Endpoint.Report] that calls report for each address once in
// ten seconds at most, with the number of errors of that address that went unreported since:
// a function may fail to connect thousands of times a second. It is safe for concurrent use if
// report is.
func Sparingly(report func(address string, err error, unreported int)) func(address string, err error) {
	type record struct {
		last       time.Time
		unreported int
	}
	var mu sync.Mutex
	records := make(map[string]*record) // as many as there are addresses in the configuration
	next := func(address string) (unreported int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		r := records[address]
		if r == nil {
			r = new(record)
			records[address] = r
		}
		if now := time.Now(); r.last.IsZero() || now.Sub(r.last) >= reportEvery {
			unreported, r.unreported, r.last = r.unreported, 0, now
			return unreported, true
		}
		r.unreported++
		return 0, false
	}
	return func(address string, err error) {
		if unreported, ok := next(address); ok {
			report(address, err, unreported)
		}
	}
}
