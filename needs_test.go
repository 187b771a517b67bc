package gojinn

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/gojinn/gojinn/engine"
)

func TestNeeds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		refused []string // kind what how
		granted []string
		lines   []string
		remark  string // in one of them; "": there are none
	}{
		{"nothing", nil, nil, nil, ""},
		{"file", []string{"path /templates/a.html ro"}, nil, []string{"dir /CHANGE-ME/templates /templates"}, ""},
		{"change", []string{"path /data/x rw"}, nil, []string{"dir /CHANGE-ME/data /data rw"}, ""},
		{"directory", []string{"path /data/in/ ro"}, nil, []string{"dir /CHANGE-ME/data/in /data/in"}, ""},
		{"looked at, then used", []string{"path /srv ro", "path /srv/data ro", "path /srv/data/x ro"}, nil, []string{"dir /CHANGE-ME/srv/data /srv/data"}, ""},
		{"looked at, then made", []string{"path /srv/a/b ro", "path /srv rw"}, nil, []string{"dir /CHANGE-ME/srv /srv rw"}, ""},
		{"only looked at", []string{"path /srv ro"}, nil, []string{"dir /CHANGE-ME/srv /srv"}, ""},
		{"at the root", []string{"path /config.json ro"}, nil, []string{"dir /CHANGE-ME /"}, ""},
		{"below another", []string{"path /a/b/x ro", "path /a/x ro"}, nil, []string{"dir /CHANGE-ME/a /a"}, ""},
		{"changed below another", []string{"path /a/b/x rw", "path /a/x ro"}, nil, []string{"dir /CHANGE-ME/a /a", "dir /CHANGE-ME/a/b /a/b rw"}, ""},
		{"read below what is changed", []string{"path /a/b/x ro", "path /a/x rw"}, nil, []string{"dir /CHANGE-ME/a /a rw"}, ""},
		{"two beside each other", []string{"path /a/b/x ro", "path /a/c/x ro"}, nil, []string{"dir /CHANGE-ME/a/b /a/b", "dir /CHANGE-ME/a/c /a/c"}, ""},
		{"many beside each other", []string{"path /a/b/x ro", "path /a/c/x ro", "path /a/d/x rw"}, nil, []string{"dir /CHANGE-ME/a /a rw"}, ""},
		{"many at the root", []string{"path /b/x ro", "path /c/x ro", "path /d/x ro"}, nil,
			[]string{"dir /CHANGE-ME/b /b", "dir /CHANGE-ME/c /c", "dir /CHANGE-ME/d /d"}, ""},
		{"tmp", []string{"path /tmp/a/b rw", "path /tmp/x ro", "path /var/tmp rw"}, nil, []string{"tmp /tmp", "tmp /var/tmp"}, ""},
		{"probes", []string{"path /etc/localtime ro", "path /usr/share/zoneinfo/ ro"}, nil, nil, ""},
		{"no probe", []string{"path /etc/x rw"}, nil, []string{"dir /CHANGE-ME/etc /etc rw"}, ""},
		{"devices", []string{"path /dev/tty ro"}, nil, nil, "no line can allow this: /dev/tty"},
		{"changed in what is granted", []string{"path /data/a/x rw"}, []string{"dir /srv/data /data/"}, []string{"dir /srv/data /data rw"}, "takes the place"},
		{"space in a name", []string{"path /my files/x ro"}, nil, []string{`dir "/CHANGE-ME/my files" "/my files"`}, ""},
		{"placeholder", []string{"path /{env.SECRET}/x ro", "path /a{$SECRET}/x ro"}, nil, nil, "no line can allow this: /{env.SECRET}"},
		{"end of a line", []string{"path /a\nallow_dir_/_/\n/x ro"}, nil, nil, "no line can allow this"},
		{"quotes", []string{`path /"/x ro`, "path /`/x ro", `path /\/x ro`, "path /#a/x ro"}, nil, nil, "no line can allow this"},
		{"cut", []string{"path /" + strings.Repeat("x", 300) + "…/x ro"}, nil, nil, "no line can allow this"},
		{"too long", []string{"path /" + strings.Repeat("x", 300) + "/x ro"}, nil, nil, "no line can allow this"},
		{"http", []string{"http https://api.example.com:443 GET", "http https://api.example.com POST", "path /net/http rw"}, nil,
			[]string{"http https://api.example.com {\n\tmethods GET POST\n}"}, ""},
		{"http, alike", []string{"http http://a.example:80 GET", "http https://b.example:8443 GET"}, nil,
			[]string{"http http://a.example https://b.example:8443 {\n\tmethods GET\n}"}, ""},
		{"http, apart", []string{"http http://a.example GET", "http http://b.example PUT"}, nil,
			[]string{"http http://a.example {\n\tmethods GET\n}", "http http://b.example {\n\tmethods PUT\n}"}, ""},
		{"http, granted", []string{"http http://a.example GET"}, []string{"http http://A.example:80"},
			[]string{"http http://a.example {\n\tmethods GET\n}"}, "listed as private"},
		{"http, no more known", []string{"path /net/http rw"}, nil, nil, "allow http <origin>"},
		{"http, odd", []string{"http https://{env.X} GET"}, nil, nil, "no line can allow this: https://{env.X}"},
		{"tcp and tls", []string{"path /net/tcp/db:5432 rw", "tcp db:5432", "path /net/tls/[2001:db8::1]:443 rw", "tls mail.example:465"}, nil,
			[]string{"tcp db:5432", "tls [2001:db8::1]:443", "tls mail.example:465"}, ""},
		{"private", []string{"tcp db:5432 private 10.0.0.7"}, nil, []string{"tcp db:5432 {\n\tprivate 10.0.0.7\n}"}, ""},
		{"net, odd", []string{"path /net/tcp/db ro", "path /net/udp/x:1 ro", "path /net ro", "path /net/tcp ro"}, nil, nil, "no line can allow this: /net/tcp/db"},
		{"something else", []string{"teleport mars now"}, nil, nil, "no line can allow this: teleport mars now"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var refused []engine.Refusal
			for _, text := range test.refused {
				kind, rest, _ := strings.Cut(text, " ")
				what, how := rest, ""
				if kind == "path" {
					at := strings.LastIndexByte(rest, ' ')
					what, how = rest[:at], rest[at+1:]
				} else if at := strings.IndexByte(rest, ' '); at >= 0 {
					what, how = rest[:at], rest[at+1:]
				}
				refused = append(refused, engine.Refusal{Kind: kind, What: what, How: how})
			}
			var granted []json.RawMessage
			for _, line := range test.granted {
				raw, err := parseAllowLine(line)
				if err != nil {
					t.Fatal(err)
				}
				granted = append(granted, raw)
			}
			lines, remarks := needsOf(refused, granted).lines(granted)
			if !slices.Equal(lines, test.lines) {
				t.Errorf("got %q, want %q", lines, test.lines)
			}
			if all := strings.Join(remarks, "\n"); !strings.Contains(all, test.remark) || test.remark == "" && all != "" {
				t.Errorf("got remarks %q, want %q", remarks, test.remark)
			}
		})
	}
}

// adapts tells whether lines can stand in a gojinn block of a Caddyfile.
func adapts(lines string) error {
	text := "http://localhost:1 {\n\tgojinn x.wasm {\n" + lines + "\n\t}\n}\n"
	_, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": "Caddyfile"})
	return err
}

// FuzzNeeds: whatever a guest asks for, what is printed can be pasted, and brings
// nothing else with it.
func FuzzNeeds(f *testing.F) {
	for _, s := range []string{"/a/b", "/{$HOME}/x", "/a\nb/x", "/a\"b", "/`", "/a\\b/c", "/tmp", "/net/tcp/a:1", "/kv/a/b", "/net/http", "https://x.example:443", "/a b/c", "/}/x", "/a;b/x", "/<<E/x"} {
		for _, kind := range []string{"path", "http", "tcp", "kv"} {
			f.Add(kind, s, "rw", "ro")
			f.Add(kind, s, "private 10.0.0.1", "GET")
		}
	}
	f.Fuzz(func(t *testing.T, kind, what, how, how2 string) {
		n := needsOf([]engine.Refusal{{Kind: kind, What: what, How: how}, {Kind: kind, What: what + "/x", How: how2}}, nil)
		lines, remarks := n.lines(nil)
		var text strings.Builder
		for _, line := range lines {
			text.WriteString("allow " + line + "\n")
		}
		for _, r := range remarks {
			text.WriteString(remark(r) + "\n")
		}
		if err := adapts(text.String()); err != nil {
			t.Errorf("%v:\n%s", err, text.String())
		}
		if strings.Contains(text.String(), "{$") || strings.Contains(strings.Join(lines, ""), "{env") {
			t.Errorf("a placeholder:\n%s", text.String())
		}
	})
}
