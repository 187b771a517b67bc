package rewrite

// Ways through a function. What is paid in advance is the cost of the dearest way that the code may take from there,
// not of all instructions on all branches: an interpreter is a loop around a switch with hundreds of cases, of which
// every turn takes one, and would pay for all.
//
// Control is structured, so one scan finds it. At every instruction the scanner knows the dearest way that leads
// there from the beginning of the innermost loop, without the turns of loops in between, since they pay for
// themselves. Branches hand what they know to the end of the block that they leave, where ways join. Whether a loop turns is
// only known at its end: till then, branches out of it wait in scanner.exits.
//
// The cost of the dearest way is a potential: from one instruction to another, no way costs more than the
// difference between the two. That is what lets jumps in dispatch loops pay for their part alone.

// way is the dearest way to a place.
type way struct {
	cost uint64
	lost bool // none leads there
}

// join makes w the dearer one of two ways that lead to the same place.
func (w *way) join(other way) {
	switch {
	case other.lost:
	case w.lost:
		*w = other
	default:
		w.cost = max(w.cost, other.cost)
	}
}

// exit is the dearest way on which a branch leaves a loop, to the block of a frame around it.
type exit struct {
	frame uint32
	prev  uint32 // the frame's exit before
	cost  uint64 // from the beginning of the loop
}

// reach notes that a loop costs what leads here.
func (s *scanner) reach(i uint32) {
	if l := &s.b.loops[i]; !s.way.lost {
		l.cost = max(l.cost, s.way.cost)
	}
}

// branch notes a branch to a frame, at which so much more is to be paid, from its place in the innermost loop.
// A loop that it goes back to turns.
func (s *scanner) branch(to int, inner uint32, more uint64) {
	if f := &s.frames[to]; f.kind == opLoop {
		s.b.loops[f.loop].turns = true
	}
	if !s.way.lost {
		s.arrive(to, inner, s.way.cost+more)
	}
}

func (s *scanner) arrive(to int, inner uint32, cost uint64) {
	l, f := &s.b.loops[inner], &s.frames[to]
	if f.loop == inner && f.kind != opLoop {
		f.met.join(way{cost: cost})
		return
	}
	l.cost = max(l.cost, cost)
	switch {
	case f.loop == inner: // back
	case f.exit > l.exits: // one of this loop
		e := &s.exits[f.exit-1]
		e.cost = max(e.cost, cost)
	default:
		s.exits = append(s.exits, exit{uint32(to), f.exit, cost})
		f.exit = uint32(len(s.exits))
	}
}

// leaveLoop goes on in the loop around one that is complete, whose frame is closed.
func (s *scanner) leaveLoop(i uint32) {
	s.reach(i)
	l := s.b.loops[i]
	exits := s.exits[l.exits:]
	s.b.compile.exits += uint64(len(exits))
	s.exits = s.exits[:l.exits]
	for _, e := range exits {
		s.frames[e.frame].exit = e.prev
	}
	if l.before.lost {
		s.way.lost = true
		return
	}
	around := &s.b.loops[l.parent]
	if !l.turns {
		around.cost = max(around.cost, l.before.cost+l.cost)
		s.way.cost += l.before.cost
	} else {
		s.way.cost = l.before.cost
	}
	for _, e := range exits {
		cost := l.before.cost
		if !l.turns {
			cost += e.cost
		}
		s.arrive(int(e.frame), l.parent, cost)
	}
}
