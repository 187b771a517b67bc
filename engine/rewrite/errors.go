package rewrite

import "fmt"

// Kind says why a module was refused.
type Kind uint8

const (
	// Malformed modules break the WebAssembly specification: wazero would refuse them, too.
	Malformed Kind = iota
	// OverLimit modules exceed one of this package's limits.
	OverLimit
	// Unsupported modules need a proposal beyond WebAssembly 2.0, or are components.
	Unsupported
	// Reserved modules use names that belong to the engine.
	Reserved
)

// Error says what is wrong with a module, and where.
type Error struct {
	// Offset is the position in the module, in bytes, at or shortly after the culprit.
	Offset int
	// Section is the name of the section that holds it ("code"), or "" for the module as a whole.
	Section string
	// Reason is a sentence for whoever built the module.
	Reason string
	// Kind is the class of the refusal.
	Kind Kind

	// overrun: a count or size says more than the bytes that follow can hold, so that a decoder that believes it may
	// allocate without bound. Tests must not show such a module to the runtime.
	overrun bool
}

func (e *Error) Error() string {
	if e.Section == "" {
		return fmt.Sprintf("module: byte %d: %s", e.Offset, e.Reason)
	}
	return fmt.Sprintf("module: %s section: byte %d: %s", e.Section, e.Offset, e.Reason)
}
