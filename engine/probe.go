package engine

import "context"

// Parked is what a sandbox that is ready for a call has cost, and costs. It is
// for measuring.
type Parked struct {
	// Start is what the call that gets it will find in [Receipt.Start].
	Start string
	// Restored is how many pages of the operating system were copied or cleared
	// to take its memory back after the last call. 0 also if it has kept
	// something since.
	Restored int
	// Kept is how many bytes it holds, besides its linear memory, to go back to
	// its first read of standard input: the pages that its start-up made
	// different from the program's image. 0 if it goes back to the very start.
	Kept int64
	// Memory is how many bytes of linear memory it has.
	Memory int64
	// Reseeded tells that the sandbox is a Go program's that goes back to its
	// first read with the state of its random numbers made anew. What its
	// start-up drew before is the same in every call.
	Reseeded bool
}

// Parked describes the sandbox that the next call will get. It is not ok if none
// is ready.
func (f *Function) Parked() (parked Parked, ok bool) {
	f.pool.mu.Lock() // nobody takes a sandbox, and those that are ready are at rest
	defer f.pool.mu.Unlock()
	n := len(f.pool.ready)
	if n == 0 {
		return Parked{}, false
	}
	s := f.pool.ready[n-1]
	return Parked{
		Start:    s.kind,
		Restored: s.memory.mapped.Copied(),
		Kept:     s.memory.mapped.Kept(),
		Memory:   int64(s.memory.Size()),
		Reseeded: s.kept != nil && s.kept.goRandom != nil,
	}, true
}

// ImageBytes is how many bytes hold what the program's memories start with: the
// part that is not zero, in whole pages. All its sandboxes share them. It loads
// the code if it has to, and is 0 if it can't.
func (p *Program) ImageBytes() int64 {
	c, err := p.acquire(until(context.Background()))
	if err != nil {
		return 0
	}
	defer c.release(unloadDefault)
	return c.image.Bytes()
}
