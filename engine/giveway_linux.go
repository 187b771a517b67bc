package engine

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// bell lets a goroutine give way to all others: to those that can run, and to those for
// which something has arrived from the network. Go only asks the network when a
// processor has nothing to run, or every 10 ms. A goroutine that calls [runtime.Gosched]
// in turns with computing always can run; one that waits for its own bell can't until the
// network has been asked. One goroutine at a time uses it.
type bell struct {
	file *os.File
	conn syscall.RawConn
	rung bool
	wait func(fd uintptr) (done bool) // ring, once: a method value is made anew each time
	word [8]byte
}

// newBell returns a bell, to be closed, or nil if the system has none to give.
func newBell() *bell {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil
	}
	b := &bell{file: os.NewFile(uintptr(fd), "bell")}
	b.wait = b.ring
	if b.conn, err = b.file.SyscallConn(); err != nil {
		b.close()
		return nil
	}
	return b
}

// giveWay returns when others have had their turn.
func (b *bell) giveWay() {
	if b == nil {
		runtime.Gosched()
		return
	}
	b.rung = false
	_ = b.conn.Read(b.wait) // if it can't be waited for, giving way is what follows
	// Who has heard the bell may have been waiting for the network until the next timer of a
	// processor that has nothing to run. This wakes another to look after those.
	runtime.Gosched()
}

// ring rings the bell and, the next time, has heard it.
func (b *bell) ring(fd uintptr) (done bool) {
	if !b.rung {
		b.rung = true
		b.word[0] = 1
		_, err := unix.Write(int(fd), b.word[:])
		return err != nil
	}
	_, _ = unix.Read(int(fd), b.word[:]) // so that it can be rung again
	return true
}

func (b *bell) close() {
	if b != nil {
		_ = b.file.Close() // nothing has been written to it
	}
}
