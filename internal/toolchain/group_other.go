//go:build !unix

package toolchain

import "os/exec"

// killGroup leaves cancellation at what os/exec does: it kills the command itself.
func killGroup(*exec.Cmd) {}
