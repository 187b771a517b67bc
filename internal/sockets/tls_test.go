package sockets

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

// roots trust the authority only.
func (a *authority) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue returns a certificate for a name or address that is valid until then.
func (a *authority) issue(t testing.TB, host string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// over has serve talk TLS.
func over(config *tls.Config, serve func(net.Conn)) func(net.Conn) {
	return func(conn net.Conn) {
		secured := tls.Server(conn, config)
		if secured.Handshake() == nil {
			serve(secured)
		}
	}
}

// secure makes an endpoint of TLS out of one of TCP, as the configuration would.
func secure(t testing.TB, e *Endpoint, config *tls.Config, start StartTLS) *Endpoint {
	t.Helper()
	template := *e
	template.TLS, template.StartTLS = config, start
	list, err := template.Parse([]string{e.Name()})
	if err != nil {
		t.Fatal(err)
	}
	return list[0]
}

func TestTLS(t *testing.T) {
	t.Parallel()
	known, unknown := newAuthority(t), newAuthority(t)
	valid := time.Now().Add(time.Hour)
	config := func(cert tls.Certificate) *tls.Config { return &tls.Config{Certificates: []tls.Certificate{cert}} }
	good := config(known.issue(t, "127.0.0.1", valid))
	old := good.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	twelve := good.Clone()
	twelve.MaxVersion = tls.VersionTLS12
	mutual := good.Clone()
	mutual.ClientAuth, mutual.ClientCAs = tls.RequireAnyClientCert, known.roots()
	mutual12 := mutual.Clone()
	mutual12.MaxVersion = tls.VersionTLS12
	for _, test := range []struct {
		name   string
		serve  func(net.Conn)
		server string // the name that is asked for; "": the address
		want   vfs.Errno
		report string
	}{
		{"verified", over(good, echo), "", vfs.Success, ""},
		{"TLS 1.2", over(twelve, echo), "", vfs.Success, ""},
		{"another name, as configured", over(config(known.issue(t, "db.internal", valid)), echo), "db.internal", vfs.Success, ""},
		{"another name", over(config(known.issue(t, "db.internal", valid)), echo), "", vfs.EPROTO, "127.0.0.1"},
		{"another address", over(config(known.issue(t, "127.0.0.2", valid)), echo), "", vfs.EPROTO, "127.0.0.1"},
		{"expired", over(config(known.issue(t, "127.0.0.1", time.Now().Add(-time.Hour))), echo), "", vfs.EPROTO, "expired"},
		{"unknown authority", over(config(unknown.issue(t, "127.0.0.1", valid)), echo), "", vfs.EPROTO, "unknown authority"},
		{"too old", over(old, echo), "", vfs.EPROTO, "protocol version"},
		{"wants a certificate", over(mutual12, echo), "", vfs.EPROTO, "handshake failure"},
		{"no TLS", func(conn net.Conn) { io.WriteString(conn, "220 hello, this is no TLS\r\n"); io.Copy(io.Discard, conn) }, "", vfs.EPROTO, "TLS handshake"},
		{"hangs up", func(conn net.Conn) { io.ReadFull(conn, make([]byte, 5)) }, "", vfs.ECONNRESET, ""},
		{"says nothing", func(conn net.Conn) { io.Copy(io.Discard, conn) }, "", vfs.ETIMEDOUT, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			client := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: known.roots(), ServerName: test.server}
			e := secure(t, listen(t, test.serve), client, Directly)
			e.Timeout = 10 * time.Second
			if test.want == vfs.ETIMEDOUT {
				e.Timeout = 50 * time.Millisecond
			}
			var reported error
			e.Report = func(_ string, err error) { reported = err }
			f, err := open(t.Context(), e, true)
			got := vfs.ErrnoOf(err)
			if got == vfs.ECONNABORTED {
				got = vfs.ECONNRESET // which of them depends on what had been read
			}
			if got != test.want {
				t.Fatalf("got %v (%v), want %v", err, reported, test.want)
			}
			if err != nil {
				if reported == nil || !strings.Contains(reported.Error(), test.report) {
					t.Errorf("reported %v, want %q", reported, test.report)
				}
				return
			}
			s := f.(*socket)
			text := strings.Repeat("hello, world", 10_000)
			go write(t, s, text)
			read(t, s, text)
			if err := s.Shutdown(t.Context(), false, true); err != nil {
				t.Fatal(err)
			}
			end(t, s, vfs.Success)
			s.Close(t.Context())
		})
	}
	// With TLS 1.3 the server refuses a client after the handshake.
	t.Run("wants a certificate, TLS 1.3", func(t *testing.T) {
		t.Parallel()
		e := secure(t, listen(t, over(mutual, echo)), &tls.Config{RootCAs: known.roots()}, Directly)
		var reported atomic.Pointer[error]
		e.Report = func(_ string, err error) { reported.Store(&err) }
		s := connect(t, e)
		end(t, s, vfs.EPROTO)
		if err := reported.Load(); err == nil || !strings.Contains((*err).Error(), "certificate required") {
			t.Errorf("reported %v, want that a certificate is required", err)
		}
	})
}

// TestTLSEnds: the other side sees whether the guest ended its stream or its call failed.
func TestTLSEnds(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	ended := make(chan error, 1)
	e := secure(t, listen(t, func(conn net.Conn) {
		raw := &watched{Conn: conn}
		secured := tls.Server(raw, &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}})
		_, err := io.Copy(io.Discard, secured)
		if err == nil && raw.ended {
			err = io.ErrUnexpectedEOF // the end came without a word
		}
		ended <- err
	}), &tls.Config{RootCAs: ca.roots()}, Directly)
	for _, test := range []struct {
		name string
		end  func(*socket)
		want bool
	}{
		{"closed", func(s *socket) { s.Close(context.Background()) }, true},
		{"shut down", func(s *socket) { s.Shutdown(t.Context(), false, true) }, true},
		{"discarded", func(s *socket) { s.Discard() }, false},
	} {
		s := connect(t, e)
		write(t, s, "x")
		for !s.isWritten() {
			time.Sleep(time.Millisecond)
		}
		test.end(s)
		if err := <-ended; (err == nil) != test.want {
			t.Errorf("%s: got %v, want a proper end: %v", test.name, err, test.want)
		}
	}
}

// isWritten tells whether the system has taken everything.
func (s *socket) isWritten() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.held == 0 && s.written()
}

// watched sees the end of a TCP connection.
type watched struct {
	net.Conn
	ended bool
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	w.ended = w.ended || err != nil
	return n, err
}

// TestResumption: the second connection goes on from the first one's handshake.
func TestResumption(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	var mu sync.Mutex
	var resumed []bool
	config := &tls.Config{Certificates: []tls.Certificate{ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour))}}
	e := secure(t, listen(t, over(config, func(conn net.Conn) {
		mu.Lock()
		resumed = append(resumed, conn.(*tls.Conn).ConnectionState().DidResume)
		mu.Unlock()
		echo(conn)
	})), &tls.Config{RootCAs: ca.roots()}, Directly)
	for range 2 {
		s := connect(t, e)
		write(t, s, "x")
		read(t, s, "x")
		s.Close(t.Context())
	}
	mu.Lock()
	defer mu.Unlock()
	if len(resumed) != 2 || resumed[0] || !resumed[1] {
		t.Errorf("got %v, want the second resumed", resumed)
	}
}
