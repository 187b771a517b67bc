package kv

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/stores"
)

// troublePause is the least time between two log lines of a grant: a store that is down
// fails very often.
const troublePause = 10 * time.Second

// trouble logs what a store can't do.
type trouble struct {
	logger *zap.Logger

	mu         sync.Mutex
	last       time.Time
	unreported int // since then
}

func newTrouble(logger *zap.Logger) *trouble { return &trouble{logger: logger} }

func (t *trouble) report(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); t.last.IsZero() || now.Sub(t.last) >= troublePause {
		t.logger.Error("the key-value store fails", zap.Error(err), zap.Int("unreported", t.unreported))
		t.last, t.unreported = now, 0
		return
	}
	t.unreported++
}

// errno is the error of a store as a function gets it. What only the operator can do something
// about is logged.
func (g *grant) errno(ctx context.Context, err error) error {
	var errno vfs.Errno
	switch {
	case err == nil:
		return nil
	case errors.Is(err, stores.ErrNotFound):
		return vfs.ENOENT
	case errors.Is(err, stores.ErrFull):
		return vfs.ENOSPC
	case errors.Is(err, stores.ErrTooLarge):
		return vfs.EFBIG
	case errors.As(err, &errno): // of an edit
		return errno
	case ctx.Err() != nil: // the call is over; the store may be as well as ever
		return ctx.Err()
	}
	g.trouble.report(err)
	return vfs.EIO
}
