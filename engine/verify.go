package engine

import (
	"crypto/sha256"
	"encoding/binary"
)

// digest stands for everything a guest could tell two sandboxes apart by: its
// linear memory and its globals. The zero digest stands for nothing.
type digest [sha256.Size]byte

// digest returns the sandbox's. It is the zero digest unless an engine verifies,
// since it takes longer than most calls.
func (s *Sandbox) digest() digest {
	if s.function.engine.differs == nil {
		return digest{}
	}
	hash := sha256.New()
	hash.Write(s.memory.bytes())
	for _, value := range s.getGlobals() {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], value)
		hash.Write(b[:])
	}
	return digest(hash.Sum(nil))
}

// verify reports a sandbox that is not again what it was. doing is what was
// done to it.
func (s *Sandbox) verify(want digest, doing string) {
	differs := s.function.engine.differs
	if differs == nil || want == (digest{}) {
		return
	}
	switch {
	case s.digest() != want:
		differs(doing + ": memory or globals differ")
	case s.at != atStart && !s.pristine():
		differs(doing + ": descriptors differ")
	}
}
