package engine

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// startup is what a program did, or had done, from its start to its first read
// of standard input. It decides how its sandbox can be used again.
type startup struct {
	ahead    bool // it runs before there is a call
	read     bool // it has read standard input, or asked whether it can
	realtime bool // it has asked for the time of day
	files    bool // it has read files of the host
	logged   bool // it has written to standard error
	promised bool // it has written "safe" to /dev/snapshot
	draws    int  // how often it has asked for random numbers
	entropy  [goDraw]byte
}

// goDraw is how many random bytes Go's runtime asks for when it starts.
const goDraw = 32

// drew notes that the program has been given random numbers.
func (s *startup) drew(random []byte) {
	if !s.ahead {
		return
	}
	s.draws++
	if s.draws == 1 && len(random) == goDraw {
		copy(s.entropy[:], random)
	}
}

// drewOnce returns what the program was given if it asked for random numbers once, and for
// as many as Go's runtime does.
func (s *startup) drewOnce() ([]byte, bool) {
	return s.entropy[:], s.draws == 1 && s.entropy != [goDraw]byte{}
}

// impure says what the result of the start-up depends on besides the program
// itself, or nothing.
func (s *startup) impure() string {
	var what []string
	if s.draws > 0 {
		what = append(what, "random numbers")
	}
	if s.realtime {
		what = append(what, "the time of day")
	}
	if s.files {
		what = append(what, "files")
	}
	if s.logged {
		what = append(what, "a standard error to write to")
	}
	return strings.Join(what, ", ")
}

// effectError is a start-up that was abandoned since it was about to do what
// must not be done before there is a call.
type effectError struct{ what string }

func (e *effectError) Error() string { return e.what }

// effect ends a start-up ahead of its call before it does what the error says.
func (p *process) effect(what string) { p.sandbox.finish(&effectError{what}) }

// enter opens a mount when a path first leads into it. Before there is a call only files of the
// host may be read: what is in other mounts may be the call's, and using it may change it.
func (p *process) enter(ctx context.Context, guestPath string, fs vfs.FS) (vfs.Directory, error) {
	if p.startup.ahead {
		if _, ok := fs.(vfs.Ahead); !ok {
			p.effect(fmt.Sprintf("it uses %q", cmp.Or(guestPath, "/")))
		}
		p.startup.files = true
	}
	if ahead, ok := fs.(vfs.Ahead); ok && p.reading != nil {
		return p.reading.Root(ctx, guestPath, ahead)
	}
	return fs.Root(ctx)
}

// beforeChange is called before something is changed in a mount.
func (p *process) beforeChange(guestPath string) {
	if p.startup.ahead {
		p.effect(fmt.Sprintf("it changes files in %q", cmp.Or(guestPath, "/")))
	}
}

// writeAhead looks at a write before there is a call.
func (p *process) writeAhead(d *descriptor) {
	switch d.file {
	case &p.out:
		p.effect("it writes to its standard output")
	case &p.log:
		p.startup.logged = true
	}
}

// isInput tells whether d is the standard input, under whichever number.
func (p *process) isInput(d *descriptor) bool { return d == &p.std[inputDescriptor] }

// readInput is called before the input is read. A start ahead of its call ends here:
// it waits for the call.
func (p *process) readInput() {
	if p.startup.ahead {
		p.sandbox.park()
	} else if !p.startup.read {
		p.sandbox.started()
	}
	p.startup.read = true
	p.thaw()
}

// look gives the process a view of the file tree.
func (p *process) look(tree *vfs.Tree) {
	p.view = tree.View()
	p.view.Enter, p.view.BeforeChange = p.enter, p.beforeChange
	if p.watch != nil {
		p.view.Refused = p.refused
	}
}

// refused tells who watches that the file tree has no such path, or none that can be changed.
func (p *process) refused(guestPath string, change bool) {
	how := RefusedRead
	if change {
		how = RefusedWrite
	}
	p.watch(Refusal{Kind: RefusedPath, What: guestPath, How: how})
}

// pristine tells whether the descriptors are those the process began with.
// Anything else can't be remade for the next call.
func (p *process) pristine() bool {
	if p.files.open != standardDescriptors {
		return false
	}
	for i := range p.std {
		if p.files.slots[i] != &p.std[i] || p.std[i].entries.lister != nil || p.std[i].entries.ended {
			return false
		}
	}
	return true
}

// bookmark is a process as it was when its program first read.
type bookmark struct {
	std     [standardDescriptors]descriptor
	startup startup
	idle    time.Duration
	parked  time.Time
}

// mark remembers the process, which must be pristine.
func (p *process) mark() bookmark { return bookmark{p.std, p.startup, p.idle, p.parked} }

// revert takes the process back to the bookmark, after finish. Its clocks go on.
func (p *process) revert(b *bookmark, tree *vfs.Tree) {
	p.look(tree)
	root := p.view.Root()
	p.std = b.std
	p.std[rootDescriptor].file, p.std[rootDescriptor].dir = root, root
	p.files.reset(p.files.limit - standardDescriptors)
	for i := range p.std {
		p.files.add(&p.std[i])
	}
	p.startup, p.idle, p.parked = b.startup, b.idle, b.parked
}

const snapshotPath = "/dev/snapshot"

// snapshotDevice is what is at snapshotPath, where a program declares before its first
// read of standard input that what its start-up drew, random numbers above all, may be
// shared by all calls: what must be unique it will draw afterwards.
var snapshotDevice vfs.FS = &vfs.Device{
	Type:  vfs.TypeCharacterDevice,
	Inert: true,
	New:   func(context.Context, vfs.OpenFlags) (vfs.File, error) { return snapshotFile{}, nil },
}

type snapshotFile struct{ stdio }

func (snapshotFile) Stat(context.Context) (vfs.Stat, error) {
	return vfs.Stat{Type: vfs.TypeCharacterDevice, Links: 1}, nil
}

// Write takes the promise "safe", a line end allowed. After the first read it
// has no effect.
func (snapshotFile) Write(ctx context.Context, p []byte) (int, error) {
	if string(bytes.TrimSuffix(p, []byte("\n"))) != "safe" {
		return 0, vfs.EINVAL
	}
	if l, ok := ctx.(*lifetime); ok {
		l.startup.promised = true
	}
	return len(p), nil
}
