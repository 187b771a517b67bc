package engine

import (
	"math"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// maxSubscriptions is how many events one poll may wait for. More are EINVAL.
const maxSubscriptions = 4096

const (
	subscriptionSize = 48
	eventSize        = 32
	costSubscription = 100
)

// The kinds of events (typenames.witx, $eventtype).
const (
	eventClock = iota
	eventRead
	eventWrite
)

// absoluteTime is a flag of an alarm (typenames.witx, $subclockflags).
const absoluteTime = 1

// subscription is an event that a guest waits for, and what became of it.
type subscription struct {
	userdata uint64
	kind     byte
	at       time.Time   // of a clock
	file     *descriptor // of the other kinds
	errno    errno       // an event in itself
}

// pollOneoff waits until at least one of n events has happened, and reports all
// that have. Other than its name says it is poll(2).
func (p *process) pollOneoff(in, out, n, result uint32) errno {
	if n == 0 || n > maxSubscriptions {
		return vfs.EINVAL
	}
	subscribed, ok := p.mem.array(in, n, subscriptionSize)
	events, okEvents := p.mem.array(out, n, eventSize)
	count, okCount := p.mem.at(result, 4)
	if !ok || !okEvents || !okCount {
		return vfs.EFAULT
	}
	p.sandbox.charge(int64(n) * costSubscription)
	p.beforePoll(subscribed)
	// All of them first: the events may overlap the subscriptions.
	subscriptions := make([]subscription, 0, n)
	for ; len(subscribed) > 0; subscribed = subscribed[subscriptionSize:] {
		s, errno := p.subscription(subscribed)
		if errno != 0 {
			return errno
		}
		subscriptions = append(subscriptions, s)
	}
	le.PutUint32(count, uint32(p.poll(subscriptions, events)))
	return 0
}

// beforePoll looks at a poll before the first read: one that asks for the input
// is a read, any other takes time, which a program has only in a call, unless it
// has an alarm that rings at once.
func (p *process) beforePoll(subscribed []byte) {
	if p.startup.read {
		return
	}
	waits := true
	for ; len(subscribed) > 0; subscribed = subscribed[subscriptionSize:] {
		switch subscribed[8] {
		case eventRead:
			if p.isInput(p.files.get(le.Uint32(subscribed[16:]))) {
				p.readInput()
				return
			}
		case eventClock:
			if relative := le.Uint16(subscribed[40:])&absoluteTime == 0; relative && le.Uint64(subscribed[24:]) == 0 {
				waits = false
			}
		}
	}
	if waits && p.startup.ahead {
		p.effect("it waits")
	}
}

// subscription reads a subscription (typenames.witx, $subscription).
func (p *process) subscription(b []byte) (subscription, errno) {
	s := subscription{userdata: le.Uint64(b), kind: b[8]}
	switch s.kind {
	case eventClock:
		s.at, s.errno = p.alarm(le.Uint32(b[16:]), le.Uint64(b[24:]), le.Uint16(b[40:]))
		return s, 0
	case eventRead:
		s.file, s.errno = p.descriptor(le.Uint32(b[16:]), rightFDRead|rightPollFDReadwrite)
	case eventWrite:
		s.file, s.errno = p.descriptor(le.Uint32(b[16:]), rightFDWrite|rightPollFDReadwrite)
	default:
		return s, vfs.EINVAL
	}
	if s.errno == 0 && s.file.dir != nil {
		s.errno = vfs.EBADF
	}
	return s, 0
}

// alarm returns when a clock will have reached a time.
func (p *process) alarm(clock uint32, ns uint64, flags uint16) (time.Time, errno) {
	if clock > clockMonotonic || flags&^absoluteTime != 0 {
		return time.Time{}, vfs.EINVAL
	}
	if flags&absoluteTime != 0 {
		now, _ := p.now(clock)
		ns -= min(ns, now)
	}
	return time.Now().Add(time.Duration(min(ns, math.MaxInt64))), 0
}

// poll waits, writes the events and returns how many there are. It doesn't
// return if the call ends meanwhile.
func (p *process) poll(subscriptions []subscription, events []byte) int {
	if n := happened(p, subscriptions, events); n > 0 {
		return n
	}
	began := time.Now()
	defer func() { p.idle += time.Since(began) }()

	changed := newWakeup()
	for i := range subscriptions {
		s := &subscriptions[i]
		if s.file == nil {
			continue
		}
		if poller, ok := s.file.file.(vfs.Poller); ok {
			defer poller.Notify(s.wanted(), changed.wake)()
		}
	}
	timer := time.NewTimer(time.Until(earliest(subscriptions)))
	defer timer.Stop()
	for {
		// After Notify, or what happened in between would wake nobody.
		if n := happened(p, subscriptions, events); n > 0 {
			return n
		}
		p.sandbox.rest()
		select {
		case <-changed:
		case <-timer.C:
		case <-p.life.Done():
		}
		p.sandbox.charge(int64(len(subscriptions)))
	}
}

func (s *subscription) wanted() vfs.Events {
	if s.kind == eventWrite {
		return vfs.Writable
	}
	return vfs.Readable
}

// earliest returns when the first clock is due; without one, in centuries.
func earliest(subscriptions []subscription) time.Time {
	first := time.Now().Add(math.MaxInt64)
	for i := range subscriptions {
		if s := &subscriptions[i]; s.kind == eventClock && s.at.Before(first) {
			first = s.at
		}
	}
	return first
}

// happened writes an event for each subscription that has one.
func happened(p *process, subscriptions []subscription, events []byte) int {
	now := time.Now()
	n := 0
	for i := range subscriptions {
		s := &subscriptions[i]
		bytes, hangup, ok := int64(0), false, s.errno != 0
		switch {
		case ok:
		case s.kind == eventClock:
			ok = !now.Before(s.at)
		default:
			bytes, hangup, ok = p.ready(s)
		}
		if ok {
			putEvent(events[n*eventSize:], s, bytes, hangup)
			n++
		}
	}
	return n
}

// ready says whether a file is ready for what is wanted, and for how many
// bytes, at least one where that is not known. What can't be polled always is.
func (p *process) ready(s *subscription) (bytes int64, hangup, ok bool) {
	switch file := s.file.file.(type) {
	case vfs.Poller:
		want := s.wanted()
		got, n := file.Ready(want)
		hangup, ok = got&vfs.Hangup != 0, got&want != 0
		if n == 0 && !hangup {
			n = 1
		}
		return n, hangup, ok
	case vfs.ReaderAt:
		if stat, err := s.file.file.Stat(p.life); err == nil && s.kind == eventRead {
			return max(0, stat.Size-s.file.offset), false, true
		}
	}
	return 1, false, true
}

// putEvent writes an event (typenames.witx, $event).
func putEvent(to []byte, s *subscription, bytes int64, hangup bool) {
	to = to[:eventSize]
	clear(to)
	le.PutUint64(to[0:], s.userdata)
	le.PutUint16(to[8:], uint16(s.errno))
	to[10] = s.kind
	if s.kind == eventClock || s.errno != 0 {
		return
	}
	le.PutUint64(to[16:], uint64(bytes))
	if hangup {
		le.PutUint16(to[24:], 1) // $eventrwflags
	}
}

// wakeup is a channel on which any number of wakes in a row arrive as one.
type wakeup chan struct{}

func newWakeup() wakeup { return make(wakeup, 1) }

func (w wakeup) wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}
