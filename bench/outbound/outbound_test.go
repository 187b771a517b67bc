package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/gojinn/gojinn/internal/toolchain"
)

// TestRun: a short run has a row for each size.
func TestRun(t *testing.T) {
	var out strings.Builder
	err := run(&out, "guest", 1, 2)
	if _, missing := errors.AsType[*toolchain.MissingError](err); missing {
		t.Skip(err)
	}
	if err != nil || strings.Count(out.String(), " bytes | ") != len(sizes) {
		t.Errorf("got %s, %v", out.String(), err)
	}
}
