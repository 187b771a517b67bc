package gojinn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/quic-go/quic-go/http3"
)

// certificate makes a key and a certificate for 127.0.0.1, and files of them.
func certificate(t *testing.T) (pool *x509.CertPool, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "test"},
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		DNSNames:     []string{"localhost"},
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	return pool, write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", private)
}

// TestProtocols asks the same over each version of HTTP.
func TestProtocols(t *testing.T) {
	pool, cert, key := certificate(t)
	s := &server{t: t, addr: freeAddr(t)}
	_, s.port, _ = net.SplitHostPort(s.addr)
	s.url = "https://localhost:" + s.port
	logBuffer.reset()
	config, err := adapt("{\nadmin off\npersist_config off\nauto_https disable_redirects\nlog {\noutput gojinn_test\nformat json\n}\n}\n" +
		s.url + " {\nbind 127.0.0.1\ntls " + cert + " " + key + "\n" +
		"gojinn /small " + moduleFile(t, "echo.wasm", echoes()) + " {\nmax_request 10\n}\n" +
		"gojinn " + moduleFile(t, "echo.wasm", echoes()) + "\n}")
	if err != nil {
		t.Fatal(err)
	}
	if err := caddy.Load(config, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
		checkNothingLeft(t)
	})
	settings := func() *tls.Config { return &tls.Config{RootCAs: pool} }
	h3 := &http3.Transport{TLSClientConfig: settings()}
	defer h3.Close()
	h2 := &http.Transport{TLSClientConfig: settings(), ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	h1 := &http.Transport{TLSClientConfig: settings()}
	defer h1.CloseIdleConnections()
	for _, test := range []struct {
		proto     string
		transport http.RoundTripper
	}{
		{"HTTP/1.1", h1}, {"HTTP/2.0", h2}, {"HTTP/3.0", h3},
	} {
		t.Run(test.proto, func(t *testing.T) {
			client := &http.Client{Transport: test.transport, Timeout: 30 * time.Second}
			ask := func(method, path, body string) reply {
				r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				return s.send(client, r)
			}
			got := ask("POST", "/x?y=z", "hello")
			r := echoed(t, got.body)
			if r.Proto != test.proto || r.Scheme != "https" || r.Host != "localhost:"+s.port || r.URI != "/x?y=z" || *r.Body != "hello" {
				t.Errorf("got %+v", r)
			}
			if got := ask("HEAD", "/", ""); got.status != 200 || got.body != "" || got.header.Get("X-Guest") != "echo" {
				t.Errorf("HEAD: got %+v", got)
			}
			if got := ask("POST", "/small", "0123456789"); got.status != 200 {
				t.Errorf("at the limit: got %+v", got)
			}
			if got := ask("POST", "/small", strings.Repeat("x", 11)); got.status != 413 {
				t.Errorf("over the limit: got %+v", got)
			}
		})
	}
}
