package sockets

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

func TestPostgresStart(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}}
	request := []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}
	answers := func(answer string, then func(net.Conn)) func(net.Conn) {
		return func(conn net.Conn) {
			got := make([]byte, len(request))
			if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, request) {
				t.Errorf("the request: got %x, %v, want %x", got, err, request)
			}
			io.WriteString(conn, answer)
			then(conn)
		}
	}
	wait := func(conn net.Conn) { io.Copy(io.Discard, conn) }
	for _, test := range []struct {
		name   string
		serve  func(net.Conn)
		want   vfs.Errno
		report string
	}{
		{"TLS", answers("S", over(config, echo)), vfs.Success, ""},
		{"no TLS", answers("N", wait), vfs.EPROTO, "its ssl is off"},
		{"an error", answers("E\x00\x00\x00\x10too many clients", wait), vfs.EPROTO, "as no PostgreSQL does"},
		{"another protocol", answers("220 mail.example.com\r\n", wait), vfs.EPROTO, "as no PostgreSQL does"},
		// What is added in plain text must not be taken for what came over TLS.
		{"injected", answers("S"+"Z\x00\x00\x00\x05I", over(config, echo)), vfs.EPROTO, "TLS"},
		{"hangs up", answers("", func(net.Conn) {}), vfs.ECONNABORTED, "hung up"},
		{"says nothing", answers("", wait), vfs.ETIMEDOUT, "deadline"},
		{"hangs up after its answer", answers("S", func(net.Conn) {}), vfs.ECONNRESET, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			e := secure(t, listen(t, test.serve), &tls.Config{RootCAs: ca.roots()}, Postgres)
			if test.want == vfs.ETIMEDOUT {
				e.Timeout = 50 * time.Millisecond
			}
			var reported error
			e.Report = func(_ string, err error) { reported = err }
			f, err := open(t.Context(), e, true)
			got := vfs.ErrnoOf(err)
			if got != test.want && !(test.want == vfs.ECONNRESET && got == vfs.ECONNABORTED) {
				t.Fatalf("got %v (%v), want %v", err, reported, test.want)
			}
			if err != nil {
				if reported == nil || !strings.Contains(reported.Error(), test.report) {
					t.Errorf("reported %v, want %q", reported, test.report)
				}
				return
			}
			s := f.(*socket)
			defer s.Close(t.Context())
			write(t, s, "hello")
			read(t, s, "hello")
		})
	}
}
