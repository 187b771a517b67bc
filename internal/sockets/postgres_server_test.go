package sockets

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"net"
	"os"
	"strconv"
	"testing"

	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/postgrestest"
)

// TestPostgres speaks with a real server, as a driver with sslmode=disable does.
func TestPostgres(t *testing.T) {
	t.Parallel()
	server := postgrestest.Start(t, "hostssl all all 127.0.0.1/32 trust")
	_, text, _ := net.SplitHostPort(server.Address)
	number, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	port := uint16(number)
	ca, err := os.ReadFile(server.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	e := secure(t, &Endpoint{Host: "127.0.0.1", Port: port, Dial: loopback.Dial}, &tls.Config{RootCAs: roots}, Postgres)
	s := connect(t, e)

	startup := binary.BigEndian.AppendUint32(nil, 3<<16)
	startup = append(startup, "user\x00postgres\x00database\x00postgres\x00\x00"...)
	write(t, s, string(binary.BigEndian.AppendUint32(nil, uint32(4+len(startup))))+string(startup))
	reader := &messages{t: t, s: s}
	reader.until('Z') // authenticated: who has come by TLS is trusted
	query := "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()\x00"
	write(t, s, "Q"+string(binary.BigEndian.AppendUint32(nil, uint32(4+len(query))))+query)
	row := reader.until('D')
	if got, want := string(row), "\x00\x02\x00\x00\x00\x01t\x00\x00\x00\x07TLSv1.3"; got != want {
		t.Errorf("got the row %q, want %q", got, want)
	}
	reader.until('Z')
	write(t, s, "X\x00\x00\x00\x04")
	end(t, s, vfs.Success)

	// A plain connection isn't let in: that the one above was shows that it was none.
	plain := connect(t, &Endpoint{Host: "127.0.0.1", Port: port, Dial: loopback.Dial})
	write(t, plain, string(binary.BigEndian.AppendUint32(nil, uint32(4+len(startup))))+string(startup))
	if message := (&messages{t: t, s: plain}).until('E'); !bytes.Contains(message, []byte("no encryption")) {
		t.Errorf("a plain connection: got %q, want that it is refused", message)
	}
}

// messages reads what a server sends (PostgreSQL documentation, "Message Formats").
type messages struct {
	t *testing.T
	s *socket
}

func (m *messages) exactly(n int) []byte {
	m.t.Helper()
	p := make([]byte, n)
	for have := 0; have < n; {
		got, err := m.s.Read(m.t.Context(), p[have:])
		if got == 0 || err != nil {
			m.t.Fatalf("got %d, %v", got, err)
		}
		have += got
	}
	return p
}

// until returns the next message of a kind.
func (m *messages) until(kind byte) []byte {
	m.t.Helper()
	for {
		header := m.exactly(5)
		body := m.exactly(int(binary.BigEndian.Uint32(header[1:])) - 4)
		switch header[0] {
		case kind:
			return body
		case 'E':
			m.t.Fatalf("the server says %q", body)
		}
	}
}
