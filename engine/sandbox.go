package engine

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// fuelSlice is how much fuel a guest is given at a time, and so how long it
// may run before it hands control back: some tens of microseconds. Longer
// slices delay the garbage collector, shorter ones cost guests more.
const fuelSlice = 1 << 18

// slicesPerTurn is after how many slices a guest lets other goroutines go
// first: about a millisecond. Without it a guest that computes would keep its
// processor for Go's own time slice of 10 ms, which the garbage collector has to
// wait out several times in a row.
const slicesPerTurn = 4

// Sandbox is one isolated instance of a program, and the state of the one call
// that runs in it. One goroutine at a time uses it.
type Sandbox struct {
	process // what the guest sees of the world

	function *Function
	code     *executable
	module   api.Module
	memory   *linearMemory
	fuel     api.MutableGlobal // lowered by the guest as it runs, which calls tick below zero; nil without metering

	claim  claim        // to a processor, without which no code of the guest runs
	guest  *coroutine   // in which all code of the guest runs
	entry  api.Function // how it is entered
	at     place        // where it is while the coroutine is paused
	result error        // how the guest was left; only at atEnd

	kind    string              // how the sandbox came to where it is: the next call's [Receipt.Start]
	globals []api.MutableGlobal // nil until they are needed
	aborted error               // why its last start ahead of a call was; nil: it was not
	kept    *checkpoint         // what it goes back to after a call; nil: to the very start
	leaving bool                // the guest is to be left, wherever it is
	staying bool                // it stays where it is at the end of its call, once the host has let go of it
	faulty  bool                // it can't be used again: the host has failed it
	calls   int                 // it has served
	since   time.Time           // when it was parked; the pool's

	ctx      context.Context // the caller's, for the length of a call
	deadline time.Time       // zero: none
	granted  int64           // fuel put into the global in this call
	slices   int             // of fuel, since the guest last let others go first
	end      error           // how the host decided that the call ends; nil: it has not
}

// place is where a guest is.
type place int

const (
	atStart place = iota // it has not been entered; memory and globals are as in the module
	atRead               // in its first read of standard input, which waits for a call
	atExit               // in the host function that ended it
	atEnd                // it has been left, in whatever state
)

// instanceConfig: anonymous, since named instances are one of a kind in the
// store, and with nothing started, since the sandbox enters the guest itself.
// The random source is never read; wazero's default for it costs more to seed
// than the rest of an instance.
var instanceConfig = wazero.NewModuleConfig().WithName("").WithStartFunctions().WithRandSource(rand.Reader)

// newSandbox loads f's program, if it is not in memory, and instantiates it. No code of
// the guest has run yet.
func newSandbox(ctx context.Context, f *Function) (*Sandbox, error) {
	code, err := f.load(ctx)
	if err != nil {
		return nil, err
	}
	s := &Sandbox{function: f, code: code, kind: StartFresh, ctx: ctx}
	s.claim.processors, s.claim.line = f.engine.processors, &f.line
	s.guest = newCoroutine(s.live)
	s.memory = &linearMemory{budget: f.engine.budget, limit: uint64(f.options.Limits.Memory), sandbox: s}
	err = guarded("instantiating", func() (err error) {
		if err = s.compute(); err != nil {
			return err
		}
		ctx = experimental.WithMemoryAllocator(ctx, s.memory)
		if s.module, err = code.runtime.InstantiateModule(ctx, code.compiled, instanceConfig); err != nil {
			return err
		}
		s.entry = s.module.ExportedFunction(rewrite.EnterExport)
		return nil
	})
	if s.end != nil { // memory was refused: the cause of whatever err says
		err = s.end
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.fuel, _ = s.module.ExportedGlobal(rewrite.FuelExport).(api.MutableGlobal)
	code.remember(s)
	s.claim.lend() // it will be needed at once
	return s, nil
}

// close frees everything. The sandbox can't be used after it.
func (s *Sandbox) close() {
	if s.at == atRead {
		s.abandon()
	}
	s.leaving = true
	s.guest.end()
	if s.module != nil {
		// Its only errors are those of a file table that is never used.
		_ = guarded("closing", func() error { return s.module.Close(context.Background()) })
	}
	s.memory.Free()
	s.claim.give()
	s.code.release(s.function.options.Unload)
}

// live is the life of the guest: it is entered again and again, every time from
// the start, until the sandbox is closed.
func (s *Sandbox) live() {
	ctx := &callContext{snapshotting, s}
	for more := true; more; more = s.guest.pause() {
		s.result = guarded("running", func() error { return s.entry.CallWithStack(ctx, nil) })
		s.staying = false
		s.at = atEnd
	}
}

// begin sets what bounds the guest until it parks or ends.
func (s *Sandbox) begin(ctx context.Context, now time.Time) {
	s.ctx, s.deadline, s.end = ctx, time.Time{}, nil
	if limit := s.function.options.Limits.Timeout; limit > 0 {
		s.deadline = now.Add(limit)
	}
	s.life = &lifetime{
		startup: &s.startup, parent: ctx, deadline: s.deadline, closing: s.function.pool.closing,
		budget: s.function.engine.budget, watch: s.function.options.Grants.watch,
	}
	s.granted, s.slices, s.claim.waited = 0, 0, 0
	if s.fuel != nil {
		s.fuel.Set(0)
	}
	s.memory.refused = false
}

// run answers one call: from its start, or from where the guest waits for it.
func (s *Sandbox) run(ctx context.Context, in io.Reader, out, log io.Writer) (Receipt, error) {
	start := time.Now()
	s.begin(ctx, start)
	if err := s.compute(); err != nil {
		// The guest is where it was.
		s.ctx, s.life = s.function.pool.closing, nil
		return Receipt{Duration: time.Since(start), Memory: int64(s.memory.Size())}, err
	}
	s.claim.waited = 0 // it has been parked meanwhile
	err := guarded("serving", func() error { return s.answer(in, out, log) })
	s.claim.lend() // until it is renewed, or freed
	errFiles := guarded("closing files", func() error { return s.process.finish(err == nil) })
	s.faulty = isFault(err) || isFault(errFiles)
	if err == nil {
		err = errFiles
	}
	s.calls++
	s.ctx, s.life = s.function.pool.closing, nil // the caller's may hold a whole request
	s.forget()
	return Receipt{
		Duration: time.Since(start),
		Fuel:     s.used(),
		Memory:   int64(s.memory.Size()),
		Start:    s.kind,
	}, err
}

// forget drops the arguments and variables that were the call's.
func (s *Sandbox) forget() {
	s.args, s.env, s.environ = s.function.args, s.function.env, s.function.options.Environ
}

// answer lets the guest answer a call, and says how that ended.
func (s *Sandbox) answer(in io.Reader, out, log io.Writer) error {
	if s.at == atStart {
		s.boot(s, false)
	}
	limits := &s.function.options.Limits
	bounded := &boundedOutput{sandbox: s, to: out, left: limits.Output}
	if stream, ok := out.(Stream); ok {
		bounded.stream = stream
		stream.Begin(s.life)
	}
	s.attach(in, bounded, &boundedLog{log, limits.Log})
	s.guest.resume()
	return s.ending()
}

// park keeps the guest where it is until there is a call. A start ahead of its
// call has come to its end here.
func (s *Sandbox) park() {
	if s.kept == nil { // or its program has waited ever since it came here first
		s.parked = time.Now()
	}
	s.settle()
	s.at = atRead
	s.pause()
}

// started notes how long the start-up took that a call has waited for.
func (s *Sandbox) started() { s.function.pool.took(time.Since(s.origin)) }

// exit keeps the guest where it is until its answer has been handed on. Then it
// goes back to where it parked, or is left.
func (s *Sandbox) exit(code uint32) {
	s.ended(code)
	s.stay()
}

// returned is exit for a guest whose main function has returned, and which is
// left by returning: that is quicker than a panic, of which wazero makes an error.
func (s *Sandbox) returned() {
	s.ended(0)
	if !s.guest.pause() || s.leaving {
		return
	}
	s.kept.stack.Restore([]uint64{rewrite.ParkErrno}) // does not return
}

// ended notes how the guest ended itself.
func (s *Sandbox) ended(code uint32) {
	if s.startup.ahead && code == 0 { // else it has failed, which it may not the next time
		s.effect("it ends without reading its standard input")
	}
	if s.end == nil {
		s.end = &ExitError{code}
	}
	s.at = atExit
}

func (s *Sandbox) caller() context.Context { return s.ctx }

// pause gives control to whoever resumed the guest, and leaves it if that is
// what comes back.
func (s *Sandbox) pause() {
	if !s.guest.pause() || s.leaving {
		panic(callEnd{})
	}
}

// snapshotting is a context that makes wazero offer snapshots of the guest's stack.
var snapshotting = experimental.WithSnapshotter(context.Background())

// callContext carries the sandbox to the host functions, which get the context
// that the guest was entered with. It is not the caller's: a guest may stay
// entered from one call to the next.
type callContext struct {
	context.Context
	sandbox *Sandbox
}

type sandboxKey struct{}

func (c *callContext) Value(key any) any {
	if key == (sandboxKey{}) {
		return c.sandbox
	}
	return c.Context.Value(key)
}

// sandboxFrom returns the sandbox that a host function was called from.
func sandboxFrom(ctx context.Context) *Sandbox {
	if c, ok := ctx.(*callContext); ok {
		return c.sandbox
	}
	return ctx.Value(sandboxKey{}).(*Sandbox)
}

// callEnd is what a host function panics with to leave the guest for good; the
// reason is in [Sandbox.end]. It is no error, so nobody can take it for one.
type callEnd struct{}

// finish ends the call. Only host functions call it: it does not return. The
// first reason counts.
func (s *Sandbox) finish(reason error) {
	if s.end == nil {
		s.end = reason
	}
	s.staying = s.kept != nil && leavesGuest(s.end)
	panic(callEnd{})
}

// leavesGuest tells whether a call that ends so can be undone from where its guest is. That spares a start-up,
// which may take much longer than a call: clients that leave must not be able to cost more than those that stay.
func leavesGuest(end error) bool {
	return errors.Is(end, ErrCanceled) || errors.Is(end, ErrTimeout) || errors.Is(end, ErrFuel)
}

// serve runs f, a function of the host that the guest has called.
func (s *Sandbox) serve(f func(*Sandbox)) {
	if !s.runs(f) {
		s.stay()
	}
}

func (s *Sandbox) runs(f func(*Sandbox)) (ok bool) {
	defer s.caught(&ok)
	f(s)
	return true
}

// caught is deferred by what runs functions of the host. It ends the panic of a call's end after which the guest stays
// where it is, when all that the host has had under way has been undone.
func (s *Sandbox) caught(ok *bool) {
	if !s.staying {
		return
	}
	s.staying = false
	if p := recover(); p != (callEnd{}) {
		panic(p)
	}
	*ok = false
}

// stay keeps the guest where its call has ended until that has been handed on. Then it goes back to where it
// parked, or is left.
func (s *Sandbox) stay() {
	s.at = atExit
	s.pause()
	s.kept.stack.Restore([]uint64{rewrite.ParkErrno}) // does not return
}

// charge lowers the guest's fuel by units, and ends the call if its fuel or
// time is used up or its caller has gone. Every host function begins with it.
func (s *Sandbox) charge(units int64) {
	if s.fuel != nil {
		left := int64(s.fuel.Get()) - units
		s.fuel.Set(uint64(left))
		if left < 0 {
			s.refill()
		}
	}
	s.check()
}

// tick is where a guest hands control back. That it is Go code is half of its
// use: the scheduler and the garbage collector get their turn here.
func (s *Sandbox) tick() {
	s.refill()
	s.check()
}

// check ends the call if its time is up or its caller has gone.
func (s *Sandbox) check() {
	if err := s.over(); err != nil {
		s.finish(err)
	}
}

// over says why the call is to end, if it is.
func (s *Sandbox) over() error {
	if err := s.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", ErrCanceled, context.Cause(s.ctx))
	}
	if s.function.pool.closing.Err() != nil {
		return errClosed
	}
	if !s.deadline.IsZero() && !time.Now().Before(s.deadline) {
		return ErrTimeout
	}
	return nil
}

// refill gives the guest its next slice of fuel, or ends the call if there is none.
func (s *Sandbox) refill() {
	used, slice := s.used(), int64(fuelSlice)
	if limit := s.function.options.Limits.Fuel; limit > 0 {
		if used > limit {
			s.finish(ErrFuel)
		}
		slice = min(slice, limit-used)
	}
	s.fuel.Set(uint64(slice))
	s.granted = used + slice
	if s.slices++; s.slices == slicesPerTurn {
		s.slices = 0
		s.claim.giveWay()
	}
	s.share()
}

// used is the fuel spent in this call.
func (s *Sandbox) used() int64 {
	if s.fuel == nil {
		return 0
	}
	return s.granted - int64(s.fuel.Get())
}

// ending says how a call ended, from what the host decided and what wazero
// returned. The host's word goes first: a guest can fake every other.
func (s *Sandbox) ending() error {
	err := s.end
	var exit *ExitError
	switch {
	case errors.As(err, &exit) && exit.Code == 0:
		return nil
	case err == nil && s.result == nil:
		return &HostError{Doing: "running", Value: "the guest has been left without an end"} // it calls returned first
	case err == nil:
		err = trapOf(s.result)
	}
	// A guest that was refused memory ends itself: with a trap or an exit code.
	var trap *TrapError
	if s.memory.refused && (errors.As(err, &exit) || errors.As(err, &trap)) {
		return fmt.Errorf("%w: %w", ErrMemory, err)
	}
	return err
}

// trapOf turns wazero's error for a call that ended by itself into ours.
func trapOf(err error) error {
	message, trace, _ := strings.Cut(err.Error(), "\nwasm stack trace:\n")
	message, trap := strings.CutPrefix(message, "wasm error: ")
	switch {
	case message == "stack overflow": // it may come without the prefix
		return ErrStack
	case !trap, strings.HasSuffix(message, " (recovered by wazero)"): // a host function's panic
		return &HostError{Doing: "serving the guest", Value: err}
	}
	return &TrapError{Message: message, Trace: strings.TrimPrefix(trace, "\t")}
}

// isFault tells whether a call ended by a fault of the host.
func isFault(err error) bool {
	var host *HostError
	return errors.As(err, &host)
}

// boundedOutput ends the call when the guest writes more than it may.
type boundedOutput struct {
	sandbox *Sandbox
	to      io.Writer
	left    int64  // unless there is no bound
	stream  Stream // nil: it is none
}

// Stream is an output that the guest's writes are handed on by as they come. Its methods are
// called one at a time, while the guest waits: a Write that blocks is to return at the end of
// the context that Begin was given.
type Stream interface {
	io.Writer
	// Begin is called once, when the call has its sandbox. The context ends with the call, whatever ends it.
	Begin(ctx context.Context)
	// Flush is called when the guest is about to wait: what it has written so far should
	// be on its way then.
	Flush() error
}

func (o *boundedOutput) Write(p []byte) (int, error) {
	if limit := o.sandbox.function.options.Limits.Output; limit > 0 {
		if int64(len(p)) > o.left {
			o.sandbox.finish(fmt.Errorf("%w: more than %d bytes", ErrOutput, limit))
		}
		o.left -= int64(len(p))
	}
	n, err := o.to.Write(p)
	o.failed(err)
	return n, nil
}

// flush hands on what has been written.
func (o *boundedOutput) flush() {
	if o.stream != nil {
		o.failed(o.stream.Flush())
	}
}

// failed ends the call if its output can't be handed on: a guest may ignore a failed write, and
// who runs it would wait in vain. If the call is over that is why.
func (o *boundedOutput) failed(err error) {
	if err != nil {
		o.sandbox.check()
		o.sandbox.finish(fmt.Errorf("%w: handing on the output: %w", ErrCanceled, err))
	}
}

// boundedLog drops what the guest writes beyond the limit. A program must not
// fail because it talks too much.
type boundedLog struct {
	to   io.Writer
	left int64
}

func (l *boundedLog) Write(p []byte) (int, error) {
	if keep := min(int64(len(p)), l.left); keep > 0 {
		l.left -= keep
		_, _ = l.to.Write(p[:keep]) // a log that can't be written must not end the call
	}
	return len(p), nil
}
