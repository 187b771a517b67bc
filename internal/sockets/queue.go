package sockets

// queue is a bounded queue of bytes that one goroutine fills and another empties, under a
// lock of theirs: but what reserve returns is the filler's until commit, without the lock.
type queue struct {
	ring        []byte
	first, held int // where the first byte lies, how many there are
	limit       int // never more than this
}

// smallest is how large a queue's ring is at first; it doubles when it has been filled.
const smallest = 4 << 10

// reserve returns room to fill, none if there is none. What lies in the ring stays there.
func (q *queue) reserve() []byte {
	switch {
	case q.held == 0 && (q.ring == nil || q.first > 0):
		q.first = 0
		if q.ring == nil {
			q.ring = make([]byte, min(smallest, q.limit))
		}
	case q.held == len(q.ring) && len(q.ring) < q.limit:
		ring := make([]byte, min(2*len(q.ring), q.limit))
		q.peek(ring)
		q.ring, q.first = ring, 0
	}
	end := q.first + q.held
	if end >= len(q.ring) {
		return q.ring[end-len(q.ring) : q.first]
	}
	return q.ring[end:]
}

// commit adds the first n bytes of what reserve has returned.
func (q *queue) commit(n int) { q.held += n }

// peek copies as many bytes as fit, without taking them.
func (q *queue) peek(p []byte) int {
	p = p[:min(len(p), q.held)]
	n := copy(p, q.ring[q.first:])
	return n + copy(p[n:], q.ring)
}

// take copies as many bytes as fit and takes them.
func (q *queue) take(p []byte) int {
	n := q.peek(p)
	q.drop(n)
	return n
}

// head returns the first bytes as they lie in the ring, all or some. They stay as they are
// until drop takes them, without the lock.
func (q *queue) head() []byte {
	return q.ring[q.first:min(q.first+q.held, len(q.ring))]
}

// drop takes n bytes.
func (q *queue) drop(n int) {
	q.held -= n
	if q.first += n; q.first >= len(q.ring) {
		q.first -= len(q.ring)
	}
}

// add appends as much of p as there is room for.
func (q *queue) add(p []byte) (n int) {
	for n < len(p) && q.held < q.limit {
		moved := copy(q.reserve(), p[n:])
		q.commit(moved)
		n += moved
	}
	return n
}

// room is how many bytes can be added.
func (q *queue) room() int { return q.limit - q.held }
