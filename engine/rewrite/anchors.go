package rewrite

// Which functions check. Every function pays for what it executes, but only anchors look, on entry, whether the fuel
// and the call stack are used up, and only anchors count as call stack. There are enough of them if
//
//   - every cycle of calls has one: functions that call unknown functions are anchors, and so are those at which a walk
//     over the direct calls comes back to itself;
//   - little is done between two checks: without loops and cycles a program can still double its work with every level
//     of calls, so a function is an anchor if it and the callees that are not would do more than anchorWork;
//   - the call stack between two anchors is small: not more than anchorStack.
//
// An anchor takes from the stack budget what it and all callees up to the next anchors may need.

const (
	// anchorWork is what a function that is no anchor may cost with all its callees that are none, in units of fuel.
	anchorWork = 4096
	// anchorStack is what it may take of the call stack with them, in bytes.
	anchorStack = 512
	// maxWork is what an anchor may cost with all its callees that are none; if it costs more, they become anchors.
	maxWork = 1 << 20
	// smallWork is what callees may cost to be left alone then.
	smallWork = 16
	// maxIndirect is how many calls by table a function may contain without a check before each: what they call may cost
	// as much as anchorWork each.
	maxIndirect = 256
)

// fact is what has to be known about a function to write it and its callers.
type fact struct {
	cost   uint64 // of a call: what is paid on entry
	frame  uint32 // estimated bytes of call stack
	leaf   bool   // calls nothing but imports
	free   uint8  // what its callers pay for it, if it doesn't pay itself
	loops  bool   // executes something more than once
	anchor bool
	work   uint64 // what it may do between two checks with all callees that are no anchors; at first without them
	stack  uint64 // frame with the deepest of them
}

// callGraph holds the direct calls between functions that the module defines.
type callGraph struct {
	callees []uint32 // of all functions, one after the other, in the order of the calls
	from    []int    // where a function's begin; one more than there are functions
}

// findAnchors completes the facts, in which anchor says so far which functions call unknown ones.
func findAnchors(facts []fact, calls *callGraph) {
	const unseen, open, done = 0, 1, 2
	state := make([]byte, len(facts))
	next := append([]int(nil), calls.from[:len(facts)]...) // callee to look at
	var path []uint32
	for root := range facts {
		if state[root] != unseen {
			continue
		}
		state[root] = open
		path = append(path[:0], uint32(root))
		for len(path) > 0 {
			f := path[len(path)-1]
			if next[f] == calls.from[f+1] {
				state[f] = done
				path = path[:len(path)-1]
				settle(facts, f, calls.callees[calls.from[f]:calls.from[f+1]])
				continue
			}
			callee := calls.callees[next[f]]
			next[f]++
			switch state[callee] {
			case unseen:
				state[callee] = open
				path = append(path, callee)
			case open:
				facts[callee].anchor = true
			}
		}
	}
}

// settle decides about a function whose callees are settled, or are known to be anchors.
func settle(facts []fact, i uint32, callees []uint32) {
	f := &facts[i]
	own := f.work
	add := func() {
		f.work, f.stack = own, 0
		for _, c := range callees {
			if c := &facts[c]; !c.anchor {
				f.work += c.work
				f.stack = max(f.stack, c.stack)
			}
		}
		f.stack += uint64(f.frame)
	}
	add()
	if f.work > maxWork {
		for _, c := range callees {
			if facts[c].work > smallWork {
				facts[c].anchor = true
			}
		}
		add()
	}
	if f.work > anchorWork || f.stack > anchorStack {
		f.anchor = true
	}
}
