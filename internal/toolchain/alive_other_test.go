//go:build !unix

package toolchain

func alive(int) bool { return false }
