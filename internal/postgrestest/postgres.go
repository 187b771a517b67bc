// Package postgrestest runs PostgreSQL servers for tests.
package postgrestest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gojinn/gojinn/internal/process"
)

// Require is the environment variable that, set to 1, makes a missing PostgreSQL fail a test that
// would be skipped without it. Continuous integration sets it.
const Require = "GOJINN_REQUIRE_POSTGRES"

// A Server is a PostgreSQL that listens on loopback, with TLS, until its test ends.
type Server struct {
	Address        string // host and port; the host is localhost, as its certificate says
	User, Password string // of the database of the same name, over the network
	CA             string // path of the certificate that signs the server's

	run  func(name string, args ...string) *exec.Cmd
	port string
	dir  string
}

// CreateDatabase makes another database.
func (s *Server) CreateDatabase(t testing.TB, name string) {
	t.Helper()
	if out, err := s.run("psql", "-h", s.dir, "-p", s.port, "-U", s.User, "-c", "create database "+name).CombinedOutput(); err != nil {
		t.Fatalf("psql: %v: %s", err, out)
	}
}

// Start makes a database cluster in a temporary folder and runs it. Who is let in is said by lines of
// pg_hba.conf for connections over the network; without any, who comes over the network with the password. Without PostgreSQL the test is
// skipped, or fails when Require says so.
func Start(t testing.TB, letIn ...string) *Server {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		if os.Getenv(Require) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	dir, err := os.MkdirTemp("", "gojinn-postgres-") // the socket's path may not be long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	owner, err := unprivileged(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{User: "postgres", Password: "p4ss word", CA: filepath.Join(dir, "ca.pem")}
	if err := writeCertificates(dir); err != nil {
		t.Fatal(err)
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(s.Password), 0o644); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, name), args...)
		cmd.Dir, cmd.SysProcAttr = dir, owner
		cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return len(v) > 2 && v[:2] == "PG" }), "HOME="+dir)
		return cmd
	}
	initdb := run("initdb", "-D", data, "-U", s.User, "--pwfile", password, "--auth-host=scram-sha-256", "--auth-local=trust", "-N", "-E", "UTF8", "--locale=C")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	if err := ownKey(dir, data, owner); err != nil {
		t.Fatal(err)
	}
	if len(letIn) > 0 {
		// The file is there, and its owner's.
		lines := "local all all trust\n" + strings.Join(letIn, "\n") + "\n"
		if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(lines), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.run, s.dir = run, dir
	address, err := process.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	s.port = port
	s.Address = net.JoinHostPort("localhost", port)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := run("postgres", "-D", data, "-k", dir, "-p", port, "-h", "127.0.0.1",
		"-c", "ssl=on", "-c", "fsync=off", "-c", "shared_buffers=16MB", "-c", "max_connections=100")
	cmd.Stdout, cmd.Stderr = log, log
	p, err := process.Start("PostgreSQL", cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop() })
	err = p.Await(context.Background(), time.Minute, func() bool {
		return run("pg_isready", "-q", "-h", "127.0.0.1", "-p", port).Run() == nil
	})
	if err != nil {
		text, _ := os.ReadFile(log.Name()) // at worst there is none
		t.Fatalf("%v: %s", err, text)
	}
	return s
}

// URL is the server's for clients, with this sslmode.
func (s *Server) URL(sslmode string) string {
	return fmt.Sprintf("postgres://%s:p4ss%%20word@%s/%s?sslmode=%s", s.User, s.Address, s.User, sslmode)
}

// binaries finds the folder with PostgreSQL's programs: in PATH, or where Debian has them, the
// newest first.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb") // the pattern is good
	newest, version := "", -1
	for _, path := range found {
		dir := filepath.Dir(path)
		if n, err := strconv.Atoi(filepath.Base(filepath.Dir(dir))); err == nil && n > version {
			newest, version = dir, n
		}
	}
	if newest == "" {
		return "", fmt.Errorf("PostgreSQL's server is not installed; on Debian: apt-get install postgresql")
	}
	return newest, nil
}

// unprivileged makes dir belong to a user that PostgreSQL consents to run as, which root
// isn't, and returns how to become that user.
func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.Atoi(u.Uid)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.Atoi(u.Gid)
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return nil, err
		}
		return credential(uid, gid), os.Chown(dir, uid, gid)
	}
	return nil, fmt.Errorf("PostgreSQL does not run as root, and there is no other user")
}

// writeCertificates makes a CA and, by it, the server's certificate and key.
func writeCertificates(dir string) error {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "postgrestest"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{{127, 0, 0, 1}},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for name, block := range map[string]*pem.Block{
		"ca.pem":     {Type: "CERTIFICATE", Bytes: caDER},
		"server.crt": {Type: "CERTIFICATE", Bytes: leafDER},
		"server.key": {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// ownKey moves the server's certificate and key to its data, where nobody else may read them.
func ownKey(dir, data string, owner *syscall.SysProcAttr) error {
	for _, name := range []string{"server.crt", "server.key"} {
		to := filepath.Join(data, name)
		if err := os.Rename(filepath.Join(dir, name), to); err != nil {
			return err
		}
		if err := os.Chmod(to, 0o600); err != nil {
			return err
		}
		if uid, gid, ok := ids(owner); ok {
			if err := os.Chown(to, uid, gid); err != nil {
				return err
			}
		}
	}
	return nil
}
