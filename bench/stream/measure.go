package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/internal/process"
)

// events returns a table with the latency of the other function before and while clients listen.
func (b *bench) events(ctx context.Context) (string, error) {
	var table strings.Builder
	table.WriteString("| while | all listen after | events | due | median | 99 in 100 | most |\n|---|--:|--:|--:|--:|--:|--:|\n")
	quiet, err := b.latency(ctx, b.duration)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&table, "| nobody listens | | | | %s |\n", quiet)
	for _, source := range listened {
		if source.missing() {
			continue
		}
		row, err := b.listen(ctx, source.name())
		if err != nil {
			return "", fmt.Errorf("%s: %w", source.folder, err)
		}
		table.WriteString(row)
	}
	return table.String(), nil
}

// listen has clients listen and measures the other function meanwhile.
func (b *bench) listen(ctx context.Context, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, b.duration+maxJoining)
	defer cancel()
	transport := &http.Transport{MaxIdleConnsPerHost: b.clients}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var counted atomic.Int64
	var counting atomic.Bool
	var listening, done sync.WaitGroup
	failed := make(chan error, b.clients)
	listening.Add(b.clients)
	leaving, leave := context.WithCancel(ctx)
	defer leave()
	start := time.Now()
	for range b.clients {
		done.Go(func() {
			first := sync.OnceFunc(listening.Done)
			defer first()
			err := listenTo(leaving, client, b.caddy.URL("/"+name+"/events"), func() {
				first()
				if counting.Load() {
					counted.Add(1)
				}
			})
			if leaving.Err() == nil {
				failed <- fmt.Errorf("a client lost its events: %w", err)
			}
		})
	}
	listening.Wait()
	joined := time.Since(start)
	counting.Store(true)
	measured, err := b.latency(ctx, b.duration)
	counting.Store(false)
	leave()
	done.Wait()
	select {
	case err := <-failed:
		return "", err
	default:
	}
	if err != nil {
		return "", err
	}
	due := float64(b.clients) * b.duration.Seconds()
	// The part of a second at each end: an event of each client may be just outside.
	events := mark(fmt.Sprint(counted.Load()), float64(counted.Load()) >= due*(1-maxMissing)-float64(b.clients))
	return fmt.Sprintf("| %d listen to %s | %s | %s | %.0f | %s |\n", b.clients, name, report.Short(joined), events, due, measured), nil
}

// listenTo calls event for each event until ctx ends.
func listenTo(ctx context.Context, client *http.Client, url string, event func()) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if bytes.HasPrefix(lines.Bytes(), []byte("data:")) {
			event()
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return io.ErrUnexpectedEOF
}

// latencies are those of requests, in the order of their length.
type latencies []time.Duration

func (l latencies) String() string {
	at := func(part float64) string { return report.Short(l[min(int(part*float64(len(l))), len(l)-1)]) }
	return fmt.Sprintf("%s | %s | %s", at(0.5), at(0.99), at(1))
}

// latency asks the other function, one request at a time.
func (b *bench) latency(ctx context.Context, d time.Duration) (latencies, error) {
	var took latencies
	for end := time.Now().Add(d); len(took) == 0 || time.Now().Before(end); time.Sleep(pause) {
		start := time.Now()
		answer, err := process.Ask(ctx, http.MethodPost, b.caddy.URL("/other"), "hello")
		if err != nil {
			return nil, err
		}
		if answer.Status != http.StatusOK {
			return nil, fmt.Errorf("the other function: status %d", answer.Status)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return took, nil
}

// bodies returns a table of how large bodies pass.
func (b *bench) bodies(ctx context.Context) (string, error) {
	var table strings.Builder
	fmt.Fprintf(&table, "| | took | per second | growth, below %s |\n|---|--:|--:|--:|\n", report.Bytes(maxGrowth))
	for _, direction := range []struct {
		name string
		pass func(context.Context, int64) error
	}{{"upload", b.upload}, {"download", b.download}} {
		if err := direction.pass(ctx, 1<<20); err != nil { // what is made once is there
			return "", fmt.Errorf("%s: %w", direction.name, err)
		}
		before, err := b.caddy.Settle(ctx, 100*time.Millisecond, func() error { return nil })
		if err != nil {
			return "", err
		}
		most, stop := b.watch()
		start := time.Now()
		err = direction.pass(ctx, b.size)
		took := time.Since(start)
		stop()
		if err != nil {
			return "", fmt.Errorf("%s: %w", direction.name, err)
		}
		grown := max(most.Load()-int64(before.RSS), 0)
		fmt.Fprintf(&table, "| %s | %s | %s | %s |\n", direction.name, report.Short(took), report.Bytes(float64(b.size)/took.Seconds()),
			mark(report.Bytes(float64(grown)), grown < maxGrowth))
	}
	return table.String(), nil
}

// watch follows the memory of the process until stop is called: most is the most it had.
func (b *bench) watch() (most *atomic.Int64, stop func()) {
	most = new(atomic.Int64)
	end := make(chan struct{})
	var done sync.WaitGroup
	done.Go(func() {
		for {
			if w, err := b.caddy.Weight(); err == nil {
				most.Store(max(most.Load(), int64(w.RSS)))
			}
			select {
			case <-end:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return most, func() { close(end); done.Wait() }
}

// zeros is an endless body.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func (b *bench) upload(ctx context.Context, size int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.caddy.URL("/bodies/"), io.LimitReader(zeros{}, size))
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && string(text) != fmt.Sprint(size) {
		err = fmt.Errorf("status %d, %.100q", response.StatusCode, text)
	}
	return err
}

func (b *bench) download(ctx context.Context, size int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s?size=%d", b.caddy.URL("/bodies/"), size), nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	n, err := io.Copy(io.Discard, response.Body)
	if err == nil && n != size {
		err = fmt.Errorf("status %d, %d bytes", response.StatusCode, n)
	}
	return err
}
