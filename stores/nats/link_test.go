package nats

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/gojinn/gojinn/stores"
)

var ns = stores.Namespace{Name: "test"}

func put(t *testing.T, n *Nats) error {
	t.Helper()
	_, err := n.Put(t.Context(), ns, "key", []byte("value"), time.Time{})
	return err
}

// tries counts the connections that come in at an address before handing them on.
func tries(t *testing.T, s *server.Server) (address string, count *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	count = new(atomic.Int64)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			count.Add(1)
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", s.Addr().String())
				if err != nil {
					return
				}
				defer out.Close()
				go func() { _, _ = io.Copy(out, in) }()
				_, _ = io.Copy(in, out)
			}()
		}
	}()
	return "nats://" + l.Addr().String(), count
}

func TestCredentials(t *testing.T) {
	key, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := key.PublicKey()
	seed, _ := key.Seed()
	dir := t.TempDir()
	seedFile := filepath.Join(dir, "seed")
	if err := os.WriteFile(seedFile, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	byToken, byUser, byKey := jetStream(t.TempDir()), jetStream(t.TempDir()), jetStream(t.TempDir())
	byToken.Authorization = "sesame"
	byUser.Username, byUser.Password = "user", "sesame"
	byKey.Nkeys = []*server.NkeyUser{{Nkey: public}}
	token, user, nkey := start(t, byToken), start(t, byUser), start(t, byKey)
	for _, test := range []struct {
		name   string
		server *server.Server
		nats   Nats
		want   string // what the error says; "": none
	}{
		{"token", token, Nats{Token: "sesame"}, ""},
		{"wrong token", token, Nats{Token: "secret"}, "Authorization Violation"},
		{"user", user, Nats{User: "user", Password: "sesame"}, ""},
		{"wrong password", user, Nats{User: "user", Password: "secret"}, "Authorization Violation"},
		{"none", user, Nats{}, "Authorization Violation"},
		{"nkey", nkey, Nats{NKey: seedFile}, ""},
		{"no seed", nkey, Nats{NKey: filepath.Join(dir, "none")}, "seed"},
		{"no credentials", user, Nats{Creds: filepath.Join(dir, "none")}, "none"},
		{"no TLS", user, Nats{TLS: new(TLS), User: "user", Password: "sesame"}, "secure connection not available"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			at, count := tries(t, test.server)
			test.nats.URLs = []string{at}
			n := open(t, &test.nats)
			if test.want == "" {
				if err := put(t, n); err != nil {
					t.Error(err)
				}
				return
			}
			// Many calls are no reason to ask many times.
			for range 50 {
				err := put(t, n)
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sesame") {
					t.Fatalf("got %v, want %q", err, test.want)
				}
			}
			if got := count.Load(); got > 3 {
				t.Errorf("tried %d times", got)
			}
		})
	}
}

// certificates makes an authority and a certificate of it for this machine.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	issue := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = private
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &private.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, private
	}
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, signer := issue(authority, authority, nil)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	leafDER, private := issue(leaf, authority, signer)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return write("ca.pem", "CERTIFICATE", der), write("cert.pem", "CERTIFICATE", leafDER), write("key.pem", "PRIVATE KEY", keyDER)
}

func TestTLS(t *testing.T) {
	ca, cert, key := certificates(t)
	other, otherCert, otherKey := certificates(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	text, err := os.ReadFile(ca)
	if err != nil || !roots.AppendCertsFromPEM(text) {
		t.Fatal(err)
	}
	options := jetStream(t.TempDir())
	options.TLSConfig = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	options.TLSTimeout = 5
	s := start(t, options)
	for _, test := range []struct {
		name string
		tls  *TLS
		want string
	}{
		{"both verified", &TLS{CA: ca, Cert: cert, Key: key}, ""},
		{"unknown authority", &TLS{CA: other, Cert: cert, Key: key}, "unknown authority"},
		{"not the system's", &TLS{Cert: cert, Key: key}, "unknown authority"},
		{"unknown client", &TLS{CA: ca, Cert: otherCert, Key: otherKey}, "nats: namespace test: "},
		{"no file", &TLS{CA: ca + "x"}, "no such file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			err := put(t, open(t, &Nats{URLs: []string{"tls://" + s.Addr().String()}, TLS: test.tls}))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestLater: a server that is not there at first is found later, and found again after it was away.
func TestLater(t *testing.T) {
	t.Parallel()
	options := jetStream(t.TempDir())
	options.Port = freePorts(t, 1)[0]
	n := open(t, &Nats{URLs: []string{fmt.Sprintf("127.0.0.1:%d", options.Port)}, Timeout: caddy.Duration(time.Second)})
	began := time.Now()
	for range 20 {
		if err := put(t, n); err == nil || !strings.Contains(err.Error(), "no servers available") {
			t.Fatalf("got %v, want that there is no server", err)
		}
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("20 refusals took %s", took)
	}
	s := start(t, options)
	eventually(t, 20*time.Second, "the server is there", func() error { return put(t, n) })

	s.Shutdown()
	s.WaitForShutdown()
	began = time.Now()
	err := put(t, n)
	if took := time.Since(began); err == nil || took > 10*time.Second {
		t.Errorf("got %v after %s, want an error within a second", err, took)
	}
	start(t, options)
	eventually(t, 20*time.Second, "the server is back", func() error { return put(t, n) })
	if item, err := n.Get(t.Context(), ns, "key"); err != nil || string(item.Value) != "value" {
		t.Errorf("got %q, %v, want what was there", item.Value, err)
	}
}

// valve hands bytes on between a client and a server until it is closed.
type valve struct {
	mu     sync.Mutex
	open   *sync.Cond
	closed bool
}

func (v *valve) set(closed bool) {
	v.mu.Lock()
	v.closed = closed
	v.mu.Unlock()
	v.open.Broadcast()
}

func (v *valve) Write(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for v.closed {
		v.open.Wait()
	}
	return len(p), nil
}

// TestSilence: a server that takes nothing and says nothing holds nobody longer than its context.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := start(t, jetStream(t.TempDir()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v := new(valve)
	v.open = sync.NewCond(&v.mu)
	defer v.set(false)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", s.Addr().String())
			if err != nil {
				in.Close()
				continue
			}
			hand := func(to, from net.Conn) {
				_, _ = io.Copy(to, io.TeeReader(from, v))
				to.Close()
			}
			go hand(in, out)
			go hand(out, in)
		}
	}()
	n := open(t, &Nats{URLs: []string{l.Addr().String()}, Timeout: caddy.Duration(20 * time.Second)})
	if err := put(t, n); err != nil {
		t.Fatal(err)
	}
	v.set(true)
	// Enough to fill all buffers on the way, so that the client can't even write.
	large := make([]byte, 512<<10)
	var all sync.WaitGroup
	for range 24 {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := n.Put(ctx, ns, "large", large, time.Time{})
			// Far less than it takes the client to give up the connection.
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took > sendTimeout {
				t.Errorf("got %v after %s, want %v after 300ms", err, took, context.DeadlineExceeded)
			}
		})
	}
	all.Wait()
	v.set(false)
	eventually(t, 30*time.Second, "it talks again", func() error { return put(t, n) })
}

func TestIncompatible(t *testing.T) {
	s := start(t, jetStream(t.TempDir()))
	n := openAt(t, s)
	if err := put(t, n); err != nil {
		t.Fatal(err)
	}
	js, err := streamOf(t, n, ns).link.connection(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		alter func(c *jetstream.StreamConfig)
		want  string // "": none
	}{
		{"as it is made", func(*jetstream.StreamConfig) {}, ""},
		{"limits", func(c *jetstream.StreamConfig) { c.MaxBytes, c.MaxMsgSize = 1<<20, 1000 }, ""},
		{"history", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 5 }, "max_msgs_per_subject 5, not 1"},
		{"age", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }, "max_age 1h0m0s"},
		{"no TTL", func(c *jetstream.StreamConfig) { c.AllowMsgTTL = false }, "no allow_msg_ttl"},
		{"no batches", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, "no allow_atomic"},
		{"drops the old", func(c *jetstream.StreamConfig) { c.Discard, c.MaxBytes = jetstream.DiscardOld, 1<<20 }, "discard old"},
		{"other subjects", func(c *jetstream.StreamConfig) { c.Subjects = append(c.Subjects, "more.>") }, "subjects"},
		{"short memory", func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }, "duplicate_window"},
		{"never deletes", func(c *jetstream.StreamConfig) { c.DenyDelete = true }, "deny_delete"},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := stores.Namespace{Name: strings.ReplaceAll(test.name, " ", "-")}
			st := streamOf(t, n, other)
			config := st.config()
			test.alter(&config)
			made, err := js.CreateStream(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			_, err = n.Put(t.Context(), other, "key", []byte("value"), time.Time{})
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			info, err := made.Info(t.Context())
			if err != nil || info.Config.MaxMsgsPerSubject != config.MaxMsgsPerSubject || info.Config.Discard != config.Discard || test.want != "" && info.State.Msgs > 0 {
				t.Errorf("got %+v, %v, want it as it was", info, err)
			}
		})
	}
	t.Run("more copies are asked for", func(t *testing.T) {
		three := open(t, &Nats{URLs: []string{s.ClientURL()}, Replicas: 3})
		if err := put(t, three); err == nil || !strings.Contains(err.Error(), "num_replicas 1, the configuration says 3") {
			t.Errorf("got %v, want that there is one copy", err)
		}
	})
	t.Run("full", func(t *testing.T) {
		limited := stores.Namespace{Name: "limits"}
		_, err := n.Put(t.Context(), limited, "key", make([]byte, 2000), time.Time{})
		if !errors.Is(err, stores.ErrTooLarge) {
			t.Errorf("got %v, want %v", err, stores.ErrTooLarge)
		}
		for i := range 3000 {
			if _, err = n.Put(t.Context(), limited, fmt.Sprint(i), make([]byte, 700), time.Time{}); err != nil {
				break
			}
		}
		if !errors.Is(err, stores.ErrFull) {
			t.Errorf("got %v, want %v", err, stores.ErrFull)
		}
	})
	t.Run("deleted meanwhile", func(t *testing.T) {
		if err := js.DeleteStream(t.Context(), "gojinn_test"); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Get(t.Context(), ns, "key"); !errors.Is(err, stores.ErrNotFound) {
			t.Errorf("got %v, want %v", err, stores.ErrNotFound)
		}
		if err := js.DeleteStream(t.Context(), "gojinn_test"); err != nil {
			t.Fatal(err)
		}
		if err := put(t, n); err != nil {
			t.Error(err)
		}
	})
	t.Run("nobody's readers stay", func(t *testing.T) {
		for range 5 {
			if entries, err := n.List(t.Context(), ns, stores.Query{Limit: 10}); err != nil || len(entries) != 1 {
				t.Fatalf("got %v, %v, want one key", entries, err)
			}
		}
		eventually(t, 10*time.Second, "readers", func() error {
			have, err := js.Stream(t.Context(), "gojinn_test")
			if err == nil && have.CachedInfo().State.Consumers > 0 {
				err = fmt.Errorf("%d are left", have.CachedInfo().State.Consumers)
			}
			return err
		})
	})
}

// TestPermissions: these are all that are needed, and one that is missing is named.
func TestPermissions(t *testing.T) {
	options := jetStream(t.TempDir())
	inboxes := &server.SubjectPermission{Allow: []string{"_INBOX.>"}}
	options.Users = []*server.User{
		{Username: "all", Password: "sesame", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"$JS.API.>", "gojinn.>"}}, Subscribe: inboxes,
		}},
		{Username: "some", Password: "sesame", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{"$JS.API.>"}}, Subscribe: inboxes,
		}},
	}
	s := start(t, options)
	all := open(t, &Nats{URLs: []string{s.ClientURL()}, User: "all", Password: "sesame"})
	if err := put(t, all); err != nil {
		t.Error(err)
	}
	if err := all.Rename(t.Context(), ns, "key", "other"); err != nil {
		t.Error(err)
	}
	if entries, err := all.List(t.Context(), ns, stores.Query{Limit: 10}); err != nil || len(entries) != 1 {
		t.Errorf("got %v, %v, want one key", entries, err)
	}
	some := open(t, &Nats{URLs: []string{s.ClientURL()}, User: "some", Password: "sesame", Timeout: caddy.Duration(time.Second)})
	if err := put(t, some); err == nil || !strings.Contains(strings.ToLower(err.Error()), `permissions violation for publish to "gojinn.test`) {
		t.Errorf("got %v, want the permission that is missing", err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for version, good := range map[string]bool{
		"2.12.1": true, "2.12.10": true, "2.15.2": true, "2.13.0-RC.1": true, "3.0.0": true,
		"2.12.0": false, "2.11.9": false, "1.99.99": false, "": false, "dev": false,
	} {
		if err := checkVersion(version); (err == nil) != good {
			t.Errorf("%s: got %v, want it good: %v", version, err, good)
		}
	}
}

func TestNoJetStream(t *testing.T) {
	options := jetStream(t.TempDir())
	options.JetStream = false
	n := open(t, &Nats{URLs: []string{start(t, options).ClientURL()}, Timeout: caddy.Duration(time.Second)})
	if err := put(t, n); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want an error of the store", err)
	}
}

// TestCleanup: configurations share a connection, calls outlive them, and nothing is left in the end.
func TestCleanup(t *testing.T) {
	s := start(t, jetStream(t.TempDir()))
	provision := func() *Nats {
		n := &Nats{URLs: []string{s.ClientURL()}}
		if err := n.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if got := s.NumClients(); got != 0 {
		t.Fatalf("got %d connections before there is anything", got)
	}
	before := runtime.NumGoroutine()
	first := provision()
	if got := s.NumClients(); got != 0 {
		t.Errorf("got %d connections after Provision, want none", got)
	}
	if err := put(t, first); err != nil {
		t.Fatal(err)
	}
	second := provision()
	if err := put(t, second); err != nil {
		t.Fatal(err)
	}
	if got := s.NumClients(); got != 1 {
		t.Errorf("got %d connections of the same options, want one", got)
	}
	started, goOn := make(chan struct{}), make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		var once sync.Once
		item, err := first.Update(t.Context(), ns, "key", func(*stores.Item) (*stores.Item, error) {
			once.Do(func() { close(started) })
			<-goOn
			return &stores.Item{Value: []byte("late")}, nil
		})
		if err != nil || string(item.Value) != "late" {
			t.Errorf("a call that outlives the configurations: got %q, %v", item.Value, err)
		}
	})
	<-started
	for _, n := range []*Nats{first, second} {
		if err := n.Cleanup(); err != nil {
			t.Error(err)
		}
	}
	close(goOn)
	all.Wait()
	item, err := second.Get(t.Context(), ns, "key")
	if err != nil || string(item.Value) != "late" {
		t.Errorf("a call that begins after them: got %q, %v", item.Value, err)
	}
	eventually(t, 10*time.Second, "what is left", func() error {
		if got := s.NumClients(); got != 0 {
			return fmt.Errorf("%d connections", got)
		}
		if got := runtime.NumGoroutine(); got > before+5 { // of the server
			return fmt.Errorf("%d goroutines, %d before", got, before)
		}
		return nil
	})
}

// TestNoSecrets: what is printed of a store in an error has none. Its URL is the test's own.
func TestNoSecrets(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"nats://user:secret@", "nats://a:secret", "nats://[secret", "secret://a", "nats://a/secret", "nats://%zz:secret@a"} {
		_, err := checkURLs(text)
		if err == nil {
			t.Errorf("%s: got no error", text)
			continue
		}
		if u, _ := url.Parse(text); (u == nil || u.User != nil) && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
