package bolt

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/gojinn/gojinn/stores"
)

// change is what one caller wants to have changed.
type change struct {
	// do does it, as part of a transaction, and sets item. An error means that it has changed
	// nothing, unless it is bbolt's own; see harmless.
	do   func(c *change, r *records) error
	item stores.Item // what is there now
	err  error       // of do
	// done gets the result when it is on the disk. Until then the writer has the change, even
	// if nobody waits for it any more.
	done chan error
}

// queue holds the changes that wait for the writer. It is no longer than the callers that
// wait: who leaves takes the change along.
type queue struct {
	mu      sync.Mutex
	changes []*change
	closed  bool
	wake    chan struct{} // has something if changes may have
}

func newQueue() queue { return queue{wake: make(chan struct{}, 1)} }

// add is false if the queue is closed.
func (q *queue) add(c *change) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.closed {
		q.changes = append(q.changes, c)
		q.ring()
	}
	return !q.closed
}

func (q *queue) ring() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// remove is false if the writer has taken the change already.
func (q *queue) remove(c *change) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.changes, c)
	if i < 0 {
		return false
	}
	q.changes = slices.Delete(q.changes, i, i+1)
	return true
}

// take takes up to n changes.
func (q *queue) take(n int) []*change {
	q.mu.Lock()
	defer q.mu.Unlock()
	n = min(n, len(q.changes))
	taken := slices.Clone(q.changes[:n])
	if q.changes = slices.Delete(q.changes, 0, n); len(q.changes) > 0 {
		q.ring()
	}
	return taken
}

// gather lets those run who are about to add something, for as long as they do: without it
// callers who were served together, and come back together, find the writer gone with the few that
// came in between, and half of them would always wait for the other half. Nobody is waited
// for, so it costs a lone caller next to nothing.
func (q *queue) gather() {
	for before := 0; ; {
		q.mu.Lock()
		now := len(q.changes)
		q.mu.Unlock()
		if now == before || now >= maxBatch {
			return
		}
		before = now
		runtime.Gosched()
	}
}

// close returns what is left.
func (q *queue) close() []*change {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	left := q.changes
	q.changes = nil
	return left
}

// errGivenUp is the error of a change that was not tried, because its database has been
// given up.
var errGivenUp = errors.New("the database has been given up")

// change has done what do does, waits until it is on the disk, but no longer than ctx, and
// returns what is there then.
func (f *file) change(ctx context.Context, do func(c *change, r *records) error) (stores.Item, error) {
	for {
		c := &change{do: do, done: make(chan error, 1)}
		err := f.try(ctx, c)
		switch {
		case errors.Is(err, errGivenUp):
			continue // with the one that takes its place
		case err != nil:
			return stores.Item{}, f.within(err)
		}
		return c.item, nil
	}
}

func (f *file) try(ctx context.Context, c *change) error {
	db, err := f.acquire(ctx)
	if err != nil {
		return err
	}
	if !db.queue.add(c) {
		f.release(db)
		return errGivenUp
	}
	select {
	case err := <-c.done: // the writer has released the database
		return err
	case <-ctx.Done():
		if db.queue.remove(c) {
			f.release(db)
		}
		return fmt.Errorf("writing %s: %w", f.path, ctx.Err())
	}
}

const (
	// maxBatch and maxBatchBytes bound a transaction: what it holds is in memory until it is
	// written, and who comes later waits for it.
	maxBatch      = 1000
	maxBatchBytes = 8 << 20
	// What has expired is looked for every sweepEvery. sweepSome of it go with each
	// change of a namespace, and sweepMany at once when nobody changes anything.
	sweepEvery = time.Minute
	sweepSome  = 4
	sweepMany  = 1000
)

// write commits what is queued, all of it at once and without waiting for more, until the
// database is given up: while one transaction is written, the next gathers. It is a
// goroutine of its own so that its callers can leave.
func (f *file) write(db *database) {
	sweep := time.NewTimer(sweepEvery)
	defer sweep.Stop()
	from := ""
	for {
		select {
		case <-db.stop:
			for _, c := range db.queue.close() {
				f.finish(db, c, errGivenUp)
			}
			return
		case <-db.queue.wake:
			db.queue.gather()
			f.commit(db, db.queue.take(maxBatch))
		case <-sweep.C:
			if from = f.sweep(db, from); from == "" {
				sweep.Reset(sweepEvery)
			} else {
				sweep.Reset(sweepEvery / 1000)
			}
		}
	}
}

// commit does all changes, in as few transactions as their size allows.
func (f *file) commit(db *database, changes []*change) {
	for len(changes) > 0 {
		n, err := db.transaction(changes)
		f.settle(db, err)
		for _, c := range changes[:n] {
			if err != nil {
				f.finish(db, c, fmt.Errorf("writing %s: %w", f.path, err))
			} else {
				f.finish(db, c, c.err)
			}
		}
		if changes = changes[n:]; err != nil {
			for _, c := range changes {
				f.finish(db, c, errGivenUp)
			}
			return
		}
	}
}

// settle gives the database up if a transaction has failed: what bbolt has in memory may then
// be something else than what is on the disk, and after a panic it may hold its locks for
// ever.
func (f *file) settle(db *database, err error) {
	switch {
	case err == nil:
		f.worked()
	case errors.Is(err, errDamaged):
		f.giveUp(db, fmt.Errorf("writing %s: %w", f.path, err))
	default:
		f.giveUp(db, nil)
	}
}

func (f *file) finish(db *database, c *change, err error) {
	f.release(db)
	c.done <- err
}

// transaction does the first n changes and has them on the disk, or none of them.
func (db *database) transaction(changes []*change) (n int, err error) {
	err = guard(func() error {
		tx, err := db.Begin(true)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }() // unless it is over
		r, err := writable(tx)
		if err != nil {
			return err
		}
		for n < len(changes) && r.written < maxBatchBytes {
			c := changes[n]
			n++
			if c.err = c.do(c, r); !harmless(c.err) {
				return c.err
			}
		}
		if !r.changed {
			return nil
		}
		return tx.Commit()
	})
	if n == 0 {
		n = len(changes)
	}
	return n, err
}

// harmless are the errors of changes that concern nobody but their callers.
func harmless(err error) bool {
	for _, known := range []error{nil, stores.ErrNotFound, stores.ErrFull, stores.ErrTooLarge, errDamaged} {
		if errors.Is(err, known) {
			return true
		}
	}
	var edit *editError
	return errors.As(err, &edit)
}

// sweep removes what has expired in the namespaces from one on, and returns from which one to go on
// soon, "" if it is done.
func (f *file) sweep(db *database, from string) (next string) {
	var names []string
	err := guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			names, next = stale(tx, from, sweepMany)
			return nil
		})
	})
	if err != nil {
		return "" // who needs the file will notice
	}
	for _, name := range names {
		swept := 0
		_, err := db.transaction([]*change{{do: func(_ *change, r *records) (err error) {
			swept, err = r.sweep(name, sweepMany)
			return err
		}}})
		if f.settle(db, err); err != nil {
			return ""
		}
		if swept == sweepMany {
			return name
		}
	}
	return next
}
