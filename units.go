package gojinn

import "github.com/gojinn/gojinn/internal/units"

// off is the value of a limit that is switched off.
const off = units.Off

// Numbers with a unit in configuration. Each can be the word "off" where there is
// something to switch off.
type (
	// Duration is a length of time. In JSON it is a string such as "10s", "1m30s"
	// or "2d", a number of nanoseconds, or "off".
	Duration = units.Duration

	// Size is a number of bytes. In JSON it is a number, a string such as "8MiB"
	// (1024-based) or "8MB" (1000-based), or "off".
	Size = units.Size

	// Count is a number of things. In JSON it is a number, the same number as a
	// string, or "off".
	Count = units.Count
)
