package sockets

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

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
	mysqlMaxPacket   = 16 << 10
	mysqlSalt        = 20 // bytes

	// First bytes of the server's packets: two that end the handshake, and two that don't.
	mysqlOK     = 0x00
	mysqlERR    = 0xff
	mysqlSwitch = 0xfe
	mysqlMore   = 0x01

	mysqlFull     = 0x04 // after mysqlMore: the password, please
	mysqlWantsKey = 0x02 // what a client without TLS asks then
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
	return newMySQLStream(secured, greetingSalt(greeting[mysqlHeader:])), nil
}

func writeAll(w io.Writer, p []byte) error {
	_, err := w.Write(p)
	return err
}

// readRest fills p with the rest of a packet, before which a stream may not end.
func readRest(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
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
	if err := readRest(conn, packet[mysqlHeader:]); err != nil {
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

// greetingSalt returns the salt of passwords in a greeting that clearSSL accepts, as far as it is
// there.
func greetingSalt(greeting []byte) []byte {
	rest := greeting[bytes.IndexByte(greeting, 0)+1+4:]
	const first, between = 8, 1 + 2 + 1 + 2 + 2 + 1 + 10
	salt := bytes.Clone(rest[:first])
	if len(rest) >= first+between+mysqlSalt-first {
		salt = append(salt, rest[first+between:][:mysqlSalt-first]...)
	}
	return salt
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

// mysqlStream is a connection in whose handshake packets are renumbered.
//
// A password may be told to the server as it is when there is TLS, and otherwise encrypted with a
// key that the server is asked for (MySQL Source Code Documentation, "Caching SHA-2 Pluggable
// Authentication"). The guest, for which there is no TLS, does the latter, and the server, for
// which there is, wants the former: so the guest gets a key of ours.
type mysqlStream struct {
	stream                // of TLS
	finished atomic.Bool  // the handshake
	ahead    atomic.Int32 // how much further the server's numbers are than the guest's

	// Of who reads.
	pending []byte // for the guest

	// Of who writes.
	partial []byte // of a packet
	keyed   bool   // the guest has our key

	mu       sync.Mutex
	salt     []byte // of the password
	wanted   bool   // the server wants the password as it is
	injected []byte // for the guest, who waits for it
}

func newMySQLStream(conn stream, salt []byte) *mysqlStream {
	m := &mysqlStream{stream: conn, salt: salt}
	m.ahead.Store(1)
	return m
}

// Read implements [net.Conn].
func (m *mysqlStream) Read(p []byte) (int, error) {
	for len(m.pending) == 0 {
		if m.finished.Load() {
			return m.stream.Read(p)
		}
		var err error
		if m.pending, err = m.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, m.pending)
	m.pending = m.pending[n:]
	return n, nil
}

// next returns the next packet for the guest.
func (m *mysqlStream) next() ([]byte, error) {
	header := make([]byte, mysqlHeader)
	if n, err := io.ReadFull(m.stream, header); err != nil {
		if injected := m.takeInjected(); injected != nil && n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			return injected, m.SetReadDeadline(time.Time{})
		}
		return nil, err
	}
	size := mysqlLength(header)
	if size == 0 || size > mysqlMaxPacket {
		return nil, &tlsError{errors.New("the server's handshake is none of MySQL")}
	}
	packet := append(header, make([]byte, size)...)
	payload := packet[mysqlHeader:]
	if err := readRest(m.stream, payload); err != nil {
		return nil, err
	}
	packet[3] -= byte(m.ahead.Load())
	switch payload[0] {
	case mysqlOK, mysqlERR:
		m.finished.Store(true)
	case mysqlSwitch:
		m.switched(payload)
	case mysqlMore:
		m.mu.Lock()
		m.wanted = bytes.Equal(payload, []byte{mysqlMore, mysqlFull})
		m.mu.Unlock()
	}
	return packet, nil
}

// switched takes the salt out of a packet that asks for another method of authentication.
func (m *mysqlStream) switched(payload []byte) {
	if _, salt, ok := bytes.Cut(payload[1:], []byte{0}); ok {
		m.mu.Lock()
		m.salt = bytes.TrimSuffix(salt, []byte{0})
		m.mu.Unlock()
	}
}

func (m *mysqlStream) takeInjected() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	injected := m.injected
	m.injected = nil
	return injected
}

// Write implements [net.Conn].
func (m *mysqlStream) Write(p []byte) (int, error) {
	if m.finished.Load() {
		if len(m.partial) > 0 { // it didn't wait for the end
			if err := writeAll(m.stream, m.partial); err != nil {
				return 0, err
			}
			m.partial = nil
		}
		return m.stream.Write(p)
	}
	for rest := p; ; {
		wanted := mysqlHeader
		if len(m.partial) >= mysqlHeader {
			wanted += mysqlLength(m.partial)
		}
		if wanted > mysqlMaxPacket {
			return 0, fmt.Errorf("%w: what the function sends is no handshake of MySQL", vfs.EPROTO)
		}
		n := min(len(rest), wanted-len(m.partial))
		m.partial = append(m.partial, rest[:n]...)
		rest = rest[n:]
		switch {
		case len(m.partial) < wanted:
			return len(p), nil
		case wanted == mysqlHeader && mysqlLength(m.partial) > 0:
			continue
		}
		if err := m.pass(m.partial); err != nil {
			return 0, err
		}
		m.partial = m.partial[:0]
	}
}

// pass sends the server a packet of the guest's, or what stands for it.
func (m *mysqlStream) pass(packet []byte) error {
	payload := packet[mysqlHeader:]
	m.mu.Lock()
	asked, salt := m.wanted && bytes.Equal(payload, []byte{mysqlWantsKey}), m.salt
	m.mu.Unlock()
	switch {
	case m.keyed:
		m.keyed = false
		password, err := mysqlPassword(payload, salt)
		if err != nil {
			return fmt.Errorf("%w: the function's password: %w", vfs.EPROTO, err)
		}
		packet = append([]byte{byte(len(password)), 0, 0, packet[3]}, password...)
	case asked:
		key, err := mysqlKey()
		if err != nil {
			return err
		}
		answer := append([]byte{0, 0, 0, packet[3] + 1, mysqlMore}, key.public...)
		answer[0], answer[1] = byte(len(answer)-mysqlHeader), byte((len(answer)-mysqlHeader)>>8)
		m.keyed = true
		m.ahead.Add(-2) // of the guest's packets the server saw none, and of its own there is none
		m.mu.Lock()
		m.wanted, m.injected = false, answer
		m.mu.Unlock()
		return m.SetReadDeadline(time.Unix(1, 0)) // who reads is to look
	}
	packet[3] += byte(m.ahead.Load())
	return writeAll(m.stream, packet)
}

// rsaKey is the key that guests encrypt passwords with.
type rsaKey struct {
	private *rsa.PrivateKey
	public  []byte // in PEM
}

// mysqlKey makes the key when it is needed first. It leaves the process as little as what is
// encrypted with it, and lives as long.
var mysqlKey = sync.OnceValues(func() (*rsaKey, error) {
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, err
	}
	return &rsaKey{private, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}, nil
})

// mysqlPassword decrypts a password, with the NUL at its end.
func mysqlPassword(encrypted, salt []byte) ([]byte, error) {
	key, err := mysqlKey()
	if err != nil {
		return nil, err
	}
	password, err := rsa.DecryptOAEP(sha1.New(), nil, key.private, encrypted, nil) // as MySQL has it
	if err != nil {
		return nil, err
	}
	if len(salt) == 0 {
		return nil, errors.New("it is without salt")
	}
	for i := range password {
		password[i] ^= salt[i%len(salt)]
	}
	return password, nil
}
