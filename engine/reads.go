package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/gojinn/gojinn/engine/frozen"
	"github.com/gojinn/gojinn/engine/vfs"
)

// Reads is what the start-ups of a function have read of directories of the host.
type Reads = frozen.Dependencies

// Reads returns what start-ups have read ahead of their calls, or with them since; of a function whose
// only start-up has failed, what that has read. It is empty if nothing is kept.
func (f *Function) Reads() Reads {
	if f.reads == nil {
		return Reads{}
	}
	return f.reads.Dependencies()
}

// Changed compares what start-ups have read with what there is now. It returns a guest path that leads to
// something else, or an empty string. Touching a file that has been read doesn't change it.
func (f *Function) Changed(ctx context.Context) (guestPath string, err error) {
	if f.reads == nil {
		return "", nil
	}
	return f.reads.Changed(ctx, f.mounted)
}

// mounted returns what is mounted at a guest path that start-ups have read.
func (f *Function) mounted(guestPath string) vfs.Ahead {
	for _, m := range f.options.Grants.mounts {
		if m.path == cmp.Or(guestPath, "/") {
			return m.fs.(vfs.Ahead)
		}
	}
	return nil // not reached: grants stay as they are
}

// record returns where a function keeps what its start-ups read; nil if they can't read anything.
func (f *Function) record() *frozen.Record {
	for _, m := range f.options.Grants.mounts {
		if _, ok := m.fs.(vfs.Ahead); ok {
			return frozen.New(f.engine.budget)
		}
	}
	return nil
}

// StartAhead makes one sandbox and starts its program ahead of a call, and keeps it for one if sandboxes
// are kept. The error says why the program did not get to its first read; log, in either case, what it
// wrote to its standard error if no call will tell. A program that is only started with a call is
// not started, without an error, nor is one whose start-up does what has to wait for a call. If ctx ends
// before, the function is closed.
func (f *Function) StartAhead(ctx context.Context) (log []byte, err error) {
	if err := f.pool.enter(); err != nil {
		return nil, err
	}
	defer f.pool.leave()
	defer context.AfterFunc(ctx, f.pool.end)()
	s, err := newSandbox(ctx, f)
	if err != nil {
		return nil, err
	}
	ready := s.prepare()
	err = s.aborted
	var effect *effectError
	if errors.As(err, &effect) {
		err = nil
	}
	if err == nil && !ready {
		err = fmt.Errorf("%w: the sandbox could not be made ready", ErrOverloaded)
	}
	if err != nil {
		log = append(log, s.early...)
		err = fmt.Errorf("its start-up: %w", err)
	}
	if !ready || err != nil || s.kind == StartLate || !f.keeps(s.code) || !f.pool.put(s) {
		s.close()
	}
	return log, err
}

// freeze begins a start-up whose reads are kept, or are what was kept. It is false if the
// program can't be started ahead just now, since another is making the record.
func (s *Sandbox) freeze(ahead bool) (ok bool) {
	s.reading = nil
	if s.function.reads == nil {
		return true
	}
	s.reading, ok = s.function.reads.Begin(ahead)
	return ok
}

// abandon closes what a program has open that waits for a call which it will not get.
func (p *process) abandon() {
	ctx := context.Background()
	_ = p.files.closeAll(ctx, false) // discards
	if p.view != nil {
		_ = p.view.Close(ctx) // it was only read
	}
	p.reading = nil
}

// thaw lets the program read what there is from now on.
func (p *process) thaw() {
	if p.reading != nil {
		p.reading.End()
		p.reading = nil
		p.view.Reenter()
	}
}

// errRestless is a start-up that may have read some files before a change, and others after it.
var errRestless = fmt.Errorf("%w: files that it reads change just now", ErrOverloaded)

// keepReads notes that a start-up has come to its first read.
func (s *Sandbox) keepReads() {
	if s.reading != nil {
		if changed, err := s.reading.Changed(s.life, s.function.mounted); changed != "" || err != nil {
			s.finish(cmp.Or(err, errRestless))
		}
	}
	if s.reading != nil && s.reading.Keep(s.life) && s.function.options.Recorded != nil {
		s.function.options.Recorded()
	}
	s.function.tellReads()
}

// tellReads says once that what start-ups read is too much to be kept.
func (f *Function) tellReads() {
	if f.reads == nil || f.options.Unrecorded == nil {
		return
	}
	if over := f.reads.Over(); over != nil && f.unrecorded.CompareAndSwap(false, true) {
		f.options.Unrecorded(over.Error())
	}
}
