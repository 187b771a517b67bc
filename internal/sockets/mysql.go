package sockets

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"

	"github.com/gojinn/gojinn/engine/vfs"
)

// MySQL turns to TLS in the middle of a handshake that the server begins (MySQL Source Code
// Documentation, "Connection Phase"):
//
//	server  greeting                     number 0
//	client  SSL request                  number 1, the first 32 bytes of what follows
//	        TLS
//	client  handshake response           number 2
//	server  OK, or more of the handshake number 3 …
//
// The guest has a plain connection, as far as it knows: a greeting without TLS, its response
// numbered 1, the server's number 2. So its response is held back until there is TLS, and until
// the handshake ends packets are renumbered on their way.
//
// It can't be done before the guest answers: some servers (MariaDB) take what the client is
// able to do from the SSL request, and that has to be what the guest says.

// Of the capability flags.
const (
	mysqlProtocol41 = 1 << 9
	mysqlSSL        = 1 << 11
)

const (
	mysqlHeader      = 4       // length, 24 bits, and number of a packet
	mysqlMaxGreeting = 4 << 10 // a greeting has a hundred bytes
	mysqlSSLRequest  = 32      // what it has in common with the response
	mysqlOK          = 0x00    // the first byte of a packet that ends the handshake
	mysqlERR         = 0xff    // so does this one
)

// startMySQL reads the greeting, which makes the socket usable, until limited ends, and does the
// rest when the guest has answered it.
func (s *socket) startMySQL(ctx, limited context.Context, conn net.Conn) (stream, error) {
	var greeting []byte
	err := until(limited, conn, func() (err error) {
		greeting, err = readGreeting(conn)
		return err
	})
	if err != nil {
		return nil, err
	}
	response, err := s.exchangeGreeting(greeting)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.endpoint.timeout())
	defer cancel()
	if err := until(ctx, conn, func() error { return writeAll(conn, sslRequest(response)) }); err != nil {
		return nil, err
	}
	secured, err := s.endpoint.secure(ctx, conn)
	if err != nil {
		return nil, err
	}
	response[3]++
	setMySQLFlags(response[mysqlHeader:], mysqlFlags(response[mysqlHeader:])|mysqlSSL)
	if err := until(ctx, conn, func() error { return writeAll(secured, response) }); err != nil {
		return nil, err
	}
	return newMySQLStream(secured), nil
}

func writeAll(w io.Writer, p []byte) error {
	_, err := w.Write(p)
	return err
}

// readGreeting reads the server's first packet and takes the flag for TLS out of it, which has
// to be there.
func readGreeting(conn io.Reader) ([]byte, error) {
	var header [mysqlHeader]byte
	switch _, err := io.ReadFull(conn, header[:]); {
	case err == io.EOF:
		return nil, errHungUp
	case err != nil:
		return nil, err
	}
	n := mysqlLength(header[:])
	if n == 0 || n > mysqlMaxGreeting || header[3] != 0 {
		return nil, &tlsError{errors.New("what the server sends first is no greeting of MySQL")}
	}
	packet := append(header[:], make([]byte, n)...)
	if _, err := io.ReadFull(conn, packet[mysqlHeader:]); err != nil {
		return nil, err
	}
	return packet, clearSSL(packet[mysqlHeader:])
}

// clearSSL takes the flag for TLS out of a greeting (MySQL Source Code Documentation,
// "Protocol::HandshakeV10").
func clearSSL(greeting []byte) error {
	const version = 10
	switch greeting[0] {
	case mysqlERR:
		return fmt.Errorf("%w: the server says %q", vfs.ECONNREFUSED, greeting[1:])
	case version:
	default:
		return &tlsError{fmt.Errorf("the server speaks version %d of the protocol", greeting[0])}
	}
	const beforeFlags = 1 + 4 + 8 + 1 // the end of the server's version, thread, salt, filler
	at := bytes.IndexByte(greeting, 0) + beforeFlags
	if at < beforeFlags || at+2 > len(greeting) {
		return &tlsError{errors.New("the server's greeting is too short")}
	}
	flags := binary.LittleEndian.Uint16(greeting[at:])
	if flags&mysqlSSL == 0 {
		return &tlsError{errors.New("the server does without: it has no certificate")}
	}
	binary.LittleEndian.PutUint16(greeting[at:], flags&^mysqlSSL)
	return nil
}

// exchangeGreeting gives the guest the greeting and returns its answer to it.
func (s *socket) exchangeGreeting(greeting []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.in.add(greeting)
	s.become(usable)
	for {
		switch response, err := firstMySQLPacket(&s.out); {
		case s.closed:
			return nil, errClosed
		case response != nil, err != nil:
			return response, err
		case s.mute:
			return nil, fmt.Errorf("%w: the function ended the connection in the handshake", vfs.EPROTO)
		}
		s.changed.Wait()
	}
}

// firstMySQLPacket takes a packet out of q, or nil while it isn't there as a whole.
func firstMySQLPacket(q *queue) ([]byte, error) {
	header := make([]byte, mysqlHeader)
	if q.peek(header) < mysqlHeader {
		return nil, nil
	}
	size := mysqlHeader + mysqlLength(header)
	switch {
	case size < mysqlHeader+mysqlSSLRequest || size > q.limit || header[3] != 1:
		return nil, fmt.Errorf("%w: what the function sends first is no handshake response of MySQL", vfs.EPROTO)
	case q.held < size:
		return nil, nil
	}
	packet := make([]byte, size)
	q.take(packet)
	switch flags := mysqlFlags(packet[mysqlHeader:]); {
	case flags&mysqlProtocol41 == 0:
		return nil, fmt.Errorf("%w: the function speaks a protocol older than MySQL 4.1", vfs.EPROTO)
	case flags&mysqlSSL != 0:
		return nil, fmt.Errorf("%w: the function asks for TLS itself", vfs.EPROTO)
	}
	return packet, nil
}

// sslRequest is the packet that asks for TLS ahead of a response.
func sslRequest(response []byte) []byte {
	packet := append([]byte{mysqlSSLRequest, 0, 0, 1}, response[mysqlHeader:][:mysqlSSLRequest]...)
	setMySQLFlags(packet[mysqlHeader:], mysqlFlags(packet[mysqlHeader:])|mysqlSSL)
	return packet
}

func mysqlLength(header []byte) int {
	return int(header[0]) | int(header[1])<<8 | int(header[2])<<16
}

func mysqlFlags(response []byte) uint32 { return binary.LittleEndian.Uint32(response) }

func setMySQLFlags(response []byte, flags uint32) { binary.LittleEndian.PutUint32(response, flags) }

// mysqlStream is a connection whose packets are renumbered until the server ends the handshake.
type mysqlStream struct {
	*tls.Conn
	in, out  packets
	finished atomic.Bool // the handshake
}

func newMySQLStream(conn *tls.Conn) *mysqlStream {
	return &mysqlStream{Conn: conn, in: packets{change: 255}, out: packets{change: 1}} // 255 is -1
}

// Read implements [net.Conn].
func (m *mysqlStream) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if !m.finished.Load() && m.in.renumber(p[:n], func(first byte) bool { return first == mysqlOK || first == mysqlERR }) {
		m.finished.Store(true)
	}
	return n, err
}

// Write implements [net.Conn]. What it changes in p is renumbered.
func (m *mysqlStream) Write(p []byte) (int, error) {
	if !m.finished.Load() {
		m.out.renumber(p, func(byte) bool { return false })
	}
	return m.Conn.Write(p)
}

// packets finds packets in a stream of bytes.
type packets struct {
	change byte // added to their numbers
	header [mysqlHeader]byte
	have   int // of the header
	left   int // of the packet's bytes, if there is a whole header
	inside bool
}

// renumber changes the numbers of the packets in p, which follows what it was given before, up
// to and with the first whose first byte is the last one's. It is true if there was one.
func (k *packets) renumber(p []byte, last func(first byte) bool) bool {
	for len(p) > 0 {
		if k.left > 0 {
			if !k.inside && last(p[0]) {
				return true
			}
			k.inside = true
			n := min(k.left, len(p))
			k.left -= n
			p = p[n:]
			continue
		}
		if k.have == len(k.header)-1 {
			p[0] += k.change
			k.left, k.inside, k.have = mysqlLength(k.header[:]), false, 0
		} else {
			k.header[k.have] = p[0]
			k.have++
		}
		p = p[1:]
	}
	return false
}
