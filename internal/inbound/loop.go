package inbound

import (
	"slices"
	"strings"
)

// LoopField is the field that tells of loops (RFC 8586), in canonical form.
const LoopField = "Cdn-Loop"

// loopName is what functions are called in it.
const loopName = "gojinn"

// Loop returns how many entries of a CDN-Loop field are ours, and the others as they are.
func Loop(values []string) (hops int, others []string) {
	for _, value := range values {
		for _, entry := range entries(value) {
			name, _, _ := strings.Cut(entry, ";")
			switch name = strings.Trim(name, " \t"); {
			case strings.EqualFold(name, loopName):
				hops++
			case name != "":
				others = append(others, strings.Trim(entry, " \t"))
			}
		}
	}
	return hops, others
}

// entries splits a list at its commas outside of quoted strings.
func entries(list string) (all []string) {
	quoted, from := false, 0
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '"':
			quoted = !quoted
		case c == '\\' && quoted:
			i++
		case c == ',' && !quoted:
			all = append(all, list[from:i])
			from = i + 1
		}
	}
	if quoted { // a quotation that doesn't end hides no entries
		return append(all, strings.Split(list[from:], ",")...)
	}
	return append(all, list[from:])
}

// LoopValue is the field of a request that follows one with that many hops: others, and one
// entry of ours more.
func LoopValue(hops int, others []string) string {
	entries := slices.Clone(others)
	for range hops + 1 {
		entries = append(entries, loopName)
	}
	return strings.Join(entries, ", ")
}
