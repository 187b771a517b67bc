//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package engine

import "errors"

// hold fails: a folder that is open can't be removed everywhere.
func hold(string) (release func(), err error) { return nil, errors.ErrUnsupported }
