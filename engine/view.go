package engine

import "github.com/gojinn/gojinn/engine/vfs"

// View returns the file tree as a call of the function finds it at its begin, to be closed. No guest
// is started for it. The view is for one goroutine, the function for any number.
func (f *Function) View() *vfs.View { return f.tree.View() }
