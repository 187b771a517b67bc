package rewrite

// asm is a piece of code that this package writes itself.
type asm []byte

func (a *asm) op(ops ...byte) { *a = append(*a, ops...) }

// with appends an instruction that has an index.
func (a *asm) with(op byte, index uint32) { *a = appendUleb(append(*a, op), index) }

// misc appends an instruction of prefix 0xfc with its indices.
func (a *asm) misc(op uint32, indices ...uint32) {
	*a = appendUleb(append(*a, opMisc), op)
	for _, i := range indices {
		*a = appendUleb(*a, i)
	}
}

func (a *asm) i32(v int32) { *a = appendSleb(append(*a, opI32Const), int64(v)) }
func (a *asm) i64(v int64) { *a = appendSleb(append(*a, opI64Const), v) }

// get appends local.get for each of the locals.
func (a *asm) get(locals ...uint32) {
	for _, l := range locals {
		a.with(opLocalGet, l)
	}
}

func (a *asm) set(local uint32) { a.with(opLocalSet, local) }

// appendBytes appends the length of b, and b.
func appendBytes(dst, b []byte) []byte {
	return append(appendUleb(dst, uint32(len(b))), b...)
}
