package inbound

import (
	"slices"
	"testing"
)

func TestLoop(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		values []string
		hops   int
		others []string
	}{
		{"none", nil, 0, nil},
		{"ours", []string{"gojinn"}, 1, nil},
		{"several", []string{"gojinn, gojinn", "GoJinn"}, 3, nil},
		{"others", []string{"foo123.foocdn.example, barcdn.example; trace=\"abcdef\"", "AnotherCDN; abc=123; def=\"456\""}, 0,
			[]string{"foo123.foocdn.example", `barcdn.example; trace="abcdef"`, `AnotherCDN; abc=123; def="456"`}},
		{"mixed", []string{"a,gojinn;x=1,b", " gojinn\t; y"}, 2, []string{"a", "b"}},
		{"names like ours", []string{"gojinns, xgojinn, gojinn.example"}, 0, []string{"gojinns", "xgojinn", "gojinn.example"}},
		{"empty entries", []string{",, gojinn ,", "", " "}, 1, nil},
		{"quoted", []string{`a; x="gojinn, gojinn\", gojinn", gojinn`}, 1, []string{`a; x="gojinn, gojinn\", gojinn"`}},
		{"quotation without an end", []string{`a; x=", gojinn, gojinn`}, 2, []string{`a; x="`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			hops, others := Loop(test.values)
			if hops != test.hops || !slices.Equal(others, test.others) {
				t.Errorf("got %d, %q, want %d, %q", hops, others, test.hops, test.others)
			}
			again, kept := Loop([]string{LoopValue(hops, others)})
			if again != hops+1 || len(test.others) == len(kept) && !slices.Equal(kept, others) {
				t.Errorf("handed on: got %d, %q", again, kept)
			}
		})
	}
}
