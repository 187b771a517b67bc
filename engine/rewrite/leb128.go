package rewrite

// Variable-length integers (LEB128), read exactly as wazero reads them: padded forms of up to 5 or 10 bytes are fine,
// and so is a stray bit 6 in the last byte of a padded signed form, or a stray continuation bit in the fifth byte of a
// block type. What wazero takes must be taken here, because it will read the same bytes again.

// uleb reads an unsigned 32-bit integer at b[p] and returns it with the position after it, which is negative if there
// is none.
func uleb(b []byte, p int) (uint32, int) {
	if p < len(b) && b[p] < 0x80 {
		return uint32(b[p]), p + 1
	}
	return ulebLong(b, p)
}

func ulebLong(b []byte, p int) (v uint32, next int) {
	for shift := 0; shift < 35; shift += 7 {
		if p >= len(b) {
			return 0, -1
		}
		c := b[p]
		p++
		v |= uint32(c&0x7f) << shift
		if c < 0x80 {
			if shift == 28 && c > 0x0f {
				return 0, -1
			}
			return v, p
		}
	}
	return 0, -1
}

func sleb32(b []byte, p int) (v int32, next int) {
	for shift := 0; shift < 35; shift += 7 {
		if p >= len(b) {
			return 0, -1
		}
		c := b[p]
		p++
		v |= int32(c&0x7f) << shift
		if c < 0x80 {
			if shift < 28 {
				if c&0x40 != 0 {
					v |= -1 << (shift + 7)
				}
			} else if unused := c & 0x30; v < 0 && unused != 0x30 || v >= 0 && unused != 0 {
				return 0, -1
			}
			return v, p
		}
	}
	return 0, -1
}

// skipSleb64 returns the position after the signed 64-bit integer at b[p], or a negative one if there is none.
func skipSleb64(b []byte, p int) int {
	for shift := 0; shift < 70; shift += 7 {
		if p >= len(b) {
			return -1
		}
		c := b[p]
		p++
		if c < 0x80 {
			if shift == 63 {
				if unused := c & 0x3e; c&1 != 0 && unused != 0x3e || c&1 == 0 && unused != 0 {
					return -1
				}
			}
			return p
		}
	}
	return -1
}

// sleb33 reads the signed 33-bit integer of a block type.
func sleb33(b []byte, p int) (v int64, next int) {
	shift := 0
	var c int64
	for shift < 35 {
		if p >= len(b) {
			return 0, -1
		}
		c = int64(b[p])
		p++
		v |= c & 0x7f << shift
		shift += 7
		if c < 0x80 {
			break
		}
	}
	if shift < 33 && c&0x40 != 0 {
		v |= -1 << shift
	}
	v = v << 31 >> 31
	if unused := c & 0x20; shift == 35 && (v < 0 && unused == 0 || v >= 0 && unused != 0) {
		return 0, -1
	}
	return v, p
}

func appendUleb(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func appendSleb(dst []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(dst, c)
		}
		dst = append(dst, c|0x80)
	}
}

func ulebLen(v uint32) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}
