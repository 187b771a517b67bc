// Package exchange is the framing of files that are asked: a program writes a request as
// one line, reads the answer up to its end, and writes the next request.
//
// The rules, for programs:
//
//   - What is written up to a newline is the request. It is served from then on, also while the
//     program does something else, so that several files make several exchanges at a time. Empty
//     lines are no requests.
//   - Where a request says that a body follows, all that is written next belongs to it, until
//     the program first reads, or polls for reading. Otherwise nothing but newlines may follow
//     (EINVAL; if it comes in one write with the request, the request isn't served).
//   - A read waits for the answer; at its end, and before any request, it returns 0 bytes. In the middle of a
//     line it is EINVAL. What goes wrong while the answer is read is an error of the read, and
//     stays one.
//   - A write after the answer has begun to be read gives up what is left of it, and begins the
//     next request.
//   - A line that is too long is EMSGSIZE, up to and with the write that ends it; one for which there is no
//     memory is ENOMEM, and forgotten.
//
// The file is a character device and has no position.
package exchange

import (
	"bytes"
	"context"
	"io"
	"slices"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

// Serve answers one request. It writes the answer, from one goroutine, and the guest gets it as it
// is written: a write waits until the guest has taken all of it, or is not going to. A body is there only if
// the request said so; it ends when the guest is done, and should be closed by who wants no more
// of it, then what the guest still writes is swallowed. ctx ends with the call, and when the guest gives the answer up;
// then Serve has to return without delay. An error is what the guest's next reads return, as
// [vfs.ErrnoOf] has it.
type Serve func(ctx context.Context, body io.ReadCloser, answer io.Writer) error

// Begin reads a request: a line without its newline, which must not be used any more when the
// exchange has been served. It returns what serves it, in a goroutine of its own, and
// whether a body follows. It is the answer that says what is wrong with a request.
type Begin func(line []byte) (serve Serve, body bool)

// Options of a file.
type Options struct {
	// MaxLine is the longest request in bytes, without the newline.
	MaxLine int
	// Finish makes Close wait until a request that was written has been served, for requests
	// that change something. Otherwise closing gives it up.
	Finish bool
	// Limit is a further ceiling on the memory of the file, which others may share, such as one
	// of the call; nil: none.
	Limit *engine.Budget
}

// File is one open file. Memory that it holds for the guest is reserved from the budget
// of the call.
type File struct {
	begin   Begin
	options Options

	line     []byte         // of a request that has no newline yet; all of its capacity is reserved
	budget   *engine.Budget // that it is reserved from
	overlong bool           // the line was too long: it is not kept, but not over yet
	current  *exchange      // the last one begun; nil: none, or one that was given up
}

// New returns a file.
func New(begin Begin, o Options) *File { return &File{begin: begin, options: o} }

// Stat implements [vfs.File].
func (f *File) Stat(context.Context) (vfs.Stat, error) {
	return vfs.Stat{Type: vfs.TypeCharacterDevice, Links: 1}, nil
}

// Write implements [vfs.Writer].
func (f *File) Write(ctx context.Context, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if e := f.current; e != nil {
		switch {
		case e.read:
			f.giveUp()
		case e.takesBody():
			return e.writeBody(ctx, p)
		case onlyNewlines(p):
			return len(p), nil
		default:
			return 0, vfs.EINVAL
		}
	}
	return f.writeLine(ctx, p)
}

func onlyNewlines(p []byte) bool { return len(bytes.TrimLeft(p, "\n")) == 0 }

func (f *File) writeLine(ctx context.Context, p []byte) (int, error) {
	empty := 0
	if len(f.line) == 0 && !f.overlong {
		empty = len(p) - len(bytes.TrimLeft(p, "\n"))
	}
	part, rest, whole := bytes.Cut(p[empty:], []byte{'\n'})
	switch {
	case f.overlong, len(part) > f.options.MaxLine-len(f.line):
		f.dropLine()
		f.overlong = !whole
		return 0, vfs.EMSGSIZE
	case len(part) == 0 && !whole: // nothing but empty lines
		return len(p), nil
	}
	if err := f.append(ctx, part, whole); err != nil {
		f.dropLine()
		return 0, vfs.ENOMEM
	}
	if !whole {
		return len(p), nil
	}
	serve, body := f.begin(f.line)
	if !body && !onlyNewlines(rest) {
		f.dropLine()
		return 0, vfs.EINVAL
	}
	if body && f.reserve(bodyRoom) != nil {
		f.dropLine()
		return 0, vfs.ENOMEM
	}
	f.current = start(ctx, serve, body, f.keepLine())
	if !body {
		return len(p), nil
	}
	return empty + len(part) + 1, nil // what follows is the next write's
}

// append adds to the line, and reserves what it takes to hold it.
func (f *File) append(ctx context.Context, part []byte, last bool) error {
	if need := len(f.line) + len(part); need > cap(f.line) {
		room := need
		if !last {
			room = min(max(2*cap(f.line), need, 512), f.options.MaxLine)
		}
		if f.budget == nil {
			f.budget = engine.BudgetOf(ctx)
		}
		if err := f.reserve(int64(room)); err != nil {
			return err
		}
		line := append(make([]byte, 0, room), f.line...)
		f.dropLine()
		f.line = line[:len(line):room]
	}
	f.line = append(f.line, part...)
	return nil
}

func (f *File) dropLine() {
	if f.line != nil {
		f.release(int64(cap(f.line)))
		f.line = nil
	}
}

func (f *File) reserve(n int64) error {
	if f.options.Limit != nil {
		if err := f.options.Limit.Reserve(n); err != nil {
			return err
		}
	}
	err := f.budget.Reserve(n)
	if err != nil && f.options.Limit != nil {
		f.options.Limit.Release(n)
	}
	return err
}

// release may be called from any goroutine.
func (f *File) release(n int64) {
	f.budget.Release(n)
	if f.options.Limit != nil {
		f.options.Limit.Release(n)
	}
}

// keepLine leaves the line to an exchange and returns what gives back its memory.
func (f *File) keepLine() (release func(more int64)) {
	size := int64(cap(f.line))
	f.line = nil
	return func(more int64) { f.release(size + more) }
}

// Read implements [vfs.Reader].
func (f *File) Read(ctx context.Context, p []byte) (int, error) {
	if f.current != nil {
		return f.current.readAnswer(ctx, p)
	}
	if len(f.line) > 0 || f.overlong {
		return 0, vfs.EINVAL
	}
	return 0, nil
}

// Ready implements [vfs.Poller].
func (f *File) Ready(want vfs.Events) (vfs.Events, int64) {
	if f.current == nil {
		return want & (vfs.Readable | vfs.Writable), 0 // at once, if with an error
	}
	return f.current.ready(want)
}

// Notify implements [vfs.Poller].
func (f *File) Notify(want vfs.Events, wake func()) (stop func()) {
	if f.current == nil {
		return func() {}
	}
	return f.current.notify(want, wake)
}

// Close ends the exchange that goes on, see [Options].
func (f *File) Close(ctx context.Context) error {
	var err error
	if e := f.current; e != nil && f.options.Finish {
		err = e.finish(ctx)
	}
	f.Discard()
	return err
}

// Discard gives up the exchange that goes on.
func (f *File) Discard() {
	f.dropLine()
	f.overlong = false
	f.giveUp()
}

func (f *File) giveUp() {
	if f.current != nil {
		f.current.cancel()
		f.current = nil
	}
}

// drop removes one of several.
func drop(list []*watcher, w *watcher) []*watcher {
	return slices.DeleteFunc(list, func(have *watcher) bool { return have == w })
}

var (
	_ vfs.Reader    = (*File)(nil)
	_ vfs.Writer    = (*File)(nil)
	_ vfs.Poller    = (*File)(nil)
	_ vfs.Discarder = (*File)(nil)
)
