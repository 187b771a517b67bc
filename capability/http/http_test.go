package http

import (
	"context"
	"encoding/json"
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
		{"one", "http https://api.example.com", `{"origins":["https://api.example.com"]}`},
		{"several", "http https://a.example http://[::1]:8080 https://*.b.example:444", `{"origins":["https://a.example","http://[::1]:8080","https://*.b.example:444"]}`},
		{"placeholder", "http {env.ORIGIN}", `{"origins":["{env.ORIGIN}"]}`},
		{"all options", "http https://a.example {\n methods GET POST\n timeout 3s\n max_response 1MiB\n follow 3\n private 10.0.0.0/8 ::1\n}",
			`{"origins":["https://a.example"],"methods":["GET","POST"],"timeout":"3s","max_response":"1MiB","follow":3,"private":["10.0.0.0/8","::1"]}`},
		{"off", "http https://a.example {\n timeout off\n max_response off\n}", `{"origins":["https://a.example"],"timeout":"off","max_response":"off"}`},
		{"nothing", "http", "!usage: allow http <origin> …"},
		{"no scheme", "http api.example.com", "!begins neither with https:// nor with http://"},
		{"other scheme", "http ftp://api.example.com", "!begins neither with https:// nor with http://"},
		{"path", "http https://a.example/", "!more than scheme, host and port"},
		{"query", "http https://a.example?x", "!more than scheme, host and port"},
		{"user", "http https://u:p@a.example", "!no port"},
		{"any host", "http https://*", "!holds '*'"},
		{"star inside", "http https://a.*.example", "!holds '*'"},
		{"star as a part", "http https://a*.example", "!holds '*'"},
		{"below an address", "http https://*.127.0.0.1", "!nothing below an address"},
		{"below a part of an address", "http https://*.0.0.1", "!no address"},
		{"trailing dot", "http https://a.example.", "!trailing dot"},
		{"octal", "http https://0177.0.0.1", "!no address"},
		{"any port", "http https://a.example:*", "!no port"},
		{"IPv6 without brackets", "http https://::1", "!brackets"},
		{"unknown option", "http https://a.example {\n proxy x\n}", `!"proxy" is not an option; allowed are methods, timeout`},
		{"option twice", "http https://a.example {\n follow 1\n follow 2\n}", "!follow is given twice"},
		{"no value", "http https://a.example {\n methods\n}", "!methods: no value"},
		{"two values", "http https://a.example {\n timeout 1s 2s\n}", "!timeout: too many values"},
		{"block in an option", "http https://a.example {\n methods GET {\n x\n}\n}", "!methods takes no options"},
		{"no time", "http https://a.example {\n timeout 0s\n}", "!timeout"},
		{"bad time", "http https://a.example {\n timeout soon\n}", `!"soon" is not a duration`},
		{"bad size", "http https://a.example {\n max_response big\n}", `!"big" is not a size`},
		{"too many redirects", "http https://a.example {\n follow 21\n}", "!follow: 21 is not from 0 to 20"},
		{"negative redirects", "http https://a.example {\n follow -1\n}", "!follow: -1 is not from 0 to 20"},
		{"redirects that are no number", "http https://a.example {\n follow all\n}", `!"all" is not a whole number`},
		{"CONNECT", "http https://a.example {\n methods CONNECT\n}", "!CONNECT"},
		{"lower-case method", "http https://a.example {\n methods get\n}", "!get is not GET"},
		{"bad method", "http https://a.example {\n methods G,T\n}", "!is no method"},
		{"metadata", "http https://a.example {\n private 169.254.169.254\n}", "!link-local"},
		{"bad prefix", "http https://a.example {\n private 10.0.0.1/8\n}", "!write 10.0.0.0/8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c HTTP
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
			var back HTTP
			if err := json.Unmarshal(got, &back); err != nil {
				t.Errorf("reading it again: %v", err)
			}
		})
	}
}

func TestProvision(t *testing.T) {
	t.Setenv("GOJINN_TEST_ORIGIN", "https://api.example.com")
	t.Setenv("GOJINN_TEST_NET", "10.0.0.0/8")
	for _, test := range []struct {
		name string
		http HTTP
		want string // what the error says; "": none
	}{
		{"placeholders", HTTP{Origins: []string{"{env.GOJINN_TEST_ORIGIN}"}, Private: []string{"{env.GOJINN_TEST_NET}"}}, ""},
		{"no methods", HTTP{Origins: []string{"https://api.example.com"}, Methods: []string{}}, ""},
		{"nothing", HTTP{}, "no origin"},
		{"empty placeholder", HTTP{Origins: []string{"{env.GOJINN_TEST_UNSET}"}}, "GOJINN_TEST_UNSET"},
		{"placeholder of a request", HTTP{Origins: []string{"https://{http.request.host}"}}, "http.request.host"},
		{"empty private address", HTTP{Origins: []string{"https://a.example"}, Private: []string{"{env.GOJINN_TEST_UNSET}"}}, "GOJINN_TEST_UNSET"},
		{"bad origin", HTTP{Origins: []string{"a.example"}}, "begins neither"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.http.Provision(caddy.Context{Context: context.Background()})
			defer test.http.Cleanup()
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if at := (origin{"https", "api.example.com", false, 443}); !test.http.rule.allows(at, "PATCH") {
				t.Errorf("%s is not allowed", at)
			}
		})
	}
}

// TestGrant: several lines make one file, and leave each other as they are.
func TestGrant(t *testing.T) {
	t.Parallel()
	one, two := provisioned(t, HTTP{Origins: []string{"https://one.example"}}), provisioned(t, HTTP{Origins: []string{"https://two.example"}})
	var both, alone engine.Grants
	for _, err := range []error{one.Grant(&both), two.Grant(&both), one.Grant(&alone)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := len(mounted(t, &both).rules); got != 2 {
		t.Errorf("got %d rules, want 2", got)
	}
	if got := len(mounted(t, &alone).rules); got != 1 {
		t.Errorf("got %d rules, want 1", got)
	}
	var taken engine.Grants
	if err := taken.Mount(Path, vfs.Null); err != nil {
		t.Fatal(err)
	}
	if err := one.Grant(&taken); err == nil {
		t.Error("the path is taken: got no error")
	}
}

// mounted finds the mount of grants.
func mounted(t *testing.T, g *engine.Grants) (found *mount) {
	t.Helper()
	if err := g.Share(Path, func(have vfs.FS) (vfs.FS, error) { found = have.(*mount); return have, nil }); err != nil {
		t.Fatal(err)
	}
	return found
}

func provisioned(t testing.TB, c HTTP) *HTTP {
	t.Helper()
	if err := c.Provision(caddy.Context{Context: context.Background()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Cleanup() })
	return &c
}

func TestOrigins(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		allowed, url string
		want         bool
	}{
		{"https://a.example", "https://a.example", true},
		{"https://a.example", "https://A.EXAMPLE:443/x?y#z", true},
		{"https://a.example:443", "https://a.example", true},
		{"HTTPS://A.example", "https://a.example", true},
		{"https://a.example", "http://a.example", false},
		{"https://a.example", "https://a.example:444", false},
		{"https://a.example", "http://a.example:443", false},
		{"https://a.example", "https://b.a.example", false},
		{"https://a.example", "https://a.example.b", false},
		{"https://*.a.example", "https://b.a.example", true},
		{"https://*.a.example", "https://c.b.a.example", true},
		{"https://*.a.example", "https://a.example", false},
		{"https://*.a.example", "https://ba.example", false},
		{"https://*.a.example", "https://a.example.b.a.example:444", false},
		{"http://[::1]", "http://[0:0::1]:80/", true},
		{"http://127.0.0.1", "http://127.0.0.1", true},
		{"http://127.0.0.1", "http://[::ffff:127.0.0.1]", false},
	} {
		t.Run(test.allowed+" "+test.url, func(t *testing.T) {
			t.Parallel()
			o, err := parseOrigin(test.allowed)
			if err != nil {
				t.Fatal(err)
			}
			_, at, err := parseURL(test.url)
			if got := err == nil && o.matches(at); got != test.want {
				t.Errorf("got %v (%v), want %v", got, err, test.want)
			}
		})
	}
}
