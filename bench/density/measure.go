package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gojinn/gojinn/bench/report"
	"github.com/gojinn/gojinn/internal/process"
)

// fill has all functions compiled that the code cache lacks: each answers once.
func (b *bench) fill(ctx context.Context) error {
	progress("filling the code cache with %d functions, %s of modules", len(b.folder.functions), report.Bytes(float64(b.folder.bytes)))
	s, err := b.start(ctx, b.folder.dir, b.hot().path())
	if err != nil {
		return err
	}
	defer s.Stop()
	var next atomic.Int64
	var all sync.WaitGroup
	errs := make([]error, runtime.NumCPU())
	for worker := range errs {
		all.Go(func() {
			for errs[worker] == nil {
				i := int(next.Add(1)) - 1
				if i >= len(b.folder.functions) {
					return
				}
				errs[worker] = s.persist(ctx, b.folder.functions[i])
				if i%1000 == 999 {
					progress("%d of %d", i+1, len(b.folder.functions))
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// persist calls a function until it answers: it may take long to compile.
func (s *server) persist(ctx context.Context, f function) (err error) {
	for range 100 {
		if err = s.call(ctx, f); err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// hot is the function that is loaded, in a folder with others and alone.
func (b *bench) hot() function { return b.single.functions[0] }

// measure does one run.
func (b *bench) measure(ctx context.Context) (*results, error) {
	r := &results{machine: report.ThisMachine(), options: b.options, bytes: b.folder.bytes, notes: b.folder.notes}
	for _, step := range []struct {
		what string
		do   func(context.Context, *results) error
	}{
		{"Caddy alone", b.measureAlone},
		{"a container", b.measureContainer},
		{"starting", b.measureStarts},
		{"the functions", b.measureFunctions},
	} {
		progress("measuring %s", step.what)
		if err := step.do(ctx, r); err != nil {
			return nil, fmt.Errorf("measuring %s: %w", step.what, err)
		}
	}
	return r, nil
}

// measureAlone weighs the same Caddy without functions.
func (b *bench) measureAlone(ctx context.Context, r *results) error {
	var starts []float64
	for round := range b.rounds {
		s, err := b.start(ctx, "", "/hello")
		if err != nil {
			return err
		}
		starts = append(starts, time.Since(s.started).Seconds())
		if round == b.rounds-1 {
			if r.alone.asIs, err = s.rest(ctx); err == nil {
				r.alone.bare, err = s.bare(ctx)
			}
		}
		s.Stop()
		if err != nil {
			return err
		}
	}
	r.startAlone = report.SpreadOf(starts)
	return nil
}

// measureStarts starts Caddy with all functions, and asks one.
func (b *bench) measureStarts(ctx context.Context, r *results) error {
	var starts []float64
	for round := range b.rounds {
		s, err := b.start(ctx, b.folder.dir, b.hot().path())
		if err != nil {
			return err
		}
		starts = append(starts, time.Since(s.started).Seconds())
		progress("start %d of %d: %.2f s", round+1, b.rounds, starts[round])
		s.Stop()
	}
	r.start = report.SpreadOf(starts)
	if b.profiles == "" {
		return nil
	}
	return b.profileStart(ctx)
}

// profileStart profiles one more start, which does not count.
func (b *bench) profileStart(ctx context.Context) error {
	if err := os.MkdirAll(b.profiles, 0o755); err != nil {
		return err
	}
	s, err := b.launch(b.folder.dir)
	if err != nil {
		return err
	}
	defer s.Stop()
	for ctx.Err() == nil { // the admin endpoint is there before the functions are
		if err = s.profile(ctx, "profile?seconds=5", filepath.Join(b.profiles, "start.pprof")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err == nil {
		err = s.await(ctx, b.hot().path())
	}
	if err == nil {
		err = s.profile(ctx, "heap?gc=1", filepath.Join(b.profiles, "heap.pprof"))
	}
	return err
}

// profile writes one of Go's profiles of the server to a file.
func (s *server) profile(ctx context.Context, what, file string) error {
	a, err := process.Ask(ctx, http.MethodGet, "http://"+s.admin+"/debug/pprof/"+what, "")
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("profiling: status %d", a.Status)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(a.Body), 0o644)
}

// measureFunctions does what needs a Caddy with all functions.
func (b *bench) measureFunctions(ctx context.Context, r *results) error {
	s, err := b.start(ctx, b.folder.dir, b.hot().path())
	if err != nil {
		return err
	}
	defer s.Stop()
	if err := s.unloaded(ctx); err != nil { // the one that has answered
		return err
	}
	if r.idle.asIs, err = s.rest(ctx); err != nil {
		return err
	}
	if r.idle.bare, err = s.bare(ctx); err != nil {
		return err
	}
	metrics, err := s.Metrics(ctx)
	if err != nil {
		return err
	}
	r.series = strings.Count(metrics, "\ngojinn_")
	if err := b.measureCold(ctx, s, r); err != nil {
		return err
	}
	progress("waiting until all code is unloaded")
	if err := s.unloaded(ctx); err != nil {
		return err
	}
	if r.after.asIs, err = s.rest(ctx); err != nil {
		return err
	}
	if r.after.bare, err = s.bare(ctx); err != nil {
		return err
	}
	if b.profiles != "" {
		if err := s.profile(ctx, "heap?gc=1", filepath.Join(b.profiles, "after.pprof")); err != nil {
			return err
		}
	}
	return b.measureThroughput(ctx, s, r)
}

// unloaded waits until no program has its code in memory.
func (s *server) unloaded(ctx context.Context) error {
	var loaded float64
	for range 600 {
		var err error
		if loaded, err = s.loaded(ctx); err != nil || loaded == 0 {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%.0f programs are still loaded after two minutes", loaded)
}

// measureCold has every function answer once, one after the other, and watches the
// memory meanwhile.
func (b *bench) measureCold(ctx context.Context, s *server, r *results) error {
	end := s.watchPeak()
	r.cold = make(map[string][]float64)
	var err error
	start := time.Now()
	for i, f := range b.folder.functions {
		before := time.Now()
		if err = s.call(ctx, f); err != nil {
			break
		}
		r.cold[f.language] = append(r.cold[f.language], time.Since(before).Seconds())
		if i%100 == 99 {
			if loaded, err := s.loaded(ctx); err == nil { // at worst we don't know about the most
				r.mostLoaded = max(r.mostLoaded, loaded)
			}
		}
		if i%1000 == 999 {
			progress("%d of %d have answered", i+1, len(b.folder.functions))
		}
	}
	r.allAnswered = time.Since(start)
	r.peak.asIs = end()
	return err
}

// measureThroughput compares the server with another that has only one function, in
// interleaved rounds.
func (b *bench) measureThroughput(ctx context.Context, many *server, r *results) error {
	one, err := b.start(ctx, b.single.dir, b.hot().path())
	if err != nil {
		return err
	}
	defer one.Stop()
	var alone, among, ratios []float64
	for round := range b.rounds + 1 {
		var rates [2]float64
		for i, s := range []*server{one, many} {
			if rates[i], err = b.load(ctx, s); err != nil {
				return err
			}
		}
		if round == 0 {
			continue // a warm-up that does not count
		}
		progress("throughput, round %d of %d: %.0f and %.0f requests/s", round, b.rounds, rates[0], rates[1])
		alone, among, ratios = append(alone, rates[0]), append(among, rates[1]), append(ratios, rates[1]/rates[0])
	}
	r.rateOne, r.rateMany, r.rateRatio = report.SpreadOf(alone), report.SpreadOf(among), report.SpreadOf(ratios)
	return nil
}

var wrkRate = regexp.MustCompile(`(?m)^Requests/sec:\s+(\S+)$`)

// load asks the hot function as fast as it can for a while, and returns how many
// answers came per second.
func (b *bench) load(ctx context.Context, s *server) (float64, error) {
	out, err := exec.CommandContext(ctx, b.wrk, "--threads", "1", "--connections", "16",
		"--duration", strconv.Itoa(int(b.duration.Seconds()))+"s", s.URL(b.hot().path())).CombinedOutput()
	match := wrkRate.FindSubmatch(out)
	if err != nil || match == nil || bytes.Contains(out, []byte("Non-2xx")) || bytes.Contains(out, []byte("Socket errors")) {
		return 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	return strconv.ParseFloat(string(match[1]), 64)
}

// containers is how many containers are made to see what one of them takes.
const containers = 20

// measureContainer weighs containers with the Go server that does the same work: several at
// once, so that what they share, as the server's code, counts once for all of them.
func (b *bench) measureContainer(ctx context.Context, r *results) error {
	binary := filepath.Join(b.scratch, "server")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "./bench/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("building bench/server: %w", err)
	}
	argv := []string{"bwrap", "--unshare-all", "--share-net", "--die-with-parent", "--ro-bind", binary, "/server", "--remount-ro", "/", "/server"}
	if _, err := exec.LookPath(argv[0]); err != nil {
		r.notes = append(r.notes, "bubblewrap is not installed: the containers are bare processes.")
		argv = []string{binary}
	}
	var total process.Weight
	var running []*process.Process
	defer func() {
		for _, p := range running {
			p.Kill()
		}
	}()
	for range containers {
		p, err := process.StartListening("a container", argv)
		if err != nil {
			return err
		}
		running = append(running, p)
		if _, err := process.Ask(ctx, http.MethodPost, p.URL("/echo"), "{}"); err != nil {
			return fmt.Errorf("asking a container: %w", err)
		}
	}
	for _, p := range running {
		for _, pid := range descendants(p.Cmd.Process.Pid) {
			w, err := process.WeightOf(pid)
			if err != nil {
				return err
			}
			total.RSS, total.PSS = total.RSS+w.RSS, total.PSS+w.PSS
		}
	}
	r.container = process.Weight{RSS: total.RSS / containers, PSS: total.PSS / containers}
	return nil
}

// descendants returns a process and those that it has started, and so on.
func descendants(pid int) []int {
	all := []int{pid}
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid)) // the pattern is good
	for _, list := range lists {
		text, _ := os.ReadFile(list) // the process may just have ended
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, descendants(n)...)
			}
		}
	}
	return all
}

// quantile returns the value that q of all are not above.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}
