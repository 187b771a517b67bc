//go:build !linux

package memory

import "errors"

type kernelSearch struct{}

func prepare(Undo) error { return errors.New("only on Linux") }

func (l *Linear) ask(*search, pageRange, bool) ([]pageRange, uint64, error) {
	return nil, 0, errors.ErrUnsupported
}

func (l *Linear) track() error { return errors.ErrUnsupported }

func (l *Linear) protect(*search) {}

func (l *Linear) protectPage(uint64) {}
