package tls

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/engine/vfs"
	"github.com/gojinn/gojinn/internal/sockets"
)

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       string // JSON, or what the error says after "!"
	}{
		{"one", "tls mail.example.com:465", `{"addresses":["mail.example.com:465"]}`},
		{"all options", "tls db:1 [::1]:2 {\n starttls postgres\n private 10.0.0.0/8 ::1\n ca /etc/ca.pem\n server_name db.internal\n}",
			`{"addresses":["db:1","[::1]:2"],"starttls":"postgres","private":["10.0.0.0/8","::1"],"ca":"/etc/ca.pem","server_name":"db.internal"}`},
		{"mysql", "tls db:1 {\n starttls mysql\n}", `{"addresses":["db:1"],"starttls":"mysql"}`},
		{"placeholders", "tls {env.DB} {\n ca {env.CA}\n server_name {env.NAME}\n}", `{"addresses":["{env.DB}"],"ca":"{env.CA}","server_name":"{env.NAME}"}`},
		{"nothing", "tls", "!no address; usage: allow tls <host:port> …"},
		{"no port", "tls db.example.com", "!has no port"},
		{"a wildcard", "tls *.example.com:1", `!holds '*'`},
		{"twice", "tls db:1 DB:1", "!tls db:1 is granted twice"},
		{"unknown starttls", "tls db:1 {\n starttls smtp\n}", `!starttls: "smtp" is neither postgres nor mysql`},
		{"no starttls", "tls db:1 {\n starttls\n}", "!starttls takes one value"},
		{"two starttls", "tls db:1 {\n starttls postgres mysql\n}", "!starttls takes one value"},
		{"empty ca", "tls db:1 {\n ca \"\"\n}", "!ca takes one value"},
		{"option twice", "tls db:1 {\n ca a\n ca b\n}", "!ca is there twice"},
		{"bad server name", "tls db:1 {\n server_name a_*\n}", "!server_name: "},
		{"bad private", "tls db:1 {\n private 10.0.0.1/8\n}", "!private: 10.0.0.1/8 has bits behind its prefix"},
		{"no private", "tls db:1 {\n private\n}", "!private: no address"},
		{"no way to skip verification", "tls db:1 {\n insecure_skip_verify\n}", `!unknown option "insecure_skip_verify"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c TLS
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

func caddyContext(t *testing.T) caddy.Context {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return ctx
}

// open opens a name below /net/tls.
func open(t *testing.T, c *TLS, name string) error {
	t.Helper()
	if err := c.Provision(caddyContext(t)); err != nil {
		t.Fatal(err)
	}
	var grants engine.Grants
	if err := c.Grant(&grants); err != nil {
		t.Fatal(err)
	}
	var opened error
	err := grants.Share("/net/tls", func(have vfs.FS) (vfs.FS, error) {
		dir, err := have.Root(t.Context())
		if err != nil {
			return nil, err
		}
		f, err := dir.Open(t.Context(), name, vfs.Read|vfs.Write)
		if opened = err; err == nil {
			f.Close(t.Context())
		}
		return have, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}

// TestVerification: what is trusted, and as whom.
func TestVerification(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.StartTLS()
	defer server.Close()
	address := server.Listener.Addr().String() // its certificate is for 127.0.0.1 and example.com
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOJINN_TEST_CA", ca)
	t.Setenv("GOJINN_TEST_NAME", "example.com")
	loopback := []string{"127.0.0.0/8"}
	for _, test := range []struct {
		name string
		tls  TLS
		want vfs.Errno
	}{
		{"by its authority", TLS{Private: loopback, CA: ca}, vfs.Success},
		{"placeholders", TLS{Private: loopback, CA: "{env.GOJINN_TEST_CA}", ServerName: "{env.GOJINN_TEST_NAME}"}, vfs.Success},
		{"another name", TLS{Private: loopback, CA: ca, ServerName: "example.com"}, vfs.Success},
		{"a name it hasn't", TLS{Private: loopback, CA: ca, ServerName: "example.org"}, vfs.EPROTO},
		{"unknown to the system", TLS{Private: loopback}, vfs.EPROTO},
		{"not allowed", TLS{CA: ca}, vfs.EACCES},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.tls.Addresses = []string{address}
			if err := open(t, &test.tls, address); vfs.ErrnoOf(err) != test.want {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestProvision(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		tls  TLS
		want string
	}{
		{"no such ca", TLS{Addresses: []string{"a:1"}, CA: filepath.Join(dir, "none.pem")}, "ca: "},
		{"empty ca", TLS{Addresses: []string{"a:1"}, CA: empty}, "holds no certificate in PEM"},
		{"no address", TLS{}, "no address"},
		{"starttls", TLS{Addresses: []string{"a:1"}, StartTLS: "imap"}, `"imap" is neither`},
		{"empty placeholder", TLS{Addresses: []string{"a:1"}, CA: "{env.GOJINN_TEST_UNSET}"}, "GOJINN_TEST_UNSET"},
		{"server name", TLS{Addresses: []string{"a:1"}, ServerName: "a..b"}, "server_name: "},
	} {
		if err := test.tls.Provision(caddyContext(t)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
	good := TLS{Addresses: []string{"Db:1", "192.0.2.1:2"}, StartTLS: "mysql"}
	if err := good.Provision(caddyContext(t)); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"db", "192.0.2.1"} {
		e := good.endpoints[i]
		if e.TLS.ServerName != name || e.TLS.InsecureSkipVerify || e.StartTLS != sockets.MySQL || e.Report == nil {
			t.Errorf("%s: got %+v", name, e)
		}
	}
}

func TestModule(t *testing.T) {
	t.Parallel()
	info, err := caddy.GetModule("gojinn.capabilities.tls")
	if err != nil {
		t.Fatal(err)
	}
	if info.New() == info.New() {
		t.Error("got the same module twice")
	}
}
