// Package units holds what numbers with a unit look like in configuration.
package units

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dustin/go-humanize"
)

// Off is the value of a limit that is switched off. It is what the word "off"
// means in a Caddyfile and in JSON.
const Off = -1

// Duration is a length of time in configuration. In JSON it is a string such
// as "10s", "1m30s" or "2d", a number of nanoseconds, or "off".
type Duration time.Duration

// Size is a number of bytes in configuration. In JSON it is a number, a string
// such as "8MiB" (1024-based) or "8MB" (1000-based), or "off".
type Size int64

// Count is a number of things in configuration. In JSON it is a number, the
// same number as a string, or "off".
type Count int64

// ParseDuration reads a duration as Caddy writes it, or "off".
func ParseDuration(text string) (Duration, error) {
	if text == "off" {
		return Off, nil
	}
	d, err := caddy.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 500ms, 10s or 2m", text)
	}
	if d < 0 {
		return 0, fmt.Errorf("%q is negative", text)
	}
	return Duration(d), nil
}

// ParseSize reads a number of bytes, with or without a unit, or "off".
func ParseSize(text string) (Size, error) {
	if text == "off" {
		return Off, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size such as 64KiB, 8MiB or 1048576", text)
	}
	return Size(n), nil
}

// ParseCount reads a whole number, or "off".
func ParseCount(text string) (Count, error) {
	if text == "off" {
		return Off, nil
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return Count(n), nil
}

// String is how the duration is written in a Caddyfile.
func (d Duration) String() string {
	if d == Off {
		return "off"
	}
	return time.Duration(d).String()
}

// String is how the size is written in a Caddyfile, without loss.
func (s Size) String() string {
	if s == Off {
		return "off"
	}
	for _, unit := range []struct {
		bytes Size
		name  string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if s >= unit.bytes && s%unit.bytes == 0 {
			return strconv.FormatInt(int64(s/unit.bytes), 10) + unit.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// String is how the count is written in a Caddyfile.
func (c Count) String() string {
	if c == Off {
		return "off"
	}
	return strconv.FormatInt(int64(c), 10)
}

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// MarshalJSON writes the size as a string with its unit, or as a number if it
// is no multiple of one.
func (s Size) MarshalJSON() ([]byte, error) {
	if s < 1<<10 || s%(1<<10) != 0 {
		return Count(s).MarshalJSON()
	}
	return json.Marshal(s.String())
}

// MarshalJSON writes the count as a number where any reader of JSON, Caddy's
// adapter among them, keeps all its digits, else as a string.
func (c Count) MarshalJSON() ([]byte, error) {
	if c == Off || c > 1<<53 {
		return json.Marshal(c.String())
	}
	return json.Marshal(int64(c))
}

// UnmarshalJSON reads what the type's description says.
func (d *Duration) UnmarshalJSON(raw []byte) error { return unmarshalUnit(raw, d, ParseDuration) }

// UnmarshalJSON reads what the type's description says.
func (s *Size) UnmarshalJSON(raw []byte) error { return unmarshalUnit(raw, s, ParseSize) }

// UnmarshalJSON reads what the type's description says.
func (c *Count) UnmarshalJSON(raw []byte) error { return unmarshalUnit(raw, c, ParseCount) }

func unmarshalUnit[T ~int64](raw []byte, to *T, parse func(string) (T, error)) error {
	if len(raw) > 0 && raw[0] == '"' {
		var text string
		if err := json.Unmarshal(raw, &text); err != nil {
			return err
		}
		v, err := parse(text)
		if err != nil {
			return err
		}
		*to = v
		return nil
	}
	var n int64
	if err := json.Unmarshal(raw, &n); err != nil {
		return fmt.Errorf("%s is neither a whole number nor a string", raw)
	}
	if n < 0 {
		return fmt.Errorf("%d is negative; to switch a limit off write \"off\"", n)
	}
	*to = T(n)
	return nil
}
