// Package egresstest answers questions to the DNS in tests.
package egresstest

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
)

// Resolver returns a resolver that asks answer for the addresses of names, which it gets without
// a trailing dot, once for each kind of address. A name without any doesn't exist.
func Resolver(answer func(name string) []netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go serve(server, answer)
		return client, nil
	}}
}

// Fixed is a Resolver whose answers are fixed.
func Fixed(names map[string][]string) *net.Resolver {
	return Resolver(func(name string) (addrs []netip.Addr) {
		for _, addr := range names[name] {
			addrs = append(addrs, netip.MustParseAddr(addr))
		}
		return addrs
	})
}

// serve answers questions over a stream (RFC 1035, sections 4.1 and 4.2.2).
func serve(conn net.Conn, answer func(string) []netip.Addr) {
	defer conn.Close()
	for {
		var length [2]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		if _, err := io.ReadFull(conn, query); err != nil || len(query) < 12 {
			return
		}
		response := respond(query, answer)
		if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(response))), response...)); err != nil {
			return
		}
	}
}

func respond(query []byte, answer func(string) []netip.Addr) []byte {
	const typeA, typeAAAA = 1, 28
	var labels []string
	at := 12
	for query[at] != 0 {
		n := int(query[at])
		labels = append(labels, string(query[at+1:at+1+n]))
		at += 1 + n
	}
	question := query[12 : at+5]
	kind := binary.BigEndian.Uint16(query[at+1:])
	addrs := answer(strings.ToLower(strings.Join(labels, ".")))
	flags, count := uint16(0x8180), uint16(0)
	if len(addrs) == 0 {
		flags |= 3 // NXDOMAIN
	}
	var records []byte
	for _, addr := range addrs {
		if addr.Is4() != (kind == typeA) || kind != typeA && kind != typeAAAA {
			continue
		}
		count++
		records = append(records, 0xc0, 12) // the question's name
		records = binary.BigEndian.AppendUint16(records, kind)
		records = append(records, 0, 1, 0, 0, 0, 0) // class, time to live
		records = binary.BigEndian.AppendUint16(records, uint16(len(addr.AsSlice())))
		records = append(records, addr.AsSlice()...)
	}
	response := append([]byte(nil), query[:2]...)
	for _, field := range []uint16{flags, 1, count, 0, 0} {
		response = binary.BigEndian.AppendUint16(response, field)
	}
	return append(append(response, question...), records...)
}
