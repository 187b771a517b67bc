package memory

import (
	"slices"
	"strings"

	"github.com/gojinn/gojinn/stores"
)

// record is a key with its item.
type record struct {
	space *space
	key   string
	item  stores.Item
	at    int // its place among those that expire; -1: it doesn't
}

// overhead is about what keeping a record takes beside the bytes of its key and value.
const overhead = 200

func (r *record) size() int64 { return int64(len(r.key)+len(r.item.Value)) + overhead }

// space is a namespace: its records in the order of their keys, in pieces, so that neither
// finding nor adding one takes time that grows with their number.
type space struct {
	name   string
	pieces [][]*record // none is empty
	count  int64
}

// maxPiece is where a piece is cut in two.
const maxPiece = 512

// find returns where the record of a key is, or is to be.
func (s *space) find(key string) (piece, at int, found bool) {
	piece, found = slices.BinarySearchFunc(s.pieces, key, func(p []*record, key string) int {
		return strings.Compare(p[0].key, key)
	})
	if found {
		return piece, 0, true
	}
	if piece > 0 {
		piece-- // the one that begins before the key
	}
	if piece == len(s.pieces) {
		return piece, 0, false
	}
	at, found = slices.BinarySearchFunc(s.pieces[piece], key, func(r *record, key string) int {
		return strings.Compare(r.key, key)
	})
	return piece, at, found
}

// get returns the record of a key, or nil.
func (s *space) get(key string) *record {
	if piece, at, found := s.find(key); found {
		return s.pieces[piece][at]
	}
	return nil
}

// add adds a record whose key has none.
func (s *space) add(r *record) {
	s.count++
	i, at, _ := s.find(r.key)
	if i == len(s.pieces) {
		s.pieces = append(s.pieces, []*record{r})
		return
	}
	piece := slices.Insert(s.pieces[i], at, r)
	s.pieces[i] = piece
	if len(piece) > maxPiece {
		half := len(piece) / 2
		second := slices.Clone(piece[half:])
		clear(piece[half:])
		s.pieces[i] = piece[:half]
		s.pieces = slices.Insert(s.pieces, i+1, second)
	}
}

// remove removes the record of a key that has one.
func (s *space) remove(key string) {
	i, at, found := s.find(key)
	if !found {
		return
	}
	s.count--
	if s.pieces[i] = slices.Delete(s.pieces[i], at, at+1); len(s.pieces[i]) == 0 {
		s.pieces = slices.Delete(s.pieces, i, i+1)
	}
}

// from calls yield with the records from a key on, in the order of their keys, until it
// returns false.
func (s *space) from(key string, yield func(*record) bool) {
	i, at, _ := s.find(key)
	for ; i < len(s.pieces); i, at = i+1, 0 {
		for _, r := range s.pieces[i][at:] {
			if !yield(r) {
				return
			}
		}
	}
}
