package nats

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       string // JSON, or what the error says after "!"
	}{
		{"one server", "nats nats://a:4222", `{"urls":["nats://a:4222"]}`},
		{"several", "nats nats://a:4222,b nats://c", `{"urls":["nats://a:4222","b","nats://c"]}`},
		{"all", `nats tls://a {
			user gojinn secret
			tls {
				ca /etc/ca.pem
				cert /etc/cert.pem
				key /etc/key.pem
			}
			replicas 3
			prefix my-app
			timeout 2s
		}`, `{"urls":["tls://a"],"user":"gojinn","password":"secret","tls":{"ca":"/etc/ca.pem","cert":"/etc/cert.pem","key":"/etc/key.pem"},"replicas":3,"prefix":"my-app","timeout":2000000000}`},
		{"creds", "nats a {\n creds /etc/nats.creds\n}", `{"urls":["a"],"creds":"/etc/nats.creds"}`},
		{"token", "nats a {\n token {env.TOKEN}\n}", `{"urls":["a"],"token":"{env.TOKEN}"}`},
		{"nkey", "nats a {\n nkey /etc/seed\n}", `{"urls":["a"],"nkey":"/etc/seed"}`},
		{"the system's authorities", "nats a {\n tls\n}", `{"urls":["a"],"tls":{}}`},
		{"placeholder", "nats {env.NATS_URL}", `{"urls":["{env.NATS_URL}"]}`},
		{"nothing", "nats", "!no server's URL"},
		{"two ways", "nats a {\n token x\n creds y\n}", "!creds and token: only one"},
		{"no password", "nats a {\n user x\n}", "!user takes a name and a password"},
		{"password in the URL", "nats nats://user:secret@a", "!user and password don't belong into the URL"},
		{"token in the URL", "nats nats://secret@a", "!don't belong into the URL"},
		{"other scheme", "nats http://a", `!"http" is neither nats nor tls`},
		{"path", "nats nats://a/b", "!not of the form"},
		{"no host", "nats nats://:4222", "!not of the form"},
		{"replicas", "nats a {\n replicas 6\n}", `!"6" is not a number from 1 to 5`},
		{"no replicas", "nats a {\n replicas 0\n}", `!"0" is not a number from 1 to 5`},
		{"replicas twice", "nats a {\n replicas 1\n replicas 3\n}", "!replicas is given twice"},
		{"short timeout", "nats a {\n timeout 1ms\n}", "!1ms is not 100ms to 30s"},
		{"long timeout", "nats a {\n timeout 1m\n}", "!1m0s is not 100ms to 30s"},
		{"bad prefix", "nats a {\n prefix a.b\n}", "!something else than letters"},
		{"long prefix", "nats a {\n prefix " + strings.Repeat("p", 33) + "\n}", "!33 bytes are not 1 to 32"},
		{"cert without key", "nats a {\n tls {\n cert x\n }\n}", "!cert and key need each other"},
		{"unknown", "nats a {\n color red\n}", `!unknown option "color"`},
		{"unknown of tls", "nats a {\n tls {\n insecure\n }\n}", `!tls: unknown option "insecure"`},
		{"tls with arguments", "nats a {\n tls ca.pem\n}", "!tls takes a block"},
		{"token twice", "nats a {\n token x\n token y\n}", "!token is given twice"},
		{"token of two", "nats a {\n token x y\n}", "!token takes one value"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var n Nats
			err := n.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.text))
			if want, ok := strings.CutPrefix(test.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") || strings.Contains(err.Error(), "secret") {
					t.Errorf("got %v, want %q with file and line", err, want)
				}
				return
			}
			got, errJSON := json.Marshal(&n)
			if err != nil || errJSON != nil || string(got) != test.want {
				t.Errorf("got %s, %v, %v, want %s", got, err, errJSON, test.want)
			}
		})
	}
}

func TestProvision(t *testing.T) {
	seed := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(seed, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOJINN_TEST_NATS", "nats://a:1,nats://b:2")
	t.Setenv("GOJINN_TEST_SECRET", "nats://user:secret@a")
	for _, test := range []struct {
		name string
		nats Nats
		want string // the servers, or what the error says after "!"
	}{
		{"placeholder", Nats{URLs: []string{"{env.GOJINN_TEST_NATS}"}}, "nats://a:1,nats://b:2"},
		{"no scheme", Nats{URLs: []string{"a:1", " b "}}, "nats://a:1,nats://b"},
		{"address", Nats{URLs: []string{"tls://[::1]:1"}}, "tls://[::1]:1"},
		{"unknown placeholder", Nats{URLs: []string{"{env.GOJINN_TEST_UNSET}"}}, "!GOJINN_TEST_UNSET"},
		{"secret", Nats{URLs: []string{"{env.GOJINN_TEST_SECRET}"}}, "!don't belong into the URL"},
		{"empty token", Nats{URLs: []string{"a"}, Token: "{env.GOJINN_TEST_UNSET}"}, "!token: "},
		{"no URL", Nats{}, "!no server's URL"},
		{"prefix", Nats{URLs: []string{"a"}, Prefix: "a_b"}, "!something else"},
		{"replicas", Nats{URLs: []string{"a"}, Replicas: -1}, "!-1 is not 1 to 5"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.nats.Provision(caddy.Context{})
			if want, ok := strings.CutPrefix(test.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
					t.Errorf("got %v, want %q", err, want)
				}
			} else if err != nil || test.nats.key.urls != test.want {
				t.Errorf("got %s, %v, want %s", test.nats.key.urls, err, test.want)
			}
			if err := test.nats.Cleanup(); err != nil {
				t.Error(err)
			}
		})
	}
	file := Nats{URLs: []string{"a"}, Token: "{file." + seed + "}"}
	if err := file.Provision(caddy.Context{}); err != nil || file.key.token != "from a file" {
		t.Errorf("got %q, %v, want the content of the file", file.key.token, err)
	}
	if err := file.Cleanup(); err != nil {
		t.Error(err)
	}
}

func TestModule(t *testing.T) {
	t.Parallel()
	info, err := caddy.GetModule("gojinn.stores.nats")
	if err != nil {
		t.Fatal(err)
	}
	if info.New() == info.New() {
		t.Error("got the same module twice")
	}
}
