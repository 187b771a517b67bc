//go:build !linux

package memory

// The portable way: the Go heap. The whole range is allocated at once so that
// the memory never moves; the operating system gives pages as they are touched.

func reserve(max uint64) ([]byte, error) { return make([]byte, max), nil }

func commit([]byte, uint64, uint64) error { return nil }

func release([]byte) error { return nil }
