package engine

import (
	"context"
	"math"

	"github.com/gojinn/gojinn/engine/vfs"
)

// ioPiece is how much is read or written between two checks that the call goes
// on: a guest may ask for gigabytes at once.
const ioPiece = 1 << 20

// buffers returns the buffers of a read or write, and where to put the number
// of bytes moved.
func (p *process) buffers(vectors, n, result uint32) (buffers [][]byte, total int, moved []byte, _ errno) {
	moved, ok := p.mem.at(result, 4)
	if !ok {
		return nil, 0, nil, vfs.EFAULT
	}
	buffers, total, errno := p.mem.buffers(p.vectors[:0], vectors, n)
	p.vectors = buffers
	return buffers, total, moved, errno
}

// transfer is a function that moves bytes between a file and one buffer.
type transfer func(ctx context.Context, buffer []byte) (int, error)

// move transfers buffer after buffer, in pieces, until one is moved in part
// only. What has been moved before an error hides the error; it will show again.
// again, if not nil, is asked before every piece but the first.
func (p *process) move(buffers [][]byte, again func() bool, f transfer) (int, errno) {
	total := 0
	for _, buffer := range buffers {
		for len(buffer) > 0 {
			if total > 0 && again != nil && !again() {
				return total, 0
			}
			piece := buffer[:min(len(buffer), ioPiece)]
			n, err := f(p.life, piece)
			p.chargeBytes(n)
			total += n
			if err != nil && total == 0 {
				return 0, vfs.ErrnoOf(err)
			}
			if err != nil || n < len(piece) {
				return total, 0
			}
			buffer = buffer[n:]
		}
	}
	return total, 0
}

func (p *process) fdRead(fd, vectors, n, result uint32) errno {
	d, errno := p.descriptor(fd, rightFDRead)
	if errno != 0 {
		return errno
	}
	if p.isInput(d) {
		p.readInput()
	}
	buffers, _, moved, errno := p.buffers(vectors, n, result)
	if errno != 0 {
		return errno
	}
	read, errno := p.read(d, buffers)
	if errno != 0 {
		return errno
	}
	le.PutUint32(moved, uint32(read))
	return 0
}

func (p *process) read(d *descriptor, buffers [][]byte) (int, errno) {
	switch file := d.file.(type) {
	case *vfs.Dir:
		return 0, vfs.EISDIR
	case vfs.ReaderAt:
		read, errno := p.readAt(file, buffers, d.offset)
		d.offset += int64(read)
		return read, errno
	case vfs.Reader:
		if p.startup.ahead && vfs.IsRandom(d.file) {
			p.startup.drew(nil)
		}
		return p.stream(d, vfs.Readable, buffers, file.Read)
	}
	return 0, vfs.EBADF
}

func (p *process) readAt(file vfs.ReaderAt, buffers [][]byte, offset int64) (int, errno) {
	return p.move(buffers, nil, func(ctx context.Context, buffer []byte) (int, error) {
		// Nothing lies behind the last position, and hosts call it invalid.
		buffer = buffer[:min(int64(len(buffer)), math.MaxInt64-offset)]
		n, err := file.ReadAt(ctx, buffer, offset)
		offset += int64(n)
		return n, err
	})
}

// stream moves buffers from or to a file without positions. Only the first
// piece may wait, and in non-blocking mode not even that.
func (p *process) stream(d *descriptor, event vfs.Events, buffers [][]byte, f transfer) (int, errno) {
	var ready func() bool
	if poller, ok := d.file.(vfs.Poller); ok {
		ready = func() bool {
			got, _ := poller.Ready(event)
			return got&event != 0
		}
		if !ready() {
			if d.nonblocking() {
				return 0, vfs.EAGAIN
			}
			p.sandbox.rest()
		}
	}
	return p.move(buffers, ready, f)
}

func (p *process) fdPread(fd, vectors, n uint32, offset uint64, result uint32) errno {
	d, errno := p.descriptor(fd, rightFDRead)
	if errno != 0 {
		return errno
	}
	buffers, _, moved, errno := p.buffers(vectors, n, result)
	if errno != 0 {
		return errno
	}
	file, ok := d.file.(vfs.ReaderAt)
	switch {
	case d.dir != nil:
		return vfs.EISDIR
	case !ok:
		return vfs.ESPIPE
	case d.base&rightFDSeek == 0:
		return vfs.ENOTCAPABLE
	case offset > math.MaxInt64:
		return vfs.EINVAL
	}
	read, errno := p.readAt(file, buffers, int64(offset))
	if errno != 0 {
		return errno
	}
	le.PutUint32(moved, uint32(read))
	return 0
}

func (p *process) fdWrite(fd, vectors, n, result uint32) errno {
	d, errno := p.descriptor(fd, rightFDWrite)
	if errno != 0 {
		return errno
	}
	buffers, _, moved, errno := p.buffers(vectors, n, result)
	if errno != 0 {
		return errno
	}
	written, errno := p.write(d, buffers)
	if errno != 0 {
		return errno
	}
	le.PutUint32(moved, uint32(written))
	return 0
}

func (p *process) write(d *descriptor, buffers [][]byte) (int, errno) {
	if p.startup.ahead {
		p.writeAhead(d)
	}
	if d.flags&flagAppend != 0 {
		if file, ok := d.file.(vfs.Appender); ok {
			return p.append(d, file, buffers)
		}
	}
	switch file := d.file.(type) {
	case vfs.WriterAt:
		written, errno := p.writeAt(file, buffers, d.offset)
		d.offset += int64(written)
		return written, errno
	case vfs.Writer:
		return p.streamOut(d, buffers, file)
	}
	return 0, vfs.EBADF
}

func (p *process) append(d *descriptor, file vfs.Appender, buffers [][]byte) (int, errno) {
	return p.move(buffers, nil, func(ctx context.Context, buffer []byte) (int, error) {
		n, end, err := file.Append(ctx, buffer)
		if err == nil {
			d.offset = end
		}
		return n, err
	})
}

func (p *process) writeAt(file vfs.WriterAt, buffers [][]byte, offset int64) (int, errno) {
	return p.move(buffers, nil, func(ctx context.Context, buffer []byte) (int, error) {
		if offset > math.MaxInt64-int64(len(buffer)) {
			return 0, vfs.EFBIG
		}
		n, err := file.WriteAt(ctx, buffer, offset)
		offset += int64(n)
		return n, err
	})
}

// streamOut writes to a file without positions. In blocking mode it takes as
// many turns as it needs: few programs expect a blocking write to be short.
func (p *process) streamOut(d *descriptor, buffers [][]byte, file vfs.Writer) (int, errno) {
	if d.nonblocking() {
		return p.stream(d, vfs.Writable, buffers, file.Write)
	}
	return p.move(buffers, nil, func(ctx context.Context, buffer []byte) (total int, err error) {
		for total < len(buffer) && err == nil {
			var n int
			n, err = file.Write(ctx, buffer[total:])
			if total += n; n == 0 {
				break
			}
		}
		return total, err
	})
}

func (p *process) fdPwrite(fd, vectors, n uint32, offset uint64, result uint32) errno {
	d, errno := p.descriptor(fd, rightFDWrite)
	if errno != 0 {
		return errno
	}
	buffers, _, moved, errno := p.buffers(vectors, n, result)
	if errno != 0 {
		return errno
	}
	file, ok := d.file.(vfs.WriterAt)
	switch {
	case !ok:
		return vfs.ESPIPE
	case d.base&rightFDSeek == 0:
		return vfs.ENOTCAPABLE
	case offset > math.MaxInt64:
		return vfs.EINVAL
	}
	written, errno := p.writeAt(file, buffers, int64(offset))
	if errno != 0 {
		return errno
	}
	le.PutUint32(moved, uint32(written))
	return 0
}

// socket returns an open socket.
func (p *process) socket(fd uint32, need rights) (*descriptor, vfs.Socket, errno) {
	d, errno := p.descriptor(fd, 0)
	if errno != 0 {
		return nil, nil, errno
	}
	socket, ok := d.file.(vfs.Socket)
	if !ok {
		return nil, nil, vfs.ENOTSOCK
	}
	_, errno = p.descriptor(fd, need)
	return d, socket, errno
}

// sockAccept has nothing to accept from: no file listens.
func (p *process) sockAccept(fd uint32) errno {
	if _, _, errno := p.socket(fd, rightSockAccept); errno != 0 {
		return errno
	}
	return vfs.EINVAL
}

// Flags of sock_recv (typenames.witx, $riflags).
const (
	recvPeek = 1 << iota
	recvWaitAll
)

func (p *process) sockRecv(fd, vectors, n, flags, result, resultFlags uint32) errno {
	d, socket, errno := p.socket(fd, rightFDRead)
	if errno != 0 {
		return errno
	}
	buffers, total, moved, errno := p.buffers(vectors, n, result)
	if errno != 0 {
		return errno
	}
	flagsAt, ok := p.mem.at(resultFlags, 2)
	if !ok {
		return vfs.EFAULT
	}
	read, errno := 0, vfs.EINVAL
	switch flags {
	case 0:
		read, errno = p.stream(d, vfs.Readable, buffers, socket.Read)
	case recvPeek:
		read, errno = p.peek(d, buffers)
	case recvWaitAll:
		read, errno = p.readAll(d, socket, buffers, total)
	}
	if errno != 0 {
		return errno
	}
	le.PutUint32(moved, uint32(read))
	le.PutUint16(flagsAt, 0)
	return 0
}

// peek fills the first buffer only: what follows can't be seen without taking
// what is in front of it.
func (p *process) peek(d *descriptor, buffers [][]byte) (int, errno) {
	peeker, ok := d.file.(vfs.Peeker)
	if !ok {
		return 0, vfs.ENOTSUP
	}
	for _, buffer := range buffers {
		if len(buffer) > 0 {
			return p.stream(d, vfs.Readable, [][]byte{buffer[:min(len(buffer), ioPiece)]}, peeker.Peek)
		}
	}
	return 0, 0
}

// readAll waits until all buffers are full or the stream ends; in non-blocking
// mode it takes what is there.
func (p *process) readAll(d *descriptor, socket vfs.Socket, buffers [][]byte, total int) (int, errno) {
	if d.nonblocking() || total == 0 {
		return p.stream(d, vfs.Readable, buffers, socket.Read)
	}
	return p.move(buffers, nil, func(ctx context.Context, buffer []byte) (total int, err error) {
		for total < len(buffer) && err == nil {
			var n int
			n, err = socket.Read(ctx, buffer[total:])
			if total += n; n == 0 {
				break
			}
		}
		return total, err
	})
}

func (p *process) sockSend(fd, vectors, n, flags, result uint32) errno {
	d, socket, errno := p.socket(fd, rightFDWrite)
	if errno != 0 {
		return errno
	}
	if flags != 0 { // preview 1 defines none
		return vfs.EINVAL
	}
	buffers, _, moved, errno := p.buffers(vectors, n, result)
	if errno != 0 {
		return errno
	}
	written, errno := p.streamOut(d, buffers, socket)
	if errno != 0 {
		return errno
	}
	le.PutUint32(moved, uint32(written))
	return 0
}

func (p *process) sockShutdown(fd, how uint32) errno {
	const read, write = 1, 2 // typenames.witx, $sdflags
	_, socket, errno := p.socket(fd, rightSockShutdown)
	switch {
	case errno != 0:
		return errno
	case how == 0, how&^(read|write) != 0:
		return vfs.EINVAL
	}
	return vfs.ErrnoOf(socket.Shutdown(p.life, how&read != 0, how&write != 0))
}
