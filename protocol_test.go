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
	"net/url"
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

// protocol is a way to ask a server.
type protocol struct {
	name   string
	client *http.Client
}

// serveProtocols runs Caddy with a site of these directives over TLS, until the test ends, and
// returns clients of each version of HTTP.
func serveProtocols(t *testing.T, site string) (*server, []protocol) {
	t.Helper()
	pool, cert, key := certificate(t)
	s := &server{t: t, addr: freeAddr(t)}
	_, s.port, _ = net.SplitHostPort(s.addr)
	s.url = "https://localhost:" + s.port
	logBuffer.reset()
	config, err := adapt("{\nadmin off\npersist_config off\nauto_https disable_redirects\ngrace_period 10s\nlog {\noutput gojinn_test\nformat json\nlevel DEBUG\n}\n}\n" +
		s.url + " {\nbind 127.0.0.1\ntls " + cert + " " + key + "\n" + site + "\n}")
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
	h2 := &http.Transport{TLSClientConfig: settings(), ForceAttemptHTTP2: true}
	h1 := &http.Transport{TLSClientConfig: settings()}
	t.Cleanup(func() {
		h3.Close()
		h2.CloseIdleConnections()
		h1.CloseIdleConnections()
	})
	client := func(transport http.RoundTripper) *http.Client {
		return &http.Client{Transport: transport, Timeout: time.Minute}
	}
	return s, []protocol{{"HTTP/1.1", client(h1)}, {"HTTP/2.0", client(h2)}, {"HTTP/3.0", client(h3)}}
}

// TestProtocols asks the same over each version of HTTP.
func TestProtocols(t *testing.T) {
	s, protocols := serveProtocols(t, lines(
		"gojinn /small "+moduleFile(t, "echo.wasm", echoes())+" {\nmax_request 10\n}",
		"gojinn "+moduleFile(t, "echo.wasm", echoes())))
	for _, test := range protocols {
		t.Run(test.name, func(t *testing.T) {
			ask := func(method, path, body string) reply {
				r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				return s.send(test.client, r)
			}
			got := ask("POST", "/x?y=z", "hello")
			r := echoed(t, got.body)
			if r.Proto != test.name || r.Scheme != "https" || r.Host != "localhost:"+s.port || r.URI != "/x?y=z" || *r.Body != "hello" {
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

// TestRequestTarget: what Caddy's matchers take for a path is what a function takes for it.
func TestRequestTarget(t *testing.T) {
	s := serve(t, lines("respond /admin* forbidden 403", "gojinn "+moduleFile(t, "echo.wasm", echoes())))
	for target, want := range map[string]string{
		"/admin/x": "403", "http://x/admin/x": "403", "//admin": "403", "/y/../admin": "403",
		"http:admin/x": "400", "x:admin": "400", "http:admin?y": "400",
		"http://x": "200", "http://x?y": "200", "/admi": "200",
	} {
		if got := s.raw("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%s: got %.100q, want %s", target, got, want)
		}
	}
	// net/http refuses such hosts itself; HTTP/3 doesn't, but no client sends them.
	for host, want := range map[string]bool{
		"": true, "localhost": true, "localhost:8080": true, "[::1]:1": true, "a_b.example": true, "xn--bcher-kva.example": true,
		"localhost/admin?": false, "localhost#": false, "localhost\\admin": false, "b\"": false, "a@b": false, "a b": false, "bücher.example": false, "a\x00": false,
	} {
		if got := checkTarget(&http.Request{Host: host, URL: &url.URL{Path: "/"}}); (got == nil) != want {
			t.Errorf("host %q: got %v", host, got)
		}
	}
}
