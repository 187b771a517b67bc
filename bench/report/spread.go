package report

import (
	"fmt"
	"math"
	"slices"
)

// Spread is a figure that was measured several times.
type Spread struct{ Median, Low, High float64 }

// SpreadOf returns the median of values, the lower of two, and their extremes.
// Of no values it is the zero Spread.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	return Spread{Median(values), slices.Min(values), slices.Max(values)}
}

// Scale returns the figure in another unit.
func (s Spread) Scale(by float64) Spread { return Spread{s.Median * by, s.Low * by, s.High * by} }

// String is the median and, in parentheses, the extremes, with about three
// digits each.
func (s Spread) String() string {
	return fmt.Sprintf("%s (%s–%s)", Number(s.Median), Number(s.Low), Number(s.High))
}

// Number is a figure with about three digits.
func Number(v float64) string {
	switch magnitude := math.Abs(v); {
	case magnitude == 0:
		return "0"
	case magnitude < 0.0995:
		return fmt.Sprintf("%.3f", v)
	case magnitude < 9.995:
		return fmt.Sprintf("%.2f", v)
	case magnitude < 99.95:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// Bytes is a size with about three digits, in units of 1,000.
func Bytes(n float64) string {
	switch magnitude := math.Abs(n); {
	case magnitude < 999.5:
		return fmt.Sprintf("%.0f B", n)
	case magnitude < 999.5e3:
		return Number(n/1e3) + " kB"
	}
	return Number(n/1e6) + " MB"
}
