package rewrite

// immediate is the kind of what follows an opcode.
type immediate uint8

const (
	immInvalid  immediate = iota // not an instruction
	immProposal                  // an instruction of a proposal that is not enabled
	immNone
	immBlock        // block type
	immElse         //
	immEnd          //
	immLabel        // label
	immLabels       // vector of labels, label
	immReturn       //
	immCall         // function
	immCallIndirect // type, table
	immSelect       // vector of value types
	immLocal        // local
	immGlobal       // global
	immTable        // table
	immMemArg       // alignment, offset
	immMemory       // one zero byte
	immMemory2      // two zero bytes
	immI32          // signed integers
	immI64          //
	immF32          // 4 bytes
	immF64          // 8 bytes
	immV128         // 16 bytes
	immRefType      // reference type
	immFunc         // function
	immMisc         // opcode in miscOpcodes
	immVector       // opcode in vectorOpcodes
	immMemArgLane   // alignment, offset, lane
	immLane         // lane
	immDataMemory   // data segment, zero byte
	immData         // data segment
	immElemTable    // element segment, table
	immElem         // element segment
	immTable2       // table, table
)

// opcode describes an instruction: its immediates, what it costs in units of fuel, and what it costs to compile, in
// units of costUnit.
type opcode struct {
	imm     immediate
	cost    uint8
	compile uint8
}

const (
	opUnreachable  = 0x00
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableSet     = 0x26
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32Eq        = 0x46
	opI32Ne        = 0x47
	opI32LtS       = 0x48
	opI32GtU       = 0x4b
	opI32LeU       = 0x4d
	opI64Eqz       = 0x50
	opI64LtS       = 0x53
	opI64GtU       = 0x56
	opI64GeS       = 0x59
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI32ShrU      = 0x76
	opI32Or        = 0x72
	opI64Add       = 0x7c
	opI64Sub       = 0x7d
	opI64Or        = 0x84
	opI64Shl       = 0x86
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd
	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17
	vecV128Const   = 12

	blockVoid = 0x40
)

// Instructions for which wazero leaves the guest's code cost more than one unit: they take tens of nanoseconds.
const hostCost = 16

// opcodes describes the instructions of one byte, by byte. Instructions that only give the code its structure are
// free: the compiled code has nothing for them.
var opcodes = func() (t [256]opcode) {
	set := func(from, to int, imm immediate, cost uint8) {
		for i := from; i <= to; i++ {
			t[i] = opcode{imm, cost, 1}
		}
	}
	set(0x00, 0x00, immNone, 1) // unreachable
	set(0x01, 0x01, immNone, 0) // nop
	set(0x02, 0x03, immBlock, 0)
	set(0x04, 0x04, immBlock, 1) // if
	set(0x05, 0x05, immElse, 0)
	set(0x06, 0x0a, immProposal, 0) // exceptions
	set(0x0b, 0x0b, immEnd, 0)
	set(0x0c, 0x0d, immLabel, 1)
	set(0x0e, 0x0e, immLabels, 1)
	set(0x0f, 0x0f, immReturn, 1)
	set(0x10, 0x10, immCall, 1)
	set(0x11, 0x11, immCallIndirect, 1)
	set(0x12, 0x15, immProposal, 0) // tail calls, calls by reference
	set(0x18, 0x19, immProposal, 0) // exceptions
	set(0x1a, 0x1b, immNone, 1)     // drop, select
	set(0x1c, 0x1c, immSelect, 1)
	set(0x1f, 0x1f, immProposal, 0) // exceptions
	set(0x20, 0x22, immLocal, 1)
	set(0x23, 0x24, immGlobal, 1)
	set(0x25, 0x26, immTable, 1)
	set(0x28, 0x3e, immMemArg, 1)
	set(0x3f, 0x3f, immMemory, 1)
	set(0x40, 0x40, immMemory, hostCost)
	set(0x41, 0x41, immI32, 1)
	set(0x42, 0x42, immI64, 1)
	set(0x43, 0x43, immF32, 1)
	set(0x44, 0x44, immF64, 1)
	set(0x45, 0xc4, immNone, 1)
	set(0xd0, 0xd0, immRefType, 1)
	set(0xd1, 0xd1, immNone, 1)
	set(0xd2, 0xd2, immFunc, hostCost)
	set(0xd3, 0xd6, immProposal, 0) // typed function references
	set(0xfb, 0xfb, immProposal, 0) // garbage collection
	set(0xfc, 0xfc, immMisc, 0)
	set(0xfd, 0xfd, immVector, 0)
	set(0xfe, 0xfe, immProposal, 0) // threads
	compile := func(from, to int, c uint8) {
		for i := from; i <= to; i++ {
			t[i].compile = c
		}
	}
	compile(0x10, 0x10, 14)
	compile(0x11, 0x11, 130)
	compile(0x25, 0x26, 40)
	compile(0x28, 0x3e, 36)
	compile(0x40, 0x40, 14)
	compile(0x6d, 0x70, 30) // integer division
	compile(0x7f, 0x82, 30)
	compile(0xa8, 0xab, 40) // conversions that trap
	compile(0xae, 0xb1, 40)
	compile(0xd2, 0xd2, 14)
	return t
}()

// miscOpcodes describes the instructions after the prefix 0xfc.
var miscOpcodes = [18]opcode{
	{immNone, 1, 4}, {immNone, 1, 4}, {immNone, 1, 4}, {immNone, 1, 4}, // saturating conversions
	{immNone, 1, 4}, {immNone, 1, 4}, {immNone, 1, 4}, {immNone, 1, 4},
	miscMemoryInit: {immDataMemory, 1, 190},
	miscDataDrop:   {immData, 1, 14},
	miscMemoryCopy: {immMemory2, 1, 190},
	miscMemoryFill: {immMemory, 1, 14},
	miscTableInit:  {immElemTable, 1, 14},
	miscElemDrop:   {immElem, 1, 14},
	miscTableCopy:  {immTable2, 1, 14},
	miscTableGrow:  {immTable, hostCost, 14},
	miscTableSize:  {immTable, 1, 14},
	miscTableFill:  {immTable, 1, 14},
}

// vectorOpcodes describes the instructions after the prefix 0xfd. The specification writes the opcode as a number of
// variable length; wazero reads one byte, so the 0x01 that follows opcodes from 0x80 is a nop to it, and to us.
var vectorOpcodes = func() (t [256]opcode) {
	for i := range t {
		t[i] = opcode{immNone, 1, 5}
	}
	set := func(from, to int, imm immediate) {
		for i := from; i <= to; i++ {
			t[i].imm = imm
		}
	}
	set(0x00, 0x0b, immMemArg)
	set(0x0c, 0x0d, immV128) // v128.const, i8x16.shuffle
	set(0x15, 0x22, immLane)
	set(0x54, 0x5b, immMemArgLane)
	set(0x5c, 0x5d, immMemArg)
	for i := range t {
		if t[i].imm == immMemArg || t[i].imm == immMemArgLane {
			t[i].compile = 36
		}
	}
	for _, i := range []byte{0x9a, 0xa2, 0xa5, 0xa6, 0xaf, 0xb0, 0xb2, 0xb3, 0xb4, 0xbb, 0xc2, 0xc5, 0xc6, 0xcf, 0xd0, 0xd2, 0xd3, 0xd4, 0xe2, 0xee} {
		t[i] = opcode{}
	}
	return t
}()
