package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gojinn/gojinn/internal/process"
)

// connections are the loads that every row gets.
var connections = []int{1, 16}

// A sample is what one measurement saw.
type sample struct {
	perSecond float64
	p50, p99  time.Duration
	requests  int
	processor float64 // seconds of processor time that a request took of Caddy and the server behind it; 0: not known
}

// A measured row has, for each of connections, a sample of every round.
type measured struct {
	row
	samples [][]sample
}

// pause is before each measurement: what served the one before may still collect its garbage.
const pause = 200 * time.Millisecond

// measure measures all rows under all loads.
func measure(ctx context.Context, s *site, o options) ([]*measured, error) {
	all := make([]*measured, len(s.rows))
	for i, row := range s.rows {
		all[i] = &measured{row, make([][]sample, len(connections))}
	}
	for round := range o.rounds + 1 {
		for _, j := range rand.Perm(len(all)) {
			m := all[j]
			if round > 0 {
				progress("round %d of %d: %s", round, o.rounds, m.name())
			}
			for i, n := range connections {
				time.Sleep(pause)
				before, ok := s.processorTime()
				got, err := load(ctx, s.caddy.Address, m.row, n, o.duration)
				if after, too := s.processorTime(); ok && too && got.requests > 0 {
					got.processor = (after - before).Seconds() / float64(got.requests)
				}
				if err != nil {
					return nil, fmt.Errorf("loading %s with %d connections: %w", m.name(), n, err)
				}
				if round > 0 { // the first is a warm-up
					m.samples[i] = append(m.samples[i], got)
				}
			}
		}
	}
	return all, nil
}

// load asks as fast as connections that are kept open can, and at the end waits for the answers that are under way: a
// call whose client leaves costs the server a start of its program, and the next row would be measured meanwhile.
func load(ctx context.Context, address string, r row, conns int, duration time.Duration) (sample, error) {
	took := make([][]time.Duration, conns)
	errs := make([]error, conns)
	var all sync.WaitGroup
	begin := time.Now()
	for i := range conns {
		all.Go(func() { took[i], errs[i] = askAgain(ctx, address, r, begin.Add(duration)) })
	}
	all.Wait()
	whole := time.Since(begin)
	if err := errors.Join(errs...); err != nil {
		return sample{}, err
	}
	each := slices.Sorted(slices.Values(slices.Concat(took...)))
	return sample{perSecond: float64(len(each)) / whole.Seconds(), p50: each[len(each)/2], p99: each[len(each)*99/100], requests: len(each)}, nil
}

// askAgain asks again and again on one connection until the time is up, at least once, and returns how long each answer
// took. The client is as small as one can be: what it takes is taken from who is measured.
func askAgain(ctx context.Context, address string, r row, until time.Time) (took []time.Duration, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", r.path, address, len(contactBody), contactBody)
	answers := bufio.NewReader(conn)
	for len(took) == 0 || time.Now().Before(until) {
		start := time.Now()
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			return nil, err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
		if err == nil && answer.StatusCode != r.status {
			err = fmt.Errorf("status %d", answer.StatusCode)
		}
		if err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	return took, nil
}

// profile writes a profile of Caddy under each function's load.
func profile(ctx context.Context, s *site, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	const seconds = 5
	for _, row := range s.rows {
		if !row.function {
			continue
		}
		progress("profiling %s", row.name())
		loaded, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() {
			_, err := load(loaded, s.caddy.Address, row, 16, (seconds+1)*time.Second)
			ended <- err
		}()
		a, err := process.Ask(ctx, http.MethodGet, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", s.admin, seconds), "")
		if err == nil && a.Status != http.StatusOK {
			err = fmt.Errorf("profiling: status %d", a.Status)
		}
		if err == nil {
			err = <-ended
		}
		cancel()
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, row.file()+".pprof"), []byte(a.Body), 0o644); err != nil {
			return err
		}
	}
	return nil
}
