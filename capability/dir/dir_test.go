package dir

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/gojinn/gojinn/engine"
)

func TestCaddyfile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, text string
		want       string // JSON, or what the error says after "!"
	}{
		{"read-only", "dir /srv/data /data", `{"host":"/srv/data","guest":"/data"}`},
		{"read-only, said so", "dir /srv/data /data ro", `{"host":"/srv/data","guest":"/data","mode":"ro"}`},
		{"read and write", "dir ./data /data/ rw", `{"host":"./data","guest":"/data/","mode":"rw"}`},
		{"at the root", "dir /srv /", `{"host":"/srv","guest":"/"}`},
		{"placeholder", "dir {env.HOME}/x /x", `{"host":"{env.HOME}/x","guest":"/x"}`},
		{"nothing", "dir", "!usage: allow dir <host path> <guest path> [ro|rw]"},
		{"no guest path", "dir /srv", "!usage: allow dir <host path> <guest path> [ro|rw]"},
		{"too many", "dir /srv /x rw now", "!usage: allow dir <host path> <guest path> [ro|rw]"},
		{"unknown mode", "dir /srv /x w", `!the mode "w" is neither ro nor rw`},
		{"empty host path", `dir "" /x`, "!the host path is empty"},
		{"relative guest path", "dir /srv x", "!absolute path"},
		{"guest path with dots", "dir /srv /x/../y", `!"..`},
		{"guest path that is a device", "dir /srv /dev/null", "!already"},
		{"long guest path", "dir /srv /" + strings.Repeat("x", 256), "!ENAMETOOLONG"},
		{"block", "dir /srv /x {\n quota 1MiB\n}", `!allow dir: takes no options, such as "quota"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c Dir
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
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOJINN_TEST_DIR", dir)
	t.Chdir(filepath.Dir(dir))
	for _, test := range []struct {
		name     string
		dir      Dir
		writable bool
		want     string // what the error says; "": none
	}{
		{"read-only", Dir{Host: dir, Guest: "/data"}, false, ""},
		{"read-only, said so", Dir{Host: dir, Guest: "/data", Mode: "ro"}, false, ""},
		{"read and write", Dir{Host: dir, Guest: "/data", Mode: "rw"}, true, ""},
		{"placeholder", Dir{Host: "{env.GOJINN_TEST_DIR}", Guest: "/data"}, false, ""},
		{"relative", Dir{Host: filepath.Base(dir), Guest: "/data"}, false, ""},
		{"empty placeholder", Dir{Host: "{env.GOJINN_TEST_UNSET}", Guest: "/data"}, false, "GOJINN_TEST_UNSET"},
		{"placeholder of a request", Dir{Host: "{http.request.host}", Guest: "/data"}, false, "http.request.host"},
		{"missing", Dir{Host: filepath.Join(dir, "none"), Guest: "/data"}, false, "no such file"},
		{"a file", Dir{Host: filepath.Join(dir, "file"), Guest: "/data"}, false, "is not a directory"},
		{"no host path", Dir{Guest: "/data"}, false, "the host path is empty"},
		{"no guest path", Dir{Host: dir}, false, "absolute path"},
		{"unknown mode", Dir{Host: dir, Guest: "/data", Mode: "RW"}, false, `the mode "RW" is neither`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var grants engine.Grants
			err := test.dir.Provision(caddy.Context{})
			if err == nil {
				err = test.dir.Grant(&grants)
			}
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got %v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := test.dir.mount; got.Path != dir || got.Writable != test.writable {
				t.Errorf("got %+v, want %s, writable: %v", got, dir, test.writable)
			}
			if err := test.dir.Grant(&grants); err == nil {
				t.Error("the same guest path twice: got no error")
			}
		})
	}
}

func TestModule(t *testing.T) {
	t.Parallel()
	info, err := caddy.GetModule("gojinn.capabilities.dir")
	if err != nil {
		t.Fatal(err)
	}
	if info.New() == info.New() {
		t.Error("got the same module twice")
	}
}
