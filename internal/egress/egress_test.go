package egress

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gojinn/gojinn/internal/egress/egresstest"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		addr, private string // private: listed, separated by blanks
		want          string // the reason, "" for none
	}{
		{"8.8.8.8", "", ""},
		{"2606:4700::1111", "", ""},
		{"::ffff:8.8.8.8", "", ""},
		{"192.31.196.1", "", ""},
		{"2002::", "2002::/16", "6to4, to unspecified"},

		{"127.0.0.1", "", "loopback"},
		{"127.255.255.254", "", "loopback"},
		{"::1", "", "loopback"},
		{"::ffff:127.0.0.1", "", "loopback"},
		{"0.0.0.0", "", "unspecified"},
		{"0.1.2.3", "", "unspecified"},
		{"::", "", "unspecified"},
		{"::ffff:0.0.0.0", "", "unspecified"},
		{"10.1.2.3", "", "private"},
		{"172.16.0.1", "", "private"},
		{"172.31.255.255", "", "private"},
		{"172.32.0.0", "", ""},
		{"192.168.0.1", "", "private"},
		{"fc00::1", "", "private"},
		{"fdff::1", "", "private"},
		{"fec0::1", "", "private"},
		{"100.64.0.1", "", "CGNAT"},
		{"100.127.255.255", "", "CGNAT"},
		{"100.128.0.0", "", ""},
		{"192.0.0.1", "", "reserved"},
		{"192.0.2.1", "", "documentation"},
		{"198.51.100.1", "", "documentation"},
		{"203.0.113.1", "", "documentation"},
		{"2001:db8::1", "", "documentation"},
		{"3fff::1", "", "documentation"},
		{"198.18.0.1", "", "benchmark"},
		{"198.19.255.255", "", "benchmark"},
		{"2001:2::1", "", "benchmark"},
		{"2001:20::1", "", "reserved"},
		{"5f00::1", "", "reserved"},
		{"4000::1", "", "reserved"},
		{"1::1", "", "reserved"},
		{"100::1", "", "discard-only"},
		{"224.0.0.1", "", "multicast"},
		{"239.255.255.255", "", "multicast"},
		{"ff02::1", "", "multicast"},
		{"240.0.0.1", "", "reserved"},
		{"255.255.255.255", "", "broadcast"},
		{"192.88.99.1", "", "6to4"},

		// Translated forms, whatever they lead to.
		{"::8.8.8.8", "", "IPv4-compatible"},
		{"::127.0.0.1", "", "IPv4-compatible"},
		{"::ffff:0:8.8.8.8", "", "IPv4-translated"},
		{"64:ff9b::8.8.8.8", "", "NAT64"},
		{"64:ff9b::7f00:1", "", "NAT64"},
		{"64:ff9b:1::8.8.8.8", "", "NAT64"},
		{"2002:808:808::1", "", "6to4"},
		{"2002:7f00:1::", "", "6to4"},
		{"2001::1", "", "Teredo"},
		{"2606:4700::5efe:8.8.8.8", "", "ISATAP"},
		{"2606:4700::200:5efe:10.0.0.1", "", "ISATAP"},

		// Nothing lists these.
		{"169.254.169.254", "0.0.0.0/0", "link-local"},
		{"::ffff:169.254.169.254", "0.0.0.0/0", "link-local"},
		{"fe80::1", "::/0", "link-local"},
		{"fe80::1%eth0", "::/0", "link-local"},
		{"febf::1", "::/0", "link-local"},
		{"100.100.100.200", "100.64.0.0/10", "metadata"},
		{"168.63.129.16", "0.0.0.0/0", "metadata"},
		{"192.0.0.192", "192.0.0.0/24", "metadata"},
		{"fd00:ec2::254", "fd00::/8", "metadata"},
		{"fd20:ce::254", "fd00::/8", "metadata"},
		{"fd00:42::42", "fd00::/8", "metadata"},
		{"64:ff9b::169.254.169.254", "64:ff9b::/96", "NAT64, to link-local"},
		{"64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1::/48", "NAT64, to link-local"},
		{"64:ff9b:1:a9:fe:a9fe::", "64:ff9b:1::/48", "NAT64, to link-local"},
		{"64:ff9b:1::a9:fea9:fe00:0", "64:ff9b:1::/48", "NAT64, to link-local"},
		{"64:ff9b:1::169.254.169.254", "64:ff9b:1::/48", "NAT64, to link-local"},
		{"2002:a9fe:a9fe::1", "2002::/16", "6to4, to link-local"},
		{"::169.254.169.254", "::/0", "IPv4-compatible, to link-local"},
		{"::ffff:0:169.254.169.254", "::/0", "IPv4-translated, to link-local"},
		{"2606:4700::5efe:169.254.1.1", "::/0", "ISATAP, to link-local"},
		{"2001:0:a9fe:a9fe::1", "::/0", "Teredo, to link-local"},
		{"2001:0:808:808::5601:5601", "::/0", "Teredo, to link-local"},

		// A translation that is allowed leads no further than a direct connection.
		{"64:ff9b::8.8.8.8", "64:ff9b::/96", ""},
		{"64:ff9b::10.0.0.1", "64:ff9b::/96", "NAT64, to private"},
		{"64:ff9b::10.0.0.1", "64:ff9b::/96 10.0.0.0/8", ""},

		{"127.0.0.1", "127.0.0.0/8", ""},
		{"127.0.0.1", "127.0.0.1", ""},
		{"127.0.0.2", "127.0.0.1", "loopback"},
		{"::ffff:127.0.0.1", "127.0.0.0/8", ""},
		{"::1", "127.0.0.0/8", "loopback"},
		{"10.1.2.3", "10.1.0.0/16", ""},
		{"10.2.0.0", "10.1.0.0/16", "private"},
		{"fd00::1", "10.0.0.0/8 fd00::/64", ""},

		// The machine's own, see below.
		{"9.9.9.9", "", "the machine's own"},
		{"::ffff:9.9.9.9", "", "the machine's own"},
		{"2620:fe::9", "", "the machine's own"},
		{"9.9.9.9", "9.9.9.9", ""},
	} {
		t.Run(test.addr+" "+test.private, func(t *testing.T) {
			t.Parallel()
			private, err := ParsePrivate(strings.Fields(test.private))
			if err != nil {
				t.Fatal(err)
			}
			p := Policy{Private: private, interfaces: func() ([]net.Addr, error) {
				return []net.Addr{&net.IPNet{IP: net.ParseIP("9.9.9.9")}, &net.IPNet{IP: net.ParseIP("2620:fe::9")}}, nil
			}}
			addr := netip.MustParseAddr(test.addr)
			err = p.Check(addr)
			if got, ok := errors.AsType[*AddressError](err); test.want != "" && (!ok || got.Reason != test.want || got.Addr != addr) || test.want == "" && err != nil {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestCheckFailsClosed(t *testing.T) {
	t.Parallel()
	p := Policy{interfaces: func() ([]net.Addr, error) { return nil, errors.New("no netlink") }}
	if err := p.Check(netip.MustParseAddr("8.8.8.8")); err == nil {
		t.Error("own addresses unknown: got no error")
	}
	if err := p.Check(netip.Addr{}); err == nil {
		t.Error("no address: got no error")
	}
}

// TestOwnAddresses: the interfaces of this machine.
func TestOwnAddresses(t *testing.T) {
	t.Parallel()
	addrs, err := net.InterfaceAddrs()
	if err != nil || len(addrs) == 0 {
		t.Skipf("no addresses: %v", err)
	}
	var p Policy
	for _, a := range addrs {
		addr, _ := netip.AddrFromSlice(a.(*net.IPNet).IP)
		if err := p.Check(addr); err == nil {
			t.Errorf("%s: got no error", addr)
		}
	}
}

func TestParsePrivate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{ // want: the prefix, or what the error says after "!"
		{"10.0.0.0/8", "10.0.0.0/8"},
		{"10.1.2.3", "10.1.2.3/32"},
		{"fd00::/8", "fd00::/8"},
		{"::1", "::1/128"},
		{"0.0.0.0/0", "0.0.0.0/0"},
		{"100.64.0.0/10", "100.64.0.0/10"},
		{"fc00::/7", "fc00::/7"},
		{"", "!neither an address nor a prefix"},
		{"private", "!neither an address nor a prefix"},
		{"10.0.0.0/33", "!neither an address nor a prefix"},
		{"10.0.0.0/", "!neither an address nor a prefix"},
		{"10.0.0/8", "!neither an address nor a prefix"},
		{"010.0.0.1", "!neither an address nor a prefix"},
		{"10.1.2.3/8", "!write 10.0.0.0/8, or a single address"},
		{"::ffff:10.0.0.1", "!write 10.0.0.1"},
		{"::ffff:10.0.0.0/104", "!IPv4 addresses"},
		{"fe80::1%eth0", "!zone"},
		{"169.254.169.254", "!link-local address"},
		{"169.254.0.0/16", "!link-local address"},
		{"169.254.10.0/24", "!link-local address"},
		{"fe80::/10", "!link-local address"},
		{"100.100.100.200", "!metadata address"},
		{"fd00:ec2::254", "!metadata address"},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			got, err := ParsePrivate([]string{test.text})
			if want, ok := strings.CutPrefix(test.want, "!"); ok {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, %v, want %q", got, err, want)
				}
			} else if err != nil || len(got) != 1 || got[0].String() != test.want {
				t.Errorf("got %v, %v, want %s", got, err, test.want)
			}
		})
	}
}

// listen accepts connections on loopback and counts them.
func listen(t *testing.T) (port uint16, accepted *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	accepted = new(atomic.Int64)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			conn.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort().Port(), accepted
}

func TestDial(t *testing.T) {
	t.Parallel()
	port, accepted := listen(t)
	resolver := egresstest.Fixed(map[string][]string{
		"public.test":   {"127.0.0.1"},
		"mapped.test":   {"::ffff:127.0.0.1"},
		"mixed.test":    {"10.9.9.9", "169.254.169.254", "127.0.0.1"},
		"metadata.test": {"169.254.169.254", "fd00:ec2::254"},
		"private.test":  {"10.0.0.1"},
		"down.test":     {"10.9.9.9", "127.0.0.9", "169.254.169.254", "::1"},
	})
	allowed := &Policy{Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Resolver: resolver}
	for _, test := range []struct {
		name, network, host string
		policy              *Policy
		refused, ok         bool
	}{
		{"address", "tcp", "127.0.0.1", allowed, false, true},
		{"name", "tcp", "public.test", allowed, false, true},
		{"mapped in the DNS", "tcp", "mapped.test", allowed, false, true},
		{"one of several", "tcp", "mixed.test", allowed, false, true},
		{"metadata", "tcp", "metadata.test", allowed, true, false},
		{"another private one", "tcp", "private.test", allowed, true, false},
		{"address, not listed", "tcp", "127.0.0.1", &Policy{}, true, false},
		{"name, not listed", "tcp", "public.test", &Policy{Resolver: resolver}, true, false},
		{"mapped, not listed", "tcp", "mapped.test", &Policy{Resolver: resolver}, true, false},
		{"localhost", "tcp", "localhost", &Policy{}, true, false},
		{"one of several, which is down", "tcp", "down.test", allowed, false, false},
		{"no such name", "tcp", "none.test", allowed, false, false},
		{"UDP", "udp", "127.0.0.1", allowed, false, false},
		{"not canonical", "tcp", "PUBLIC.test", allowed, false, false},
		{"octal", "tcp", "0177.0.0.1", allowed, false, false},
		{"nothing", "tcp", "", allowed, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := accepted.Load()
			conn, err := test.policy.Dial(t.Context(), test.network, test.host, port)
			_, refused := errors.AsType[*AddressError](err)
			if (err == nil) != test.ok || refused != test.refused {
				t.Errorf("got %v, want refused: %v, connected: %v", err, test.refused, test.ok)
			}
			if conn != nil {
				// What it was counted as is there once it is closed from the other side.
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			} else if got := accepted.Load(); got != before {
				t.Errorf("got %d connections, want none", got-before)
			}
		})
	}
	if _, err := allowed.Dial(t.Context(), "tcp", "127.0.0.1", 0); err == nil {
		t.Error("port 0: got no error")
	}
}

// TestDialRebinding: a name that leads elsewhere each time it is asked for is checked where it
// leads when it is connected to.
func TestDialRebinding(t *testing.T) {
	t.Parallel()
	port, accepted := listen(t)
	var asked atomic.Int64
	p := &Policy{
		Private: []netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")},
		Resolver: egresstest.Resolver(func(string) []netip.Addr {
			// Two questions for each dial: A and AAAA.
			if asked.Add(1) <= 2 {
				return []netip.Addr{netip.MustParseAddr("127.0.0.2")}
			}
			return []netip.Addr{netip.MustParseAddr("127.0.0.1")}
		}),
	}
	if _, err := p.Dial(t.Context(), "tcp", "rebinding.test", port); err == nil {
		t.Fatal("nobody listens there: got no error")
	} else if _, refused := errors.AsType[*AddressError](err); refused {
		t.Fatalf("got %v, want what a connection says", err)
	}
	_, err := p.Dial(t.Context(), "tcp", "rebinding.test", port)
	if _, refused := errors.AsType[*AddressError](err); !refused || accepted.Load() != 0 {
		t.Errorf("got %v and %d connections, want it refused", err, accepted.Load())
	}
}

func TestDialEndsWithContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	block := make(chan struct{})
	defer close(block)
	p := &Policy{Resolver: egresstest.Resolver(func(string) []netip.Addr { cancel(); <-block; return nil })}
	if _, err := p.Dial(ctx, "tcp", "slow.test", 80); err == nil {
		t.Error("got no error")
	}
}

// BenchmarkCheck is what a connection costs more.
func BenchmarkCheck(b *testing.B) {
	var p Policy
	addr := netip.MustParseAddr("8.8.8.8")
	for b.Loop() {
		if err := p.Check(addr); err != nil {
			b.Fatal(err)
		}
	}
}
