package env

import (
	"context"
	"encoding/json"
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
		{"plain", "env NAME value", `{"name":"NAME","value":"value"}`},
		{"quoted", `env NAME "two words"`, `{"name":"NAME","value":"two words"}`},
		{"empty value", `env NAME ""`, `{"name":"NAME"}`},
		{"placeholder", "env KEY {env.KEY}", `{"name":"KEY","value":"{env.KEY}"}`},
		{"equals sign in the value", "env OPTIONS a=b", `{"name":"OPTIONS","value":"a=b"}`},
		{"nothing", "env", "!usage: allow env <name> <value>"},
		{"no value", "env NAME", "!usage: allow env <name> <value>"},
		{"two values", "env NAME a b", "!usage: allow env <name> <value>"},
		{"empty name", `env "" value`, "!allow env: environment variable"},
		{"equals sign in the name", "env NAME=value x", "!allow env: environment variable"},
		{"block", "env NAME value {\n secret\n}", `!allow env: takes no options, such as "secret"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var e Env
			err := e.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.text))
			if want, ok := strings.CutPrefix(test.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Testfile:") {
					t.Errorf("got %v, want %q with file and line", err, want)
				}
				return
			}
			got, errJSON := json.Marshal(&e)
			if err != nil || errJSON != nil || string(got) != test.want {
				t.Errorf("got %s, %v, %v, want %s", got, err, errJSON, test.want)
			}
		})
	}
}

func TestGrant(t *testing.T) {
	t.Setenv("GOJINN_TEST_SECRET", "s3cret")
	for _, test := range []struct {
		name string
		env  Env
		want string // the value in a GET request, or what the error says after "!"
	}{
		{"fixed", Env{Name: "A", Value: "b"}, "b"},
		{"of the host", Env{Name: "A", Value: "{env.GOJINN_TEST_SECRET}"}, "s3cret"},
		{"of the request", Env{Name: "A", Value: "{http.request.method}!"}, "GET!"},
		{"missing file", Env{Name: "A", Value: "{file./does/not/exist}"}, "!A: placeholder {file./does/not/exist} has no value"},
		{"without a name", Env{Value: "b"}, "!environment variable"},
		{"bad name", Env{Name: "A=", Value: "b"}, "!environment variable"},
		{"NUL", Env{Name: "A", Value: "b\x00c"}, "!NUL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var grants engine.Grants
			err := test.env.Provision(caddy.Context{})
			if err == nil {
				err = test.env.Grant(&grants)
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
			got := test.env.value.Fixed
			if resolve := test.env.value.Resolve; resolve != nil {
				request := caddy.NewEmptyReplacer()
				request.Set("http.request.method", "GET")
				got = resolve(context.WithValue(t.Context(), caddy.ReplacerCtxKey, request))
			}
			if got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if err := test.env.Grant(&grants); err == nil {
				t.Error("the same name twice: got no error")
			}
		})
	}
}

func TestModule(t *testing.T) {
	t.Parallel()
	info, err := caddy.GetModule("gojinn.capabilities.env")
	if err != nil {
		t.Fatal(err)
	}
	if info.New() == info.New() {
		t.Error("got the same module twice")
	}
}
