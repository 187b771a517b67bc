package engine

import (
	"encoding/binary"
	"math/rand/v2"
)

// A Go program that was compiled for wasip1 draws 32 bytes from random_get when
// it starts, and from then on asks the host only for crypto/rand. The 32 bytes
// seed a ChaCha8 generator that the runtime uses for nothing but the start: its
// first four words are the key of the hash of maps, the next four the seed of the
// generator of the only thread that WebAssembly has. All of math/rand,
// math/rand/v2, maphash and the order of maps comes out of the latter. Copies of
// the program's memory would draw the same numbers from it, so its state is found
// once in an image, and each copy is given another seed.
//
// The source of all this is Go's own: runtime/rand.go and internal/chacha8rand,
// which were the same in this respect from Go 1.22 to 1.26 (the generator itself
// is specified at c2sp.org/chacha8rand). No promise covers it. A version that does
// it in another way has no match, since what is found must have the generator's
// whole state, computed here from the bytes the runtime drew: then the program is
// one that can't be copied.
//
// What a copy repeats nevertheless:
//
//   - what the program itself drew and kept: values of initialisers, seeds of
//     maphash, generators of its own (rand.New). The seeds of maps are among them,
//     though not the order in which range visits those maps;
//   - the hash key, which has to stay: the maps in the image depend on it;
//   - the choices of select among channels that are ready. Their generator, the
//     runtime's cheaprand, was seeded once from the first word of the one found
//     here. Its state is 8 bytes that nothing tells from others.
//
// The runtime's first generator stays as it was too. It only seeds the generators
// of further threads, which don't exist.

// The state of a generator in memory is Go's internal/chacha8rand.State:
//
//	buf  [32]uint64 // a block of output
//	seed [4]uint64
//	i    uint32     // words of buf that were used
//	n    uint32     // words of buf that may be used
//	c    uint32     // the block's number, times 4
//
// Four blocks are made of a seed. The last four words of the fourth are the next
// seed instead of output.
const (
	goSeedAt   = 8 * goBlockWords
	goCountsAt = goSeedAt + goSeedSize // of i and n
	goBlockAt  = goCountsAt + 8        // of c
	goEnd      = goBlockAt + 4

	goAlign      = 8
	goSeedSize   = 4 * 8
	goBlockWords = 32
	goLastBlock  = 3
	goLastWords  = goBlockWords - 4 // those of the last block that may be used
)

const (
	// maxGoSeeds is how many seeds the generator may have gone through before
	// the image was taken. Each is good for 124 numbers, so that this is half a
	// million of them. Following it that far takes about a millisecond.
	maxGoSeeds = 4096

	// maxGoTries bounds the work in a memory that is full of what looks like the
	// counters of a generator, at less than a microsecond for each. An image of
	// 80 MB full of maps had 61 of them.
	maxGoTries = 1 << 14
)

// findGoRandom finds the generator of a Go program in its memory. The entropy is
// what the runtime drew: the first 32 bytes that the program got from random_get.
// The offset is that of the generator's state, for [reseedGoRandom]. It is not ok
// if there is no such state or more than one: if the program wasn't made by Go, or
// by a version that does it in another way, or has drawn too many numbers. Memory
// may hold anything; the work is one pass over it and a bounded rest.
//
// The state is a part of the program's static data. Whoever wants to save the time
// for a large heap can leave out of memory what exceeds the initial memory of the
// module.
//
// An image has to be searched before reseedGoRandom has changed it: the entropy
// leads to no seed but those that follow from it.
func findGoRandom(memory, entropy []byte) (offset uint32, ok bool) {
	if len(entropy) != goSeedSize {
		return 0, false
	}
	states, ok := goStates(memory)
	if !ok || len(states) == 0 {
		return 0, false
	}

	var first goGenerator
	if !first.restore([goSeedSize]byte(entropy), 0, 0) {
		return 0, false
	}
	first.draw() // the hash key
	seed := first.draw()
	// The first generator then replaced its own seed with the next four words. It
	// is in memory too; once it is known, nothing is left to look for when the
	// other one was found.
	delete(states, first.draw())

	var found []uint32
	var next goGenerator
	for range maxGoSeeds {
		if len(states) == 0 {
			break
		}
		found = append(found, states[seed]...)
		delete(states, seed)
		if seed, ok = next.successor(seed); !ok {
			return 0, false
		}
	}
	if len(found) != 1 {
		return 0, false
	}
	return found[0], true
}

// reseedGoRandom gives the generator whose state is at offset, where findGoRandom
// found it in this memory or in the image that was restored into it, 32 bytes of
// new entropy. All that the program draws from then on depends on nothing else;
// the rest of the present block is passed over. The program must not be running.
// Nothing but the state is written to. An offset that can't come from findGoRandom
// for a memory of this size, or entropy of another length, is a mistake in the
// caller and panics before anything is written.
func reseedGoRandom(memory []byte, offset uint32, entropy []byte) {
	seed := [goSeedSize]byte(entropy)
	state := memory[offset:][:goEnd]
	copy(state[goSeedAt:], seed[:])
	// With all words of block 0 used the next number comes from block 1, which is
	// then made of the new seed. (After block 3 it would be made of a seed from
	// the old output.)
	binary.LittleEndian.PutUint32(state[goCountsAt:], goBlockWords)
	binary.LittleEndian.PutUint32(state[goCountsAt+4:], goBlockWords)
	binary.LittleEndian.PutUint32(state[goBlockAt:], 0)
}

// goStates returns the places of all generators in memory by their seeds, those
// that the program made itself (rand.NewChaCha8) among them. It is not ok if there
// is too much that could be one.
func goStates(memory []byte) (states map[[goSeedSize]byte][]uint32, ok bool) {
	if len(memory) < goEnd || uint64(len(memory)) > 1<<32 {
		return nil, true
	}
	states = map[[goSeedSize]byte][]uint32{}
	var g goGenerator
	tries := 0
	// Only the counters are looked at until they are plausible.
	for rest := memory[goCountsAt:]; len(rest) >= goEnd-goCountsAt; rest = rest[goAlign:] {
		rest = skipToCounts(rest)
		if len(rest) < goEnd-goCountsAt {
			break
		}
		offset := len(memory) - len(rest) - goCountsAt
		state := memory[offset:][:goEnd]
		block, ok := goBlock(state)
		if !ok {
			continue
		}
		if tries++; tries > maxGoTries {
			return nil, false
		}
		seed := [goSeedSize]byte(state[goSeedAt:])
		if g.restore(seed, block, 0) && g.matches(state[:8*goBlockLen(block)]) {
			states[seed] = append(states[seed], uint32(offset))
		}
	}
	return states, true
}

// skipToCounts returns words from the first that may be i and n of a generator by
// the looks of it. All of memory goes through here, about as fast as it can be
// read.
func skipToCounts(words []byte) []byte {
	const low, high = goLastWords << 32, goBlockWords<<32 + goBlockWords
	for len(words) >= 32 {
		four := (*[32]byte)(words)
		a, b := binary.LittleEndian.Uint64(four[:]), binary.LittleEndian.Uint64(four[8:])
		c, d := binary.LittleEndian.Uint64(four[16:]), binary.LittleEndian.Uint64(four[24:])
		if a|b|c|d != 0 && (a-low <= high-low || b-low <= high-low || c-low <= high-low || d-low <= high-low) {
			break
		}
		words = words[32:]
	}
	for len(words) >= 8 && binary.LittleEndian.Uint64(words)-low > high-low {
		words = words[8:]
	}
	return words
}

// goBlock returns which block of its seed a state has, if its counters can be
// those of a generator.
func goBlock(state []byte) (block int, ok bool) {
	used := binary.LittleEndian.Uint32(state[goCountsAt:])
	usable := binary.LittleEndian.Uint32(state[goCountsAt+4:])
	counter := binary.LittleEndian.Uint32(state[goBlockAt:])
	if counter%4 != 0 || counter/4 > goLastBlock {
		return 0, false
	}
	block = int(counter / 4)
	return block, usable == uint32(goBlockLen(block)) && used <= usable
}

// goBlockLen returns how many words of a block are output.
func goBlockLen(block int) int {
	if block == goLastBlock {
		return goLastWords
	}
	return goBlockWords
}

// goGenerator computes what a generator in a guest has computed: math/rand/v2 has
// the same one.
type goGenerator struct {
	rand.ChaCha8
	encoded [48]byte
}

// restore makes it the generator that has used that many words of that block of
// a seed. The encoding is that of [rand.ChaCha8.MarshalBinary]: a name, how many
// words of the seed were used, big endian, and the seed.
func (g *goGenerator) restore(seed [goSeedSize]byte, block, used int) (ok bool) {
	encoded := append(g.encoded[:0], "chacha8:"...)
	encoded = binary.BigEndian.AppendUint64(encoded, uint64(block*goBlockWords+used))
	encoded = append(encoded, seed[:]...)
	return g.UnmarshalBinary(encoded) == nil
}

// draw returns the next four words as they are in memory.
func (g *goGenerator) draw() (words [goSeedSize]byte) {
	for i := 0; i < len(words); i += 8 {
		binary.LittleEndian.PutUint64(words[i:], g.Uint64())
	}
	return words
}

// matches says whether these are the words that come next.
func (g *goGenerator) matches(words []byte) bool {
	for ; len(words) >= 8; words = words[8:] {
		if binary.LittleEndian.Uint64(words) != g.Uint64() {
			return false
		}
	}
	return true
}

// successor returns the seed that a generator takes when it has used up another.
// These words are never output, but they are in the encoding of a generator that
// has just drawn its first number from the new seed.
func (g *goGenerator) successor(seed [goSeedSize]byte) (next [goSeedSize]byte, ok bool) {
	if !g.restore(seed, goLastBlock, goLastWords) {
		return next, false
	}
	g.Uint64()
	encoded, err := g.AppendBinary(g.encoded[:0])
	if err != nil || len(encoded) != len(g.encoded) {
		return next, false
	}
	return [goSeedSize]byte(encoded[len(encoded)-goSeedSize:]), true
}
