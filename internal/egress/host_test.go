package egress

import (
	"net"
	"net/netip"
	"net/url"
	"strings"
	"testing"
)

func TestParseHost(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 63)
	for _, test := range []struct{ text, want string }{ // want: what the error says after "!"
		{"example.com", "example.com"},
		{"EXAMPLE.Com", "example.com"},
		{"localhost", "localhost"},
		{"my_service", "my_service"},
		{"1e100.net", "1e100.net"},
		{"3.example", "3.example"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"192.0.2.1", "192.0.2.1"},
		{"::1", "::1"},
		{"[::1]", "::1"},
		{"[2001:DB8:0:0::1]", "2001:db8::1"},
		{long + ".example", long + ".example"},

		{"", "!empty"},
		{".", "!trailing dot"},
		{"localhost.", "!trailing dot"},
		{"127.0.0.1.", "!trailing dot"},
		{"a..b", "!empty label"},
		{".a", "!empty label"},
		{"a" + long, "!64 bytes"},
		{strings.Repeat("a.", 127) + "a", "!255 bytes"},
		{"-a.example", `!begins or ends with "-"`},
		{"a-.example", `!begins or ends with "-"`},
		{"bücher.example", "!A-labels"},
		{"ⓛocalhost", "!A-labels"},
		{"１２７.0.0.1", "!A-labels"},
		{"127。0。0。1", "!A-labels"},
		{"a b", "!holds ' '"},
		{"a\x00b", `!holds '\x00'`},
		{"a\r\nb", `!holds '\r'`},
		{"user@example.com", "!holds '@'"},
		{"example.com/x", "!holds '/'"},
		{`a\b`, `!holds '\\'`},
		{"%6cocalhost", "!holds '%'"},
		{"*.example.com", "!holds '*'"},
		{"example.com:80", "!no address"},

		{"127.1", "!no address"},
		{"2130706433", "!no address"},
		{"0x7f000001", "!no address"},
		{"0x7f.0.0.1", "!no address"},
		{"0X7F.0.0.0X1", "!no address"},
		{"017700000001", "!no address"},
		{"0177.0.0.1", "!no address"},
		{"127.0.0.01", "!no address"},
		{"127.0.0.256", "!no address"},
		{"1.2.3.4.5", "!no address"},
		{"example.0x", "!no address"},
		{"[127.0.0.1]", "!no IPv6 address in brackets"},
		{"[::1", "!no IPv6 address in brackets"},
		{"[::1]x", "!no IPv6 address in brackets"},
		{"[example.com]", "!no IPv6 address in brackets"},
		{"::1]", "!no address"},
		{"[fe80::1%25eth0]", "!zone"},
		{"fe80::1%eth0", "!zone"},
		{"::ffff:127.0.0.1", "!write 127.0.0.1"},
		{"[::ffff:7f00:1]", "!write 127.0.0.1"},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			got, err := ParseHost(test.text)
			check(t, got, err, test.want)
		})
	}
}

func check(t *testing.T, got string, err error, want string) {
	t.Helper()
	if want, ok := strings.CutPrefix(want, "!"); ok {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	} else if err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
}

func TestParseHostPort(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ text, want string }{
		{"example.com:5432", "example.com:5432"},
		{"DB:1", "db:1"},
		{"[::1]:65535", "[::1]:65535"},
		{"192.0.2.1:80", "192.0.2.1:80"},
		{"example.com", "!has no port"},
		{"", "!has no port"},
		{":80", "!empty"},
		{"::1:80", "!brackets"},
		{"a:b:80", "!brackets"},
		{"example.com:", "!no port"},
		{"example.com:0", "!no port"},
		{"example.com:080", "!no port"},
		{"example.com:+80", "!no port"},
		{"example.com:-1", "!no port"},
		{"example.com:65536", "!no port"},
		{"example.com:http", "!no port"},
		{"example.com.:80", "!trailing dot"},
		{"0177.1:80", "!no address"},
	} {
		t.Run(test.text, func(t *testing.T) {
			t.Parallel()
			host, port, err := ParseHostPort(test.text)
			check(t, net.JoinHostPort(host, itoa(port)), err, test.want)
		})
	}
}

func itoa(port uint16) string {
	return netip.AddrPortFrom(netip.IPv4Unspecified(), port).String()[len("0.0.0.0:"):]
}

// FuzzParseHost: what is accepted is in canonical form, is read by net/url as it is, and
// either is an address or nobody takes it for one.
func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"example.com", "[::1]", "127.0.0.1", "0x7f.1", "a.0", "xn--a", "::ffff:1.2.3.4", "a_b", "localhost."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		host, err := ParseHost(text)
		if err != nil {
			if len(err.Error()) > 3000 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if again, err := ParseHost(host); err != nil || again != host {
			t.Errorf("%q: got %q, then %q, %v", text, host, again, err)
		}
		u, err := url.Parse("http://" + net.JoinHostPort(host, "80") + "/")
		if err != nil || u.Hostname() != host || u.Port() != "80" || u.User != nil {
			t.Errorf("%q: net/url reads %v, %v", host, u, err)
		}
		if addr, err := netip.ParseAddr(host); err == nil {
			if addr.String() != host || addr.Is4In6() || addr.Zone() != "" {
				t.Errorf("%q: got the address %s", host, addr)
			}
		} else if ip := net.ParseIP(host); ip != nil || strings.Contains(host, ":") {
			t.Errorf("%q: an address to package net only: %s", host, ip)
		}
	})
}
