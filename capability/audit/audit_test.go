package audit

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
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
		{"alone", "audit", `{}`},
		{"argument", "audit all", `!unexpected argument "all"`},
		{"block", "audit {\n limit 5\n}", `!takes no options, such as "limit"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var c Audit
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
	info, err := caddy.GetModule("gojinn.capabilities.audit")
	if err != nil {
		t.Fatal(err)
	}
	var grants engine.Grants
	if grants.Watched() {
		t.Error("watched without being asked")
	}
	if err := info.New().(*Audit).Grant(&grants); err != nil || !grants.Watched() {
		t.Errorf("got %v, watched: %t", err, grants.Watched())
	}
	if len(grants.EnvNames()) != 0 {
		t.Error("something is granted")
	}
}

// TestRecord: things are kept once, cut, and no more of them than there may be.
func TestRecord(t *testing.T) {
	t.Parallel()
	var news, full atomic.Int64
	r := &Record{New: func(engine.Refusal) { news.Add(1) }, Full: func() { full.Add(1) }}
	long := strings.Repeat("ä", 5000)
	var adding sync.WaitGroup
	for range 4 {
		adding.Go(func() {
			for i := range MaxRefusals + 50 {
				r.Add(engine.Refusal{Kind: "path", What: fmt.Sprintf("/%04d%s", i, long), How: long})
				r.Add(engine.Refusal{Kind: "path", What: "/0000" + long, How: long})
			}
		})
	}
	adding.Wait()
	all, more := r.Refusals()
	if len(all) != MaxRefusals || !more || news.Load() != MaxRefusals || full.Load() != 1 {
		t.Errorf("got %d, more: %t, %d news, full %d times", len(all), more, news.Load(), full.Load())
	}
	for i, one := range all {
		if len(one.What) > maxText+3 || len(one.How) > maxHow+3 || !strings.HasSuffix(one.What, "ä…") {
			t.Fatalf("got %q", one)
		}
		if i > 0 && one.What <= all[i-1].What {
			t.Fatalf("not sorted: %q", one)
		}
	}
	if all, more := new(Record).Refusals(); len(all) != 0 || more {
		t.Errorf("an empty one: got %v, %t", all, more)
	}
	new(Record).Add(engine.Refusal{}) // nobody listens
}
