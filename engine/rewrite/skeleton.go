package rewrite

import "encoding/binary"

// Skeleton returns what remains of a module that this package has rewritten when its functions lose their bodies: each
// traps as soon as it is called. A runtime that has the machine code from elsewhere needs no more than that, and
// reads it in a fraction of the time. mark becomes part of the result, so that skeletons of different modules differ.
func Skeleton(rewritten []byte, mark string) []byte {
	out := append(make([]byte, 0, 64<<10), rewritten[:8]...)
	for rest := rewritten[8:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		content := rest[1+n : 1+n+int(size)]
		rest = rest[1+n+int(size):]
		out = append(out, id)
		if id != sectionCode {
			out = appendBytes(out, content)
			continue
		}
		count, _ := binary.Uvarint(content)
		bodies := appendUleb(make([]byte, 0, 5+4*count), uint32(count))
		for range count {
			bodies = append(bodies, 3, 0, opUnreachable, opEnd) // a size, no locals, and the code
		}
		out = appendBytes(out, bodies)
	}
	custom := append(appendBytes(nil, []byte(ReservedPrefix+"mark")), mark...)
	return appendBytes(append(out, sectionCustom), custom)
}
