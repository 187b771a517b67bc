// Package rewrite turns a WebAssembly module that nobody trusts into one that the engine can run beside a server:
//
//   - it guards: a module is decoded completely, and every count, size, depth and index in it is checked, before the
//     runtime (wazero) sees a byte of it;
//   - it meters: the module counts the instructions it executes and calls the host back at short intervals, so that
//     it can be stopped, and charged for what it used;
//   - it bounds: call depth, and the number of table elements;
//   - it merges data segments, which wazero would otherwise evaluate one by one at every instantiation;
//   - it takes the start section out, so that instantiating a module runs none of its code;
//   - it makes the module one that the engine can restore to an earlier state, if that is possible (restore.go);
//   - it reports what the module imports, exports and uses.
//
// What comes out behaves as what went in, as far as the module can tell. wazero accepts it if and only if it accepts
// the original, apart from the limits of this package (limits.go) and the proposals beyond WebAssembly 2.0, which
// are refused here.
//
// A module is read top to bottom: decode.go makes a model of everything but the code, scan.go walks the code and
// notes what has to change (loops.go and ways.go: and what it costs), meter.go writes it anew, encode.go puts the
// sections together.
package rewrite

// Version names what this package makes of a module. It changes whenever the output or the limits change, and is
// part of the key under which compiled code is cached.
const Version = "7"

// What the rewritten module imports from the host and exports to it, beyond what it did before. A module that
// imports from HostModule, or exports a name that begins with ReservedPrefix, is refused.
const (
	// HostModule is the module name under which the host offers the imports below.
	HostModule = "gojinn"

	// TickImport is a function without parameters or results that the module calls when its fuel has fallen below
	// zero. The host refills the global FuelExport, or ends the call.
	TickImport = "tick"

	// StackImport is a function without parameters or results that the module calls when its stack budget has
	// fallen below zero. The host ends the call; should it return, the module traps (unreachable).
	StackImport = "stack_overflow"

	// ExitImport is a function without parameters or results that the module calls when the program's main function
	// has returned, if it was entered through EnterExport, which returns when it does.
	ExitImport = "exit"

	// ReservedPrefix begins the name of everything the rewritten module exports to the engine.
	ReservedPrefix = "gojinn:"

	// FuelExport is a mutable i64 global that starts at 0. It falls by the number of instructions that can be executed
	// until the next check, and by the work of bulk instructions.
	FuelExport = ReservedPrefix + "fuel"

	// StackExport is a mutable i64 global: the estimated bytes of call stack that are left. It starts at StackBudget.
	// A call that does not return normally leaves it lowered.
	StackExport = ReservedPrefix + "stack"

	// ElementsExport is a mutable i32 global: the elements by which all tables together may still grow.
	ElementsExport = ReservedPrefix + "elements"

	// PaceExport is a mutable i64 global: what may still be done on the way out of functions before TickImport is
	// called for it.
	PaceExport = ReservedPrefix + "pace"

	// GlobalPrefix begins the names under which the module's own mutable globals are exported; an index follows, in
	// decimal. See Report.State.
	GlobalPrefix = ReservedPrefix + "global:"

	// StartExport is the function of the start section, if the module had one.
	StartExport = ReservedPrefix + "start"

	// EnterExport is a function without parameters or results, there if the module exports such a function as
	// "_start". It calls the function of the start section, if there is one, then _start, then ExitImport.
	EnterExport = ReservedPrefix + "enter"
)

// ParkErrno is what fd_read and poll_oneoff of WASI preview 1 may return to be called once more with the same arguments,
// without the module noticing. It is no errno of preview 1. The host charges each call like any other.
const ParkErrno = 0x7061726b

// Options vary the rewriting.
type Options struct {
	// Meter makes the module count its instructions, its call depth and its table elements. Without it the module
	// keeps the same imports and exports, but never calls the host back: for benchmarks that measure what metering
	// costs.
	Meter bool

	// Detach takes the active data segments out of the module if what they put into memory is known: it is in
	// Report.Image instead, and whoever instantiates the module has to put it there before any code runs.
	Detach bool
}

// Module checks and rewrites a module. The result shares no memory with wasm. An error is always an *Error. Time and
// memory are linear in the module's size. Safe for concurrent use.
func Module(wasm []byte) (out []byte, report *Report, err error) {
	return ModuleWith(wasm, Options{Meter: true})
}

// ModuleWith is Module with options.
func ModuleWith(wasm []byte, o Options) (out []byte, report *Report, err error) {
	m, e := decode(wasm)
	if e != nil {
		return nil, nil, e
	}
	w := newWriter(m, o)
	if e := w.code(); e != nil {
		e.overrun = e.overrun || m.hasManyLocals()
		return nil, nil, e
	}
	w.findState()
	return w.module(), w.report(), nil
}
