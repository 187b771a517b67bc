package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// file is a database file. It is opened by who first needs it, and again if that has failed
// or it has been given up. Safe for concurrent use.
type file struct {
	path string

	mu      sync.Mutex
	open    *database     // nil: not open
	opening chan struct{} // closed when it is done; nil: nobody does
	failure error         // of the last try
	retry   time.Time     // not before; zero: at once
	pause   time.Duration // the next
	over    bool          // nobody uses it any more
}

const (
	// lockTimeout is how long another process may hold the file while it is opened: the one
	// before this one may be about to end.
	lockTimeout = 3 * time.Second
	// After a failure the file is tried again after minPause, then after twice that, and so
	// on.
	minPause = time.Second
	maxPause = time.Minute
	// closeTimeout is how long the last user waits for the file to be closed.
	closeTimeout = 2 * time.Second
)

// acquire returns the open file, which stays open until it is released as often. If it has to
// be opened it waits for that, but no longer than ctx.
func (f *file) acquire(ctx context.Context) (*database, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.open != nil {
			f.open.users++
			return f.open, nil
		}
		if f.opening == nil {
			if wait := time.Until(f.retry); wait > 0 {
				return nil, fmt.Errorf("%w (next try in %s)", f.failure, wait.Round(time.Second/10))
			}
			f.opening = make(chan struct{})
			go f.tryOpen()
		}
		opening := f.opening
		f.mu.Unlock()
		select {
		case <-opening:
		case <-ctx.Done():
		}
		f.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("opening %s: %w", f.path, err)
		}
	}
}

// tryOpen opens the file, and tells those who wait for it. Nobody else does so at the same time.
func (f *file) tryOpen() {
	db, err := openDatabase(f.path)
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.opening)
	f.opening = nil
	switch {
	case err != nil:
		f.failed(fmt.Errorf("opening %s: %w", f.path, err))
	case f.over:
		f.close(db)
	default:
		f.open = db
		go f.write(db)
	}
}

// failed has the next try wait.
func (f *file) failed(err error) {
	f.pause = min(max(2*f.pause, minPause), maxPause)
	f.failure, f.retry = err, time.Now().Add(f.pause)
}

// worked has the next failure wait for the shortest time again.
func (f *file) worked() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pause = 0
}

// release is called once for each acquire.
func (f *file) release(db *database) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if db.users--; db.users == 0 && f.open != db {
		f.close(db)
	}
}

// giveUp has the file closed when those who use it are done, and opened anew by the next
// who needs it: with broken, after a pause.
func (f *file) giveUp(db *database, broken error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.open != db {
		return
	}
	f.open = nil
	close(db.stop)
	if broken != nil {
		f.failed(broken)
	}
	if db.users == 0 {
		f.close(db)
	}
}

// close closes a database that nobody uses. It can hang: after a panic in bbolt nobody knows
// which locks are held.
func (f *file) close(db *database) {
	go func() {
		_ = guard(db.Close) // everything is on the disk already
		close(db.closed)
	}()
}

// Destruct closes the file.
func (f *file) Destruct() error {
	f.mu.Lock()
	f.over = true
	db := f.open
	f.mu.Unlock()
	if db == nil {
		return nil
	}
	f.giveUp(db, nil)
	select {
	case <-db.closed:
	case <-time.After(closeTimeout):
	}
	return nil
}

// view calls do with the records as they are now.
func (f *file) view(ctx context.Context, do func(*records) error) error {
	db, err := f.acquire(ctx)
	if err != nil {
		return err
	}
	defer f.release(db)
	return f.within(db.view(do))
}

// within says which file an error is of.
func (f *file) within(err error) error {
	if errors.Is(err, errDamaged) {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return err
}

// database is an open file.
type database struct {
	*bbolt.DB
	users  int           // guarded by file.mu
	stop   chan struct{} // closed when it has been given up
	closed chan struct{} // closed when it is closed
	queue  queue
}

// openDatabase opens a file and makes it if there is none.
func openDatabase(path string) (*database, error) {
	// Whoever can read it knows what all functions know.
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	db := &database{stop: make(chan struct{}), closed: make(chan struct{}), queue: newQueue()}
	var opened *os.File
	err := guard(func() (err error) {
		options := *bbolt.DefaultOptions
		options.Timeout = lockTimeout
		options.FreelistType = bbolt.FreelistMapType
		options.NoStatistics = true
		options.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			opened, err = os.OpenFile(name, flag, mode)
			return opened, err
		}
		if db.DB, err = bbolt.Open(path, 0o600, &options); err != nil {
			return err
		}
		return db.prepare()
	})
	if err == nil {
		return db, nil
	}
	if db.DB != nil {
		_ = guard(db.Close)
	}
	if opened != nil {
		_ = opened.Close() // of a file that bbolt has panicked over; it unlocks it
	}
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, errors.New("it is locked: another process uses it")
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w, or no database: %w", errDamaged, err)
	}
	return nil, err
}

// prepare checks that the file is as long as it says, and has the buckets.
func (db *database) prepare() error {
	err := db.View(func(tx *bbolt.Tx) error {
		info, err := os.Stat(db.Path())
		if err == nil && info.Size() < tx.Size() {
			return fmt.Errorf("%w: it has %d bytes of %d", errDamaged, info.Size(), tx.Size())
		}
		return err
	})
	if err != nil {
		return err
	}
	made := db.View(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{itemsBucket, expiringBucket, countsBucket} {
			if tx.Bucket(name) == nil {
				return berrors.ErrBucketNotFound
			}
		}
		return nil
	})
	if made == nil {
		return nil
	}
	return db.Update(func(tx *bbolt.Tx) error { _, err := writable(tx); return err })
}

func (db *database) view(do func(*records) error) error {
	return guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			r, err := readable(tx)
			if err != nil {
				return err
			}
			return do(r)
		})
	})
}

// guard calls do, and returns its panic as an error: bbolt panics over much that damaged files
// hold, and reading one that has become shorter is a fault.
func guard(do func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errDamaged, p)
		}
	}()
	return do()
}
