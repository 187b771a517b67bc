//go:build !linux

package memory

import "errors"

// The portable way: the Go heap. The whole range is allocated at once so that
// the memory never moves; the operating system gives pages as they are touched.

func reserve(size uint64, _ *Image) ([]byte, error) { return make([]byte, size), nil }

func commit([]byte, uint64, uint64) error { return nil }

func release([]byte) error { return nil }

func giveBack([]byte) error { return errors.ErrUnsupported }

func allocate(size uint64) ([]byte, error) { return make([]byte, size), nil }

func remap([]byte, uint64, uint64, *Image) error { return errors.ErrUnsupported }

func (l *Linear) layFile([]overlay) (bool, error) { return false, nil }
