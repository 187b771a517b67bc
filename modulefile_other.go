//go:build !unix

package gojinn

import "io/fs"

const openNonblocking = 0

// systemState is what the system adds to a file's state: here nothing.
type systemState struct{}

func systemStateOf(fs.FileInfo) systemState { return systemState{} }
