package engine

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"reflect"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/gojinn/gojinn/engine/rewrite"
)

// How a sandbox came to be where a call finds it: the values of [Receipt.Start].
const (
	// StartFresh is a sandbox that was made for the call, or ahead of it and not
	// used before.
	StartFresh = "fresh"
	// StartReset is a sandbox whose memory, globals and files were taken back
	// to what the module says and whose program was started again, up to its
	// first read, before the call came.
	StartReset = "reset"
	// StartSnapshot is a sandbox whose memory, globals, files and stack were
	// taken back to what they were when its program first read.
	StartSnapshot = "snapshot"
	// StartLate is StartReset for a program that is only started when the call
	// is there, since it does or sees things before it reads.
	StartLate = "late"
)

const (
	// quickStart is how much fuel a start-up may use to be run again for every
	// call: about as much time as 50 µs. Then nothing has to be assumed about it.
	quickStart = 1 << 16
	// leastRewinds and mostRewinds are how often a guest's stack can be taken back before it
	// has to be made anew: every time it becomes 16 bytes larger, and its copy with it. The
	// more the start-up takes that follows, the longer that is put up with.
	leastRewinds = 512
	mostRewinds  = 1 << 14
	// leastStack and mostStack are how large, in bytes, the stack of a guest may be that is
	// copied for every call. The more the start-up takes that would have to be run again
	// instead, the more it may be: wazero keeps a stack as large as it has ever been, and
	// an interpreter's is deepest while it starts.
	leastStack = 128 << 10
	mostStack  = 2 << 20
	// maxIdleStack is how large the stack may be that is kept for another start:
	// wazero begins with 10 KiB and never makes one smaller.
	maxIdleStack = 24 << 10
	// maxStartup is how long a start-up ahead of its call may take where calls have no
	// timeout: there is no caller whose leaving would end it. Interpreters take a quarter of a second.
	maxStartup = 10 * time.Second
	// maxCalls is how many calls a sandbox serves.
	maxCalls = 1 << 17
)

// checkpoint is what a sandbox goes back to: the state in which its guest first
// read. The memory keeps its own.
type checkpoint struct {
	globals []uint64
	process bookmark
	stack   experimental.Snapshot // can be restored once: every time the guest parks it leaves the next
	rewinds int
	// maxRewinds is how often it can be restored.
	maxRewinds int
	goRandom   *uint32 // where Go's random state lies, which is made anew; nil: nothing to do
	digest     digest
}

// renew makes the sandbox ready for the next call. It is false if the sandbox
// has to be closed instead. The call must have been finished.
func (s *Sandbox) renew() bool {
	defer s.claim.give()
	return s.claim.take(s.ctx, s.ctx, time.Time{}) && s.ready("renewing", func() bool {
		return s.calls < maxCalls && s.goBack()
	})
}

// prepare makes a sandbox that has not been used ready for its first call.
func (s *Sandbox) prepare() bool {
	defer s.claim.give()
	return s.claim.take(s.ctx, s.ctx, time.Time{}) && s.ready("preparing", func() bool {
		ok := s.restart()
		s.kind = StartFresh
		return ok
	})
}

// ready tells whether f has made the sandbox ready for a call. A fault of the
// host costs no more than the sandbox.
func (s *Sandbox) ready(doing string, f func() bool) (ok bool) {
	if s.faulty {
		return false
	}
	err := guarded(doing, func() error { ok = f(); return nil })
	if err != nil && s.function.engine.verify != nil {
		s.function.engine.verify(err.Error())
	}
	return ok
}

// goBack takes the guest back to where it first read, or to its very start.
func (s *Sandbox) goBack() bool {
	if s.at == atRead {
		return true // the call has ended while it waited for a processor
	}
	if s.kept != nil && s.at == atExit && s.kept.rewinds < s.kept.maxRewinds {
		return s.rewind()
	}
	var exit *ExitError
	if s.at != atStart && s.startup.read {
		s.function.start.readAgain()
	} else if s.at != atStart && errors.As(s.end, &exit) && exit.Code != 0 {
		s.function.start.failedCalled(s.end)
	} else if s.at != atStart && !errors.Is(s.end, ErrCanceled) && !errors.Is(s.end, ErrOverloaded) {
		s.function.start.unread()
	}
	return s.restart()
}

// rewind takes the guest back to where it first read.
func (s *Sandbox) rewind() bool {
	k := s.kept
	if s.memory.restore() != nil {
		return false
	}
	s.setGlobals(k.globals)
	s.revert(&k.process, s.function.tree)
	s.verify(k.digest, "rewound")
	if k.goRandom != nil {
		var entropy [goDraw]byte
		_, _ = rand.Read(entropy[:]) // never fails
		reseedGoRandom(s.memory.bytes(), *k.goRandom, entropy[:])
	}
	s.begin(s.function.pool.closing, time.Now())
	s.at = atRead
	s.guest.resume() // to read once more, which parks
	k.rewinds++
	s.kind = StartSnapshot
	return s.at == atRead
}

// maxAge is how old the time of day may be that a program asked for when it was
// started ahead of its call.
const maxAge = time.Second

// outdated tells whether the guest that waits for a call has asked for the time
// of day so long ago that the call could notice. One whose calls share their start-up
// by somebody's word may.
func (s *Sandbox) outdated() bool {
	return s.at == atRead && s.kept == nil && s.startup.realtime && time.Since(s.parked) > maxAge
}

// postpone undoes a start ahead of its call: the program is started with it.
func (s *Sandbox) postpone() bool {
	return s.ready("postponing", func() bool {
		s.kind = StartLate
		return s.reset()
	})
}

// restart takes everything back to what the module says and, unless that has
// to wait for the call, starts the program up to its first read.
func (s *Sandbox) restart() bool {
	for range 2 {
		if !s.reset() {
			return false
		}
		if s.function.start.late() || !s.freeze(true) {
			s.kind = StartLate
			return true
		}
		if s.startAhead() {
			s.kind = StartReset
			return true
		}
		if !errors.Is(s.end, errCramped) && !errors.Is(s.end, errRestless) {
			break
		}
	}
	s.kind = StartLate
	return s.reset() && s.function.start.late()
}

// reset leaves the guest and takes everything back to what the module says.
func (s *Sandbox) reset() bool {
	if s.faulty {
		return false
	}
	if s.at == atStart {
		return true
	}
	if s.at == atRead {
		s.abandon()
	}
	if s.at != atEnd {
		s.leaving = true
		s.guest.resume()
		s.leaving = false
	}
	s.kept, s.result = nil, nil
	if s.memory.reset() != nil {
		return false
	}
	s.setGlobals(s.code.initial.globals)
	if n, ok := stackSize(s.entry); !ok || n > maxIdleStack {
		s.entry = s.module.ExportedFunction(rewrite.EnterExport)
	}
	s.at = atStart
	s.verify(s.code.initial.digest, "reset")
	return true
}

// startAhead runs the program up to its first read. If it doesn't get there
// the function learns why.
func (s *Sandbox) startAhead() bool {
	now := time.Now()
	s.begin(s.function.pool.closing, now)
	if s.deadline.IsZero() {
		s.deadline = now.Add(maxStartup)
		s.life.deadline = s.deadline
	}
	s.boot(s, true)
	s.guest.resume()
	s.aborted = nil
	if s.at == atRead {
		s.function.start.succeeded()
		return true
	}
	err := s.ending()
	s.aborted = err
	s.faulty = s.faulty || isFault(err)
	_ = s.process.finish(false) // discards
	s.function.start.failed(err)
	if s.function.reads != nil && s.function.start.isOnlyLate() {
		s.function.reads.Drop()
	}
	s.function.tellReads()
	return false
}

// settle decides, when a guest has come to its first read ahead of the call,
// what it will go back to, and takes what that needs.
func (s *Sandbox) settle() {
	if s.kept != nil { // it is back
		s.kept.stack = experimental.GetSnapshotter(s.host).Snapshot()
		return
	}
	s.keepReads()
	s.function.pool.took(time.Since(s.origin))
	kind, why, goRandom := s.classify()
	if kind == StartSnapshot {
		if err := s.memory.keep(); err != nil {
			s.faulty = !errors.Is(err, errCramped) // then its memory may be anything
			s.function.start.cramped()
			s.finish(err)
		}
	}
	if kind == StartSnapshot {
		s.kept = &checkpoint{
			globals:  s.getGlobals(),
			process:  s.mark(),
			stack:    experimental.GetSnapshotter(s.host).Snapshot(),
			goRandom: goRandom,

			maxRewinds: maxRewinds(s.used()),
		}
		s.kept.digest = s.digest()
	}
	s.function.start.settled(kind, why)
}

// classify decides by what the start-up did whether its result can serve more
// than one call.
func (s *Sandbox) classify() (kind, why string, goRandom *uint32) {
	stack, known := stackSize(s.entry)
	used := s.used()
	mode := s.function.options.Snapshot
	switch {
	case mode == SnapshotOff:
		return StartReset, "snapshot is off", nil
	case s.function.start.isCramped():
		return StartReset, "what it has to keep was too much just now", nil
	case metering != "off" && used < quickStart && mode != SnapshotOn:
		return StartReset, fmt.Sprintf("its start-up takes next to nothing, %d instructions", used), nil
	case !s.pristine():
		return StartReset, "it has other files open when it first reads than when it started", nil
	case !known || stack > maxStack(used):
		return StartReset, fmt.Sprintf("its stack has %d bytes when it first reads", stack), nil
	case mode == SnapshotOn:
		return StartSnapshot, "snapshot is on", nil
	case s.startup.promised:
		return StartSnapshot, fmt.Sprintf("it declared itself safe by %s", snapshotPath), nil
	case s.startup.impure() == "":
		return StartSnapshot, "its start-up depends on nothing", nil
	}
	if entropy, ok := s.startup.drewOnce(); ok && !s.startup.realtime && !s.startup.logged {
		// It lies among the program's own data, not on the heap.
		least := int(s.code.report.Memory.Min) * pageSize
		if at, ok := findGoRandom(s.memory.bytes()[:least], entropy); ok {
			return StartSnapshot, "it is a Go program, whose random state is made anew", &at
		}
	}
	return StartReset, "its start-up depends on " + s.startup.impure(), nil
}

// maxStack is how large a stack may be that is copied for every call, rather than run a start-up of
// that much fuel again. A byte is allowed for 64 instructions, which take longer than to copy it.
func maxStack(used int64) int { return int(min(leastStack+used/64, mostStack)) }

// maxRewinds is how often a stack may be taken back that a start-up of that much fuel has made. What
// the copies grow by, all in all, is proportional to its square: where that takes as long as the start-up, the two
// together take least. Five instructions take a nanosecond, and to make and collect four bytes of a copy another.
func maxRewinds(used int64) int {
	return int(min(max(math.Sqrt(float64(used))/4, leastRewinds), mostRewinds))
}

// getGlobals returns the values of all mutable globals.
func (s *Sandbox) getGlobals() []uint64 {
	s.findGlobals()
	values := make([]uint64, len(s.globals))
	for i, g := range s.globals {
		values[i] = g.Get()
	}
	return values
}

func (s *Sandbox) setGlobals(values []uint64) {
	s.findGlobals()
	for i, g := range s.globals {
		g.Set(values[i])
	}
}

func (s *Sandbox) findGlobals() {
	if s.globals != nil {
		return
	}
	names := s.code.report.State
	s.globals = make([]api.MutableGlobal, len(names))
	for i, name := range names {
		s.globals[i] = s.module.ExportedGlobal(name).(api.MutableGlobal)
	}
}

// stackSize returns the size in bytes of the stack that wazero keeps for an
// exported function, which has no public way to be told. It is not ok with a
// wazero that has it elsewhere.
func stackSize(f api.Function) (n int, ok bool) {
	v := reflect.Indirect(reflect.ValueOf(f))
	if v.Kind() != reflect.Struct {
		return 0, false
	}
	index, known := stackFields.Load(v.Type())
	if !known {
		var found []int
		if field, ok := v.Type().FieldByName("stack"); ok && field.Type.Kind() == reflect.Slice {
			found = field.Index
		}
		index, _ = stackFields.LoadOrStore(v.Type(), found)
	}
	if index := index.([]int); index != nil {
		return v.FieldByIndex(index).Len(), true
	}
	return 0, false
}

// stackFields remembers where types have their stacks: reflect.Type to []int.
var stackFields sync.Map
