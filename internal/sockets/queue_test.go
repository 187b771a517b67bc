package sockets

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// TestQueue compares a queue with a slice, under random use of both ends.
func TestQueue(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, limit := range []int{1, 7, smallest, smallest + 1, 3*smallest + 5} {
		q := queue{limit: limit}
		var want []byte
		next := byte(0)
		bytesOf := func(n int) []byte {
			p := make([]byte, n)
			for i := range p {
				p[i] = next
				next++
			}
			return p
		}
		for range 5_000 {
			switch n := random.IntN(limit + 2); random.IntN(5) {
			case 0: // as the guest writes
				p := bytesOf(n)
				added := q.add(p)
				if added != min(n, limit-len(want)) {
					t.Fatalf("limit %d: added %d of %d to %d", limit, added, n, len(want))
				}
				want = append(want, p[:added]...)
			case 1: // as the network is read, while the other end goes on
				if q.room() == 0 {
					continue
				}
				room := q.reserve()
				if len(room) == 0 {
					t.Fatalf("limit %d: no room with %d held", limit, q.held)
				}
				taken := make([]byte, random.IntN(q.held+1))
				q.take(taken)
				want = want[len(taken):]
				p := bytesOf(random.IntN(len(room) + 1))
				copy(room, p)
				q.commit(len(p))
				want = append(want, p...)
			case 2:
				p := make([]byte, n)
				if p = p[:q.peek(p)]; !bytes.Equal(p, want[:min(n, len(want))]) {
					t.Fatalf("limit %d: peeked %x, want %x", limit, p, want)
				}
			case 3:
				p := make([]byte, n)
				if p = p[:q.take(p)]; !bytes.Equal(p, want[:min(n, len(want))]) {
					t.Fatalf("limit %d: took %x, want %x", limit, p, want)
				}
				want = want[len(p):]
			case 4: // as the network is written, while the other end goes on
				if q.held == 0 {
					continue
				}
				head := q.head()
				p := bytesOf(n)
				added := q.add(p)
				want = append(want, p[:added]...)
				if len(head) == 0 || !bytes.Equal(head, want[:len(head)]) {
					t.Fatalf("limit %d: head %x, want %x", limit, head, want)
				}
				q.drop(len(head))
				want = want[len(head):]
			}
			if q.held != len(want) || len(q.ring) > limit {
				t.Fatalf("limit %d: %d held, want %d; the ring has %d", limit, q.held, len(want), len(q.ring))
			}
		}
	}
}
