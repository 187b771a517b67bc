package rewrite

// The kinds of things that a module imports and exports.
const (
	kindFunc   = 0
	kindTable  = 1
	kindMemory = 2
	kindGlobal = 3
)

// The types of values.
const (
	typeI32       = 0x7f
	typeI64       = 0x7e
	typeF32       = 0x7d
	typeF64       = 0x7c
	typeV128      = 0x7b
	typeFuncref   = 0x70
	typeExternref = 0x6f
)

// module is what a binary says, except for the instructions of its functions. Byte slices alias the binary.
type module struct {
	wasm    []byte
	types   []funcType
	imports []importEntry
	globals []global // defined here, without imports
	exports []export
	start   int64 // function, -1 without a start section
	elems   []element
	code    []code
	data    []dataSegment
	names   names

	hasDataCount bool

	// The index spaces, imports first.
	funcs      []uint32 // type of each function
	tables     []table
	globalType []globalType
	memory     *limits

	importedFuncs, importedTables, importedGlobals int
	importedMemory                                 bool

	// declared holds the functions that ref.func may name: those that occur outside of code.
	declared map[uint32]struct{}
}

type funcType struct{ params, results []byte }

type importEntry struct {
	module, name string
	kind         byte
	typ          uint32     // of a function
	table        table      // of a table
	memory       limits     // of a memory
	global       globalType // of a global
}

type limits struct {
	min, max uint32
	hasMax   bool
}

type table struct {
	typ byte
	limits
}

type globalType struct {
	typ     byte
	mutable bool
}

type global struct {
	globalType
	init constExpr
}

// constExpr is an initial value: exactly one instruction and end.
type constExpr struct {
	op    byte
	index uint32 // of ref.func and global.get
	value int32  // of i32.const
	raw   []byte // as in the binary, with end
}

type export struct {
	name  string
	kind  byte
	index uint32
}

// The bits of an element segment's first field.
const (
	elemNotActive = 1 // passive or declarative
	elemExplicit  = 2 // active: names its table; not active: declarative
	elemExprs     = 4 // items are expressions, not function indices
)

type element struct {
	flags  uint32
	table  uint32
	offset constExpr
	typ    byte // reference type, or kind if the items are function indices; only if written
	count  int
	items  []byte // the vector without its count
}

func (e *element) active() bool { return e.flags&elemNotActive == 0 }

// code is the body of a function: its position in the binary.
type code struct{ start, end int }

type dataSegment struct {
	passive bool
	offset  constExpr
	init    []byte
}
