package engine

import (
	"encoding/binary"
	"math"

	"github.com/tetratelabs/wazero/api"

	"github.com/gojinn/gojinn/engine/vfs"
)

// guestMemory is a guest's linear memory during one host call. Everything that
// reads or writes it on behalf of preview 1 goes through its methods, which
// check each address and length the guest gave.
type guestMemory []byte

// wholeMemory returns all of m. A memory of exactly 4 GiB has a size that its
// type can't express; of that, the last byte can't be reached.
func wholeMemory(m api.Memory) guestMemory {
	if m == nil {
		return nil
	}
	size := m.Size()
	if size == 0 {
		if pages, _ := m.Grow(0); pages > 0 {
			size = math.MaxUint32
		}
	}
	bytes, _ := m.Read(0, size)
	return bytes
}

// at returns the n bytes at address, or false if they are not all in memory.
func (m guestMemory) at(address, n uint32) ([]byte, bool) {
	end := uint64(address) + uint64(n)
	if end > uint64(len(m)) {
		return nil, false
	}
	return m[address:end:end], true
}

// array returns the n elements of the given size at address.
func (m guestMemory) array(address, n, size uint32) ([]byte, bool) {
	length := uint64(n) * uint64(size)
	if length > math.MaxUint32 {
		return nil, false
	}
	return m.at(address, uint32(length))
}

// path returns the path at address. A length no path may have is refused before
// anything is copied.
func (m guestMemory) path(address, n uint32) (string, errno) {
	bytes, ok := m.at(address, n)
	switch {
	case !ok:
		return "", vfs.EFAULT
	case n > vfs.MaxPath:
		return "", vfs.ENAMETOOLONG
	}
	return string(bytes), 0
}

// maxVectors is how many iovecs one call may pass: IOV_MAX of Linux. More are
// EINVAL.
const maxVectors = 1024

// buffers appends to to the buffers that the n iovecs at address describe, and
// returns their total length. They may overlap each other; since all of them
// are read first, writing into one changes none of the others' places.
func (m guestMemory) buffers(to [][]byte, address, n uint32) ([][]byte, int, errno) {
	if n > maxVectors {
		return nil, 0, vfs.EINVAL
	}
	vectors, ok := m.array(address, n, 8)
	if !ok {
		return nil, 0, vfs.EFAULT
	}
	var total uint64
	for ; len(vectors) > 0; vectors = vectors[8:] {
		buffer, ok := m.at(le.Uint32(vectors), le.Uint32(vectors[4:]))
		if !ok {
			return nil, 0, vfs.EFAULT
		}
		if total += uint64(len(buffer)); total > math.MaxUint32 {
			return nil, 0, vfs.EINVAL
		}
		to = append(to, buffer)
	}
	return to, int(total), 0
}

// le is the byte order of linear memory.
var le = binary.LittleEndian
