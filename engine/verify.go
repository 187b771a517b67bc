package engine

import (
	"encoding/binary"
	"hash/maphash"
)

// digest stands for everything a guest could tell two sandboxes apart by: its
// linear memory and its globals. 0 stands for nothing.
type digest uint64

var digestSeed = maphash.MakeSeed()

// digest returns the sandbox's. It is 0 unless the engine verifies, since it takes
// longer than most calls.
func (s *Sandbox) digest() digest {
	if s.function.engine.verify == nil {
		return 0
	}
	var hash maphash.Hash
	hash.SetSeed(digestSeed)
	_, _ = hash.Write(s.memory.bytes()) // never fails
	for _, value := range s.getGlobals() {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], value)
		_, _ = hash.Write(b[:])
	}
	return digest(max(1, hash.Sum64()))
}

// verify reports a sandbox that is not again what it was. doing is what was
// done to it.
func (s *Sandbox) verify(want digest, doing string) {
	report := s.function.engine.verify
	if report == nil || want == 0 {
		return
	}
	switch {
	case s.digest() != want:
		report(doing + ": memory or globals differ")
	case s.at != atStart && !s.pristine():
		report(doing + ": descriptors differ")
	}
}
