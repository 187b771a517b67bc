package engine

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/gojinn/gojinn/engine/memory"
)

// TestMain lets the whole suite run with another way of taking memory back
// than the best: go test ./engine -undo copy
func TestMain(m *testing.M) {
	name := flag.String("undo", undo.String(), "how memory is taken back")
	flag.Parse()
	found := false
	for _, u := range memory.Undoes() {
		if u.String() == *name {
			undo, found = u, true
		}
	}
	if !found {
		fmt.Fprintf(os.Stderr, "%s is none of the ways that work here: %v\n", *name, memory.Undoes())
		os.Exit(2)
	}
	os.Exit(m.Run())
}
