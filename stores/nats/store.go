package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"strconv"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/gojinn/gojinn/stores"
)

// Get returns the item of a key, as the stream's leader knows it.
func (n *Nats) Get(ctx context.Context, ns stores.Namespace, key string) (item stores.Item, err error) {
	err = n.do(ctx, ns, []string{key}, func(ctx context.Context, s *stream) error {
		have, err := s.last(ctx, key)
		if err != nil {
			return err
		}
		if !have.live(time.Now()) {
			return stores.ErrNotFound
		}
		item = have.Item
		return nil
	})
	return item, err
}

// Put stores a value whatever was there.
func (n *Nats) Put(ctx context.Context, ns stores.Namespace, key string, value []byte, expires time.Time) (version uint64, err error) {
	put := &stores.Item{Value: value, Expires: expires}
	err = n.do(ctx, ns, []string{key}, func(ctx context.Context, s *stream) error {
		if ns.MaxKeys > 0 && !s.takeRoom(ns.MaxKeys) {
			// Whether it is a new key has to be known, and stay true.
			item, err := s.update(ctx, ns.MaxKeys, key, func(*stores.Item) (*stores.Item, error) { return put, nil })
			version = item.Version
			return err
		}
		version, err = s.publish(ctx, s.message(key, put, time.Now()))
		if err == nil {
			s.mayFree(expires)
		}
		return err
	})
	return version, err
}

// Update replaces an item by what edit makes of it. It reads, edits and writes if nobody else
// wrote in between, until that is so or ctx is over.
func (n *Nats) Update(ctx context.Context, ns stores.Namespace, key string, edit stores.Edit) (item stores.Item, err error) {
	err = n.do(ctx, ns, []string{key}, func(ctx context.Context, s *stream) error {
		// In this process it goes by turns, since all but one would be in vain.
		turn := s.turns[maphash.String(turnSeed, key)%uint64(len(s.turns))]
		select {
		case turn <- struct{}{}:
			defer func() { <-turn }()
		case <-ctx.Done():
			return fmt.Errorf("waiting for other updates of the key: %w", ctx.Err())
		}
		item, err = s.update(ctx, ns.MaxKeys, key, edit)
		return err
	})
	var failed *editError
	if errors.As(err, &failed) {
		err = failed.err
	}
	return item, err
}

var turnSeed = maphash.MakeSeed()

// editError is the error of an edit, to be told from ours.
type editError struct{ err error }

func (e *editError) Error() string { return e.err.Error() }

// Rename gives the item of a key to another. Both keys are written in one atomic batch.
func (n *Nats) Rename(ctx context.Context, ns stores.Namespace, from, to string) error {
	return n.do(ctx, ns, []string{from, to}, func(ctx context.Context, s *stream) error {
		for round := 0; ; round++ {
			source, err := s.last(ctx, from)
			if err != nil {
				return err
			}
			if !source.live(time.Now()) {
				return stores.ErrNotFound
			}
			if from == to {
				return nil
			}
			target, err := s.last(ctx, to)
			if err != nil {
				return err
			}
			moved, mark := s.message(to, &source.Item, time.Now()), s.message(from, nil, time.Time{})
			expect(moved, target.seq)
			expect(mark, source.seq)
			moved.Header.Set(headerFrom, mark.Subject)
			// The batch is known by one of its messages.
			mark.Header.Del(headerID)
			last, err := s.publish(ctx, moved, mark)
			if isConflict(err) {
				if err := backoff(ctx, round); err != nil {
					return fmt.Errorf("other changes of the keys: %w", err)
				}
				continue
			}
			if err != nil {
				return err
			}
			s.mayFree(source.Expires)
			s.bury(ctx, ns.MaxKeys, last)
			return nil
		}
	})
}

// update is Update, whose errors of edit are editErrors.
func (s *stream) update(ctx context.Context, maxKeys int64, key string, edit stores.Edit) (stores.Item, error) {
	creating := false
	defer func() {
		if creating {
			<-s.creating
		}
	}()
	for round := 0; ; round++ {
		have, err := s.last(ctx, key)
		if err != nil {
			return stores.Item{}, err
		}
		var old *stores.Item
		if have.live(time.Now()) {
			old = &have.Item
		}
		next, err := edit(old)
		switch {
		case err != nil:
			return stores.Item{}, &editError{err}
		case next == nil && old == nil:
			return stores.Item{}, nil
		case next == old:
			return *old, nil
		}
		modified := time.Now()
		m := s.message(key, next, modified)
		expect(m, have.seq)
		if next != nil && old == nil && maxKeys > 0 && !s.takeRoom(maxKeys) {
			// In this process one at a time, since all others would be in vain.
			if !creating {
				select {
				case s.creating <- struct{}{}:
					creating = true
				case <-ctx.Done():
					return stores.Item{}, fmt.Errorf("waiting for other new keys: %w", ctx.Err())
				}
			}
			if err := s.admit(ctx, maxKeys, m, have.seq == 0); err != nil {
				return stores.Item{}, err
			}
		}
		version, err := s.publish(ctx, m)
		switch {
		case isConflict(err):
			if err := backoff(ctx, round); err != nil {
				return stores.Item{}, fmt.Errorf("other changes of the key: %w", err)
			}
			continue
		case err != nil:
			return stores.Item{}, err
		case next == nil:
			s.bury(ctx, maxKeys, version)
			return stores.Item{}, nil
		}
		s.mayFree(next.Expires)
		return recordOf(version, m.Header, next.Value, modified).Item, nil
	}
}

// expect makes a message depend on what its key has last; 0: nothing.
func expect(m *client.Msg, seq uint64) { m.Header.Set(headerExpectedKey, strconv.FormatUint(seq, 10)) }

func isConflict(err error) bool {
	return hasCode(err, jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant)
}

// errGone: the stream that was there isn't.
var errGone = errors.New("the stream is gone")

// failure is how JetStream's API says that something went wrong.
type failure struct {
	Error *jetstream.APIError `json:"error"`
}

func (f *failure) failed() *jetstream.APIError { return f.Error }

// call asks JetStream's API about the stream. The leader answers.
func call[T any, P interface {
	*T
	failed() *jetstream.APIError
}](ctx context.Context, s *stream, what string, question any) (P, error) {
	asked, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	return request(ctx, s.link, func(ctx context.Context, js jetstream.JetStream) (P, error) {
		if err := s.open(ctx); err != nil {
			return nil, err
		}
		m, err := js.Conn().RequestWithContext(ctx, jetstream.DefaultAPIPrefix+what+"."+s.name, asked)
		if err != nil {
			return nil, err
		}
		answer := P(new(T))
		if err := json.Unmarshal(m.Data, answer); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
		switch failed := answer.failed(); {
		case failed == nil:
			return answer, nil
		case failed.ErrorCode == jetstream.JSErrCodeStreamNotFound:
			s.gone()
			return nil, errGone
		default:
			return nil, failed
		}
	})
}

// last returns the last message of a key: the zero record if there is none.
func (s *stream) last(ctx context.Context, key string) (record, error) {
	type question struct {
		LastFor string `json:"last_by_subj"`
	}
	type answer struct {
		failure
		Message struct {
			Sequence uint64    `json:"seq"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
			Time     time.Time `json:"time"`
		} `json:"message"`
	}
	got, err := call[answer](ctx, s, "STREAM.MSG.GET", question{s.subject(key)})
	if hasCode(err, jetstream.JSErrCodeMessageNotFound) {
		return record{}, nil
	}
	if err != nil {
		return record{}, err
	}
	m := &got.Message
	var header client.Header
	if len(m.Header) > 0 {
		if header, err = client.DecodeHeadersMsg(m.Header); err != nil {
			return record{}, fmt.Errorf("message %d: %w", m.Sequence, err)
		}
	}
	return recordOf(m.Sequence, header, m.Data, m.Time), nil
}

// publish stores a message, or two in one atomic batch, once. It returns the sequence number of
// the last one.
func (s *stream) publish(ctx context.Context, messages ...*client.Msg) (uint64, error) {
	seq, err := request(ctx, s.link, func(ctx context.Context, js jetstream.JetStream) (uint64, error) {
		if err := s.open(ctx); err != nil {
			return 0, err
		}
		if len(messages) > 1 {
			id := nuid.Next()
			for i, m := range messages {
				m.Header.Set(headerBatch, id)
				m.Header.Set(headerBatchSeq, strconv.Itoa(i+1))
			}
			messages[len(messages)-1].Header.Set(headerBatchCommit, "1")
		}
		for _, m := range messages[:len(messages)-1] {
			if err := js.Conn().PublishMsg(m); err != nil {
				return 0, err
			}
		}
		ack, err := js.PublishMsg(ctx, messages[len(messages)-1], jetstream.WithRetryAttempts(0))
		switch {
		case errors.Is(err, jetstream.ErrNoStreamResponse):
			s.gone() // or its leader is
			return 0, err
		case hasCode(err, codeDuplicateInBatch):
			return 0, nil // stored by an attempt before
		case err != nil:
			return 0, err
		case ack.Stream != s.name:
			return 0, fmt.Errorf("the subject %s belongs to the stream %s", messages[0].Subject, ack.Stream)
		}
		return ack.Sequence, nil
	})
	return seq, storeError(err)
}

// storeError names what a store can't take.
func storeError(err error) error {
	switch text := fmt.Sprint(err); {
	case errors.Is(err, client.ErrMaxPayload), hasCode(err, jetstream.JSErrCodeStreamMessageExceedsMaximum),
		hasCode(err, codeStoreFailed) && strings.Contains(text, "too large"):
		return fmt.Errorf("%w: %w", stores.ErrTooLarge, err)
	case hasCode(err, codeAccountLimit, codeNoResources, codeNoMemory, codeNoStorage),
		hasCode(err, codeStoreFailed) && strings.Contains(text, "maximum"):
		return fmt.Errorf("%w: %w", stores.ErrFull, err)
	}
	return err
}

// removal asks to delete a message by its number.
type removal struct {
	Seq     uint64 `json:"seq"`
	NoErase bool   `json:"no_erase"`
}

// remove deletes one message by its number. That it is gone already is no error.
func (s *stream) remove(ctx context.Context, seq uint64) error {
	_, err := call[failure](ctx, s, "STREAM.MSG.DELETE", removal{seq, true})
	if hasCode(err, codeNoSequence, codeNotDeleted, jetstream.JSErrCodeMessageNotFound) {
		return nil
	}
	return err
}
