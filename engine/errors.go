package engine

import (
	"errors"
	"fmt"
)

// How a call can end, other than with an answer. Errors returned by
// [Function.Run] match exactly one of these with errors.Is, or are a
// [*TrapError] or an [*ExitError].
var (
	// ErrOverloaded says that the function's queue or the ceiling shared by
	// all functions was full. The guest may not have run at all.
	ErrOverloaded = errors.New("overloaded")
	// ErrLoad says that the function's code could not be made ready to run.
	ErrLoad = errors.New("code not loadable")
	// ErrTimeout says that the call reached [Limits.Timeout].
	ErrTimeout = errors.New("deadline exceeded")
	// ErrFuel says that the call executed more than [Limits.Fuel] instructions.
	ErrFuel = errors.New("fuel exhausted")
	// ErrStack says that the guest's calls were nested too deeply.
	ErrStack = errors.New("call stack exhausted")
	// ErrMemory says that the guest gave up after the host had refused to grow
	// its memory above [Limits.Memory].
	ErrMemory = errors.New("memory limit reached")
	// ErrOutput says that the guest wrote more than [Limits.Output] bytes.
	ErrOutput = errors.New("output limit reached")
	// ErrCanceled says that the caller's context ended before the guest did.
	ErrCanceled = errors.New("canceled")
)

// TrapError is a WebAssembly trap: the guest did what its machine forbids.
// Both texts come from the guest's own code: they are for logs, never for clients.
type TrapError struct {
	Message string // what the guest did, as the WebAssembly specification names it
	Trace   string // the guest's innermost frames, one a line; may be empty
}

func (e *TrapError) Error() string { return "trap: " + e.Message }

// ExitError is a guest that ended itself with a code other than zero.
type ExitError struct{ Code uint32 }

func (e *ExitError) Error() string { return fmt.Sprintf("exit code %d", e.Code) }

// ModuleError is a module that this engine will not run, and why.
type ModuleError struct{ Reason string }

func (e *ModuleError) Error() string { return e.Reason }

// Is makes every refused module a code that could not be loaded.
func (e *ModuleError) Is(target error) bool { return target == ErrLoad }

// HostError is a fault of the host's own code, seen while it served a guest.
// It ends that call and nothing else.
type HostError struct {
	Doing string
	Value any    // what was panicked with
	Stack []byte // the host's stack
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: host fault: %v", e.Doing, e.Value) }
