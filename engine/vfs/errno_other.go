//go:build !unix

package vfs

// hostErrno leaves the host's error numbers to the errors of io/fs, which they
// match where there is an equivalent.
func hostErrno(error) (Errno, bool) { return 0, false }
