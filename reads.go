package gojinn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/watch"
)

// sources are the files of the host that a function's start-ups have read, as they are followed. When they
// change, another version of the function takes over, if it starts. Safe for concurrent use.
type sources struct {
	tried atomic.Pointer[version] // that was refused when they had changed last; nil: none was

	mu      sync.Mutex
	follow  bool         // requests may come
	watcher *watch.Watch // nil: there is none
	rest    time.Time    // until then, changes wait to be looked at
}

// restShare is how much longer than making a version took changes are let pass after it: start-ups that
// see something new all the time must not be all that is done.
const (
	restShare = 2
	maxRest   = 10 * time.Second
)

// follow follows the files from when requests may come, until the function's life ends.
func (f *function) follow() {
	f.sources.mu.Lock()
	f.sources.follow = true
	f.sources.mu.Unlock()
	context.AfterFunc(f.life, func() {
		f.sources.mu.Lock()
		w := f.sources.watcher
		f.sources.watcher = nil
		f.sources.mu.Unlock()
		if w != nil {
			w.Stop()
		}
	})
}

// watchReads watches what the version that serves has read, and the one that was refused last. Then it
// looks: something may have changed before.
func (f *function) watchReads() {
	s := &f.sources
	s.mu.Lock()
	if !s.follow || f.life.Err() != nil {
		s.mu.Unlock()
		return
	}
	paths, folders := f.reads()
	before := s.watcher
	s.watcher = nil
	if len(paths)+len(folders) > 0 {
		s.watcher = watch.Files(paths, folders, f.readsChanged)
	}
	s.mu.Unlock()
	if before != nil {
		before.Stop() // which may wait for one who waits for mu
	}
	if len(paths)+len(folders) > 0 {
		f.refreshReads()
	}
}

// refreshReads looks at what start-ups have read, and not at the module file, which somebody may be
// writing just now.
func (f *function) refreshReads() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || f.place.blocked {
		return
	}
	if failed := f.failure.Load(); failed != nil && !failed.reads {
		return // with the next module
	}
	if _, again, _ := f.lookAtReads(f.life); again { // what is wrong is logged
		f.plan(true)
	}
}

// reads are the paths to be watched, and the folders whose entries are.
func (f *function) reads() (paths, folders []string) {
	for _, v := range []*version{f.current.Load(), f.sources.tried.Load()} {
		if v != nil && v.use() {
			reads := v.Reads()
			v.leave()
			paths, folders = append(paths, reads.Paths...), append(folders, reads.Folders...)
		}
	}
	return paths, folders
}

// readsChanged is told that files may have changed.
func (f *function) readsChanged() {
	f.sources.mu.Lock()
	wait := time.Until(f.sources.rest)
	f.sources.mu.Unlock()
	if wait > 0 {
		select {
		case <-time.After(wait):
		case <-f.life.Done():
		}
	}
	f.refreshReads()
}

// recorded is told that start-ups of a version have read something new.
func (f *function) recorded(v *version) {
	if f.current.Load() == v { // else it is tried
		go f.watchReads()
	}
}

func (f *function) logUnrecorded(why string) {
	f.logger.Warn("what start-ups read is not kept: they read what there is, and changes are not noticed",
		zap.String("function", f.name), zap.String("reason", printable(why)))
}

// lookAtReads compares what start-ups have read with what there is. If that is something else, a new version
// takes over that has read it, if it starts; else the one before stays, and the error says why. again
// says that another look is worth its while though nothing changes. f.mu is held.
func (f *function) lookAtReads(ctx context.Context) (changed, again bool, err error) {
	v := f.current.Load()
	if v == nil {
		return false, false, f.known()
	}
	where, err := v.Changed(ctx)
	if err != nil {
		return false, ctx.Err() == nil, fmt.Errorf("looking at what its start-up has read: %w", err)
	}
	if where == "" {
		f.forgive()
		return false, false, f.known()
	}
	if tried := f.sources.tried.Load(); tried != nil {
		if since, err := tried.Changed(ctx); err == nil && since == "" {
			return false, false, f.known()
		}
	}
	began := time.Now()
	defer func() {
		f.sources.mu.Lock()
		f.sources.rest = time.Now().Add(min(restShare*time.Since(began), maxRest))
		f.sources.mu.Unlock()
		go f.watchReads()
	}()
	return f.reread(ctx, v.digest, where)
}

// forgive notes that the files are as the version that serves has read them.
func (f *function) forgive() {
	f.try(nil)
	if failed := f.failure.Load(); failed != nil && failed.reads {
		f.failure.Store(nil)
		f.logger.Info("the files that its start-up reads are those that serve again", zap.String("function", f.name))
	}
}

// try notes the version that was refused last. nil: there is none any more.
func (f *function) try(v *version) {
	if before := f.sources.tried.Swap(v); before != nil {
		before.leave()
	}
}

// reread makes a version that reads the files as they are.
func (f *function) reread(ctx context.Context, digest engine.Digest, where string) (changed, again bool, err error) {
	for range 3 { // as often as they change meanwhile
		v, err := f.newVersion(digest)
		if err != nil {
			return false, true, err
		}
		err = f.begins(ctx, v)
		if since, errLook := v.Changed(ctx); errLook != nil || since != "" {
			v.leave()
			continue
		}
		if err == nil && f.check != "" {
			err = f.tryOut(ctx, v)
		}
		switch {
		case err == nil:
			f.try(nil)
			f.logger.Info("files that its start-up reads have changed", zap.String("function", f.name), zap.String("path", printable(where)))
			f.replace(v)
			return true, false, nil
		case ctx.Err() != nil:
			v.leave()
			return false, true, err
		case passing(err), errors.Is(err, engine.ErrTimeout):
			v.leave()
			f.refuseReads(where, err)
			return false, true, err
		}
		f.try(v)
		f.refuseReads(where, err)
		return false, false, err
	}
	return false, true, errRestless
}

var errRestless = errors.New("files that its start-up reads change all the time")

// begins starts a version ahead of its calls. What it writes to its standard error is logged if it fails: no
// call will tell.
func (f *function) begins(ctx context.Context, v *version) error {
	log, err := v.StartAhead(ctx)
	if err == nil || passing(err) || ctx.Err() != nil {
		return err
	}
	lines := &stderrLog{logger: f.logger, fields: []zap.Field{zap.String("function", f.name)}, keep: f.maxLog}
	_, _ = lines.Write(log) // never fails
	lines.finish()
	if last := lastLine(log); last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return &startError{err}
}

// startError is why a program did not start.
type startError struct{ error }

func (e *startError) Unwrap() error { return e.error }

// lastLine is the last line of a program's standard error, which says in most languages what is wrong.
func lastLine(log []byte) string {
	log = bytes.TrimSpace(log)
	last := log[bytes.LastIndexByte(log, '\n')+1:]
	return string(last[:min(len(last), maxLastLine)])
}

const maxLastLine = 256

// refuseReads notes why files as they are don't serve. The same as before is no news.
func (f *function) refuseReads(where string, err error) {
	known := f.failure.Load()
	if known != nil && known.err.Error() == err.Error() {
		return
	}
	f.failure.Store(&failure{err: err, since: time.Now(), reads: true})
	live.changed(f.series, "refused")
	f.logger.Error("files that its start-up reads have changed and are refused; the version before goes on serving",
		zap.String("function", f.name), zap.String("path", printable(where)), zap.String("error", printable(err.Error())))
}
