//go:build !unix

package gojinn

import (
	"io/fs"
	"time"
)

const openNonblocking = 0

// systemState is what the system adds to a file's state: here nothing.
type systemState struct{ changed time.Time }

func systemStateOf(fs.FileInfo) systemState { return systemState{} }
