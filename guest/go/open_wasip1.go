package gojinn

import (
	"errors"
	"net"
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// openFile opens a file for reading and writing that nobody waits for: neither for
// its being opened, which is what package syscall would do, nor for its bytes but the
// goroutine that wants them.
func openFile(path string) (*os.File, error) {
	const (
		root      = 3 // the only directory that is open from the beginning
		readWrite = 1<<1 | 1<<6
		stat      = 1 << 21
		poll      = 1 << 27
		shutdown  = 1 << 28
		setFlags  = 1 << 3
		nonblock  = 1 << 2
		rights    = readWrite | stat | poll | shutdown | setFlags
	)
	name := strings.TrimPrefix(path, "/")
	var fd uint32
	errno := pathOpen(root, 0, unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), 0, rights, rights, nonblock, unsafe.Pointer(&fd))
	if errno != 0 {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.Errno(errno)}
	}
	// What os.OpenFile returns makes net.FileConn of Go 1.26 crash.
	return os.NewFile(uintptr(fd), path), nil
}

//go:wasmimport wasi_snapshot_preview1 path_open
//go:noescape
func pathOpen(dir, lookup uint32, path unsafe.Pointer, length, how uint32, base, inheriting uint64, flags uint32, fd unsafe.Pointer) uint32

// writable waits until conn can be written to and returns what is wrong with it.
func writable(conn net.Conn) error {
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	asked := false
	err = raw.Write(func(fd uintptr) bool {
		if !asked {
			asked = true
			return false // wait
		}
		failed = peek(fd)
		return true
	})
	return errors.Join(err, failed)
}

// peek returns why nothing could be read from a socket, now or later.
func peek(fd uintptr) error {
	const keep = 1 << 0
	var n uint32
	var flags uint16
	buffer := struct{ at, length uint32 }{uint32(uintptr(unsafe.Pointer(&peeked))), 1}
	errno := syscall.Errno(sockRecv(uint32(fd), unsafe.Pointer(&buffer), 1, keep, unsafe.Pointer(&n), unsafe.Pointer(&flags)))
	if errno == 0 || errno == syscall.EAGAIN { // EAGAIN: the other side has not spoken yet
		return nil
	}
	return errno
}

// peeked is where peek reads to, which nobody is interested in. It has to be where
// nothing moves it, as the stack may be.
var peeked byte

//go:wasmimport wasi_snapshot_preview1 sock_recv
//go:noescape
func sockRecv(fd uint32, buffers unsafe.Pointer, n, how uint32, read, flags unsafe.Pointer) uint32
