package sockets

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

// startPostgres asks a PostgreSQL server for TLS (PostgreSQL documentation, "SSL Session
// Encryption" in the chapter on message flow).
//
// The answer is read by itself and no further: what somebody on the way adds to it, in plain
// text, goes to the handshake, which it breaks (CVE-2021-23222).
func startPostgres(ctx context.Context, conn net.Conn) error {
	return until(ctx, conn, func() error {
		const request = 1234<<16 | 5679
		message := binary.BigEndian.AppendUint32(nil, 8)
		if _, err := conn.Write(binary.BigEndian.AppendUint32(message, request)); err != nil {
			return err
		}
		var answer [1]byte
		switch _, err := io.ReadFull(conn, answer[:]); {
		case err == io.EOF:
			return errHungUp
		case err != nil:
			return err
		}
		switch answer[0] {
		case 'S':
			return nil
		case 'N':
			return &tlsError{errors.New("the server does without: its ssl is off")}
		}
		return &tlsError{fmt.Errorf("the server answers %q, as no PostgreSQL does", answer[0])}
	})
}
