package engine

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/gojinn/gojinn/engine/memory"
	"github.com/gojinn/gojinn/engine/vfs"
)

// Limits bounds one call of a function.
type Limits struct {
	// Timeout is the longest a call may take, all waiting included, from the
	// moment it has its sandbox. 0: no bound.
	Timeout time.Duration
	// Fuel is the number of instructions a call may execute, counted as an
	// upper bound: all branches of a straight piece of code count. Host calls
	// are charged by the bytes they move. 0: no bound.
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
	Args        []Value
	Grants      Grants
	Limits      Limits
	Concurrency Concurrency
}

// Function is a program with everything its calls may know and use. Safe for
// concurrent use.
type Function struct {
	engine  *Engine
	program *Program
	options Options
	tree    *vfs.Tree // what is mounted where; every call takes a view of it
	pool    *pool
	memory  atomic.Int64 // bytes of linear memory in its sandboxes
}

// Receipt is what a call took.
type Receipt struct {
	Queue    time.Duration // waiting for a turn
	Duration time.Duration // from having a sandbox to the end
	Fuel     int64         // instructions executed; see [Limits.Fuel]
	Memory   int64         // bytes of linear memory at the end, which is the most it had
	Start    string        // how the sandbox came to be: StartFresh; empty if there was none
}

// StartFresh is the [Receipt.Start] of a call whose sandbox was made for it.
const StartFresh = "fresh"

// Function makes a function of the program. It keeps copies of what it is
// given. Close it before the program. A program that can't run within the
// limits is a [*ModuleError].
func (p *Program) Function(options Options) (*Function, error) {
	limits := &options.Limits
	if limits.Memory <= 0 || limits.Memory > memory.MaxSize {
		limits.Memory = memory.MaxSize
	}
	limits.Memory = limits.Memory / pageSize * pageSize
	if least := int64(p.report.Memory.Min) * pageSize; least > limits.Memory {
		return nil, &ModuleError{fmt.Sprintf("the module starts with %d bytes of memory, but its limit is %d", least, limits.Memory)}
	}
	options.Args = append([]Value(nil), options.Args...)
	options.Grants = options.Grants.clone()
	tree, err := options.Grants.tree()
	if err != nil {
		return nil, err
	}
	return &Function{engine: p.engine, program: p, options: options, tree: tree, pool: newPool(options.Concurrency)}, nil
}

// Close ends the calls that are still running or waiting, as canceled, and
// returns when the last has ended. Calling it again does nothing.
func (f *Function) Close() error {
	f.pool.close()
	return nil
}

// Program is what the function was made of.
func (f *Function) Program() *Program { return f.program }

// Running is the number of calls that have a sandbox at this moment.
func (f *Function) Running() int { return f.pool.running() }

// Memory is how many bytes of linear memory its sandboxes have at this moment.
func (f *Function) Memory() int64 { return f.memory.Load() }

// Run answers one call: the program reads in as its standard input and writes
// its answer to out. What it writes to its standard error goes to log as it
// comes. Run returns when the program has ended, or as soon as ctx, the
// deadline or another limit ends it; no part of the guest lives on. The error
// says how the call ended, nil meaning exit code 0; the receipt is as complete
// as the call was.
func (f *Function) Run(ctx context.Context, in io.Reader, out, log io.Writer) (Receipt, error) {
	queued, err := f.pool.acquire(ctx)
	if err != nil {
		return Receipt{Queue: queued}, err
	}
	defer f.pool.release()

	s, err := newSandbox(ctx, f)
	if err != nil {
		return Receipt{Queue: queued}, err
	}
	defer s.close()
	receipt, err := s.run(ctx, in, out, log)
	receipt.Queue = queued
	return receipt, err
}

const pageSize = 65536
