// Package egress decides which addresses of the network connections that are made for
// guests may go to.
//
// A name says nothing of where it leads: whoever answers for it in the DNS can let it
// lead to the host itself or into its network, and differently at each question. So what is
// checked is the address, in the moment in which it is connected to.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// connectTimeout bounds one connection attempt, name resolution included, where the
// context would allow more.
const connectTimeout = 10 * time.Second

// Policy says which addresses may be connected to: those of the public Internet, and Private.
// The zero value allows the public ones only. Safe for concurrent use as long as it isn't
// changed.
type Policy struct {
	// Private are the addresses that are allowed although they are not public; see
	// [ParsePrivate]. Link-local and metadata addresses are refused nevertheless.
	Private []netip.Prefix
	// Resolver resolves names; nil: the system's.
	Resolver *net.Resolver

	interfaces func() ([]net.Addr, error) // the machine's own addresses; nil: net.InterfaceAddrs
}

// AddressError is an address that may not be connected to. It is for the host's eyes: to a
// guest it would tell where names lead in the host's network.
type AddressError struct {
	Addr   netip.Addr
	Reason string // what kind of address it is, such as "loopback"
}

// Error names the address and the reason.
func (e *AddressError) Error() string {
	return fmt.Sprintf("connections to %s are not allowed: %s", e.Addr, e.Reason)
}

// Check returns nil if addr may be connected to, else an [*AddressError].
func (p *Policy) Check(addr netip.Addr) error {
	if reason := p.reason(addr); reason != "" {
		return &AddressError{addr, reason}
	}
	return nil
}

func (p *Policy) reason(addr netip.Addr) string {
	switch {
	case !addr.IsValid():
		return "no address"
	case addr.Zone() != "":
		return "link-local" // nothing else has a zone
	}
	addr = addr.Unmap()
	if reason := kindOf(addr, never); reason != "" {
		return reason
	}
	kind, inner := translated(addr)
	for _, v4 := range inner {
		if reason := kindOf(v4, never); reason != "" {
			return kind + ", to " + reason
		}
	}
	listed := p.lists(addr)
	switch {
	case kind != "" && !listed:
		return kind
	case len(inner) == 1:
		// The translation may be used, but leads no further than a direct connection.
		if reason := p.reason(inner[0]); reason != "" {
			return kind + ", to " + reason
		}
		return ""
	case listed:
		return ""
	}
	if reason := kindOf(addr, special); reason != "" {
		return reason
	}
	if addr.Is6() && !globalUnicast.Contains(addr) {
		return "reserved"
	}
	return p.own(addr)
}

func (p *Policy) lists(addr netip.Addr) bool {
	for _, prefix := range p.Private {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// own refuses the addresses of the machine's interfaces, public as they may be: what listens
// there may trust whoever comes from the machine itself. They are asked for each time, since they
// change, and connections cost more.
func (p *Policy) own(addr netip.Addr) string {
	list := p.interfaces
	if list == nil {
		list = net.InterfaceAddrs
	}
	addrs, err := list()
	if err != nil {
		return "the machine's own addresses are unknown"
	}
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok {
			if have, ok := netip.AddrFromSlice(ip.IP); ok && have.Unmap() == addr {
				return "the machine's own"
			}
		}
	}
	return ""
}

// Dial connects to a port of host, a name or address as [ParseHost] returns it, over TCP:
// network is "tcp", "tcp4" or "tcp6". Each address that the name has is checked when it is
// connected to; if there are any and all are refused, the error wraps an [*AddressError].
// A name may be resolved by the host's own means, search domains included. No proxy is used. It ends
// with ctx, or after 10 seconds.
func (p *Policy) Dial(ctx context.Context, network, host string, port uint16) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, fmt.Errorf("network %q is not TCP", network)
	}
	if canonical, err := ParseHost(host); err != nil {
		return nil, err
	} else if canonical != host {
		return nil, fmt.Errorf("the host %q is not in its canonical form", host)
	}
	if port == 0 {
		return nil, errors.New("port 0 can't be connected to")
	}
	var mu sync.Mutex // several addresses can be tried at a time
	var refused error // the first that was
	tried := false    // there was another
	dialer := net.Dialer{
		Timeout:  connectTimeout,
		Resolver: p.Resolver,
		ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
			err := p.control(address)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				tried = true
			} else if refused == nil {
				refused = err
			}
			return err
		},
	}
	conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(host, strconv.Itoa(int(port))))
	if err == nil {
		return conn, nil
	}
	mu.Lock()
	defer mu.Unlock()
	// Of several errors the dialer returns one: what matters is whether there was anything to connect to.
	if _, ok := errors.AsType[*AddressError](err); ok && tried {
		err = &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%w at the addresses that are allowed (%v)", syscall.EHOSTUNREACH, refused)}
	} else if !ok && !tried && refused != nil {
		err = errors.Join(err, refused)
	}
	return nil, err
}

// control checks the address of a socket that is about to be connected.
func (p *Policy) control(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return &AddressError{Reason: "no address"}
	}
	return p.Check(at.Addr())
}
