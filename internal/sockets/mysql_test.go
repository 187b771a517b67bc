package sockets

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

const (
	testSalt  = "0123456789abcdefghij"
	testFlags = mysqlProtocol41 | 1<<3 | 1<<19 // with a database, with plugins
)

// greeting is what a server says first.
func greeting(flags uint32) string {
	b := append([]byte{10}, "8.4.0-test\x00\x07\x00\x00\x00"+testSalt[:8]+"\x00"...)
	b = binary.LittleEndian.AppendUint16(b, uint16(flags))
	b = append(b, 255, 2, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(flags>>16))
	b = append(b, 21)
	b = append(b, make([]byte, 10)...)
	return string(b) + testSalt[8:] + "\x00caching_sha2_password\x00"
}

// response is what a client answers.
func response(flags uint32) string {
	b := binary.LittleEndian.AppendUint32(nil, flags)
	b = append(b, 0, 0, 0, 1, 45)
	b = append(b, make([]byte, 23)...)
	return string(b) + "me\x00\x00db\x00caching_sha2_password\x00"
}

func packet(number byte, payload string) string {
	n := len(payload)
	return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), number}) + payload
}

// side is one end of a conversation in packets.
type side struct {
	t    testing.TB
	name string
	io.ReadWriter
}

func (s side) send(number byte, payload string) {
	s.t.Helper()
	if _, err := io.WriteString(s, packet(number, payload)); err != nil {
		s.t.Errorf("%s, sending: %v", s.name, err)
	}
}

func (s side) receive() (number byte, payload string) {
	s.t.Helper()
	header := make([]byte, mysqlHeader)
	_, err := io.ReadFull(s, header)
	body := make([]byte, mysqlLength(header))
	if err == nil {
		_, err = io.ReadFull(s, body)
	}
	if err != nil {
		s.t.Errorf("%s, receiving: %v", s.name, err)
	}
	return header[3], string(body)
}

func (s side) expect(number byte, payload string) {
	s.t.Helper()
	if n, got := s.receive(); n != number || got != payload {
		s.t.Errorf("%s: got packet %d %q, want %d %q", s.name, n, got, number, payload)
	}
}

// guestSide is a socket as a program's C library sees it.
type guestSide struct {
	*socket
	t testing.TB
}

func (g guestSide) Read(p []byte) (int, error) {
	n, err := g.socket.Read(g.t.Context(), p)
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

func (g guestSide) Write(p []byte) (int, error) {
	write(g.t, g.socket, string(p))
	return len(p), nil
}

// mysqlServer begins as a server does, up to and with the response.
func mysqlServer(t testing.TB, config *tls.Config, then func(side)) func(net.Conn) {
	return func(conn net.Conn) {
		plain := side{t, "server", conn}
		plain.send(0, greeting(testFlags|mysqlSSL))
		want := response(testFlags | mysqlSSL)
		plain.expect(1, want[:mysqlSSLRequest])
		secured := tls.Server(conn, config)
		over := side{t, "server", secured}
		over.expect(2, want)
		then(over)
		io.Copy(io.Discard, secured)
	}
}

func TestMySQL(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}}
	big := strings.Repeat("x", 100_000) + "\x00\xff"
	// Behind the handshake packets are left alone.
	served := func(s side) {
		s.expect(0, "\x03SELECT 1")
		s.send(1, big)
		s.send(2, "\xfe\x00\x00")
		s.expect(0, big)
		s.send(1, "\x00")
	}
	used := func(g side) {
		g.send(0, "\x03SELECT 1")
		g.expect(1, big)
		g.expect(2, "\xfe\x00\x00")
		g.send(0, big)
		g.expect(1, "\x00")
	}
	for _, test := range []struct {
		name          string
		server, guest func(side)
	}{
		{"accepted", func(s side) {
			s.send(3, "\x00\x00\x00\x02\x00\x00\x00")
			served(s)
		}, func(g side) {
			g.expect(2, "\x00\x00\x00\x02\x00\x00\x00")
			used(g)
		}},
		{"refused", func(s side) { s.send(3, "\xff\x15\x04no") }, func(g side) { g.expect(2, "\xff\x15\x04no") }},
		{"another method", func(s side) {
			s.send(3, "\xfemysql_native_password\x00"+testSalt+"\x00")
			s.expect(4, "scrambled")
			s.send(5, "\x00")
			served(s)
		}, func(g side) {
			g.expect(2, "\xfemysql_native_password\x00"+testSalt+"\x00")
			g.send(3, "scrambled")
			g.expect(4, "\x00")
			used(g)
		}},
		{"many rounds, an empty packet, the server's number wraps", func(s side) {
			number := byte(3)
			for range 300 {
				s.send(number, "\x01more")
				s.expect(number+1, "")
				number += 2
			}
			s.send(number, "\x00")
			served(s)
		}, func(g side) {
			number := byte(2)
			for range 300 {
				g.expect(number, "\x01more")
				g.send(number+1, "")
				number += 2
			}
			g.expect(number, "\x00")
			used(g)
		}},
		{"the server remembers the password", func(s side) {
			s.send(3, "\x01\x03")
			s.send(4, "\x00")
			served(s)
		}, func(g side) {
			g.expect(2, "\x01\x03")
			g.expect(3, "\x00")
			used(g)
		}},
		{"the server wants the password", func(s side) {
			s.send(3, "\x01\x04")
			s.expect(4, "secret\x00")
			s.send(5, "\x00")
			served(s)
		}, func(g side) {
			g.expect(2, "\x01\x04")
			encrypt(g, 3, "secret\x00", testSalt)
			g.expect(6, "\x00")
			used(g)
		}},
		{"it does so after it has changed the method", func(s side) {
			s.send(3, "\xfecaching_sha2_password\x00ABCDEFGHIJabcdefghij\x00")
			s.expect(4, "scrambled")
			s.send(5, "\x01\x04")
			s.expect(6, "secret\x00")
			s.send(7, "\xffno")
		}, func(g side) {
			g.expect(2, "\xfecaching_sha2_password\x00ABCDEFGHIJabcdefghij\x00")
			g.send(3, "scrambled")
			g.expect(4, "\x01\x04")
			encrypt(g, 5, "secret\x00", "ABCDEFGHIJabcdefghij")
			g.expect(8, "\xffno")
		}},
		{"a guest that knows of TLS tells it", func(s side) {
			s.send(3, "\x01\x04")
			s.expect(4, "secret\x00")
			s.send(5, "\x00")
			served(s)
		}, func(g side) {
			g.expect(2, "\x01\x04")
			g.send(3, "secret\x00")
			g.expect(4, "\x00")
			used(g)
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := secure(t, listen(t, mysqlServer(t, config, test.server)), &tls.Config{RootCAs: ca.roots()}, MySQL)
			guest := side{t, "guest", guestSide{connect(t, e), t}}
			guest.expect(0, greeting(testFlags))
			guest.send(1, response(testFlags))
			test.guest(guest)
		})
	}
}

// encrypt asks for a key and tells the password with it, as a client without TLS does.
func encrypt(g side, number byte, password, salt string) {
	g.t.Helper()
	g.send(number, "\x02")
	n, answer := g.receive()
	if n != number+1 || answer[0] != mysqlMore {
		g.t.Fatalf("got packet %d %q, want a key", n, answer)
	}
	block, _ := pem.Decode([]byte(answer[1:]))
	if block == nil {
		g.t.Fatalf("got %q, want a key", answer)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		g.t.Fatal(err)
	}
	plain := []byte(password)
	for i := range plain {
		plain[i] ^= salt[i%len(salt)]
	}
	encrypted, err := rsa.EncryptOAEP(sha1.New(), rand.Reader, key.(*rsa.PublicKey), plain, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	g.send(number+2, string(encrypted))
}

// TestMySQLServerRefused: without TLS there is no connection, whatever the function would do.
func TestMySQLServerRefused(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	says := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			io.WriteString(conn, text)
			io.Copy(io.Discard, conn)
		}
	}
	for _, test := range []struct {
		name   string
		serve  func(net.Conn)
		want   vfs.Errno
		report string
	}{
		{"without TLS", says(packet(0, greeting(testFlags))), vfs.EPROTO, "does without"},
		{"full", says(packet(0, "\xff\x10\x04Too many connections")), vfs.ECONNREFUSED, "Too many connections"},
		{"too old", says(packet(0, "\x09"+greeting(testFlags | mysqlSSL)[1:])), vfs.EPROTO, "version 9"},
		{"cut", says(packet(0, greeting(testFlags | mysqlSSL)[:20])), vfs.EPROTO, "too short"},
		{"without an end", says(packet(0, "\x0a8.4.0")), vfs.EPROTO, "too short"},
		{"empty", says(packet(0, "")), vfs.EPROTO, "no greeting"},
		{"another number", says(packet(1, greeting(testFlags|mysqlSSL))), vfs.EPROTO, "no greeting"},
		{"huge", says("\xff\xff\xff\x00"), vfs.EPROTO, "no greeting"},
		{"another protocol", says("220 mail.example.com\r\n"), vfs.EPROTO, "no greeting"},
		{"silent", says(""), vfs.ETIMEDOUT, "deadline"},
		{"hangs up", func(net.Conn) {}, vfs.ECONNABORTED, ""},
		{"hangs up after the header", func(conn net.Conn) { io.WriteString(conn, "\x10\x00\x00\x00") }, vfs.ECONNABORTED, ""},
		{"hangs up in the middle", func(conn net.Conn) { io.WriteString(conn, "\x10\x00\x00\x00\x0a") }, vfs.ECONNABORTED, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := secure(t, listen(t, test.serve), &tls.Config{RootCAs: ca.roots()}, MySQL)
			if test.want == vfs.ETIMEDOUT {
				e.Timeout = 50 * time.Millisecond
			}
			var reported error
			e.Report = func(_ string, err error) { reported = err }
			if _, err := open(t.Context(), e, true); vfs.ErrnoOf(err) != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
			if reported == nil || !strings.Contains(reported.Error(), test.report) {
				t.Errorf("reported %v, want %q", reported, test.report)
			}
		})
	}
}

// TestMySQLGuestRefused: what the guest must not, or can't, do in the handshake.
func TestMySQLGuestRefused(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t), newAuthority(t)
	good := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}}
	bad := &tls.Config{Certificates: []tls.Certificate{other.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}}
	serve := func(config *tls.Config) func(net.Conn) {
		return func(conn net.Conn) {
			io.WriteString(conn, packet(0, greeting(testFlags|mysqlSSL)))
			if _, err := io.ReadFull(conn, make([]byte, mysqlHeader+mysqlSSLRequest)); err == nil {
				io.Copy(io.Discard, tls.Server(conn, config))
			}
		}
	}
	for _, test := range []struct {
		name   string
		config *tls.Config
		guest  string
		report string
	}{
		{"the server's certificate", bad, packet(1, response(testFlags)), "unknown authority"},
		{"TLS of its own", good, packet(1, response(testFlags | mysqlSSL)[:mysqlSSLRequest]), "asks for TLS itself"},
		{"an old protocol", good, packet(1, response(testFlags&^mysqlProtocol41)), "older than"},
		{"too short", good, packet(1, "short"), "no handshake response"},
		{"too long", good, "\xff\xff\xff\x01", "no handshake response"},
		{"another number", good, packet(2, response(testFlags)), "no handshake response"},
		{"too long later", good, packet(1, response(testFlags)) + "\xff\xff\x00\x03", "no handshake of MySQL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := secure(t, listen(t, serve(test.config)), &tls.Config{RootCAs: ca.roots()}, MySQL)
			reported := make(chan error, 10)
			e.Report = func(_ string, err error) { reported <- err }
			s := connect(t, e)
			read(t, s, packet(0, greeting(testFlags)))
			write(t, s, test.guest)
			if err := <-reported; !strings.Contains(err.Error(), test.report) {
				t.Errorf("reported %v, want %q", err, test.report)
			}
			for {
				if _, err := s.Write(t.Context(), []byte("x")); err != nil {
					if vfs.ErrnoOf(err) != vfs.EPROTO {
						t.Errorf("got %v, want EPROTO", err)
					}
					return
				}
			}
		})
	}
	t.Run("ends before it answers", func(t *testing.T) {
		t.Parallel()
		s := connect(t, secure(t, listen(t, serve(good)), &tls.Config{RootCAs: ca.roots()}, MySQL))
		write(t, s, "\x30\x00")
		s.Shutdown(t.Context(), false, true)
		read(t, s, packet(0, greeting(testFlags)))
		end(t, s, vfs.EPROTO)
	})
}

func FuzzMySQLGreeting(f *testing.F) {
	f.Add([]byte(packet(0, greeting(testFlags|mysqlSSL))))
	f.Add([]byte(packet(0, "\xffToo many connections")))
	f.Add([]byte(packet(0, "\x0a\x00")))
	f.Fuzz(func(t *testing.T, text []byte) {
		packet, err := readGreeting(bytes.NewReader(text))
		if err != nil {
			return
		}
		if len(packet) > len(text) || !bytes.Equal(packet[:mysqlHeader], text[:mysqlHeader]) {
			t.Errorf("got %q of %q", packet, text)
		}
		if n := len(greetingSalt(packet[mysqlHeader:])); n != 8 && n != mysqlSalt {
			t.Errorf("got %d bytes of salt", n)
		}
		if clearSSL(packet[mysqlHeader:]) == nil {
			t.Error("the flag for TLS is still there")
		}
	})
}

// memory is a connection whose other side has said everything already.
type memory struct {
	net.Conn
	io.Reader
	io.Writer
}

func (m memory) Read(p []byte) (int, error)      { return m.Reader.Read(p) }
func (m memory) Write(p []byte) (int, error)     { return m.Writer.Write(p) }
func (m memory) SetReadDeadline(time.Time) error { return nil }
func (m memory) CloseWrite() error               { return nil }

// FuzzMySQLStream: whatever both sides say, nothing breaks, what is behind the handshake is left
// alone, and how the bytes arrive makes no difference.
func FuzzMySQLStream(f *testing.F) {
	f.Add([]byte(packet(3, "\x01\x04")+packet(5, "\x00")+"rest"), []byte(packet(3, "\x02")+packet(5, "x")), uint8(3))
	f.Add([]byte(packet(3, "\xfemethod\x00salt\x00")+packet(5, "\xff")), []byte(packet(3, "")), uint8(1))
	f.Add([]byte("\x30\x00\x00\x30"), []byte(""), uint8(0)) // ends behind a header
	f.Fuzz(func(t *testing.T, server, guest []byte, step uint8) {
		var whole, parts bytes.Buffer
		m := newMySQLStream(memory{Reader: bytes.NewReader(server), Writer: &whole}, nil)
		_, errWhole := m.Write(bytes.Clone(guest))
		m = newMySQLStream(memory{Reader: bytes.NewReader(server), Writer: &parts}, nil)
		var errParts error
		for rest := bytes.Clone(guest); len(rest) > 0 && errParts == nil; {
			n := min(len(rest), int(step)+1)
			_, errParts = m.Write(rest[:n])
			rest = rest[n:]
		}
		if (errWhole == nil) != (errParts == nil) || !bytes.Equal(whole.Bytes(), parts.Bytes()) {
			t.Errorf("got %q, %v and %q, %v", &whole, errWhole, &parts, errParts)
		}
		got, err := io.ReadAll(m)
		if len(got) > len(server) || err == nil && len(got) != len(server) {
			t.Errorf("got %q of %q, %v", got, server, err)
		}
	})
}
