package engine

import (
	"os"
	"runtime/debug"
	"sync"
)

const (
	headroomSize = 32 << 20
	// leastLimit is the memory limit of the process below which there is no headroom: it counts there.
	leastLimit = 1 << 30
)

// headroom is memory that nothing ever touches, and which so takes none but addresses. Go collects garbage when the
// heap has doubled. A server with little on its heap, since sandboxes' memory is elsewhere, would do so after
// every few dozen calls, each of which leaves a copy of its guest's stack; with this it does after some hundreds.
// Who sets GOGC decides for himself.
var headroom = sync.OnceValue(func() []byte {
	if os.Getenv("GOGC") != "" || debug.SetMemoryLimit(-1) < leastLimit {
		return nil
	}
	return make([]byte, headroomSize)
})
