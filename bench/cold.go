package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/internal/process"
)

// coldStarts is how often each cold start is measured.
const coldStarts = 20

// A coldRow is how long it takes from nothing to the first answer, in seconds.
type coldRow struct {
	what string
	took report.Spread
}

// A sizeRow is the size of what is deployed.
type sizeRow struct {
	what  string
	bytes float64
}

// measureCold starts the Go server again and again, bare and in a container,
// and asks functions for which no sandbox is ready, one after the other.
func measureCold(ctx context.Context, s *site) (rows []coldRow, err error) {
	type cold struct {
		what string
		once func() (time.Duration, error)
	}
	all := []cold{{"the Go server, a process", func() (time.Duration, error) { return coldServer(ctx, []string{s.serverBinary()}) }}}
	if s.container != nil {
		all = append(all, cold{"the Go server, a container of " + s.box.name, func() (time.Duration, error) { return coldServer(ctx, s.box.argv) }})
	}
	for _, g := range s.guests {
		if g.work == "echo" {
			url := s.metered.URL("/fresh/" + g.name)
			all = append(all, cold{"a function, a sandbox made for the request, " + g.language, func() (time.Duration, error) { return ask(ctx, url, time.Now()) }})
		}
	}
	times := make([][]float64, len(all))
	for i := range coldStarts {
		if i%5 == 0 {
			progress("cold starts, %d of %d", i, coldStarts)
		}
		for j, c := range all {
			process.Disconnect()
			took, err := c.once()
			if err != nil {
				return nil, fmt.Errorf("cold start of %s: %w", c.what, err)
			}
			times[j] = append(times[j], took.Seconds())
		}
	}
	for i, c := range all {
		rows = append(rows, coldRow{c.what, report.SpreadOf(times[i])})
	}
	return rows, nil
}

// coldServer starts a server and says when it had answered. It ends it, too,
// which doesn't count.
func coldServer(ctx context.Context, argv []string) (time.Duration, error) {
	begin := time.Now()
	p, err := process.StartListening("the Go server", argv)
	if err != nil {
		return 0, err
	}
	defer p.Stop()
	return ask(ctx, p.URL("/echo"), begin)
}

// ask says how long after begin the answer had come.
func ask(ctx context.Context, url string, begin time.Time) (time.Duration, error) {
	status, _, err := post(ctx, url, contactBody)
	if err == nil && status != http.StatusOK {
		err = fmt.Errorf("status %d", status)
	}
	return time.Since(begin), err
}

// sizes are what each competitor puts on the server's disk.
func (s *site) sizes() (rows []sizeRow) {
	add := func(what, path string) {
		if info, err := os.Stat(path); err == nil {
			rows = append(rows, sizeRow{what, float64(info.Size())})
		}
	}
	add("the Go server's binary, static and stripped: all works", s.serverBinary())
	for _, g := range s.guests {
		switch g.work {
		case "echo", "contact", "prime":
			add(g.work+" in "+g.language+", a module", g.file(s.dir))
		}
	}
	return rows
}
