package nats

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/gojinn/gojinn/stores"
)

func TestSubject(t *testing.T) {
	t.Parallel()
	s := newStream(&link{key: linkKey{prefix: "gojinn"}}, "user.data")
	if s.name != "gojinn_user+data" {
		t.Errorf("got the stream %s", s.name)
	}
	for _, test := range []struct{ key, want string }{
		{"", "gojinn.user+data.k.="}, // which nobody has
		{"a", "gojinn.user+data.k.a.="},
		{"ab", "gojinn.user+data.k.a.b.="},
		{"abc", "gojinn.user+data.k.a.b.=c"},
		{"user/42 x", "gojinn.user+data.k.u.s.er.%2F42%20.=x"},
		{".*>\x00", "gojinn.user+data.k.%2E.%2A.%3E%00.="},
	} {
		if got := s.subject(test.key); got != test.want {
			t.Errorf("%q: got %s, want %s", test.key, got, test.want)
		}
	}
	for _, foreign := range []string{"", "gojinn.user+data.k.", "gojinn.user+data.b.=", "gojinn.user+data.a.=", "gojinn.other.a.=", "gojinn.user+data.k.ab.=", "gojinn.user+data.k.a", "gojinn.user+data.k.%4", "gojinn.user+data.k.%61.=", "gojinn.user+data.k.%2f.="} {
		if key, ok := s.keyOf(foreign); ok {
			t.Errorf("%s: got the key %q, want none", foreign, key)
		}
	}
}

func FuzzSubject(f *testing.F) {
	s := newStream(&link{key: linkKey{prefix: "p"}}, "n")
	f.Add("user/42", 3)
	f.Add("\x00.*> %", 0)
	f.Add(strings.Repeat("\xff", stores.MaxKey), stores.MaxKey)
	f.Fuzz(func(t *testing.T, key string, cut int) {
		key = key[:min(len(key), stores.MaxKey)]
		subject := s.subject(key)
		if got, ok := s.keyOf(subject); !ok || got != key {
			t.Errorf("%q: got %q, %v back of %s", key, got, ok, subject)
		}
		if !server.IsValidLiteralSubject(subject) {
			t.Errorf("%q: %s is no subject", key, subject)
		}
		// What is listed with a prefix of the key finds it.
		prefix := key[:min(max(cut, 0), len(key))]
		if filter := s.filter(prefix); !server.SubjectsCollide(subject, filter) || !server.IsValidSubject(filter) {
			t.Errorf("%q: %s is not found by %s", key, subject, filter)
		}
		// Nothing has two keys, so nothing is mistaken.
		if got, ok := s.keyOf(s.prefix + kindKey + key); ok && s.subject(got) != s.prefix+kindKey+key {
			t.Errorf("%q is read as %q", key, got)
		}
	})
}

func TestPage(t *testing.T) {
	t.Parallel()
	at := func(seq uint64) record { return record{seq: seq} }
	const many = 10_000
	for _, test := range []struct {
		name string
		fill func(p *page)
		want []string // nil: again
	}{
		{"in any order", func(p *page) {
			for _, key := range []string{"c", "a", "b", "d"} {
				p.add(key, at(1), "")
			}
		}, []string{"a", "b", "c"}},
		{"deleted", func(p *page) {
			p.add("a", at(1), "")
			p.add("b", at(2), "")
			p.add("a", record{seq: 3, dead: true}, "")
		}, []string{"b"}},
		{"expired", func(p *page) {
			p.add("a", record{seq: 1, Item: stores.Item{Expires: time.Now().Add(-time.Second)}}, "")
		}, []string{}},
		{"renamed", func(p *page) {
			p.add("a", at(1), "")
			p.add("b", at(2), "a")
		}, []string{"b"}},
		{"renamed, then made anew", func(p *page) {
			p.add("a", at(3), "")
			p.add("b", at(2), "a")
		}, []string{"a", "b"}},
		{"very many", func(p *page) {
			for i := range many {
				p.add(fmt.Sprintf("%05d", (i*7919)%many), at(uint64(i+1)), "")
			}
			if len(p.keys) > 2*(p.Limit+pageSlack) {
				t.Errorf("%d keys are held", len(p.keys))
			}
		}, []string{"00000", "00001", "00002"}},
		{"very many, and too many of them vanish", func(p *page) {
			for i := range many {
				p.add(fmt.Sprintf("%05d", i), at(uint64(i+1)), "")
			}
			for i := range many / 2 {
				p.add(fmt.Sprintf("%05d", i), record{seq: uint64(many + i), dead: true}, "")
			}
		}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := newPage(stores.Query{Limit: 3})
			test.fill(p)
			got, ok := p.entries(time.Now())
			var keys []string
			for _, e := range got {
				keys = append(keys, e.Key)
			}
			if ok != (test.want != nil) || ok && !slices.Equal(keys, test.want) {
				t.Errorf("got %q, %v, want %q", keys, ok, test.want)
			}
		})
	}
}
