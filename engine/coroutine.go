package engine

import "iter"

// coroutine is a thread of execution of its own that runs only while somebody
// waits for it: resume goes on with it until it pauses. A guest lives in one, so that
// it can stay where it is, inside a host function, from one call to the next,
// and so that what hands an answer on need not wait until the guest is taken
// apart. Changing over costs a fraction of a microsecond, since no scheduler is
// involved. One goroutine at a time resumes it, not always the same.
type coroutine struct {
	next  func() (struct{}, bool)
	stop  func()
	yield func(struct{}) bool
}

// newCoroutine returns a coroutine that will run body. It is to be ended with
// end, even if it has never been resumed.
func newCoroutine(body func()) *coroutine {
	c := new(coroutine)
	c.next, c.stop = iter.Pull(func(yield func(struct{}) bool) {
		c.yield = yield
		body()
	})
	return c
}

// resume runs the coroutine until it pauses or returns.
func (c *coroutine) resume() { c.next() }

// pause gives control back to whoever resumed the coroutine. It returns when it is
// resumed: true to go on, false to return without delay and without pausing again.
// Only the coroutine itself calls it.
func (c *coroutine) pause() bool { return c.yield(struct{}{}) }

// end makes the coroutine return and waits for that. Calling it again does nothing.
func (c *coroutine) end() { c.stop() }
