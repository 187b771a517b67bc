package nats

import (
	"context"
	"strconv"
	"sync"
	"time"

	client "github.com/nats-io/nats.go"

	"github.com/gojinn/gojinn/stores"
)

// How many keys there may be is checked against the number of messages. Far from the limit
// each machine creates a share of what is free without asking again. Near it a new key is
// stored if nothing at all has been stored since the messages were counted, so the limit is
// kept whoever else creates keys.
const (
	// nearLimit is how many free keys are few.
	nearLimit = 128
	// shares is of how many machines each may take its share at the same time.
	shares = 64
	// shareFor is how long a share can be used.
	shareFor = time.Second
)

// room is what may be created without asking.
type room struct {
	maxKeys, left int64
	until         time.Time
	// When it is worth looking for what has expired: before, nothing can have.
	sweepAt time.Time
}

// takeRoom takes one key of the share, if there is one.
func (s *stream) takeRoom(maxKeys int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room.maxKeys != maxKeys || s.room.left == 0 || time.Now().After(s.room.until) {
		return false
	}
	s.room.left--
	return true
}

// mayFree notes that something vanishes at a time, and with it a key.
func (s *stream) mayFree(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !at.IsZero() && at.Before(s.room.sweepAt) {
		s.room.sweepAt = at
	}
}

// bury removes a mark for what was deleted. Far from the limit that is left to the server.
func (s *stream) bury(ctx context.Context, maxKeys int64, seq uint64) {
	s.mayFree(time.Now())
	if maxKeys > 0 && seq > 0 && !s.takeRoom(maxKeys) {
		_ = s.remove(ctx, seq) // or the server will
	}
}

// admit lets a message be a new key if there may be one more, and makes it depend on that
// where it must. added tells whether it adds a message.
func (s *stream) admit(ctx context.Context, maxKeys int64, m *client.Msg, added bool) error {
	messages, last, err := s.count(ctx)
	if err != nil {
		return err
	}
	if added {
		messages++
	}
	if messages > maxKeys {
		freed, err := s.sweepUp(ctx)
		if err != nil {
			return err
		}
		if !freed {
			return stores.ErrFull
		}
		if messages, last, err = s.count(ctx); err != nil {
			return err
		}
		if added {
			messages++
		}
		if messages > maxKeys {
			return stores.ErrFull
		}
	}
	free := maxKeys - messages
	if free < nearLimit {
		m.Header.Set(headerExpectedAll, strconv.FormatUint(last, 10))
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room.maxKeys, s.room.left, s.room.until = maxKeys, free/shares, time.Now().Add(shareFor)
	return nil
}

// count returns how many messages there are without barriers, and the number of the last one.
func (s *stream) count(ctx context.Context) (messages int64, last uint64, err error) {
	type question struct {
		Filter string `json:"subjects_filter"`
	}
	type answer struct {
		failure
		State struct {
			Messages int64            `json:"messages"`
			Last     uint64           `json:"last_seq"`
			Subjects map[string]int64 `json:"subjects"`
		} `json:"state"`
	}
	got, err := call[answer](ctx, s, "STREAM.INFO", question{s.prefix + kindBarrier + ">"})
	if err != nil {
		return 0, 0, err
	}
	return got.State.Messages - int64(len(got.State.Subjects)), got.State.Last, nil
}

const (
	// sweepEvery is how often a full namespace is looked through at most for what others, on
	// other machines, have let expire.
	sweepEvery = time.Second
	// sweepMost is how many messages one sweep removes.
	sweepMost = 4096
	// removers remove at the same time.
	removers = 16
)

// sweepUp removes what has expired, as the server will do a little later, and tells whether
// anything was.
func (s *stream) sweepUp(ctx context.Context) (freed bool, err error) {
	select {
	case s.sweeping <- struct{}{}:
		defer func() { <-s.sweeping }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	began := time.Now()
	s.mu.Lock()
	due := !began.Before(s.room.sweepAt)
	if due {
		s.room.sweepAt = began.Add(sweepEvery)
	}
	s.mu.Unlock()
	if !due {
		return s.lastFreed, nil
	}
	var dead []uint64
	err = s.scan(ctx, "", func() { dead = dead[:0] }, func(_ string, r record, _ string) {
		switch {
		case r.live(time.Now()):
			s.mayFree(r.Expires)
		case len(dead) < sweepMost:
			dead = append(dead, r.seq)
		}
	})
	if err == nil {
		err = s.removeAll(ctx, dead)
	}
	if err != nil {
		s.mayFree(began) // not done
		return false, err
	}
	s.lastFreed = len(dead) > 0
	return s.lastFreed, nil
}

func (s *stream) removeAll(ctx context.Context, seqs []uint64) error {
	var (
		all  sync.WaitGroup
		mu   sync.Mutex
		errs error
	)
	for worker := range min(removers, len(seqs)) {
		all.Go(func() {
			for i := worker; i < len(seqs); i += removers {
				if err := s.remove(ctx, seqs[i]); err != nil {
					mu.Lock()
					errs = err
					mu.Unlock()
					return
				}
			}
		})
	}
	all.Wait()
	return errs
}
