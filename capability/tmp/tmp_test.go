package tmp

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
	"github.com/gojinn/gojinn/internal/units"
)

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       string // JSON, or what the error says after "!"
	}{
		{"path", "tmp /tmp", `{"path":"/tmp"}`},
		{"size", "tmp /var/tmp/ 1MiB", `{"path":"/var/tmp/","size":"1MiB"}`},
		{"at the root", "tmp / 65536", `{"path":"/","size":"64KiB"}`},
		{"nothing", "tmp", "!usage: allow tmp <guest path> [<size>]"},
		{"too much", "tmp /tmp 1MiB rw", "!usage: allow tmp <guest path> [<size>]"},
		{"relative", "tmp tmp", "!absolute path"},
		{"dots", "tmp /tmp/..", `!".."`},
		{"a device", "tmp /dev/null", "!already"},
		{"no size", "tmp /tmp big", `!"big" is not a size`},
		{"no limit", "tmp /tmp off", "!the size off is less than 64KiB"},
		{"small", "tmp /tmp 65535", "!the size 65535 is less than 64KiB"},
		{"block", "tmp /tmp {\n size 1MiB\n}", `!allow tmp: takes no options, such as "size"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c Tmp
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
	t.Parallel()
	for _, test := range []struct {
		name, config string
		want         string // what the error says; "": none
	}{
		{"default", `{"path":"/tmp"}`, ""},
		{"size", `{"path":"/tmp","size":"1GiB"}`, ""},
		{"no path", `{}`, "absolute path"},
		{"no limit", `{"path":"/tmp","size":"off"}`, "less than"},
		{"nothing", `{"path":"/tmp","size":0}`, "less than"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c Tmp
			if err := json.Unmarshal([]byte(test.config), &c); err != nil {
				t.Fatal(err)
			}
			var grants engine.Grants
			err := c.Provision(caddy.Context{})
			if err == nil {
				err = c.Grant(&grants)
			}
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if err == nil && c.Grant(&grants) == nil {
				t.Error("the same path twice: got no error")
			}
		})
	}
}

func TestModule(t *testing.T) {
	t.Parallel()
	info, err := caddy.GetModule("gojinn.capabilities.tmp")
	if err != nil {
		t.Fatal(err)
	}
	if info.New() == info.New() {
		t.Error("got the same module twice")
	}
	if units.Size(defaultSize).String() != "16MiB" {
		t.Error("the default is not what the documentation says")
	}
}
