package engine

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gojinn/gojinn/engine/frozen"
	"github.com/gojinn/gojinn/engine/memory"
	"github.com/gojinn/gojinn/engine/vfs"
)

// Limits bounds one call of a function.
type Limits struct {
	// Timeout is the longest a call may take, all waiting included, from the
	// moment it has its sandbox. 0: no bound.
	Timeout time.Duration
	// Fuel is the number of instructions a call may execute, counted as an
	// upper bound: where ways part, the dearer one counts. Host calls are
	// charged by the bytes they move. 0: no bound.
	Fuel int64
	// Memory is the largest linear memory in bytes, rounded down to whole
	// pages of 64 KiB. 0: the most there is, 4 GiB.
	Memory int64
	// Output is the number of bytes a call may write to its standard output;
	// one more ends the call. 0: no bound.
	Output int64
	// Log is the number of bytes kept of its standard error; more is dropped.
	Log int64
	// Files is the number of files a call may have open at once, besides its
	// standard streams and the root of its file tree.
	Files int
}

// Options makes a [Function] of a [Program].
type Options struct {
	// Args are the program's arguments. The first is by custom its name.
	Args []Value
	// Environ, if set, yields variables of one call, as NAME=value, from the context given to
	// [Function.Run]. Where one has the name of a granted one, that one counts. A program
	// that asks for its environment before it reads its standard input can't start ahead of
	// its calls then. It must be safe for concurrent use.
	Environ     func(context.Context) []string
	Grants      Grants
	Limits      Limits
	Concurrency Concurrency

	// Idle is how long a sandbox that has served a call is kept for another one.
	// 0: it is not, unless Warm says so.
	Idle time.Duration
	// Unload is how long code that no sandbox needs any more is kept loaded, if the code
	// cache has it.
	Unload time.Duration
	// Warm is how many sandboxes are kept however long they are idle.
	Warm     int
	Snapshot Snapshot
	// Settled, if not nil, is told how sandboxes get ready for their next call, one
	// of StartSnapshot, StartReset and StartLate, and why: when the first has come that
	// far, and when it changes, unless it changes all the time. It must be quick and safe for
	// concurrent use.
	Settled func(kind, why string)
	// Recorded, if not nil, is told when start-ups have read what none had read before; see
	// [Function.Reads]. Unrecorded is told once if that is too much to be kept: then start-ups
	// read what there is. Both must be quick and safe for concurrent use.
	Recorded   func()
	Unrecorded func(why string)
}

// Snapshot says whether calls may share what the program did before its first read
// of standard input.
type Snapshot int

const (
	// SnapshotAuto lets them if no call could tell, or the program says so.
	SnapshotAuto Snapshot = iota
	// SnapshotOn lets them even if they see the same random numbers and the same time.
	SnapshotOn
	// SnapshotOff starts the program again for every call.
	SnapshotOff
)

// Function is a program with everything its calls may know and use. Safe for
// concurrent use.
type Function struct {
	engine  *Engine
	program *Program
	options Options
	tree    *vfs.Tree // what is mounted where; every call takes a view of it
	pool    *pool
	start   starts
	reads   *frozen.Record // by start-ups; nil: they can't read anything
	memory  atomic.Int64   // bytes of linear memory in its sandboxes
	line    line           // of its guests that wait for a processor

	unrecorded atomic.Bool // it has been told that reads is off

	args, env []string // of every call
	resolves  bool     // unless they have to be resolved for each
}

// Receipt is what a call took.
type Receipt struct {
	Queue    time.Duration // waiting for a turn
	Duration time.Duration // from having a sandbox to the end
	Fuel     int64         // instructions executed; see [Limits.Fuel]
	Memory   int64         // bytes of linear memory at the end, which is the most it had
	Start    string        // how the sandbox came to be: StartFresh and so on; empty if there was none
}

// Function makes a function of the program. It keeps copies of what it is
// given. Close it before the program. A program that can't run within the
// limits is a [*ModuleError].
func (p *Program) Function(options Options) (*Function, error) {
	limits := &options.Limits
	if limits.Memory <= 0 || limits.Memory > memory.MaxSize {
		limits.Memory = memory.MaxSize
	}
	limits.Memory = limits.Memory / pageSize * pageSize
	options.Args = append([]Value(nil), options.Args...)
	options.Grants = options.Grants.clone()
	tree, err := options.Grants.tree()
	if err != nil {
		return nil, err
	}
	f := &Function{engine: p.engine, program: p, options: options, tree: tree, pool: newPool(options)}
	if err := f.Check(); err != nil {
		return nil, err
	}
	f.start.tell = options.Settled
	f.reads = f.record()
	if f.resolves = options.resolves(); f.resolves {
		f.start.failed(&effectError{"its arguments or variables are the call's"})
	} else {
		f.args, f.env = options.strings(context.Background())
	}
	return f, p.engine.add(f)
}

// allow refuses a module that starts with more memory than it may have.
func (l *Limits) allow(pages uint32) error {
	if least := int64(pages) * pageSize; least > l.Memory {
		return &ModuleError{fmt.Sprintf("the module starts with %d bytes of memory, but its limit is %d", least, l.Memory)}
	}
	return nil
}

// Check tells whether the program can run within the limits, as far as is known: at
// the latest, all is known when the program has been prepared.
func (f *Function) Check() error {
	f.program.mu.Lock()
	least := f.program.least
	f.program.mu.Unlock()
	return f.options.Limits.allow(least)
}

// load returns the program's code, which the caller has to release. It takes no longer
// than a call may.
func (f *Function) load(ctx context.Context) (*executable, error) {
	f.program.mu.Lock()
	c, err := f.program.take()
	f.program.mu.Unlock()
	if c == nil && err == nil {
		c, err = f.await(ctx)
	}
	if err != nil {
		return nil, err
	}
	if err := f.options.Limits.allow(c.report.Memory.Min); err != nil {
		c.release(f.options.Unload)
		return nil, err
	}
	if c.unrestorable != "" {
		f.start.settled(StartFresh, c.unrestorable)
	}
	return c, nil
}

// await waits until the code is in memory. No context is made for that: what waits for
// a context leaves something behind in it, here in every function that was called once.
func (f *Function) await(ctx context.Context) (*executable, error) {
	var late <-chan time.Time
	if limit := f.options.Limits.Timeout; limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		late = timer.C
	}
	return f.program.acquire(func(l *loading) error {
		select {
		case <-l.done:
			return l.err
		case <-late:
			return fmt.Errorf("%w: still loading after %s", ErrLoad, f.options.Limits.Timeout)
		case <-f.pool.closing.Done():
			return errClosed
		case <-ctx.Done():
			return fmt.Errorf("%w while loading the code: %w", ErrCanceled, context.Cause(ctx))
		}
	})
}

// resolves tells whether arguments or granted variables are another for every call.
func (o *Options) resolves() bool {
	for _, arg := range o.Args {
		if arg.Resolve != nil {
			return true
		}
	}
	for _, v := range o.Grants.env {
		if v.value.Resolve != nil {
			return true
		}
	}
	return false
}

// strings are the arguments and the granted environment that a program gets.
func (o *Options) strings(ctx context.Context) (args, env []string) {
	for _, arg := range o.Args {
		args = append(args, cString(arg.of(ctx)))
	}
	for _, v := range o.Grants.env {
		env = append(env, v.name+"="+cString(v.value.of(ctx)))
	}
	return args, env
}

// cString ends a string where guests see its end. Request placeholders may
// bring NULs.
func cString(s string) string {
	s, _, _ = strings.Cut(s, "\x00")
	return s
}

// keeps tells whether sandboxes of this code are kept for another call.
func (f *Function) keeps(c *executable) bool { return c.unrestorable == "" && f.parks() }

// parks tells whether sandboxes are to be kept, if their code lets them.
func (f *Function) parks() bool { return f.options.Idle > 0 || f.options.Warm > 0 }

// Close ends the calls that are still running or waiting, as canceled, and
// returns when the last has ended. Calling it again does nothing.
func (f *Function) Close() error {
	f.engine.remove(f)
	f.pool.close()
	if f.reads != nil {
		f.reads.Drop()
	}
	return nil
}

// Start makes the sandboxes that are to be kept warm, in the background.
// Calls need not wait for it.
func (f *Function) Start() {
	if f.options.Warm > 0 && f.pool.enter() == nil {
		f.pool.filling.Add(1)
		go f.fill()
	}
}

// Retire frees the sandboxes that wait for a call, and from now on each after its call: few
// are to come, if any. It does not wait for calls that run.
func (f *Function) Retire() { f.pool.retire() }

// fill makes sandboxes until as many are parked as are to be kept warm.
func (f *Function) fill() {
	defer f.pool.leave()
	defer f.pool.filling.Add(-1)
	for f.pool.parked() < f.options.Warm && f.pool.closing.Err() == nil {
		s, err := newSandbox(f.pool.closing, f)
		if err != nil {
			return // a call will be told
		}
		if !f.keeps(s.code) || !s.prepare() || !f.pool.put(s) {
			s.close()
			return
		}
	}
}

// StartKind is how its sandboxes get ready for their next call, and why; see
// [Options.Settled]. Both are empty as long as that is not known.
func (f *Function) StartKind() (kind, why string) { return f.start.is() }

// Program is what the function was made of.
func (f *Function) Program() *Program { return f.program }

// Sandboxes counts its sandboxes at this moment: those that serve calls, those
// that get ready for another, and those that are.
func (f *Function) Sandboxes() (running, restoring, parked int) { return f.pool.count() }

// Running is the number of calls that have a sandbox at this moment.
func (f *Function) Running() int {
	running, _, _ := f.Sandboxes()
	return running
}

// Memory is how many bytes of linear memory its sandboxes have at this moment.
func (f *Function) Memory() int64 { return f.memory.Load() }

// Run answers one call: the program reads in as its standard input and writes
// its answer to out, of which more can be asked by [Stream]. What it writes to its
// standard error goes to log as it comes. Run returns when the program has ended, or as soon as ctx, the
// deadline or another limit ends it; no part of the guest lives on. The error
// says how the call ended, nil meaning exit code 0; the receipt is as complete
// as the call was.
//
// A goroutine that is locked to its thread ([runtime.LockOSThread]) must not call
// it: guests live in coroutines, and Go ends a process in which such a goroutine
// resumes one.
func (f *Function) Run(ctx context.Context, in io.Reader, out, log io.Writer) (Receipt, error) {
	queued, err := f.pool.acquire(ctx)
	if err != nil {
		return Receipt{Queue: queued}, err
	}
	var s *Sandbox
	served := false
	defer func() {
		if served {
			return
		}
		// There is no sandbox, or the goroutine ends in what the caller gave us.
		f.pool.release()
		if s != nil {
			s.close()
		}
		f.pool.leave()
	}()
	if s = f.pool.take(ctx, f.shares()); s != nil && s.outdated() && !s.postpone() {
		s.close()
		s = nil
	}
	if s == nil {
		if s, err = f.sandbox(ctx); err != nil {
			return Receipt{Queue: queued}, err
		}
	}
	receipt, err := s.run(ctx, in, out, log)
	f.pool.ran(receipt.Duration)
	served = true
	receipt.Queue = queued
	renew := f.keeps(s.code) && f.pool.renewing()
	f.pool.release()
	go f.renew(s, renew) // while the answer is handed on
	return receipt, err
}

// shares tells whether calls share a start-up, or may for all that is known.
func (f *Function) shares() bool {
	kind, _ := f.start.is()
	return (kind == StartSnapshot || kind == "") && f.parks()
}

// sandbox makes a sandbox for a call. If calls share their start-up, it is started up to where they begin, as it
// would be after the call: it need not be started twice.
func (f *Function) sandbox(ctx context.Context) (*Sandbox, error) {
	s, err := newSandbox(ctx, f)
	if err != nil {
		return nil, err
	}
	if kind, _ := f.start.is(); kind != StartSnapshot || !f.keeps(s.code) || s.prepare() {
		return s, nil
	}
	s.close()
	return newSandbox(ctx, f)
}

// renew makes a sandbox ready for another call if it is to be, or frees it.
func (f *Function) renew(s *Sandbox, renew bool) {
	defer f.pool.leave()
	if renew {
		if !s.renew() {
			s.close()
			f.pool.renewed(nil)
			return
		}
		if f.pool.renewed(s) {
			return
		}
	}
	s.close()
}

const pageSize = 65536
