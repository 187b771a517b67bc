package main

import (
	"context"
	"sync"
	"time"

	"github.com/gojinn/gojinn/internal/process"
)

// rest waits until a server's memory stays the same by itself and returns it.
func (s *server) rest(ctx context.Context) (process.Weight, error) {
	return s.Settle(ctx, 500*time.Millisecond, func() error { return nil })
}

// bare returns a server's memory without what its heap keeps free.
func (s *server) bare(ctx context.Context) (process.Weight, error) {
	return s.Settle(ctx, 200*time.Millisecond, func() error { return s.free(ctx) })
}

// watchPeak reads a server's memory again and again until the returned function is
// called, which returns the most there was.
func (s *server) watchPeak() (end func() process.Weight) {
	stop := make(chan struct{})
	var peak process.Weight
	look := func() {
		if now, err := s.Weight(); err == nil && now.RSS > peak.RSS {
			peak = now
		}
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(250 * time.Millisecond):
				look()
			}
		}
	})
	return func() process.Weight {
		close(stop)
		done.Wait()
		look()
		return peak
	}
}
