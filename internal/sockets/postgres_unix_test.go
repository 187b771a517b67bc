//go:build unix

package sockets

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/gojinn/gojinn/engine/vfs"
)

// TestPostgres speaks with a real server, as a driver with sslmode=disable does.
func TestPostgres(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	port := startPostgresServer(t, ca)
	e := secure(t, &Endpoint{Host: "127.0.0.1", Port: port, Dial: loopback.Dial}, &tls.Config{RootCAs: ca.roots()}, Postgres)
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

// startPostgresServer starts a PostgreSQL server that lets in whoever comes over TLS, and nobody
// else. Without PostgreSQL the test is skipped.
func startPostgresServer(t *testing.T, ca *authority) (port uint16) {
	t.Helper()
	initdb := findPostgres(t, "initdb")
	server := findPostgres(t, "postgres")
	as := asPostgres(t)
	// Not in the test's own folder: the server's user may not get there.
	dir, err := os.MkdirTemp("", "gojinn-postgres-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	own := func(path string) {
		if as != nil {
			if err := os.Chown(path, int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
				t.Fatal(err)
			}
		}
	}
	own(dir)
	run := func(path string, args ...string) *exec.Cmd {
		cmd := exec.Command(path, args...)
		cmd.Dir, cmd.SysProcAttr = dir, as
		return cmd
	}
	data := filepath.Join(dir, "data")
	if out, err := run(initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C").CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	cert, key := files(t, ca.issue(t, "127.0.0.1", time.Now().Add(time.Hour)))
	for name, content := range map[string][]byte{
		"server.crt": cert, "server.key": key, "pg_hba.conf": []byte("hostssl all all 127.0.0.1/32 trust\n"),
	} {
		path := filepath.Join(data, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		own(path)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port = uint16(l.Addr().(*net.TCPAddr).Port)
	l.Close()
	var log bytes.Buffer
	cmd := run(server, "-D", data, "-p", strconv.Itoa(int(port)), "-h", "127.0.0.1", "-k", dir, "-c", "ssl=on", "-c", "fsync=off")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGQUIT)
		<-ended
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			conn.Close()
			return port
		}
		select {
		case <-ended:
			t.Fatalf("the server ended: %s", &log)
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("the server isn't there after a minute")
		}
	}
}

// findPostgres finds a program of PostgreSQL, which Debian keeps out of PATH.
func findPostgres(t *testing.T, name string) string {
	t.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return found[len(found)-1]
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("PostgreSQL isn't installed: %v", err)
	}
	return path
}

// asPostgres is how to run the server, which refuses to be root: nil, as who runs the test.
func asPostgres(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	if err != nil {
		t.Skipf("PostgreSQL can't run as root, and there is no user for it: %v", err)
	}
	uid, errUID := strconv.ParseUint(account.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(account.Gid, 10, 32)
	if errUID != nil || errGID != nil {
		t.Skipf("the user postgres has no numbers: %v, %v", errUID, errGID)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}
