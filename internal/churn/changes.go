package churn

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// Changes says how a server is to be changed while it is used.
type Changes struct {
	Functions int
	Size      int // of their modules, in functions
	Reloads   int
	Swaps     int
	Clients   int           // half of them keep their connections
	Still     int           // how many fifths of a second nothing must change before what there is is counted
	Settle    time.Duration // how long to wait at most until all has been given back
}

// Phase is one way of changing a server, and what came of it.
type Phase struct {
	Name     string
	Network  string
	Reloads  int
	Swapped  int // modules
	Took     time.Duration
	Answered int64
	Resent   int64          // by Go's client: the connection had been idle, and was closed
	Lost     int64          // the connection ended before any byte of an answer, and the request was sent again
	Losses   map[string]int // by what the client saw
	Failed   int64          // anything else that is not a right answer
	Failures []string
	Before   Figures
	Most     Figures
	After    Figures // when all has been given back
}

// Run changes a server in several ways, one after the other, each with a process of
// its own: reloads of a configuration without functions, for comparison, reloads of one with
// functions, swaps of their modules, and both at once. Files are kept in dir.
func (c Changes) Run(ctx context.Context, binary Binary, dir string, progress func(string)) ([]Phase, error) {
	unix := network{"unix", filepath.Join(dir, "site")}
	tcp, err := freePort()
	if err != nil {
		return nil, err
	}
	var phases []Phase
	for _, p := range []struct {
		name           string
		network        network
		functions      int
		reloads, swaps int
	}{
		{"reloads of `respond ok`", tcp, 0, c.Reloads, 0},
		{"reloads", tcp, c.Functions, c.Reloads, 0},
		{"reloads of `respond ok`", unix, 0, c.Reloads, 0},
		{"reloads", unix, c.Functions, c.Reloads, 0},
		{"swaps", tcp, c.Functions, 0, c.Swaps},
		{"reloads and swaps at once", unix, c.Functions, c.Reloads, c.Swaps},
	} {
		progress(p.name + ", " + p.network.name)
		one := run{changes: c, dir: filepath.Join(dir, fmt.Sprint("phase", len(phases))), network: p.network, reloads: p.reloads, swaps: p.swaps,
			phase: Phase{Name: p.name, Network: p.network.name, Reloads: p.reloads, Swapped: p.swaps}}
		if err := one.run(ctx, binary, p.functions); err != nil {
			return phases, fmt.Errorf("%s, %s: %w", p.name, p.network.name, err)
		}
		phases = append(phases, one.phase)
	}
	return phases, nil
}

func freePort() (network, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return network{}, err
	}
	return network{"tcp", l.Addr().String()}, l.Close()
}

// run is a phase under way.
type run struct {
	changes        Changes
	dir            string
	network        network
	reloads, swaps int
	functions      []*function
	server         *server
	client         *http.Client // a connection for each request
	phase          Phase
}

func (r *run) run(ctx context.Context, binary Binary, functions int) (err error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return err
	}
	if r.functions, err = functionsIn(r.dir, functions, r.changes.Size); err != nil {
		return err
	}
	if r.server, err = start(binary, r.dir, r.config(0)); err != nil {
		return err
	}
	defer r.server.Kill()
	if err := r.server.await(ctx, r.network); err != nil {
		return err
	}
	r.client = r.network.client(false)
	if err := r.warmUp(ctx); err != nil {
		return err
	}
	if r.phase.Before, err = r.settled(ctx, Figures{}); err != nil {
		return err
	}
	r.phase.Most = r.phase.Before
	if err := r.change(ctx); err != nil {
		return err
	}
	if r.phase.After, err = r.settled(ctx, r.phase.Before); err != nil {
		return err
	}
	if _, panics, _ := r.server.log.counts(); panics > 0 {
		return fmt.Errorf("the server panicked: %s", &r.server.log)
	}
	return r.server.stop()
}

func (r *run) config(mark int) string {
	return site(r.dir, r.network, r.functions, mark, "2GiB")
}

// warmUp has the server do each thing that will be counted, a few times.
func (r *run) warmUp(ctx context.Context) error {
	warm := *r
	warm.phase = Phase{}
	warm.reloads, warm.swaps = min(r.reloads, 10), 0
	if err := warm.change(ctx); err != nil {
		return err
	}
	for _, f := range r.functions {
		if r.swaps > 0 {
			if err := f.swap(ctx, r.client); err != nil {
				return err
			}
		}
	}
	return nil
}

// change makes the changes while clients ask.
func (r *run) change(ctx context.Context) error {
	begin := time.Now()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	asking, stop := context.WithCancel(ctx)
	var l load
	var clients, changers sync.WaitGroup
	for i := range r.changes.Clients {
		clients.Go(func() { l.client(asking, r.network.client(i%2 == 0), uint64(i), r.target) })
	}
	clients.Go(func() { r.watch(asking) })
	changers.Go(func() {
		for i := range r.reloads {
			if err := r.server.reload(ctx, r.config(i+1)); err != nil {
				end(err)
				return
			}
		}
	})
	var swaps atomic.Int64
	for _, f := range r.functions {
		changers.Go(func() {
			for swaps.Add(1) <= int64(r.swaps) && ctx.Err() == nil {
				if err := f.swap(ctx, r.client); err != nil {
					end(err)
				}
			}
		})
	}
	changers.Wait()
	if r.reloads+r.swaps > 0 {
		r.phase.Took = time.Since(begin)
	}
	stop()
	clients.Wait()
	p := &r.phase
	p.Answered, p.Resent, p.Lost, p.Failed, p.Failures, p.Losses = l.answered.Load(), l.resent.Load(), l.lost.Load(), l.failed.Load(), l.failures, l.losses
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return ctx.Err()
}

// target picks what to ask for. Right after a reload, an older version may answer until
// the new configuration has looked at the files again.
func (r *run) target(random *rand.Rand) (string, func(int, string) error) {
	if len(r.functions) == 0 {
		return "/", func(status int, body string) error {
			if status != http.StatusOK || body != "ok" {
				return fmt.Errorf("status %d, %.100q", status, body)
			}
			return nil
		}
	}
	f := r.functions[random.IntN(len(r.functions))]
	oldest := int64(1)
	if r.reloads == 0 {
		oldest = f.oldest.Load()
	}
	return f.route, func(status int, body string) error { return f.check(oldest, status, body) }
}

// watch notes the most that the process has while it is changed.
func (r *run) watch(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
		if f, err := r.server.figures(context.Background(), r.client); err == nil {
			r.phase.Most = r.phase.Most.most(f)
		}
	}
}

// settled returns what the process has when that is about as much as before, or, without a before,
// changes no more. At the latest that is what it has after Settle.
func (r *run) settled(ctx context.Context, before Figures) (last Figures, err error) {
	still := 0
	for deadline := time.Now().Add(r.changes.Settle); ; {
		f, err := r.server.figures(ctx, r.client)
		if err != nil {
			return f, err
		}
		if f.about(last) {
			still++
		} else {
			still = 0
		}
		last = f
		back := before != Figures{} && f.within(before) && f.Resident <= before.tolerable()
		if time.Now().After(deadline) || back || before == (Figures{}) && still >= r.changes.Still {
			return f, nil
		}
		select {
		case <-ctx.Done():
			return f, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// about tells whether f is hardly more or less than g.
func (f Figures) about(g Figures) bool { return f.within(g) && g.within(f) }

// within tells whether f is hardly more than g.
func (f Figures) within(g Figures) bool {
	return f.Goroutines <= g.Goroutines+slack && f.Descriptors <= g.Descriptors+slack && f.Mappings <= g.Mappings+slack
}

// tolerable is how much memory may be resident afterwards: Go gives memory back when it sees fit.
func (f Figures) tolerable() int64 { return f.Resident + f.Resident/4 + 32<<20 }

// slack is by how much the number of goroutines, descriptors or mappings may differ between two times
// at which a process has nothing to do.
const slack = 16

// Verdict is an error if the phase went otherwise than it should.
func (p Phase) Verdict() error {
	var errs []error
	if p.Failed > 0 {
		errs = append(errs, fmt.Errorf("%d requests failed: %q", p.Failed, p.Failures))
	}
	if p.Lost > 0 && p.Reloads == 0 {
		errs = append(errs, fmt.Errorf("%d connections were lost", p.Lost))
	}
	for _, c := range []struct {
		what        string
		before, now int
	}{
		{"goroutines", p.Before.Goroutines, p.After.Goroutines},
		{"descriptors", p.Before.Descriptors, p.After.Descriptors},
		{"mappings", p.Before.Mappings, p.After.Mappings},
	} {
		if c.now > c.before+slack {
			errs = append(errs, fmt.Errorf("%d %s, %d before", c.now, c.what, c.before))
		}
	}
	if now := p.After.Resident; now > p.Before.tolerable() {
		errs = append(errs, fmt.Errorf("%d MiB resident, %d MiB before", now>>20, p.Before.Resident>>20))
	}
	if compiled := p.After.Compiled - p.Before.Compiled; compiled != p.Swapped {
		errs = append(errs, fmt.Errorf("%d modules were compiled, %d changed", compiled, p.Swapped))
	}
	if len(errs) > 0 {
		return fmt.Errorf("%s, %s: %w", p.Name, p.Network, errors.Join(errs...))
	}
	return nil
}
