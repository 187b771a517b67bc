//go:build !windows

package sockets

// systemError is err: [vfs.ErrnoOf] knows the numbers of these systems.
func systemError(err error) error { return err }
