package egress

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// A kind is a part of the address space that isn't the public Internet, from the registries of
// special-purpose addresses (RFC 6890) and of multicast addresses.
type kind struct {
	prefix netip.Prefix
	name   string
}

// never are the addresses that nothing makes reachable: what answers there gives the machine's
// credentials to whoever asks.
var never = kinds(
	"169.254.0.0/16", "link-local",
	"fe80::/10", "link-local",
	"100.100.100.200/32", "metadata", // Alibaba
	"168.63.129.16/32", "metadata", // Azure
	"192.0.0.192/32", "metadata", // Oracle
	"fd00:ec2::/32", "metadata", // AWS
	"fd20:ce::254/128", "metadata", // Google
	"fd00:42::42/128", "metadata", // Scaleway
)

// special are the others. The narrow ones come first.
var special = kinds(
	"0.0.0.0/32", "unspecified",
	"0.0.0.0/8", "unspecified", // "this network"
	"10.0.0.0/8", "private",
	"100.64.0.0/10", "CGNAT",
	"127.0.0.0/8", "loopback",
	"172.16.0.0/12", "private",
	"192.0.0.0/24", "reserved",
	"192.0.2.0/24", "documentation",
	"192.88.99.0/24", "6to4",
	"192.168.0.0/16", "private",
	"198.18.0.0/15", "benchmark",
	"198.51.100.0/24", "documentation",
	"203.0.113.0/24", "documentation",
	"224.0.0.0/4", "multicast",
	"255.255.255.255/32", "broadcast",
	"240.0.0.0/4", "reserved",

	"::/128", "unspecified",
	"::1/128", "loopback",
	"100::/64", "discard-only",
	"2001:2::/48", "benchmark",
	"2001::/23", "reserved", // IETF protocol assignments
	"2001:db8::/32", "documentation",
	"3fff::/20", "documentation",
	"5f00::/16", "reserved", // segment routing
	"fc00::/7", "private",
	"fec0::/10", "private", // site-local
	"ff00::/8", "multicast",
)

// globalUnicast is all that IPv6 has given out so far (RFC 4291, section 2.4).
var globalUnicast = netip.MustParsePrefix("2000::/3")

func kinds(pairs ...string) (list []kind) {
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, kind{netip.MustParsePrefix(pairs[i]), pairs[i+1]})
	}
	return list
}

// kindOf is the name of the first kind that has addr, "" for none.
func kindOf(addr netip.Addr, list []kind) string {
	for _, k := range list {
		if k.prefix.Contains(addr) {
			return k.name
		}
	}
	return ""
}

var (
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, section 2.5.5.1
	siit       = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
)

// translated says by which mechanism an IPv6 address stands for IPv4 addresses, "" for none, and
// for which: more than one are guesses, of which some are none.
func translated(addr netip.Addr) (mechanism string, inner []netip.Addr) {
	if !addr.Is6() {
		return "", nil
	}
	b := addr.As16()
	v4 := func(at int) netip.Addr { return netip.AddrFrom4([4]byte(b[at : at+4])) }
	switch {
	case addr == netip.IPv6Unspecified(), addr == netip.IPv6Loopback():
		return "", nil
	case compatible.Contains(addr):
		return "IPv4-compatible", []netip.Addr{v4(12)}
	case siit.Contains(addr):
		return "IPv4-translated", []netip.Addr{v4(12)}
	case nat64.Contains(addr):
		return "NAT64", []netip.Addr{v4(12)}
	case nat64Local.Contains(addr):
		// Where it stands depends on the length that the network has chosen (RFC 6052, section 2.2).
		return "NAT64", []netip.Addr{
			netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}),
			netip.AddrFrom4([4]byte{b[7], b[9], b[10], b[11]}),
			v4(9), v4(12),
		}
	case teredo.Contains(addr):
		client := binary.BigEndian.Uint32(b[12:])
		return "Teredo", []netip.Addr{v4(4), netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, ^client)))}
	case sixToFour.Contains(addr):
		return "6to4", []netip.Addr{v4(2)}
	case binary.BigEndian.Uint32(b[8:])&^0x02000000 == 0x00005efe: // RFC 5214, section 6.1
		return "ISATAP", []netip.Addr{v4(12)}
	}
	return "", nil
}

// ParsePrivate reads the addresses that a grant allows although they are not public: prefixes as
// 10.0.0.0/8 and fd00::/8, or single addresses. What could never be connected to, see
// [Policy.Check], is an error.
func ParsePrivate(cidrs []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, text := range cidrs {
		prefix, err := parsePrefix(text)
		if err != nil {
			return nil, err
		}
		for _, k := range never {
			if k.prefix.Overlaps(prefix) && k.prefix.Bits() <= prefix.Bits() {
				return nil, fmt.Errorf("%s is a %s address: these can't be allowed", text, k.name)
			}
		}
		list = append(list, prefix)
	}
	return list, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	none := netip.Prefix{}
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		switch {
		case err != nil:
			return none, fmt.Errorf("%q is neither an address nor a prefix such as 10.0.0.0/8", text)
		case addr.Zone() != "":
			return none, fmt.Errorf("%s has a zone: link-local addresses can't be allowed", text)
		case addr.Is4In6():
			return none, fmt.Errorf("%s is an IPv4 address: write %s", text, addr.Unmap())
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return none, fmt.Errorf("%q is neither an address nor a prefix such as 10.0.0.0/8", text)
	case prefix.Addr().Is4In6():
		return none, fmt.Errorf("%s are IPv4 addresses: write them as such", text)
	case prefix != prefix.Masked():
		return none, fmt.Errorf("%s has bits behind its prefix: write %s, or a single address", text, prefix.Masked())
	}
	return prefix, nil
}
