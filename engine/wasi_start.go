package engine

import (
	"crypto/rand"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// strings implements args_get and environ_get: the strings one after the other
// at buffer, each ended by a NUL, and their addresses at pointers.
func (p *process) strings(list []string, pointers, buffer uint32) errno {
	total := stringsLength(list)
	if total > math.MaxUint32 {
		return vfs.E2BIG
	}
	places, ok := p.mem.array(pointers, uint32(len(list)), 4)
	text, okText := p.mem.at(buffer, uint32(total))
	if !ok || !okText {
		return vfs.EFAULT
	}
	p.chargeBytes(len(places) + len(text))
	at := 0
	for i, s := range list {
		le.PutUint32(places[4*i:], buffer+uint32(at))
		at += copy(text[at:], s)
		text[at] = 0
		at++
	}
	return 0
}

// stringSizes implements args_sizes_get and environ_sizes_get.
func (p *process) stringSizes(list []string, count, size uint32) errno {
	total := stringsLength(list)
	if total > math.MaxUint32 {
		return vfs.E2BIG
	}
	countAt, ok := p.mem.at(count, 4)
	sizeAt, okSize := p.mem.at(size, 4)
	if !ok || !okSize {
		return vfs.EFAULT
	}
	le.PutUint32(countAt, uint32(len(list)))
	le.PutUint32(sizeAt, uint32(total))
	return 0
}

func stringsLength(list []string) uint64 {
	var n uint64
	for _, s := range list {
		n += uint64(len(s)) + 1
	}
	return n
}

// The clocks of preview 1 (typenames.witx, $clockid).
const (
	clockRealtime = iota
	clockMonotonic
	clockProcessCPU
	clockThreadCPU
)

// monotonicStart is what the monotonic clock shows when a program starts. Go's
// runtime takes zero for a clock that doesn't work.
const monotonicStart = time.Second

// now returns what a clock shows, in nanoseconds. A guest's CPU time is all
// the time since its start but what it slept, or waited for its call.
func (p *process) now(clock uint32) (uint64, errno) {
	switch clock {
	case clockRealtime:
		p.startup.realtime = true
		return uint64(time.Now().UnixNano()), 0
	case clockMonotonic:
		return uint64(monotonicStart + time.Since(p.origin)), 0
	case clockProcessCPU, clockThreadCPU:
		return uint64(max(0, time.Since(p.origin)-p.idle)), 0
	}
	return 0, vfs.EINVAL
}

func (p *process) clockResGet(clock, result uint32) errno {
	if clock > clockThreadCPU {
		return vfs.EINVAL
	}
	at, ok := p.mem.at(result, 8)
	if !ok {
		return vfs.EFAULT
	}
	le.PutUint64(at, 1) // nanosecond
	return 0
}

func (p *process) clockTimeGet(clock, result uint32) errno {
	now, errno := p.now(clock)
	if errno != 0 {
		return errno
	}
	at, ok := p.mem.at(result, 8)
	if !ok {
		return vfs.EFAULT
	}
	le.PutUint64(at, now)
	return 0
}

// randomPiece is how much is drawn between two checks that the call goes on.
const randomPiece = 64 << 10

func (p *process) randomGet(buffer, n uint32) errno {
	bytes, ok := p.mem.at(buffer, n)
	if !ok {
		return vfs.EFAULT
	}
	all := bytes
	for len(bytes) > 0 {
		piece := bytes[:min(len(bytes), randomPiece)]
		p.sandbox.charge(int64(len(piece))) // a cipher's work, not a copy's
		_, _ = rand.Read(piece)             // never fails
		bytes = bytes[len(piece):]
	}
	p.startup.drew(all)
	return 0
}

func (p *process) schedYield() errno {
	runtime.Gosched()
	return 0
}

// environment is the program's. What of it is the call's is made when it is first asked for.
func (p *process) environment() []string {
	if p.environ == nil {
		return p.env
	}
	if p.startup.ahead {
		p.effect("it asks for its environment, which is the call's")
	}
	env := slices.Clone(p.env)
	granted := make(map[string]bool, len(env))
	for _, v := range env {
		granted[nameOf(v)] = true
	}
	for _, v := range p.environ(p.sandbox.caller()) {
		if !granted[nameOf(v)] {
			env = append(env, cString(v))
		}
	}
	p.env, p.environ = env, nil
	return env
}

// nameOf is the name of a variable that is written as NAME=value.
func nameOf(variable string) string {
	name, _, _ := strings.Cut(variable, "=")
	return name
}
