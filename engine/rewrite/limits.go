package rewrite

import "time"

// The limits. A module beyond one of them is refused with an Error of kind OverLimit. In brackets: the most that was
// found in CPython 3.12, Ruby 3.2, PHP 8.2, QuickJS, SQLite, clang and lld built for WASI, a Go program with most of
// the standard library, and the Go compiler itself.
const (
	// MaxModuleBytes is the size of a module. (49 MB)
	MaxModuleBytes = 128 << 20
	// MaxCodeBytes is the size of all functions. (32 MB)
	MaxCodeBytes = 64 << 20
	// MaxBodyBytes is the size of a function. (670 KB)
	MaxBodyBytes = 2 << 20
	// MaxCompileTime is the time that compiling a module may take by our estimate, on one core: see cost.go. It is what
	// bounds blocks, loops, branches and locals, which take more than linear time. (Go compiler 41 s, Ruby 33 s,
	// clang 27 s; PHP 13 s, CPython 5 s, a small Go program 1.5 s)
	MaxCompileTime = 45 * time.Second

	// MaxTypes counts function types. (1,500)
	MaxTypes = 20_000
	// MaxParams and MaxResults count the values of one type. (24)
	MaxParams  = 1_000
	MaxResults = 1_000
	// MaxSignatureValues counts the parameters and results of all types. (6,000)
	MaxSignatureValues = 1_000_000
	// MaxImports counts imports of all kinds. (45)
	MaxImports = 10_000
	// MaxExports counts exports of all kinds. (1,861)
	MaxExports = 20_000
	// MaxFunctions counts the functions that the module defines. (54,322)
	MaxFunctions = 200_000
	// MaxGlobals counts the globals that the module defines. (646)
	MaxGlobals = 20_000
	// MaxNameBytes is the length of a name. (4,200: mangled C++)
	MaxNameBytes = 64 << 10
	// MaxCustomSections counts sections that are neither code nor data. (12)
	MaxCustomSections = 1_000

	// MaxLocals counts the parameters and locals of a function. (798)
	MaxLocals = 50_000
	// MaxNesting is the depth of blocks in a function. (7,741)
	MaxNesting = 20_000
	// MaxBranchTargets counts the targets of a branch table. (12,048)
	MaxBranchTargets = 65_520

	// MaxAllLocals counts the parameters and locals of all functions: wazero keeps 8 bytes for each. (374,000)
	MaxAllLocals = 4_000_000
	// MaxLargeTables counts the targets of all branch tables that have more than 1,000 of them. (171,000: the Go compiler)
	MaxLargeTables = 300_000
	// MaxWideValues counts the values beyond the first 32 that calls, blocks and branches hand on, at every place:
	// wazero takes 400 bytes for each. (0)
	MaxWideValues = 200_000

	// MaxTables counts tables. (1)
	MaxTables = 1_000
	// MaxTableElements bounds what all tables of a module together hold, at first and when they grow: 8 MiB.
	// (24,026, and none grows)
	MaxTableElements = 1 << 20
	// MaxElementSegments and MaxElements count what fills tables. (24,000 elements)
	MaxElementSegments = 100_000
	MaxElements        = 1 << 20
	// MaxDataSegments counts data segments. (100,000: Go's linker emits no more)
	MaxDataSegments = 200_000

	// MaxState counts the mutable globals that the module defines, if a sandbox of it is to be restored. Modules with
	// more are not refused. (646)
	MaxState = 1024

	// StackBudget is the estimated size, in bytes, to which the call stack may grow before StackImport is called. The
	// estimate is rough; wazero's own limit of 84 MB stands behind it. It allows about 170,000 nested calls of a small
	// function, 30,000 of a large one.
	StackBudget = 16 << 20
)

const pageSize = 64 << 10
