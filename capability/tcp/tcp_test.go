package tcp

import (
	"context"
	"encoding/json"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
)

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       string // JSON, or what the error says after "!"
	}{
		{"one", "tcp db.example.com:5432", `{"addresses":["db.example.com:5432"]}`},
		{"several", "tcp a:1 192.0.2.1:2 [2001:db8::1]:3", `{"addresses":["a:1","192.0.2.1:2","[2001:db8::1]:3"]}`},
		{"private", "tcp db:1 {\n private 10.0.0.0/8 fd00::1\n}", `{"addresses":["db:1"],"private":["10.0.0.0/8","fd00::1"]}`},
		{"placeholders", "tcp {env.DB} {\n private {env.NET}\n}", `{"addresses":["{env.DB}"],"private":["{env.NET}"]}`},
		{"nothing", "tcp", "!no address; usage: allow tcp <host:port> …"},
		{"no port", "tcp db.example.com", "!has no port"},
		{"port 0", "tcp db:0", "!is no port"},
		{"a range of ports", "tcp db:1-9", "!is no port"},
		{"a port's name", "tcp db:postgresql", "!is no port"},
		{"a URL", "tcp tcp://db:1", "!"},
		{"a wildcard", "tcp *.example.com:1", `!holds '*'`},
		{"IPv6 without brackets", "tcp ::1:1", "!has to be in brackets"},
		{"octal", "tcp 010.0.0.1:1", "!is no address"},
		{"mapped", "tcp [::ffff:10.0.0.1]:1", "!write 10.0.0.1"},
		{"twice", "tcp db:1 DB:1", "!tcp db:1 is granted twice"},
		{"too long", "tcp " + strings.Repeat("x.", 125) + "xx:65535", "!longer than the name of a file"},
		{"no private address", "tcp db:1 {\n private\n}", "!private: no address"},
		{"private twice", "tcp db:1 {\n private ::1\n private ::1\n}", "!private is there twice"},
		{"bad private", "tcp db:1 {\n private localhost\n}", `!private: "localhost" is neither`},
		{"link-local", "tcp db:1 {\n private 169.254.169.254\n}", "!can't be allowed"},
		{"unknown option", "tcp db:1 {\n timeout 1s\n}", `!unknown option "timeout"; there is: private`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c TCP
			err := c.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.text))
			if want, ok := strings.CutPrefix(test.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
					t.Errorf("got %v, want %q with file and line", err, want)
				}
				return
			}
			got, errJSON := json.Marshal(&c)
			if err != nil || errJSON != nil || string(got) != test.want {
				t.Errorf("got %s, %v, %v, want %s", got, err, errJSON, test.want)
			}
		})
	}
}

func TestGrant(t *testing.T) {
	t.Setenv("GOJINN_TEST_DB", "DB.example:5432")
	t.Setenv("GOJINN_TEST_NET", "10.0.0.0/8")
	for _, test := range []struct {
		name  string
		lines []TCP
		want  string // the names in /net/tcp, or what the error says after "!"
	}{
		{"lines", []TCP{{Addresses: []string{"b:1", "a:1"}}, {Addresses: []string{"c:1"}}}, "a:1 b:1 c:1"},
		{"placeholders", []TCP{{Addresses: []string{"{env.GOJINN_TEST_DB}"}, Private: []string{"{env.GOJINN_TEST_NET}"}}}, "db.example:5432"},
		{"empty placeholder", []TCP{{Addresses: []string{"{env.GOJINN_TEST_UNSET}"}}}, "!GOJINN_TEST_UNSET"},
		{"placeholder of a request", []TCP{{Addresses: []string{"{http.request.host}:1"}}}, "!http.request.host"},
		{"bad by its placeholder", []TCP{{Addresses: []string{"{env.GOJINN_TEST_DB}1111"}}}, "!is no port"},
		{"bad private address", []TCP{{Addresses: []string{"a:1"}, Private: []string{"0.0.0.0/x"}}}, "!private"},
		{"nothing", []TCP{{}}, "!no address"},
		{"twice", []TCP{{Addresses: []string{"a:1"}}, {Addresses: []string{"b:1", "A:1"}}}, "!tcp a:1 is granted twice"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var grants engine.Grants
			var err error
			for _, line := range test.lines {
				if err = line.Provision(caddyContext(t)); err == nil {
					err = line.Grant(&grants)
				}
				if err != nil {
					break
				}
			}
			if want, ok := strings.CutPrefix(test.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(names(t, root(t, &grants)), " "); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// TestConnections: each line has its own private addresses.
func TestConnections(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	var grants engine.Grants
	for _, line := range []TCP{
		{Addresses: []string{"127.0.0.1:" + port}, Private: []string{"127.0.0.1"}},
		{Addresses: []string{"127.0.0.2:" + port, "localhost:" + port}},
	} {
		if err := line.Provision(caddyContext(t)); err != nil {
			t.Fatal(err)
		}
		if err := line.Grant(&grants); err != nil {
			t.Fatal(err)
		}
	}
	dir := root(t, &grants)
	for name, want := range map[string]vfs.Errno{"127.0.0.1": vfs.Success, "127.0.0.2": vfs.EACCES, "localhost": vfs.EACCES, "127.0.0.3": vfs.ENOENT} {
		f, err := dir.Open(t.Context(), name+":"+port, vfs.Read|vfs.Write)
		if vfs.ErrnoOf(err) != want {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
		if err == nil {
			f.Close(t.Context())
		}
	}
}

func caddyContext(t *testing.T) caddy.Context {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return ctx
}

// root opens /net/tcp.
func root(t *testing.T, g *engine.Grants) vfs.Directory {
	t.Helper()
	var dir vfs.Directory
	err := g.Share("/net/tcp", func(have vfs.FS) (vfs.FS, error) {
		var err error
		dir, err = have.Root(t.Context())
		return have, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func names(t *testing.T, dir vfs.Directory) (names []string) {
	t.Helper()
	list, err := dir.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	entries := make([]vfs.Entry, 10)
	n, err := list.Next(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries[:n] {
		names = append(names, e.Name)
	}
	slices.Sort(names)
	return names
}

func TestModule(t *testing.T) {
	t.Parallel()
	info, err := caddy.GetModule("gojinn.capabilities.tcp")
	if err != nil {
		t.Fatal(err)
	}
	if info.New() == info.New() {
		t.Error("got the same module twice")
	}
}
